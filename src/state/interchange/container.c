/* state/interchange/container.c - .kv: a JSON header and a whole log in one file (SPEC 6.10).
 *
 *   "KVST" | u8 version 2 | u32 header length, big-endian | JSON header | log
 *
 * The frame is Trix's (docs/formats/kv-container.md says where its facts come from). */
#include <string.h>
#include <time.h>

#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"
#include "state/interchange/chunks.h"

enum { FRAME = 9, VERSION = 2, HEADER_MAX = 16 << 20 };
static const char kind[] = "go-mlx/state-kv", content[] = "application/vnd.go-mlx.state-log";

typedef struct {
    const char *header;
    size_t n_header;
    lm_map *log;
} packing;

static lm_status fill(void *user, lm_sink *to, lm_error *err)
{
    const packing *p = user;
    uint8_t frame[FRAME] = { 'K', 'V', 'S', 'T', VERSION };
    for (int i = 0; i < 4; i++)
        frame[5 + i] = (uint8_t)(p->n_header >> (24 - 8 * i));
    LM_TRY(lm_sink_write(to, frame, sizeof frame, err));
    LM_TRY(lm_sink_write(to, p->header, p->n_header, err));
    LM_TRY(lm_sink_write(to, lm_map_data(p->log), (size_t)lm_map_size(p->log), err));
    return lm_map_check(p->log, err);
}

static lm_status header_text(const lm_container_mark *m, const char *log, uint64_t n, char **out,
                             size_t *n_out, lm_error *err)
{
    json_t *o = json_object();
    bool failed = !o;
    lm_set(o, "kind", json_string(kind), &failed);
    lm_set(o, "content_type", json_string(content), &failed);
    lm_set(o, "payload_file", lm_json_string(lm_base_name(log)), &failed);
    lm_set(o, "payload_bytes", json_integer((json_int_t)n), &failed);
    lm_set(o, "state_store_path", lm_json_string(m->store_path ? m->store_path : log), &failed);
    lm_set(o, "index_uri", lm_json_string(m->index_uri), &failed);
    lm_set(o, "entry_uri", lm_json_string(m->entry_uri), &failed);
    lm_set(o, "bundle_uri", lm_json_string(m->bundle_uri), &failed);
    lm_set(o, "token_count", json_integer((json_int_t)m->token_count), &failed);
    lm_set(o, "created_at_unix_nano", json_integer((json_int_t)time(NULL) * 1000000000), &failed);
    lm_status st =
        failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a header") : lm_json_text(o, 0, out, n_out, err);
    json_decref(o);
    return st;
}

lm_status lm_container_write(const char *path, const char *log, const lm_container_mark *mark, lm_error *err)
{
    lm_container_mark m = { .size = sizeof m };
    lm_chunks *c = NULL;
    packing p = { .header = NULL };
    char *header = NULL;
    memcpy(&m, mark, LM_MIN(sizeof m, (size_t)mark->size));
    /* Only what opens as a log is packed. */
    LM_TRY(lm_chunks_open_log(&c, log, LM_LOG_READ_ONLY, err));
    lm_status st = lm_chunks_close(c, err);
    if (st == LM_OK)
        st = lm_map_open(&p.log, log, err);
    if (st == LM_OK)
        st = header_text(&m, log, lm_map_size(p.log), &header, &p.n_header, err);
    p.header = header;
    if (st == LM_OK && p.n_header > HEADER_MAX)
        st = lm_fail(err, LM_ERR_USAGE, "a header of %zu bytes, allowed are %d", p.n_header, HEADER_MAX);
    if (st == LM_OK)
        st = lm_write_stream(path, fill, &p, err);
    lm_map_close(p.log);
    lm_free(header);
    return st;
}

static lm_status read_header(const lm_map *m, json_t **out, uint64_t *at, lm_error *err)
{
    lm_cursor c = { .bytes = lm_map_data(m), .n = (size_t)lm_map_size(m), .what = "a .kv container" };
    const uint8_t *p;
    uint64_t said;
    LM_TRY(lm_cursor_bytes(&c, "its frame", FRAME, &p, err));
    if (memcmp(p, "KVST", 4) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "not a .kv container: it does not start with \"KVST\"");
    if (p[4] != VERSION)
        return lm_fail_at(err, LM_ERR_UNSUPPORTED, 4, "a .kv container of version %u, this version reads %d",
                          p[4], VERSION);
    uint32_t n = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];
    if (n > HEADER_MAX)
        return lm_fail_at(err, LM_ERR_CORRUPT, 5, "a .kv container has a header of %u bytes, allowed are %d",
                          n, HEADER_MAX);
    LM_TRY(lm_cursor_bytes(&c, "its header", n, &p, err));
    lm_json_limits limits = { .max_bytes = HEADER_MAX };
    LM_TRY(lm_json_parse(out, (const char *)p, n, "the header of a .kv container", &limits, err));
    *at = c.at;
    if (!json_is_object(*out))
        return lm_fail(err, LM_ERR_CORRUPT, "the header of a .kv container is no object");
    LM_TRY(lm_field_is(*out, "kind", kind, err));
    LM_TRY(lm_field_number(*out, "payload_bytes", INT64_MAX, &said, err));
    if (said && said != c.n - c.at)
        return lm_fail(err, said > c.n - c.at ? LM_ERR_TRUNCATED : LM_ERR_CORRUPT,
                       "a .kv container holds a log of %zu bytes, its header says %llu", c.n - c.at,
                       (unsigned long long)said);
    return LM_OK;
}

lm_status lm_container_open(lm_chunks **out, const char *path, char **header, lm_error *err)
{
    lm_map *m = NULL;
    json_t *o = NULL;
    lm_chunks *c = NULL;
    char *text = NULL;
    const char *former = "";
    uint64_t at = 0;
    lm_quoted_buf q;
    LM_TRY(lm_map_open(&m, path, err));
    lm_status st = read_header(m, &o, &at, err);
    if (st == LM_OK)
        st = lm_chunks_open_region(&c, path, at, lm_map_size(m) - at, err);
    if (st == LM_OK)
        st = lm_field_text(o, "state_store_path", &former, err);
    if (st == LM_OK && former[0])
        st = lm_chunks_alias(c, former, err);
    if (st == LM_OK && header)
        st = lm_json_text(o, 2, &text, NULL, err);
    json_decref(o);
    lm_map_close(m);
    if (st != LM_OK) {
        (void)!lm_chunks_close(c, NULL);
        return lm_wrap(err, st, "%s", lm_quoted_z(&q, path));
    }
    if (header)
        *header = text;
    *out = c;
    return LM_OK;
}
