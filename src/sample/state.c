/* A sampler at rest.
 *
 *   0   u32 magic "LMSS"     4  u32 version
 *   8   u64 bytes in all    16  u32 n_vocab      20  f32 mu
 *  24   u64 n_accepted      32  u64 n_generated  40  u64 n_tokens
 *  48   i32 tokens[n_tokens]     ...  u64 XXH3 of everything before it
 *
 * The seed and the other parameters are the request's and not part of it.  The
 * tokens are those that penalties and DRY still look back at. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/hash.h"
#include "sample/chain.h"

#define STATE_MAGIC   UINT32_C(0x53534d4c)
#define STATE_VERSION UINT32_C(1)
enum { HEADER_BYTES = 48, CHECKSUM_BYTES = 8 };

static size_t kept_tokens(const lm_sampler *s)
{
    return lm_history_len(&s->history, s->history.window);
}

size_t lm_sampler_state_bytes(const lm_sampler *s)
{
    return HEADER_BYTES + kept_tokens(s) * sizeof(int32_t) + CHECKSUM_BYTES;
}

void lm_sampler_save(const lm_sampler *s, void *out)
{
    uint8_t *b = out;
    const uint32_t magic = STATE_MAGIC, version = STATE_VERSION;
    const uint64_t n_bytes = lm_sampler_state_bytes(s), n_tokens = kept_tokens(s);
    memcpy(b, &magic, 4);
    memcpy(b + 4, &version, 4);
    memcpy(b + 8, &n_bytes, 8);
    memcpy(b + 16, &s->n_vocab, 4);
    memcpy(b + 20, &s->mu, 4);
    memcpy(b + 24, &s->n_accepted, 8);
    memcpy(b + 32, &s->n_generated, 8);
    memcpy(b + 40, &n_tokens, 8);
    if (n_tokens)
        memcpy(b + HEADER_BYTES, s->history.tokens + (s->history.n - n_tokens), n_tokens * sizeof(int32_t));
    const uint64_t sum = lm_xxh64(b, n_bytes - CHECKSUM_BYTES, STATE_VERSION);
    memcpy(b + n_bytes - CHECKSUM_BYTES, &sum, CHECKSUM_BYTES);
}

static lm_status check_state(const lm_sampler *s, const uint8_t *b, size_t n, lm_error *err)
{
    if (n < HEADER_BYTES + CHECKSUM_BYTES)
        return lm_fail(err, LM_ERR_STATE, "sampler state has %zu bytes, at least %d are needed", n,
                       HEADER_BYTES + CHECKSUM_BYTES);
    if (lm_u32le(b) != STATE_MAGIC)
        return lm_fail(err, LM_ERR_STATE, "sampler state begins with 0x%08" PRIx32 " instead of 0x%08" PRIx32,
                       lm_u32le(b), STATE_MAGIC);
    if (lm_u32le(b + 4) != STATE_VERSION)
        return lm_fail(err, LM_ERR_STATE, "sampler state has version %" PRIu32 ", this lemma reads %" PRIu32,
                       lm_u32le(b + 4), STATE_VERSION);
    const uint64_t room = (n - HEADER_BYTES - CHECKSUM_BYTES) / sizeof(int32_t), n_tokens = lm_u64le(b + 40);
    if (lm_u64le(b + 8) != n || n_tokens > room ||
        HEADER_BYTES + n_tokens * sizeof(int32_t) + CHECKSUM_BYTES != n)
        return lm_fail(err, LM_ERR_STATE,
                       "sampler state of %zu bytes says it has %" PRIu64 " bytes and %" PRIu64 " tokens", n,
                       lm_u64le(b + 8), n_tokens);
    if (lm_u64le(b + n - CHECKSUM_BYTES) != lm_xxh64(b, n - CHECKSUM_BYTES, STATE_VERSION))
        return lm_fail(err, LM_ERR_STATE, "sampler state does not match its checksum");
    if (lm_u32le(b + 16) != s->n_vocab)
        return lm_fail(err, LM_ERR_MISMATCH,
                       "sampler state is for a vocabulary of %" PRIu32 " tokens, the model has %" PRIu32,
                       lm_u32le(b + 16), s->n_vocab);
    if (!isfinite(lm_f32le(b + 20)))
        return lm_fail(err, LM_ERR_STATE, "sampler state has a mu of %g, allowed are finite numbers",
                       (double)lm_f32le(b + 20));
    for (uint64_t i = 0; i < n_tokens; i++) {
        uint32_t token = lm_u32le(b + HEADER_BYTES + i * sizeof(int32_t));
        if (token >= s->n_vocab)
            return lm_fail(err, LM_ERR_STATE,
                           "sampler state has token %" PRIu32 " at place %" PRIu64
                           ", allowed are 0 to %" PRIu32,
                           token, i, s->n_vocab - 1);
    }
    return LM_OK;
}

/* Makes the room first, so that nothing is changed when it is not to be had. */
static lm_status make_room(lm_sampler *s, uint64_t n_tokens, lm_error *err)
{
    lm_history *h = &s->history;
    const size_t had = h->n;
    lm_status st = LM_OK;
    while (st == LM_OK && h->window && h->cap < n_tokens) {
        h->n = h->cap; /* reserve() then grows it */
        st = lm_history_reserve(h, err);
    }
    h->n = had;
    return st == LM_OK ? lm_dry_reserve(&s->dry, h->cap, err) : st;
}

lm_status lm_sampler_load(lm_sampler *s, const void *state, size_t n, lm_error *err)
{
    const uint8_t *b = state;
    LM_TRY(check_state(s, b, n, err));
    const uint64_t all = lm_u64le(b + 40), keep = LM_MIN(all, (uint64_t)s->history.window);
    LM_TRY(make_room(s, keep, err));
    s->mu = lm_f32le(b + 20);
    s->n_accepted = lm_u64le(b + 24);
    s->n_generated = lm_u64le(b + 32);
    s->history.n = 0;
    lm_penalties_forget(&s->penalties);
    for (uint64_t i = all - keep; i < all; i++) {
        int32_t token = (int32_t)lm_u32le(b + HEADER_BYTES + i * sizeof(int32_t));
        lm_penalties_accept(&s->penalties, &s->history, token);
        lm_history_push(&s->history, token);
    }
    return LM_OK;
}

lm_status lm_sampler_resume(lm_sampler *s, const void *state, size_t n, bool mu, bool count, lm_error *err)
{
    const uint8_t *b = state;
    LM_TRY(check_state(s, b, n, err));
    if (mu)
        s->mu = lm_f32le(b + 20);
    if (count)
        s->n_generated = lm_u64le(b + 32);
    return LM_OK;
}
