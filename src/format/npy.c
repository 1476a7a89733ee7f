/* format/npy.c - NumPy's format 1.0:
 *   "\x93NUMPY" 1 0 | u16 length | text of a Python dict, spaces, newline | data
 * with the data at a multiple of 64. */
#define _GNU_SOURCE
#include "format/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/newfile.h"
#include "base/str.h"

struct lm_npy {
    int fd;
    uint64_t left;  /* numbers still to come */
    char *path;     /* the name that it will have */
    char tmp[4096]; /* the name that it has */
};

static lm_status put(lm_npy *w, const void *bytes, size_t n, lm_error *err)
{
    const char *p = bytes;
    lm_quoted_buf q;
    while (n) {
        ssize_t k = write(w->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return lm_fail(err, errno == ENOSPC || errno == EDQUOT ? LM_ERR_NOSPACE : LM_ERR_IO,
                           "cannot write %s: %s", lm_quoted_z(&q, w->path), strerror(errno));
        p += k;
        n -= (size_t)k;
    }
    return LM_OK;
}

static lm_status put_header(lm_npy *w, uint32_t n_dims, const uint64_t *dims, lm_error *err)
{
    lm_str s = { 0 };
    char head[10] = { '\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, 0, 0 };
    lm_str_addz(&s, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (uint32_t i = 0; i < n_dims; i++)
        lm_str_addf(&s, "%" PRIu64 "%s", dims[i], i + 1 < n_dims ? ", " : n_dims == 1 ? "," : "");
    lm_str_addz(&s, "), }");
    while ((sizeof head + s.n + 1) % 64 != 0 && !s.failed)
        lm_str_addc(&s, ' ');
    lm_str_addc(&s, '\n');
    lm_status status = lm_str_status(&s, err);
    head[8] = (char)(s.n & 255);
    head[9] = (char)(s.n >> 8);
    if (status == LM_OK)
        status = put(w, head, sizeof head, err);
    if (status == LM_OK)
        status = put(w, s.s, s.n, err);
    lm_str_clear(&s);
    return status;
}

lm_status lm_npy_open(lm_npy **out, const char *path, uint32_t n_dims, const uint64_t *dims, lm_error *err)
{
    lm_npy *w = NULL;
    lm_quoted_buf q;
    uint64_t n = 1;

    if (n_dims < 1 || n_dims > LM_NPY_DIMS)
        return lm_fail(err, LM_ERR_USAGE, "an array of %" PRIu32 " dimensions, allowed are 1 to %d", n_dims,
                       LM_NPY_DIMS);
    for (uint32_t i = 0; i < n_dims; i++)
        if (lm_mul_overflows(n, dims[i], &n))
            return lm_fail(err, LM_ERR_USAGE, "the array is larger than a file can be");
    LM_TRY(LM_NEW(&w, 1, err));
    w->fd = -1;
    w->left = n;
    int len = snprintf(w->tmp, sizeof w->tmp, "%s.XXXXXX", path);
    lm_status status = lm_strdup_n(path, strlen(path), &w->path, err);
    if (status == LM_OK && (len < 0 || (size_t)len >= sizeof w->tmp))
        status = lm_fail(err, LM_ERR_USAGE, "the path %s is too long", lm_quoted_z(&q, path));
    if (status == LM_OK && (w->fd = lm_newfile_open(w->tmp)) < 0)
        status = lm_fail(err, LM_ERR_IO, "cannot write %s: %s", lm_quoted_z(&q, path), strerror(errno));
    if (status == LM_OK)
        status = put_header(w, n_dims, dims, err);
    if (status != LM_OK) {
        lm_npy_drop(w);
        return status;
    }
    *out = w;
    return LM_OK;
}

lm_status lm_npy_add(lm_npy *w, const float *x, size_t n, lm_error *err)
{
    if (n > w->left)
        return lm_fail(err, LM_ERR_USAGE, "%zu numbers for an array that has room for %" PRIu64, n, w->left);
    w->left -= n;
    return put(w, x, n * sizeof *x, err);
}

lm_status lm_npy_close(lm_npy *w, lm_error *err)
{
    lm_status status = LM_OK;
    lm_quoted_buf q;
    if (w->left)
        status = lm_fail(err, LM_ERR_USAGE, "the array %s lacks %" PRIu64 " numbers",
                         lm_quoted_z(&q, w->path), w->left);
    else if (fchmod(w->fd, 0644) != 0 || lm_newfile_name(w->fd, w->tmp, w->path) != 0)
        status = lm_fail(err, LM_ERR_IO, "cannot name %s: %s", lm_quoted_z(&q, w->path), strerror(errno));
    if (status == LM_OK)
        w->tmp[0] = 0; /* nothing to take away */
    lm_npy_drop(w);
    return status;
}

void lm_npy_drop(lm_npy *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        (void)close(w->fd);
        if (w->tmp[0])
            lm_newfile_drop(w->tmp);
    }
    lm_free(w->path);
    lm_free(w);
}

lm_status lm_npy_write(const char *path, const float *x, uint32_t n_dims, const uint64_t *dims, lm_error *err)
{
    lm_npy *w = NULL;
    LM_TRY(lm_npy_open(&w, path, n_dims, dims, err));
    lm_status status = lm_npy_add(w, x, (size_t)w->left, err);
    if (status == LM_OK)
        return lm_npy_close(w, err);
    lm_npy_drop(w);
    return status;
}

/* The numbers of "'shape': (44, 320)"; false when that is not what stands there. */
static bool read_shape(const char *text, uint32_t *n_dims, uint64_t dims[LM_NPY_DIMS])
{
    const char *p = strstr(text, "'shape': (");
    *n_dims = 0;
    if (!p || !strstr(text, "'descr': '<f4'") || !strstr(text, "'fortran_order': False"))
        return false;
    for (p += strlen("'shape': ("); *p != ')';) {
        char *end;
        if (*n_dims == LM_NPY_DIMS || *p < '0' || *p > '9')
            return false;
        dims[(*n_dims)++] = strtoull(p, &end, 10);
        p = end + strspn(end, ", ");
    }
    return *n_dims > 0;
}

lm_status lm_npy_read(const char *path, float **x, uint32_t *n_dims, uint64_t dims[LM_NPY_DIMS],
                      lm_error *err)
{
    lm_map *m = NULL;
    char text[256] = "";
    uint64_t n = 1, bytes = 0;
    lm_quoted_buf q;
    LM_TRY(lm_map_open(&m, path, err));
    const uint8_t *p = lm_map_data(m);
    uint64_t size = lm_map_size(m), at = size < 10   ? 0
                                         : p[6] == 1 ? 10u + lm_u16le(p + 8)
                                                     : 12u + lm_u32le(p + 8);
    bool good = size >= 12 && memcmp(p, "\x93NUMPY", 6) == 0 && at <= size;
    if (good)
        memcpy(text, p + 10, (size_t)LM_MIN(at - 10, sizeof text - 1));
    good = good && read_shape(text + (p[6] == 1 ? 0 : 2), n_dims, dims);
    for (uint32_t i = 0; good && i < *n_dims; i++)
        good = !lm_mul_overflows(n, dims[i], &n);
    good = good && !lm_mul_overflows(n, 4, &bytes) && lm_inside(at, bytes, size);
    lm_status status =
        good ? lm_new((void **)x, (size_t)n, sizeof **x, err)
             : lm_fail(err, LM_ERR_CORRUPT, "%s is no whole .npy file of float32", lm_quoted_z(&q, path));
    if (status == LM_OK)
        memcpy(*x, p + at, (size_t)bytes);
    lm_map_close(m);
    return status;
}
