/* format/filewrite.c - headers in memory, data streamed to a temporary file. */
#define _GNU_SOURCE
#include "format/filewrite.h"

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
#include "base/mem.h"
#include "base/newfile.h"
#include "base/str.h"

enum { GGUF_ALIGN = 32, BUFFER = 1 << 20 };

typedef struct {
    uint64_t n_bytes;
} planned;

struct lm_filewriter {
    lm_write_kind kind;
    lm_str path, tmp, meta, infos;
    uint64_t n_meta, n_tensors, data_bytes;
    planned *tensors;
    size_t cap_tensors;
    uint64_t at, in_tensor; /* tensor being written, bytes of it so far */
    int fd;
    uint8_t *buf;
    size_t n_buf;
};

lm_status lm_filewriter_open(lm_filewriter **out, lm_write_kind kind, const char *path, lm_error *err)
{
    lm_filewriter *w = NULL;
    LM_TRY(LM_NEW(&w, 1, err));
    w->kind = kind;
    w->fd = -1;
    lm_str_addz(&w->path, path);
    lm_str_addf(&w->tmp, "%s.XXXXXX", path);
    lm_status s = lm_str_status(&w->tmp, err);
    if (s == LM_OK)
        s = LM_NEW(&w->buf, BUFFER, err);
    if (s != LM_OK) {
        lm_filewriter_abandon(w);
        return s;
    }
    *out = w;
    return LM_OK;
}

void lm_filewriter_abandon(lm_filewriter *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        (void)close(w->fd);
        lm_newfile_drop(lm_str_z(&w->tmp));
    }
    lm_str_clear(&w->path);
    lm_str_clear(&w->tmp);
    lm_str_clear(&w->meta);
    lm_str_clear(&w->infos);
    lm_free(w->tensors);
    lm_free(w->buf);
    lm_free(w);
}

/* Little-endian numbers as they lie in memory. */
static void put(lm_str *b, const void *p, size_t n)
{
    lm_str_add(b, p, n);
}

static void put_string(lm_str *b, const char *s, uint64_t n)
{
    put(b, &n, sizeof n);
    put(b, s, (size_t)n);
}

static void put_key(lm_filewriter *w, const char *key, uint32_t type)
{
    put_string(&w->meta, key, strlen(key));
    put(&w->meta, &type, sizeof type);
    w->n_meta++;
}

void lm_filewriter_u32(lm_filewriter *w, const char *key, uint32_t value)
{
    put_key(w, key, 4);
    put(&w->meta, &value, sizeof value);
}

void lm_filewriter_f32(lm_filewriter *w, const char *key, float value)
{
    put_key(w, key, 6);
    put(&w->meta, &value, sizeof value);
}

void lm_filewriter_string(lm_filewriter *w, const char *key, const char *value)
{
    put_key(w, key, 8);
    put_string(&w->meta, value, strlen(value));
}

void lm_filewriter_strings(lm_filewriter *w, const char *key, uint64_t n,
                           size_t (*make)(void *user, uint64_t i, char *buf, size_t cap), void *user)
{
    char buf[256];
    uint32_t type = 8;
    put_key(w, key, 9);
    put(&w->meta, &type, sizeof type);
    put(&w->meta, &n, sizeof n);
    for (uint64_t i = 0; i < n; i++)
        put_string(&w->meta, buf, make(user, i, buf, sizeof buf));
}

static void gguf_tensor(lm_filewriter *w, const char *name, const lm_quant *q, uint64_t rows, uint64_t cols)
{
    uint32_t n_dims = rows ? 2 : 1, type = (uint32_t)q->gguf_type;
    uint64_t offset = w->data_bytes;
    put_string(&w->infos, name, strlen(name));
    put(&w->infos, &n_dims, sizeof n_dims);
    put(&w->infos, &cols, sizeof cols);
    if (rows)
        put(&w->infos, &rows, sizeof rows);
    put(&w->infos, &type, sizeof type);
    put(&w->infos, &offset, sizeof offset);
}

