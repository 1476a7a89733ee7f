/* state/interchange/wire.c - cursors, sinks, base64, fields of JSON. */
#define _GNU_SOURCE
#include "state/interchange/wire.h"

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
#include "base/utf8.h"

/* --- reading ------------------------------------------------------------------------ */

lm_status lm_cursor_bytes(lm_cursor *c, const char *part, uint64_t n, const uint8_t **out, lm_error *err)
{
    if (!lm_inside(c->at, n, c->n))
        return lm_fail_at(err, LM_ERR_TRUNCATED, c->at, "%s ends within %s: %" PRIu64 " bytes, %zu are left",
                          c->what, part, n, c->n - c->at);
    *out = c->bytes + c->at;
    c->at += (size_t)n;
    return LM_OK;
}

lm_status lm_cursor_u32(lm_cursor *c, const char *part, uint32_t *out, lm_error *err)
{
    const uint8_t *p = NULL;
    LM_TRY(lm_cursor_bytes(c, part, 4, &p, err));
    *out = lm_u32le(p);
    return LM_OK;
}

lm_status lm_cursor_count(lm_cursor *c, const char *part, size_t size, uint32_t *out, lm_error *err)
{
    size_t at = c->at;
    LM_TRY(lm_cursor_u32(c, part, out, err));
    if (!lm_inside(c->at, (uint64_t)*out * size, c->n))
        return lm_fail_at(err, LM_ERR_TRUNCATED, at, "%s claims %u %s, %zu bytes are left", c->what, *out,
                          part, c->n - c->at);
    return LM_OK;
}

lm_status lm_cursor_text(lm_cursor *c, const char *part, char *out, size_t cap, lm_error *err)
{
    const uint8_t *p = NULL;
    uint32_t n;
    size_t at = c->at;
    LM_TRY(lm_cursor_u32(c, part, &n, err));
    if (n >= cap)
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "%s has %u bytes of %s, allowed are %zu", c->what, n, part,
                          cap - 1);
    LM_TRY(lm_cursor_bytes(c, part, n, &p, err));
    if (memchr(p, 0, n) || !lm_utf8_valid((const char *)p, n))
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "%s: the %s is no text", c->what, part);
    memcpy(out, p, n);
    out[n] = 0;
    return LM_OK;
}

/* --- writing ------------------------------------------------------------------------ */

lm_status lm_sink_write(lm_sink *s, const void *bytes, size_t n, lm_error *err)
{
    s->n += n;
    return s->write && n ? s->write(s, bytes, n, err) : LM_OK;
}

lm_status lm_sink_u32(lm_sink *s, uint32_t v, lm_error *err)
{
    return lm_sink_write(s, &v, sizeof v, err);
}

static lm_status into_str(lm_sink *s, const void *bytes, size_t n, lm_error *err)
{
    lm_str_add(s->to, bytes, n);
    return lm_str_status(s->to, err);
}

lm_sink lm_sink_str(lm_str *to)
{
    return (lm_sink){ .write = into_str, .to = to };
}

static lm_status into_sha(lm_sink *s, const void *bytes, size_t n, lm_error *err)
{
    (void)err;
    lm_sha_add(s->to, bytes, n);
    return LM_OK;
}

lm_sink lm_sink_sha(lm_sha *to)
{
    return (lm_sink){ .write = into_sha, .to = to };
}

enum { BUFFER = 1 << 18 };

typedef struct {
    const char *path;
    uint8_t *buf; /* [BUFFER] */
    size_t n;
    int fd;
} file_sink;

static lm_status refused(const char *verb, const char *path, lm_error *err)
{
    int why = errno;
    lm_quoted_buf q;
    return lm_fail(err, why == ENOSPC || why == EDQUOT ? LM_ERR_NOSPACE : LM_ERR_IO, "cannot %s %s: %s", verb,
                   lm_quoted_z(&q, path), strerror(why));
}

static lm_status flush(file_sink *f, lm_error *err)
{
    for (size_t at = 0; at < f->n;) {
        ssize_t w = write(f->fd, f->buf + at, f->n - at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return refused("write", f->path, err);
        at += (size_t)w;
    }
    f->n = 0;
    return LM_OK;
}

static lm_status into_file(lm_sink *s, const void *bytes, size_t n, lm_error *err)
{
    file_sink *f = s->to;
    for (const uint8_t *p = bytes; n;) {
        size_t k = LM_MIN(n, BUFFER - f->n);
        memcpy(f->buf + f->n, p, k);
        f->n += k;
        p += k;
        n -= k;
        if (f->n == BUFFER)
            LM_TRY(flush(f, err));
    }
    return LM_OK;
}

static void sync_folder_of(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof dir)
        return;
    memcpy(dir, n ? path : slash ? "/" : ".", n ? n : 1);
    dir[n ? n : 1] = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    (void)close(fd);
}

lm_status lm_write_stream(const char *path, lm_fill fill, void *user, lm_error *err)
{
    lm_str tmp = { 0 };
    file_sink f = { .path = path, .fd = -1 };
    lm_sink s = { .write = into_file, .to = &f };
    lm_str_addf(&tmp, "%s.XXXXXX", path);
    lm_status st = lm_str_status(&tmp, err);
    if (st == LM_OK)
        st = LM_NEW(&f.buf, BUFFER, err);
    if (st == LM_OK && (f.fd = mkostemp(tmp.s, O_CLOEXEC)) < 0)
        st = refused("write", path, err);
    if (st == LM_OK)
        st = fill(user, &s, err);
    if (st == LM_OK)
        st = flush(&f, err);
    if (st == LM_OK && (fchmod(f.fd, 0600) != 0 || fsync(f.fd) != 0))
        st = refused("write", path, err);
    if (f.fd >= 0)
        (void)close(f.fd);
    if (st == LM_OK && rename(tmp.s, path) != 0)
        st = refused("name", path, err);
    if (st != LM_OK && f.fd >= 0)
        (void)unlink(tmp.s);
    else if (st == LM_OK)
        sync_folder_of(path);
    lm_free(f.buf);
    lm_str_clear(&tmp);
    return st;
}

