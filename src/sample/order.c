/* Sorting and selecting keys: quicksort and quickselect that fall back to a heap
 * when the splits go wrong, so that no row of logits makes them quadratic. */
#include "sample/order.h"

enum { SMALL = 24 }; /* insertion sort below that */

static void swap(uint64_t *a, uint64_t *b)
{
    uint64_t t = *a;
    *a = *b;
    *b = t;
}

static void insertion_sort(uint64_t *keys, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t k = keys[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] < k; j--)
            keys[j] = keys[j - 1];
        keys[j] = k;
    }
}

/* A heap with the smallest on top, so that sorting leaves the largest first. */
static void sift_down(uint64_t *keys, size_t at, size_t n)
{
    uint64_t k = keys[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && keys[child + 1] < keys[child])
            child++;
        if (keys[child] >= k)
            break;
        keys[at] = keys[child];
    }
    keys[at] = k;
}

static void heap_sort(uint64_t *keys, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(keys, i, n);
    for (size_t end = n; end-- > 1;) {
        swap(&keys[0], &keys[end]);
        sift_down(keys, 0, end);
    }
}

/* Splits around the median of three: keys[0..split) > keys[split] > the rest. */
static size_t split(uint64_t *keys, size_t n)
{
    uint64_t *a = &keys[0], *b = &keys[n / 2], *c = &keys[n - 1];
    if (*a < *b)
        swap(a, b);
    if (*b < *c)
        swap(b, c);
    if (*a < *b)
        swap(a, b);
    swap(b, c); /* the median waits at the end */
    const uint64_t pivot = keys[n - 1];
    size_t at = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        /* Without a branch: on random keys it would be wrong half of the time. */
        uint64_t k = keys[i];
        keys[i] = keys[at];
        keys[at] = k;
        at += k > pivot;
    }
    swap(&keys[at], &keys[n - 1]);
    return at;
}

static unsigned depth_limit(size_t n)
{
    unsigned depth = 2;
    for (; n > 1; n >>= 1)
        depth += 2;
    return depth;
}

/* Recursion goes into the smaller part only: at most log2(n) deep. */
static void sort_within(uint64_t *keys, size_t n, unsigned depth)
{
    while (n > SMALL) {
        if (depth-- == 0) {
            heap_sort(keys, n);
            return;
        }
        size_t at = split(keys, n);
        size_t rest = n - at - 1;
        if (at < rest) {
            sort_within(keys, at, depth);
            keys += at + 1;
            n = rest;
        } else {
            sort_within(keys + at + 1, rest, depth);
            n = at;
        }
    }
    insertion_sort(keys, n);
}

void lm_keys_sort(uint64_t *keys, size_t n)
{
    sort_within(keys, n, depth_limit(n));
}

void lm_keys_select(uint64_t *keys, size_t n, size_t m)
{
    unsigned depth = depth_limit(n);
    while (m > 0 && m < n) {
        if (n <= SMALL) {
            insertion_sort(keys, n);
            return;
        }
        if (depth-- == 0) {
            heap_sort(keys, n);
            return;
        }
        size_t at = split(keys, n);
        if (m <= at) {
            n = at;
        } else {
            keys += at + 1;
            n -= at + 1;
            m -= at + 1;
        }
    }
}
