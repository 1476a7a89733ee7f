/* backend/cpu/team.c - threads, their barrier, and how many there should be. */
#define _GNU_SOURCE /* syscall */
#include "backend/cpu/team.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#include "base/cpus.h"
#include "base/fail.h"
#include "base/mem.h"

/* How long a member spins before it sleeps, in pauses of some 15-40 ns: longer
 * than any stage of a token, shorter than anybody would mind.  Whoever spun in
 * vain was waiting for a member that another program keeps from its processor: it
 * spins half as long from then on, so that the system has a processor to move
 * somebody to, and each wait that does end gives back a little. */
enum { ROUNDS = 8, SPINS = 4000, SPINS_LEAST = 200, SPINS_BACK = 16, CLAIMS = 4 };

/* A flag is written by one member and awaited by one other, or by all of them. */
typedef struct {
    LM_ALIGNED(128) _Atomic uint32_t epoch;
    _Atomic uint32_t asleep;
} flag;

typedef struct {
    LM_ALIGNED(128) _Atomic uint32_t next;
} counter;

typedef struct {
    LM_ALIGNED(128) uint32_t epoch; /* barriers met by this member */
    pthread_t thread;
    lm_team *team;
    uint32_t index;
    uint32_t spins; /* now; up to lm_team.spins */
    flag flags[ROUNDS];
    flag arrived; /* awaited by everybody else */
} member;

