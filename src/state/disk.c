/* state/disk.c - the disk thread and its bounded queue.
 *
 * Jobs run in order.  Automatic ones (pages put behind a session's back, pages faulted
 * in) are refused when the queue is full and dropped when the store closes; a sleep is
 * neither.  A finished job's release is called by whoever polls, never on this thread:
 * pages in memory belong to the engine. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/store_impl.h"

/* A disk that refuses must not be asked for every page: once told, off for a minute. */
static void note_trouble(lm_store *s, const lm_job *j)
{
    if (!j->automatic || j->status == LM_OK || j->status == LM_ERR_CANCELLED)
        return;
    if (s->trouble.status == LM_OK)
        s->trouble = j->err;
    if (j->status == LM_ERR_NOSPACE || j->status == LM_ERR_IO || j->status == LM_ERR_STATE)
        s->retry_at = lm_store_now() + LM_STORE_RETRY_SECONDS;
}

static void run_job(lm_store *s, lm_job *j)
{
    int lock = -1;
    lm_error_clear(&j->err);
    if (j->automatic && atomic_load(&s->watch.stop)) {
        j->status = LM_ERR_CANCELLED;
        return;
    }
    j->status = j->writes ? lm_store_writer_lock(s, LM_STORE_LOCK_MS, j->automatic, &lock, &j->err) : LM_OK;
    if (j->status == LM_OK)
        j->status = j->run(s, j, &j->err);
    if (j->writes && s->writer) {
        lm_index_rollback(s->writer);
        (void)!lm_index_forget_marks(s->writer, NULL);
    }
    lm_store_writer_unlock(lock);
}

static void *disk_thread(void *arg)
{
    lm_store *s = arg;
    (void)pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first && !s->stopping)
            (void)pthread_cond_wait(&s->work, &s->lock);
        if (!s->first)
            break;
        lm_job *j = s->first;
        s->first = j->next;
        if (!s->first)
            s->last = NULL;
        s->running = j;
        (void)pthread_mutex_unlock(&s->lock);
        run_job(s, j);
        (void)pthread_mutex_lock(&s->lock);
        s->running = NULL;
        s->n_jobs--;
        s->queued_bytes -= j->bytes;
        note_trouble(s, j);
        j->done = true;
        j->next = NULL;
        if (j->free) {
            j->next = s->finished;
            s->finished = j;
        }
        (void)pthread_cond_broadcast(&s->idle);
    }
    s->thread_runs = false;
    bool orphaned = s->orphaned;
    (void)pthread_cond_broadcast(&s->idle);
    (void)pthread_mutex_unlock(&s->lock);
    if (orphaned)
        lm_store_free(s);
    return NULL;
}

lm_status lm_disk_start(lm_store *s, lm_error *err)
{
    sigset_t all, old;
    /* Signals are the program's: none is delivered to this thread, but for the ones that a
     * thread raises itself (SIGBUS under a map). */
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGSEGV);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = pthread_create(&s->thread, NULL, disk_thread, s);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return lm_fail(err, LM_ERR_NOMEM, "cannot start the disk thread");
    s->thread_runs = true;
    return LM_OK;
}

