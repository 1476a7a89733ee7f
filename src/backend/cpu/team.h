/* backend/cpu/team.h - the threads that run a plan together.
 *
 * A team is made once and kept.  Its members wait for work by spinning for a
 * while and then sleeping, so that a token pays no system call and an idle
 * program no processor.  The caller of lm_team_run() is member 0.
 *
 * Barriers are of the dissemination kind: log2(n) rounds of one store and one
 * spin, every flag on a cache line of its own; two threads meet in one crossing
 * of a cache line each way.
 *
 * Threads: one caller at a time; lm_team_barrier() and lm_team_claim() from
 * inside the running function, by every member the same number of times.
 */
#ifndef LM_CPU_TEAM_H
#define LM_CPU_TEAM_H

#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

enum { LM_TEAM_MAX = 256 };

typedef struct lm_team lm_team;

/* The default: physical cores within the affinity mask and the container's
 * quota, at least 1. */
uint32_t lm_team_default(void);
/* The most that an option may ask for on this machine. */
uint32_t lm_team_limit(void);

/* n from 1 to LM_TEAM_MAX. */
lm_status lm_team_open(lm_team **out, uint32_t n, lm_error *err) LM_NODISCARD;
void lm_team_close(lm_team *t); /* NULL is fine */
uint32_t lm_team_size(const lm_team *t);

/* Calls fn(arg, member) on every member and returns when all have. */
void lm_team_run(lm_team *t, void (*fn)(void *arg, uint32_t member), void *arg);

/* All members meet. */
void lm_team_barrier(lm_team *t, uint32_t member);
/* A barrier in two halves: after lm_team_wait() everybody has arrived as often as
 * this member.  Whoever does not care need not wait, but all must arrive. */
void lm_team_arrive(lm_team *t, uint32_t member);
void lm_team_wait(lm_team *t, uint32_t member);
/* The next piece of work between two barriers: 0, 1, 2 … to whoever asks. */
uint32_t lm_team_claim(lm_team *t, uint32_t member);
/* Barriers met since the team was made, for tests of how few they are. */
uint64_t lm_team_epoch(const lm_team *t);

#endif
