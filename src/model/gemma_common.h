/* model/gemma_common.h - what the generations of Gemma share.  Threads: as model/family.h. */
#ifndef LM_GEMMA_COMMON_H
#define LM_GEMMA_COMMON_H

#include "model/family.h"

void lm_gemma_defaults(lm_reader *r, lm_config *c);       /* families/gemma.c */
lm_status lm_gemma_configure(lm_reader *r, lm_config *c); /* families/gemma.c */
/* Four norms: before and after attention, before and after the MLP. */
lm_val lm_gemma2_layer(lm_net_builder *m, lm_val x); /* families/gemma2.c */

enum { LM_GEMMA2_N_NAMES = 3 };
extern const lm_weight_name lm_gemma2_names[LM_GEMMA2_N_NAMES];

#endif
