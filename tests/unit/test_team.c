/* The thread team: everybody meets, every piece is claimed once, limits are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "backend/cpu/team.h"
#include "base/fail.h"

enum { STAGES = 40, PIECES = 23 };

static struct {
    lm_team *team;
    uint32_t plain[LM_TEAM_MAX]; /* not atomic: the barriers alone order them */
    uint32_t claimed[STAGES][PIECES];
    _Atomic uint32_t wrong;
} w;

/* Each stage, a member reads what its neighbour wrote in the stage before. */
static void stages(void *arg, uint32_t me)
{
    uint32_t n = lm_team_size(w.team);
    (void)arg;
    for (uint32_t s = 0; s < STAGES; s++) {
        w.plain[me] = s;
        for (uint32_t c; c = lm_team_claim(w.team, me), c < PIECES;)
            w.claimed[s][c]++; /* two claimers would race here */
        lm_team_barrier(w.team, me);
        if (w.plain[(me + 1) % n] != s)
            w.wrong++;
        lm_team_barrier(w.team, me);
    }
}

/* The same with the two halves of a barrier; who waits is in turn. */
static void halves(void *arg, uint32_t me)
{
    uint32_t n = lm_team_size(w.team);
    (void)arg;
    for (uint32_t s = 0; s < STAGES; s++) {
        w.plain[me] = s;
        lm_team_arrive(w.team, me);
        if ((s + me) % 2) {
            lm_team_wait(w.team, me);
            if (w.plain[(me + 1) % n] != s)
                w.wrong++;
        }
        lm_team_barrier(w.team, me);
    }
}

static void members_arrive_and_wait_if_they_care(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 5; n++) {
        assert_int_equal(lm_team_open(&w.team, n, NULL), LM_OK);
        for (int run = 0; run < 10; run++)
            lm_team_run(w.team, halves, NULL);
        assert_int_equal(w.wrong, 0);
        lm_team_close(w.team);
    }
}

static void members_meet_and_claim_each_piece_once(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 3, 5, 8 };
    (void)state;
    for (size_t i = 0; i < LM_LEN(sizes); i++) {
        lm_error err = { 0 };
        assert_int_equal(lm_team_open(&w.team, sizes[i], &err), LM_OK);
        for (int run = 0; run < 10; run++) {
            memset(w.claimed, 0, sizeof w.claimed);
            lm_team_run(w.team, stages, NULL);
            for (int s = 0; s < STAGES; s++)
                for (int c = 0; c < PIECES; c++)
                    assert_int_equal(w.claimed[s][c], 1);
            assert_int_equal(w.wrong, 0);
            if (run == 5) { /* long enough that the members sleep */
                struct timespec t = { 0, 5000000 };
                nanosleep(&t, NULL);
            }
        }
        lm_team_close(w.team);
    }
}

static void sizes_outside_the_range_are_refused(void **state)
{
    lm_error err = { 0 };
    lm_team *t = NULL;
    (void)state;
    assert_int_equal(lm_team_open(&t, 0, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "0 threads, allowed is 1 to 256");
    assert_true(lm_team_default() >= 1 && lm_team_default() <= lm_team_limit());
    lm_team_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_meet_and_claim_each_piece_once),
        cmocka_unit_test(members_arrive_and_wait_if_they_care),
        cmocka_unit_test(sizes_outside_the_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
