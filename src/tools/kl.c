/* tools/kl.c - how far a model's next-token distributions are from those of a base run.
 *
 * A base file, little-endian:
 *
 *   0   8   "LMKLBASE"
 *   8   4   version, 1
 *   12  4   vocab
 *   16  8   n_tokens
 *   24  32  SHA-256 of the token ids, int32 each
 *   56  8   zero
 *   64      float32 [n_tokens - 1, vocab]: log-probabilities of token 2, 3 …
 *
 * and nothing after that. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/newfile.h"
#include "engine/engine.h"
#include "lemma/tools.h"
#include "tools/predict.h"

enum { KL_VERSION = 1, KL_HEAD = 64 };
static const char KL_MAGIC[8] = { 'L', 'M', 'K', 'L', 'B', 'A', 'S', 'E' };

typedef struct {
    const char *path;
    uint32_t vocab;
    double nll;    /* sum */
    float *row;    /* writing: [vocab] */
    int fd;        /* writing */
    double *kl;    /* reading: [n - 1] */
    size_t agreed; /* reading: rows whose likeliest token is the same */
    size_t late;   /* the first row of the second half */
    size_t late_agreed;
    const lm_map *base;
} kl_run;

static lm_status put(const kl_run *k, const void *bytes, size_t n, lm_error *err)
{
    const char *p = bytes;
    lm_quoted_buf q;
    while (n) {
        ssize_t done = write(k->fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return lm_fail(err, errno == ENOSPC || errno == EDQUOT ? LM_ERR_NOSPACE : LM_ERR_IO,
                           "cannot write %s: %s", lm_quoted_z(&q, k->path), strerror(errno));
        p += done;
        n -= (size_t)done;
    }
    return LM_OK;
}

static lm_status write_row(void *user, size_t i, const float *logits, int32_t next, lm_error *err)
{
    kl_run *k = user;
    double sum = lm_log_sum(logits, k->vocab);
    if (!isfinite(sum))
        return lm_fail(err, LM_ERR_FAILED, "the logits after token %zu are not finite: no base of them", i);
    k->nll += sum - (double)logits[next];
    for (uint32_t v = 0; v < k->vocab; v++)
        k->row[v] = (float)((double)logits[v] - sum);
    return put(k, k->row, (size_t)k->vocab * sizeof *k->row, err);
}

static void header(uint8_t head[KL_HEAD], uint32_t vocab, uint64_t n, const lm_digest *ids)
{
    uint32_t version = KL_VERSION;
    memset(head, 0, KL_HEAD);
    memcpy(head, KL_MAGIC, sizeof KL_MAGIC);
    memcpy(head + 8, &version, 4);
    memcpy(head + 12, &vocab, 4);
    memcpy(head + 16, &n, 8);
    memcpy(head + 24, ids->b, sizeof ids->b);
}

static lm_status write_base(lm_model *m, const int32_t *ids, size_t n, const lm_digest *digest, kl_run *k,
                            lm_error *err)
{
    char tmp[4096];
    uint8_t head[KL_HEAD];
    lm_quoted_buf q;
    int len = snprintf(tmp, sizeof tmp, "%s.XXXXXX", k->path);
    if (len < 0 || (size_t)len >= sizeof tmp)
        return lm_fail(err, LM_ERR_USAGE, "the path %s is too long", lm_quoted_z(&q, k->path));
    LM_TRY(LM_NEW(&k->row, k->vocab, err));
    if ((k->fd = lm_newfile_open(tmp)) < 0)
        return lm_fail(err, LM_ERR_IO, "cannot write %s: %s", lm_quoted_z(&q, k->path), strerror(errno));
    header(head, k->vocab, n, digest);
    lm_status status = put(k, head, sizeof head, err);
    if (status == LM_OK)
        status = lm_each_prediction(m, ids, n, write_row, k, err);
    if (status == LM_OK &&
        (fchmod(k->fd, 0644) != 0 || fsync(k->fd) != 0 || lm_newfile_name(k->fd, tmp, k->path) != 0))
        status = lm_fail(err, LM_ERR_IO, "cannot name %s: %s", lm_quoted_z(&q, k->path), strerror(errno));
    if (status != LM_OK)
        lm_newfile_drop(tmp);
    (void)close(k->fd);
    return status;
}

/* The header and the size; the rows are judged as they are read. */
static lm_status check_base(const kl_run *k, size_t n, const lm_digest *ids, lm_error *err)
{
    const uint8_t *p = lm_map_data(k->base);
    uint64_t size = lm_map_size(k->base), want = 0;
    lm_quoted_buf q;
    const char *path = lm_quoted_z(&q, k->path);
    if (size < KL_HEAD || memcmp(p, KL_MAGIC, sizeof KL_MAGIC) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "%s is no base of log-probabilities", path);
    if (lm_u32le(p + 8) != KL_VERSION)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s is of version %" PRIu32 ", known is %d", path,
                       lm_u32le(p + 8), KL_VERSION);
    if (lm_u32le(p + 12) != k->vocab)
        return lm_fail(err, LM_ERR_USAGE, "%s is of a vocabulary of %" PRIu32 ", the model has %" PRIu32,
                       path, lm_u32le(p + 12), k->vocab);
    if (lm_u64le(p + 16) != n || memcmp(p + 24, ids->b, sizeof ids->b) != 0)
        return lm_fail(err, LM_ERR_USAGE, "%s was made of %" PRIu64 " tokens that are not these %zu", path,
                       lm_u64le(p + 16), n);
    if (lm_mul_overflows(n - 1, (uint64_t)k->vocab * sizeof(float), &want) ||
        lm_add_overflows(want, KL_HEAD, &want) || size != want)
        return lm_fail(err, size < want ? LM_ERR_TRUNCATED : LM_ERR_CORRUPT,
                       "%s has %" PRIu64 " bytes, should be %" PRIu64, path, size, want);
    return LM_OK;
}