struct lm_team {
    uint32_t n, rounds, started;
    uint32_t spins; /* 0 where there are more members than processors */
    void (*fn)(void *arg, uint32_t member);
    void *arg;
    bool quit;
    uint64_t epochs;
    counter claims[CLAIMS]; /* by epoch; reset two barriers ahead */
    member *m;
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void sleep_on(_Atomic uint32_t *at, uint32_t seen)
{
#ifdef __linux__
    (void)syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
#else
    (void)at;
    (void)seen;
    sched_yield();
#endif
}

static void wake_all(_Atomic uint32_t *at)
{
#ifdef __linux__
    (void)syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
#else
    (void)at;
#endif
}

/* The store of the epoch and the load of `asleep` are sequentially consistent,
 * as are the sleeper's store and load: one of the two sees the other. */
static void raise_flag(flag *f, uint32_t epoch)
{
    atomic_store(&f->epoch, epoch);
    if (atomic_load(&f->asleep))
        wake_all(&f->epoch);
}

/* Epochs wrap: they are compared by difference. */
static void await(flag *f, uint32_t epoch, member *m)
{
    uint32_t most = m->team->spins;
    for (uint32_t i = 0; i < m->spins; i++) {
        if ((int32_t)(atomic_load_explicit(&f->epoch, memory_order_acquire) - epoch) >= 0) {
            m->spins = LM_MIN(m->spins + SPINS_BACK, most);
            return;
        }
        pause_cpu();
    }
    m->spins = LM_MIN(LM_MAX(m->spins / 2, (uint32_t)SPINS_LEAST), most);
    uint32_t seen;
    while (seen = atomic_load(&f->epoch), (int32_t)(seen - epoch) < 0) {
        atomic_fetch_add(&f->asleep, 1u);
        if (atomic_load(&f->epoch) == seen)
            sleep_on(&f->epoch, seen);
        atomic_fetch_sub(&f->asleep, 1u);
    }
}

void lm_team_barrier(lm_team *t, uint32_t me)
{
    member *m = &t->m[me];
    uint32_t epoch = ++m->epoch;
    /* The counter of the stage after the next: everybody has left the stage that
     * used it last, nobody can reach that stage before this member goes on. */
    if (me == 0) {
        t->epochs++;
        atomic_store_explicit(&t->claims[(epoch + 1) % CLAIMS].next, 0u, memory_order_relaxed);
    }
    for (uint32_t r = 0; r < t->rounds; r++) {
        raise_flag(&t->m[(me + (1u << r)) % t->n].flags[r], epoch);
        await(&m->flags[r], epoch, m);
    }
}

void lm_team_arrive(lm_team *t, uint32_t me)
{
    flag *f = &t->m[me].arrived;
    raise_flag(f, atomic_load_explicit(&f->epoch, memory_order_relaxed) + 1);
}

void lm_team_wait(lm_team *t, uint32_t me)
{
    uint32_t times = atomic_load_explicit(&t->m[me].arrived.epoch, memory_order_relaxed);
    for (uint32_t i = 0; i < t->n; i++)
        await(&t->m[i].arrived, times, &t->m[me]);
}

uint32_t lm_team_claim(lm_team *t, uint32_t me)
{
    return atomic_fetch_add_explicit(&t->claims[t->m[me].epoch % CLAIMS].next, 1u, memory_order_relaxed);
}

uint64_t lm_team_epoch(const lm_team *t)
{
    return t->epochs;
}

static void *work(void *arg)
{
    member *m = arg;
    for (;;) {
        lm_team_barrier(m->team, m->index);
        if (m->team->quit)
            return NULL;
        m->team->fn(m->team->arg, m->index);
        lm_team_barrier(m->team, m->index);
    }
}

void lm_team_run(lm_team *t, void (*fn)(void *arg, uint32_t member), void *arg)
{
    t->fn = fn;
    t->arg = arg;
    lm_team_barrier(t, 0);
    fn(arg, 0);
    lm_team_barrier(t, 0);
}

uint32_t lm_team_size(const lm_team *t)
{
    return t->n;
}

/* A team whose threads could not all be started has nobody to meet: those that
 * run are told through their first barrier, round by round, by hand. */
static void release_partial(lm_team *t)
{
    t->quit = true;
    for (uint32_t i = 1; i < t->started; i++)
        for (uint32_t r = 0; r < t->rounds; r++)
            raise_flag(&t->m[i].flags[r], 1);
    for (uint32_t i = 1; i < t->started; i++)
        pthread_join(t->m[i].thread, NULL);
}

lm_status lm_team_open(lm_team **out, uint32_t n, lm_error *err)
{
    lm_team *t = NULL;
    if (n < 1 || n > LM_TEAM_MAX)
        return lm_fail(err, LM_ERR_USAGE, "%" PRIu32 " threads, allowed is 1 to %d", n, LM_TEAM_MAX);
    LM_TRY(lm_new_aligned((void **)&t, (sizeof *t + 127) / 128 * 128, err));
    memset(t, 0, sizeof *t);
    lm_status status = lm_new_aligned((void **)&t->m, n * sizeof(member), err);
    if (status != LM_OK) {
        lm_free(t);
        return status;
    }
    memset(t->m, 0, n * sizeof(member));
    t->n = n;
    t->started = 1;
    while ((1u << t->rounds) < n)
        t->rounds++;
    lm_cpus mine;
    lm_cpus_allowed(&mine);
    if (lm_cpus_count(&mine) >= n)
        t->spins = SPINS;
    /* Signals are the caller's: workers block them all, but for those that a thread
     * raises itself.  Blocked, a SIGBUS of a mapped file that was cut would end the
     * process before its handler could mend the hole (base/map.h). */
    sigset_t every, before;
    sigfillset(&every);
    sigdelset(&every, SIGBUS);
    sigdelset(&every, SIGSEGV);
    sigdelset(&every, SIGFPE);
    sigdelset(&every, SIGILL);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    for (uint32_t i = 0; i < n; i++) {
        t->m[i].team = t;
        t->m[i].index = i;
        t->m[i].spins = t->spins;
        if (i > 0) {
            int e = pthread_create(&t->m[i].thread, NULL, work, &t->m[i]);
            if (e != 0) {
                status = lm_fail(err, LM_ERR_NOMEM, "thread %" PRIu32 " of %" PRIu32 " did not start: %s",
                                 i + 1, n, strerror(e));
                break;
            }
            t->started = i + 1;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != LM_OK) {
        release_partial(t);
        lm_free(t->m);
        lm_free(t);
        return status;
    }
    *out = t;
    return LM_OK;
}

void lm_team_close(lm_team *t)
{
    if (!t)
        return;
    t->quit = true;
    lm_team_barrier(t, 0);
    for (uint32_t i = 1; i < t->n; i++)
        pthread_join(t->m[i].thread, NULL);
    lm_free(t->m);
    lm_free(t);
}

/* --- how many ---------------------------------------------------------------- */

uint32_t lm_team_default(void)
{
    lm_cpus mine;
    lm_cpus_allowed(&mine);
    return LM_MIN(lm_cpus_threads(&mine), (uint32_t)LM_TEAM_MAX);
}

uint32_t lm_team_limit(void)
{
    lm_cpus mine;
    lm_cpus_allowed(&mine);
    return LM_MIN(LM_MAX(8u, 2 * lm_cpus_count(&mine)), (uint32_t)LM_TEAM_MAX);
}
