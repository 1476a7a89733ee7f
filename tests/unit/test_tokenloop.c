/* The token loop of the engine, text and sampling included: between two tokens
 * nothing is allocated and the system is not called (M2).  Allowed are what a
 * session pays once for 64 tokens (a page) and a futex, where a thread had to
 * sleep because another program held its processor. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "base/mem.h"
#include "lemma/lemma.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* they call the system for themselves */
#else
#define SANITIZED 0
#endif

enum { FROM = 2, UPTO = 40, PASSED = 7, REFUSED = 8, FAILED = 9 };

typedef struct {
    uint32_t n;
    void (*begin)(void);
    void (*end)(void);
} watch;

static bool on_token(void *user, const lm_token_event *e)
{
    watch *w = user;
    (void)e;
    w->n++;
    if (w->n == FROM)
        w->begin();
    if (w->n == UPTO)
        w->end();
    return true;
}

/* UPTO tokens that stay within one page. */
static lm_status generate(watch *w, lm_error *err)
{
    lm_model *m = NULL;
    lm_session *s = NULL;
    lm_model_options mo;
    lm_generate_options o;
    lm_generated g = { 0 };
    static const char *const stops[] = { "no such text" };
    static const int32_t prompt[] = { 300, 17, 45, 9 };
    lm_model_defaults(&mo);
    mo.threads = 2;
    mo.context = 256;
    mo.cache_dir = NULL;
    lm_generate_defaults(&o);
    o.max_tokens = UPTO;
    o.stop_strings = stops;
    o.n_stop_strings = 1;
    o.stop_tokens = prompt; /* none: goes on to the end */
    o.n_stop_tokens = 0;
    lm_status st = lm_model_open(&m, LM_SOURCE_DIR "/models/fable", &mo, err);
    if (st == LM_OK)
        st = lm_session_open(&s, m, err);
    if (st == LM_OK)
        st = lm_session_append(s, prompt, 4, err);
    if (st == LM_OK)
        st = lm_generate(s, &o, on_token, w, &g, err);
    lm_generated_clear(&g);
    lm_session_close(s);
    lm_model_close(m);
    return st;
}

static int still_armed;

static void arm(void)
{
    lm_mem_fail_after(1);
}

static void disarm(void)
{
    void *p = NULL;
    still_armed = lm_new(&p, 1, 1, NULL) == LM_ERR_NOMEM; /* the first request since */
    lm_mem_fail_after(0);
    lm_free(p);
}

static void between_two_tokens_nothing_is_allocated(void **state)
{
    (void)state;
#ifndef LM_FAULTS
    print_message("skipped: built without LM_FAULTS\n");
#else
    watch w = { .begin = arm, .end = disarm };
    lm_error err = { 0 };
    if (generate(&w, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(w.n, UPTO);
    assert_int_equal(still_armed, 1);
#endif
}

#ifdef __linux__
/* From now on any call but these ends the process. */
static void forbid(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        _exit(REFUSED);
}

static void leave(void)
{
    _exit(PASSED);
}

static void trespass(void)
{
    (void)getppid();
    _exit(PASSED);
}

static int in_a_child(void (*end)(void))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        watch w = { .begin = forbid, .end = end };
        (void)generate(&w, NULL);
        _exit(FAILED);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}
#endif

static void between_two_tokens_the_system_is_not_called(void **state)
{
    (void)state;
#ifdef __linux__
    if (SANITIZED) {
        print_message("skipped: sanitizers call the system\n");
        return;
    }
    int status = in_a_child(leave);
    if (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED) {
        print_message("skipped: no seccomp here\n");
        return;
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), PASSED);
    assert_true(WIFSIGNALED(in_a_child(trespass))); /* the watch does watch */
#else
    print_message("skipped: Linux only\n");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(between_two_tokens_nothing_is_allocated),
        cmocka_unit_test(between_two_tokens_the_system_is_not_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