/* sum p log(p / q).  Written as sum p log(p / q) - p + q, whose terms are never
 * negative, so that float32 rounding in the file cannot make the sum so. */
static lm_status compare_row(void *user, size_t i, const float *logits, int32_t next, lm_error *err)
{
    kl_run *k = user;
    const uint8_t *base = lm_map_data(k->base) + KL_HEAD + (uint64_t)i * k->vocab * sizeof(float);
    double sum = lm_log_sum(logits, k->vocab), kl = 0, whole = 0;
    uint32_t best = 0, best_base = 0;
    float top = -INFINITY;
    lm_quoted_buf quoted;
    k->nll += sum - (double)logits[next];
    for (uint32_t v = 0; v < k->vocab; v++) {
        float in_file = lm_f32le(base + (size_t)v * sizeof(float));
        double lp = (double)in_file, lq = (double)logits[v] - sum, p = exp(lp);
        whole += p;
        kl += p > 0 ? p * (lp - lq) - p + exp(lq) : exp(lq);
        if (in_file > top) {
            top = in_file;
            best_base = v;
        }
        if (logits[v] > logits[best])
            best = v;
    }
    if (!(fabs(whole - 1) <= 1e-3))
        return lm_fail_at(err, LM_ERR_CORRUPT, KL_HEAD + (uint64_t)i * k->vocab * sizeof(float),
                          "%s: the probabilities of row %zu add up to %g, should be 1",
                          lm_quoted_z(&quoted, k->path), i, whole);
    k->kl[i] = kl;
    k->agreed += best == best_base;
    k->late_agreed += i >= k->late && best == best_base;
    return LM_OK;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static lm_status compare(lm_model *m, const int32_t *ids, size_t n, const lm_digest *digest, kl_run *k,
                         lm_kl *out, lm_error *err)
{
    size_t rows = n - 1;
    double sum = 0, late_sum = 0;
    k->late = LM_MIN(n / 2, rows - 1);
    LM_TRY(check_base(k, n, digest, err));
    LM_TRY(LM_NEW(&k->kl, rows, err));
    LM_TRY(lm_each_prediction(m, ids, n, compare_row, k, err));
    LM_TRY(lm_map_check(k->base, err));
    for (size_t i = 0; i < rows; i++)
        sum += k->kl[i];
    for (size_t i = k->late; i < rows; i++)
        late_sum += k->kl[i];
    qsort(k->kl, rows, sizeof *k->kl, ascending);
    out->kl_mean = sum / (double)rows;
    out->kl_median = rows % 2 ? k->kl[rows / 2] : (k->kl[rows / 2 - 1] + k->kl[rows / 2]) / 2;
    out->kl_max = k->kl[rows - 1];
    out->top1_agreement = (double)k->agreed / (double)rows;
    out->late_kl_mean = late_sum / (double)(rows - k->late);
    out->late_top1_agreement = (double)k->late_agreed / (double)(rows - k->late);
    return LM_OK;
}

lm_status lm_model_kl(lm_model *m, const int32_t *ids, size_t n, const char *base, lm_kl *out, lm_error *err)
{
    kl_run k = { .path = base, .vocab = m->info.n_vocab, .fd = -1 };
    lm_map *map = NULL;
    lm_digest digest;
    if (n < 2)
        return lm_fail(err, LM_ERR_USAGE, "the text has %zu tokens, wanted are at least 2", n);
    LM_TRY(lm_sha256(ids, n * sizeof *ids, &digest, err));
    *out = (lm_kl){ .written = access(base, F_OK) != 0 && errno == ENOENT };
    lm_status status;
    if (out->written) {
        status = write_base(m, ids, n, &digest, &k, err);
    } else {
        status = lm_map_open(&map, base, err);
        k.base = map;
        if (status == LM_OK)
            status = compare(m, ids, n, &digest, &k, out, err);
    }
    lm_map_close(map);
    lm_free(k.row);
    lm_free(k.kl);
    out->text = (lm_perplexity){ .n_tokens = n, .nll_mean = k.nll / (double)(n - 1) };
    out->text.perplexity = exp(out->text.nll_mean);
    return status;
}
