/* engine/textside.h - the text side of a pack, for the engine (lemma/text.h).
 * Threads: as lemma/text.h. */
#ifndef LM_TEXTSIDE_H
#define LM_TEXTSIDE_H

#include "format/pack.h"
#include "lemma/sample.h"
#include "lemma/text.h"

typedef struct lm_tokenizer lm_tokenizer;

/* "" is lemma's own cache folder, made if need be (in buf); NULL: there is none. */
const char *lm_cache_folder(const char *asked, char *buf, size_t cap);
/* LM_ERR_NOT_FOUND when the pack has no tokenizer. */
lm_status lm_text_of_pack(lm_text **out, const lm_packfile *pack, const char *cache_dir,
                          lm_error *err) LM_NODISCARD;
/* generation_config.json over what *io holds. */
lm_status lm_text_sampling(const lm_packfile *pack, lm_sample_params *io, lm_error *err) LM_NODISCARD;
const lm_tokenizer *lm_text_tokenizer(const lm_text *t); /* NULL: none */

#endif
