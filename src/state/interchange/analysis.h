/* state/interchange/analysis.h - analysis and SAMI as JSON values, for what embeds them.
 *
 * Threads: any thread. */
#ifndef LM_INTERCHANGE_ANALYSIS_H
#define LM_INTERCHANGE_ANALYSIS_H

#include "state/interchange/snapshot.h"

/* Gives a JSON object (json_decref()). */
lm_status lm_analysis_object(const lm_analysis *a, json_t **out, lm_error *err) LM_NODISCARD;
lm_status lm_sami_object(const lm_analysis *a, const lm_snapshot *s, const char *model, const char *prompt,
                         json_t **out, lm_error *err) LM_NODISCARD;

#endif
