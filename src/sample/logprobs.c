/* Log-probabilities of raw logits, and the largest of them. */
#include <float.h>
#include <math.h>

#include "base/compiler.h"
#include "sample/cands.h"
#include "sample/order.h"
#include "sample/sampler.h"
#include "sample/vexp.h"

enum { LANES = 16, BLOCK = 1024 };

int32_t lm_argmax(const float *logits, uint32_t n_vocab)
{
    /* The first block whose maximum no later block exceeds holds the winner. */
    float best = -INFINITY;
    uint32_t first = 0;
    for (uint32_t at = 0; at < n_vocab; at += BLOCK) {
        float m = lm_row_max(logits + at, LM_MIN((uint32_t)BLOCK, n_vocab - at));
        if (m > best) {
            best = m;
            first = at;
        }
    }
    for (uint32_t i = first; i < n_vocab; i++)
        if (logits[i] >= best)
            return (int32_t)i;
    return 0; /* nothing but NaN */
}

/* a is less likely than b, or as likely and later. */
static bool worse(const lm_token_logprob *a, const lm_token_logprob *b)
{
    return lm_key(a->logprob, (uint32_t)a->token) < lm_key(b->logprob, (uint32_t)b->token);
}

static void sift(lm_token_logprob *heap, size_t at, size_t n)
{
    lm_token_logprob x = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && worse(&heap[child + 1], &heap[child]))
            child++;
        if (!worse(&heap[child], &x))
            break;
        heap[at] = heap[child];
    }
    heap[at] = x;
}

/* A heap of the best so far, the worst on top. */
typedef struct {
    lm_token_logprob *items;
    size_t n, cap;
    float bar; /* a later entry must be above to come in */
} best_heap;

static void heap_build(best_heap *h)
{
    for (size_t i = h->n / 2; i-- > 0;)
        sift(h->items, i, h->n);
}

static void heap_offer(best_heap *h, lm_token_logprob item)
{
    if (h->n < h->cap) {
        h->items[h->n++] = item;
        if (h->n == h->cap)
            heap_build(h);
    } else {
        h->items[0] = item;
        sift(h->items, 0, h->n);
    }
    if (h->n == h->cap)
        h->bar = h->items[0].logprob;
}

/* The n_top largest of x into top[], largest first; gives how many there are. */
static size_t find_top(const float *x, uint32_t n, lm_token_logprob *top, size_t n_top)
{
    best_heap h = { top, 0, n_top, -INFINITY };
    for (uint32_t i = 0; i < n;) {
        const uint32_t end = LM_MIN(i + LANES, n);
        if (end - i == LANES && !lm_any16_above(x + i, h.bar)) {
            i = end;
            continue;
        }
        for (; i < end; i++)
            if (x[i] > h.bar)
                heap_offer(&h, (lm_token_logprob){ (int32_t)i, x[i] });
    }
    if (h.n < n_top)
        heap_build(&h);
    for (size_t end = h.n; end-- > 1;) {
        lm_token_logprob last = top[end];
        top[end] = top[0];
        top[0] = last;
        sift(top, 0, end);
    }
    return h.n;
}

void lm_logprobs(const float *logits, uint32_t n_vocab, int32_t token, float *chosen, lm_token_logprob *top,
                 size_t n_top)
{
    float max = lm_row_max(logits, n_vocab);
    max = max > FLT_MAX ? FLT_MAX : max;
    const bool any = max > -INFINITY;
    const double norm = any ? (double)max + log(lm_row_norm(logits, n_vocab, max)) : 0.0;
    if (chosen) {
        float x = token >= 0 && (uint32_t)token < n_vocab ? logits[token] : -INFINITY;
        x = x > FLT_MAX ? FLT_MAX : x;
        *chosen = any && x > -INFINITY ? (float)((double)x - norm) : -INFINITY;
    }
    size_t have = n_top ? find_top(logits, n_vocab, top, n_top) : 0;
    for (size_t i = 0; i < have; i++) {
        float x = top[i].logprob > FLT_MAX ? FLT_MAX : top[i].logprob;
        top[i].logprob = (float)((double)x - norm);
    }
    for (size_t i = have; i < n_top; i++)
        top[i] = (lm_token_logprob){ -1, -INFINITY };
}