void lm_filewriter_tensor(lm_filewriter *w, const char *name, const lm_quant *quant, const char *dtype,
                          uint64_t rows, uint64_t cols, uint64_t n_bytes)
{
    if (lm_grow((void **)&w->tensors, &w->cap_tensors, w->n_tensors + 1, sizeof *w->tensors, NULL) != LM_OK) {
        w->infos.failed = true;
        return;
    }
    w->tensors[w->n_tensors].n_bytes = n_bytes;
    if (w->kind == LM_WRITE_GGUF) {
        gguf_tensor(w, name, quant, rows, cols);
        w->data_bytes += lm_round_up(n_bytes, GGUF_ALIGN);
    } else {
        lm_str_addf(&w->infos, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", w->n_tensors ? "," : "{", name,
                    dtype);
        if (rows)
            lm_str_addf(&w->infos, "%" PRIu64 ",", rows);
        lm_str_addf(&w->infos, "%" PRIu64 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", cols,
                    w->data_bytes, w->data_bytes + n_bytes);
        w->data_bytes += n_bytes;
    }
    w->n_tensors++;
}

static lm_status io_error(lm_filewriter *w, const char *what, lm_error *err)
{
    lm_quoted_buf q;
    int why = errno;
    return lm_fail(err, why == ENOSPC || why == EDQUOT ? LM_ERR_NOSPACE : LM_ERR_IO, "cannot %s %s: %s", what,
                   lm_quoted_z(&q, lm_str_z(&w->path)), strerror(why));
}

static lm_status flush(lm_filewriter *w, lm_error *err)
{
    for (size_t done = 0; done < w->n_buf;) {
        ssize_t n = write(w->fd, w->buf + done, w->n_buf - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return io_error(w, "write", err);
        done += (size_t)n;
    }
    w->n_buf = 0;
    return LM_OK;
}

static lm_status out_bytes(lm_filewriter *w, const void *bytes, size_t n, lm_error *err)
{
    const uint8_t *p = bytes;
    while (n) {
        size_t take = LM_MIN(n, BUFFER - w->n_buf);
        memcpy(w->buf + w->n_buf, p, take);
        w->n_buf += take;
        p += take;
        n -= take;
        if (w->n_buf == BUFFER)
            LM_TRY(flush(w, err));
    }
    return LM_OK;
}

static lm_status pad(lm_filewriter *w, uint64_t written, lm_error *err)
{
    static const uint8_t zeros[GGUF_ALIGN];
    return out_bytes(w, zeros, (size_t)(lm_round_up(written, GGUF_ALIGN) - written), err);
}

lm_status lm_filewriter_begin(lm_filewriter *w, lm_error *err)
{
    LM_TRY(lm_str_status(&w->meta, err));
    LM_TRY(lm_str_status(&w->infos, err));
    w->fd = lm_newfile_open(w->tmp.s);
    if (w->fd < 0)
        return io_error(w, "write", err);
    if (w->kind == LM_WRITE_SAFETENSORS) {
        lm_str_addc(&w->infos, '}');
        while (w->infos.n % 64 != 56) /* data starts on a cache line */
            lm_str_addc(&w->infos, ' ');
        LM_TRY(lm_str_status(&w->infos, err));
        uint64_t n = w->infos.n;
        LM_TRY(out_bytes(w, &n, sizeof n, err));
        return out_bytes(w, w->infos.s, w->infos.n, err);
    }
    struct {
        char magic[4];
        uint32_t version;
        uint64_t n_tensors, n_meta;
    } head = { { 'G', 'G', 'U', 'F' }, 3, w->n_tensors, w->n_meta };
    LM_TRY(out_bytes(w, &head, sizeof head, err));
    LM_TRY(out_bytes(w, lm_str_z(&w->meta), w->meta.n, err));
    LM_TRY(out_bytes(w, lm_str_z(&w->infos), w->infos.n, err));
    return pad(w, sizeof head + w->meta.n + w->infos.n, err);
}

lm_status lm_filewriter_add(lm_filewriter *w, const void *bytes, size_t n, lm_error *err)
{
    const uint8_t *p = bytes;
    while (n) {
        if (w->at == w->n_tensors)
            return lm_fail(err, LM_ERR_USAGE, "more data than the tensors declare");
        size_t take = (size_t)LM_MIN((uint64_t)n, w->tensors[w->at].n_bytes - w->in_tensor);
        LM_TRY(out_bytes(w, p, take, err));
        p += take;
        n -= take;
        w->in_tensor += take;
        if (w->in_tensor == w->tensors[w->at].n_bytes) {
            if (w->kind == LM_WRITE_GGUF)
                LM_TRY(pad(w, w->in_tensor, err));
            w->at++;
            w->in_tensor = 0;
        }
    }
    return LM_OK;
}

lm_status lm_filewriter_close(lm_filewriter *w, lm_error *err)
{
    lm_status s = w->at == w->n_tensors
                      ? LM_OK
                      : lm_fail(err, LM_ERR_USAGE, "tensor %" PRIu64 " of %" PRIu64 " is not whole", w->at,
                                w->n_tensors);
    if (s == LM_OK)
        s = flush(w, err);
    if (s == LM_OK && (fchmod(w->fd, 0644) != 0 || fsync(w->fd) != 0))
        s = io_error(w, "write", err);
    if (s == LM_OK && lm_newfile_name(w->fd, w->tmp.s, lm_str_z(&w->path)) != 0)
        s = io_error(w, "name", err);
    if (s == LM_OK) {
        (void)close(w->fd);
        w->fd = -1;
    }
    lm_filewriter_abandon(w);
    return s;
}
