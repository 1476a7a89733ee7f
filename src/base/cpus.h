/* base/cpus.h - the processors that this process may use, and how many threads
 * that makes.
 *
 * Threads: any thread; lm_cpus_bind() is about the calling one. */
#ifndef LM_CPUS_H
#define LM_CPUS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

enum { LM_CPUS_MAX = 1024, LM_CPUS_TEXT = 64 };

/* A set of logical processors, by the system's numbers. */
typedef struct {
    uint64_t bits[LM_CPUS_MAX / 64];
} lm_cpus;

/* The affinity mask of the calling thread; where there is none, all processors. */
void lm_cpus_allowed(lm_cpus *out);
uint32_t lm_cpus_count(const lm_cpus *c);
/* Of them, without those that share a core with an earlier one. */
uint32_t lm_cpus_physical(const lm_cpus *c);
/* Processors that the container's quota pays for (cgroup 1 and 2, the tightest on
 * the way up); 0: no quota. */
double lm_cpus_quota(void);
/* Threads to compute with on them: physical cores within the quota, at least 1. */
uint32_t lm_cpus_threads(const lm_cpus *c);

/* "0-3,8" or, in hexadecimal, "0x10f".  LM_ERR_USAGE says what is wrong with the
 * text, or which processors this process may use if it names others. */
lm_status lm_cpus_parse(lm_cpus *out, const char *text, lm_error *err) LM_NODISCARD;
/* "0-3,8"; cut with "..." where it does not fit. */
void lm_cpus_text(const lm_cpus *c, char *out, size_t n);
/* The calling thread, and threads that it starts from now on, run on these only. */
lm_status lm_cpus_bind(const lm_cpus *c, lm_error *err);

#endif
