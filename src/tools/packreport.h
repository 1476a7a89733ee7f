/* tools/packreport.h - the parts of a pack's report (packcheck.h).
 * Threads: one thread at a time a report. */
#ifndef LM_TOOLS_PACKREPORT_H
#define LM_TOOLS_PACKREPORT_H

#include "format/pack.h"
#include "tools/packcheck.h"

typedef struct {
    json_t *root, *issues; /* issues is borrowed from root */
    const char *path;
    bool broken; /* an error is among the issues */
    bool failed; /* memory was short */
} lm_pack_report;

void lm_report_issue(lm_pack_report *r, bool is_error, const char *code, const char *path, const char *fmt,
                     ...) LM_PRINTF(5, 6);
/* NULL leaves the key out. */
void lm_report_set(lm_pack_report *r, const char *key, json_t *value);
/* Everything that a pack says of itself without its weights being read. */
void lm_report_describe(lm_pack_report *r, const lm_packfile *p, const lm_packcheck_options *o);
/* How the CPU's kernels read the weights on this machine, and whether there is a
 * prepared copy (packspeed.c). */
void lm_report_speed(lm_pack_report *r, const lm_packfile *p);
/* SPEC 19.3.3: what is wrong with each tensor declaration of a .gguf that does
 * not open; false when nothing is. */
bool lm_report_gguf_decls(lm_pack_report *r, const char *path);
/* The tokenizer, the template and the settings beside them, opened as `run` does. */
void lm_report_text(lm_pack_report *r, const lm_packfile *p);
lm_status lm_report_scan(lm_pack_report *r, const lm_packfile *p, const lm_packcheck_options *o,
                         lm_error *err);

#endif