/* --- base64 --------------------------------------------------------------------------- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void lm_base64_add(lm_str *to, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        size_t k = LM_MIN(n - i, (size_t)3);
        uint32_t v = (uint32_t)bytes[i] << 16;
        v |= k > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        v |= k > 2 ? bytes[i + 2] : 0;
        char q[4] = { alphabet[v >> 18], alphabet[v >> 12 & 63], alphabet[v >> 6 & 63], alphabet[v & 63] };
        for (size_t j = k + 1; j < 4; j++)
            q[j] = '=';
        lm_str_add(to, q, 4);
    }
}

static int digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

lm_status lm_base64_take(const char *text, size_t n, uint8_t **out, size_t *n_out, lm_error *err)
{
    uint8_t *p = NULL;
    size_t pad = n && text[n - 1] == '=' ? (n > 1 && text[n - 2] == '=' ? 2u : 1u) : 0, k = 0;
    if (n % 4)
        return lm_fail(err, LM_ERR_CORRUPT, "base64 of %zu characters, not a multiple of 4", n);
    LM_TRY(LM_NEW(&p, n / 4 * 3, err));
    for (size_t i = 0; i < n; i += 4) {
        uint32_t v = 0;
        for (size_t j = i; j < i + 4; j++) {
            int d = j >= n - pad ? 0 : digit(text[j]);
            if (d < 0) {
                lm_free(p);
                return lm_fail_at(err, LM_ERR_CORRUPT, j, "byte %zu is not base64", j);
            }
            v = v << 6 | (uint32_t)d;
        }
        p[k++] = (uint8_t)(v >> 16);
        p[k++] = (uint8_t)(v >> 8);
        p[k++] = (uint8_t)v;
    }
    *out = p;
    *n_out = k - pad;
    return LM_OK;
}

/* --- JSON ------------------------------------------------------------------------------- */

lm_status lm_field_text(const json_t *o, const char *key, const char **out, lm_error *err)
{
    const json_t *v = json_object_get(o, key);
    *out = "";
    if (!v || json_is_null(v))
        return LM_OK;
    if (!json_is_string(v))
        return lm_fail(err, LM_ERR_CORRUPT, "'%s' is no text", key);
    *out = json_string_value(v);
    return LM_OK;
}

lm_status lm_field_number(const json_t *o, const char *key, uint64_t max, uint64_t *out, lm_error *err)
{
    const json_t *v = json_object_get(o, key);
    *out = 0;
    if (!v || json_is_null(v))
        return LM_OK;
    if (!json_is_integer(v))
        return lm_fail(err, LM_ERR_CORRUPT, "'%s' is no whole number", key);
    json_int_t n = json_integer_value(v);
    if (n < 0 || (uint64_t)n > max)
        return lm_fail(err, LM_ERR_CORRUPT, "'%s' is %lld, allowed are 0 to %" PRIu64, key, (long long)n,
                       max);
    *out = (uint64_t)n;
    return LM_OK;
}

lm_status lm_field_u32(const json_t *o, const char *key, uint32_t *out, lm_error *err)
{
    uint64_t v;
    LM_TRY(lm_field_number(o, key, INT32_MAX, &v, err));
    *out = (uint32_t)v;
    return LM_OK;
}

lm_status lm_field_is(const json_t *o, const char *key, const char *want, lm_error *err)
{
    const char *have;
    lm_quoted_buf q;
    LM_TRY(lm_field_text(o, key, &have, err));
    if (strcmp(have, want) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "'%s' is \"%s\", allowed is \"%s\"", key, lm_quoted_z(&q, have),
                       want);
    return LM_OK;
}

static int dump(const char *bytes, size_t n, void *to)
{
    lm_str_add(to, bytes, n);
    return ((lm_str *)to)->failed ? -1 : 0;
}

lm_status lm_json_text(const json_t *o, unsigned indent, char **out, size_t *n, lm_error *err)
{
    lm_str b = { 0 };
    size_t flags = indent ? indent & 31u /* JSON_INDENT() */ : (size_t)JSON_COMPACT;
    lm_status st = LM_OK;
    if (!o || json_dump_callback(o, dump, &b, flags | JSON_REAL_PRECISION(17)) != 0)
        st = lm_fail(err, LM_ERR_NOMEM, "no memory for a JSON text");
    if (st == LM_OK)
        st = lm_str_take(&b, out, n, err);
    lm_str_clear(&b);
    return st;
}

void lm_set(json_t *o, const char *key, json_t *value, bool *failed)
{
    if (!value || json_object_set_new(o, key, value) != 0)
        *failed = true;
}

json_t *lm_json_string(const char *s)
{
    return json_string(s && lm_utf8_valid(s, strlen(s)) ? s : "");
}

bool lm_is_hex64(const char *s)
{
    size_t n = strspn(s, "0123456789abcdef");
    return n == 64 && s[64] == 0;
}

lm_status lm_hash_text(const char *text, size_t n, char out[65], lm_error *err)
{
    lm_digest d;
    LM_TRY(lm_sha256(text, n, &d, err));
    lm_digest_hex(&d, out);
    return LM_OK;
}