lm_status lm_disk_submit(lm_store *s, lm_job *j, lm_error *err)
{
    lm_status status = LM_OK;
    (void)pthread_mutex_lock(&s->lock);
    if (s->stopping)
        status = lm_fail(err, LM_ERR_BUSY, "the store is being closed");
    else if (j->automatic && (s->n_jobs >= s->o.max_queue ||
                              (s->queued_bytes && s->queued_bytes + j->bytes > s->o.max_queue_bytes)))
        status = lm_fail(err, LM_ERR_BUSY, "the disk thread has %zu jobs waiting, allowed are %u", s->n_jobs,
                         s->o.max_queue);
    else {
        j->next = NULL;
        j->done = false;
        if (s->last)
            s->last->next = j;
        else
            s->first = j;
        s->last = j;
        s->n_jobs++;
        s->queued_bytes += j->bytes;
        (void)pthread_cond_signal(&s->work);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return status;
}

lm_status lm_disk_wait(lm_store *s, lm_job *j, lm_error *err)
{
    LM_TRY(lm_disk_submit(s, j, err));
    (void)pthread_mutex_lock(&s->lock);
    while (!j->done)
        (void)pthread_cond_wait(&s->idle, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
    if (j->status != LM_OK && err && err->status == LM_OK)
        *err = j->err;
    return j->status;
}

void lm_store_poll(lm_store *s)
{
    (void)pthread_mutex_lock(&s->lock);
    lm_job *j = s->finished;
    s->finished = NULL;
    (void)pthread_mutex_unlock(&s->lock);
    while (j) {
        lm_job *next = j->next;
        if (j->release)
            j->release(j->ctx, j->status);
        j->free(j);
        j = next;
    }
}

static void later(struct timespec *t, unsigned ms)
{
    (void)clock_gettime(CLOCK_REALTIME, t);
    t->tv_sec += ms / 1000;
    t->tv_nsec += (long)(ms % 1000) * 1000000;
    t->tv_sec += t->tv_nsec / 1000000000;
    t->tv_nsec %= 1000000000;
}

void lm_store_wait(lm_store *s, unsigned ms)
{
    struct timespec from, until;
    (void)clock_gettime(CLOCK_REALTIME, &from);
    later(&until, ms);
    (void)pthread_mutex_lock(&s->lock);
    while (s->n_jobs && pthread_cond_timedwait(&s->idle, &s->lock, &until) != ETIMEDOUT)
        continue;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    int64_t took = (until.tv_sec - from.tv_sec) * 1000 + (until.tv_nsec - from.tv_nsec) / 1000000;
    s->waited_ms += took > 0 ? (unsigned)LM_MIN(took, (int64_t)LM_STORE_CLOSE_MS) : 0;
    (void)pthread_mutex_unlock(&s->lock);
    lm_store_poll(s);
}

void lm_store_flush(lm_store *s)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->n_jobs)
        (void)pthread_cond_wait(&s->idle, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
    lm_store_poll(s);
}

uint32_t lm_store_events(lm_store *s, lm_error *err)
{
    uint32_t events = 0;
    (void)pthread_mutex_lock(&s->lock);
    if (s->first_write && !s->first_told)
        events |= LM_STORE_FIRST_WRITE;
    s->first_told = s->first_write;
    if (s->trouble.status != LM_OK && !s->trouble_told) {
        events |= LM_STORE_TROUBLE;
        if (err)
            *err = s->trouble;
        s->trouble_told = true;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return events;
}

/* Whether anything that must be written still waits. */
static bool owes(const lm_store *s)
{
    if (s->running && !s->running->automatic)
        return true;
    for (const lm_job *j = s->first; j; j = j->next)
        if (!j->automatic)
            return true;
    return false;
}

bool lm_disk_stop(lm_store *s)
{
    struct timespec until;
    later(&until, LM_STORE_CLOSE_MS - LM_MIN(s->waited_ms, (unsigned)LM_STORE_CLOSE_MS));
    (void)pthread_mutex_lock(&s->lock);
    while (s->n_jobs && pthread_cond_timedwait(&s->idle, &s->lock, &until) != ETIMEDOUT)
        continue;
    atomic_store(&s->watch.stop, true);
    s->stopping = true;
    (void)pthread_cond_broadcast(&s->work);
    while (owes(s))
        (void)pthread_cond_wait(&s->idle, &s->lock);
    /* Automatic work looks at pages until its next megabyte; then it may be in an fsync,
     * which takes what it takes: the thread ends on its own and frees the store. */
    while (s->thread_runs && (s->first || !s->running || atomic_load(&s->watch.reading))) {
        struct timespec soon;
        later(&soon, 1);
        (void)pthread_cond_timedwait(&s->idle, &s->lock, &soon);
    }
    lm_store_release release = NULL;
    void *ctx = NULL;
    bool orphaned = s->thread_runs;
    if (orphaned) {
        release = s->running->release;
        ctx = s->running->ctx;
        s->running->release = NULL;
        s->orphaned = true;
        (void)pthread_detach(s->thread);
    }
    lm_job *done = s->finished;
    s->finished = NULL;
    (void)pthread_mutex_unlock(&s->lock);
    for (lm_job *next; done; done = next) {
        next = done->next;
        if (done->release)
            done->release(done->ctx, done->status);
        done->free(done);
    }
    if (release)
        release(ctx, LM_ERR_CANCELLED);
    if (!orphaned)
        (void)pthread_join(s->thread, NULL);
    return orphaned;
}
