/* cli/state_file.c - lemma state export and import: which format a file is in.
 *
 *   bundle    our own, one zstd file with pages as they are (lm_state_export)
 *   snapshot  MLXKV001
 *   blocks    a block bundle in a .kv container
 *
 * What is imported is recognised by its first bytes.  Snapshots and block bundles are
 * numbers without pages: a model says which layers they are of. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "lemma/interchange.h"

static const char blocks_uri[] = "mlx://kv-snapshot-bundle/lemma";

static lm_status open_model(cli *c, lm_error *err)
{
    const char *pack = cli_text(&c->args, OPT_MODEL);
    lm_model_options o;
    if (pack == NULL || c->model != NULL)
        return LM_OK;
    LM_TRY(cli_model_options(c, &o, err));
    return cli_open_model(c, pack, &o, err);
}

static json_t *figures(const char *name, const lm_snapshot *s, const char *file)
{
    struct stat st;
    lm_snapshot_info info = { .size = sizeof info };
    lm_snapshot_get_info(s, &info);
    return json_pack("{s:o, s:I, s:I}", "name", cli_json_text(name, strlen(name)), "tokens",
                     (json_int_t)info.n_tokens, "file_bytes",
                     (json_int_t)(stat(file, &st) == 0 ? st.st_size : 0));
}

/* --- export ------------------------------------------------------------------------------ */

/* The log is written beside the container and goes into it. */
static lm_status write_blocks(const lm_snapshot *s, const char *path, lm_error *err)
{
    char log[4096];
    lm_chunks *chunks = NULL;
    lm_blocks *blocks = NULL;
    lm_blocks_options o;
    lm_snapshot_info info = { .size = sizeof info };
    int n = snprintf(log, sizeof log, "%s.mvlog-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof log)
        return lm_fail(err, LM_ERR_USAGE, "the name of the file to write is too long");
    lm_blocks_defaults(&o);
    o.uri = blocks_uri;
    lm_snapshot_get_info(s, &info);
    LM_TRY(lm_chunks_open_log(&chunks, log, LM_LOG_CREATE, err));
    lm_status st = lm_blocks_save(s, chunks, &o, &blocks, err);
    lm_blocks_close(blocks);
    lm_status closed = lm_chunks_close(chunks, st == LM_OK ? err : NULL);
    st = st == LM_OK ? closed : st;
    if (st == LM_OK)
        st = lm_container_write(path, log,
                                &(lm_container_mark){ .size = sizeof(lm_container_mark),
                                                      .store_path = log,
                                                      .bundle_uri = blocks_uri,
                                                      .token_count = info.n_tokens },
                                err);
    (void)unlink(log);
    return st;
}

lm_status state_export(cli *c, lm_store *store, const char *name, const char *path, bool blocks,
                       lm_error *err)
{
    lm_snapshot *s = NULL;
    struct stat there;
    lm_quoted_buf q;
    LM_TRY(cli_can_write(path, err));
    if (lstat(path, &there) == 0)
        return lm_fail(err, LM_ERR_USAGE, "%s is there already", lm_quoted_z(&q, path));
    LM_TRY(open_model(c, err));
    LM_TRY(lm_state_snapshot(store, name, c->model, &s, err));
    lm_status st = blocks ? write_blocks(s, path, err) : lm_snapshot_write(s, path, LM_SNAPSHOT_NATIVE, err);
    json_t *j = st == LM_OK ? figures(name, s, path) : NULL;
    lm_snapshot_close(s);
    return st == LM_OK ? state_tell(c, j, err) : st;
}

/* --- import ------------------------------------------------------------------------------ */

state_format state_format_of(const char *path)
{
    char head[8] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(head, 1, sizeof head, f) : 0;
    if (f != NULL)
        (void)fclose(f);
    if (n == sizeof head && memcmp(head, "MLXKV001", sizeof head) == 0)
        return STATE_SNAPSHOT;
    return n >= 4 && memcmp(head, "KVST", 4) == 0 ? STATE_BLOCKS : STATE_BUNDLE;
}

static lm_status read_blocks(const char *path, lm_snapshot **out, lm_error *err)
{
    lm_chunks *chunks = NULL;
    lm_blocks *blocks = NULL;
    char *header = NULL;
    lm_quoted_buf q;
    LM_TRY(lm_container_open(&chunks, path, &header, err));
    json_t *j = json_loads(header, 0, NULL);
    const char *uri = json_string_value(json_object_get(j, "bundle_uri"));
    lm_status st = uri != NULL && *uri != '\0'
                       ? lm_blocks_read(chunks, uri, &blocks, err)
                       : lm_fail(err, LM_ERR_UNSUPPORTED,
                                 "%s does not say which bundle it holds (bundle_uri)", lm_quoted_z(&q, path));
    if (st == LM_OK)
        st = lm_blocks_load(blocks, chunks, 0, 0, out, err);
    lm_blocks_close(blocks);
    json_decref(j);
    lm_give_back(header);
    lm_status closed = lm_chunks_close(chunks, NULL);
    (void)closed; /* it was opened for reading */
    return st;
}

static bool is_there(void *user, const lm_stored *e)
{
    (void)e;
    *(bool *)user = true;
    return false;
}

lm_status state_import(cli *c, lm_store *store, const char *path, const char *name, state_format format,
                       lm_error *err)
{
    lm_snapshot *s = NULL;
    lm_error own = { 0 };
    lm_quoted_buf q;
    bool there = false;
    if (name == NULL || cli_text(&c->args, OPT_MODEL) == NULL)
        return lm_fail(err, LM_ERR_USAGE,
                       "%s is a %s: it needs the name of a session, and --model to say which layers it is of",
                       lm_quoted_z(&q, path), format == STATE_SNAPSHOT ? "snapshot" : "block bundle");
    lm_status st = lm_state_show(store, name, is_there, &there, &own);
    if (st != LM_OK && st != LM_ERR_NOT_FOUND) {
        *err = own;
        return st;
    }
    if (there)
        return lm_fail(err, LM_ERR_USAGE, "there is a session '%s' already", lm_quoted_z(&q, name));
    LM_TRY(format == STATE_SNAPSHOT ? lm_snapshot_read(&s, path, 0, err) : read_blocks(path, &s, err));
    st = open_model(c, err);
    if (st == LM_OK)
        st = lm_state_import_snapshot(store, name, c->model, s, NULL, err);
    if (cli_flag(&c->args, OPT_VERIFY)) { /* which opens it by itself */
        lm_model_close(c->model);
        c->model = NULL;
    }
    if (st == LM_OK && cli_flag(&c->args, OPT_VERIFY))
        st = state_verify(c, store, name, err);
    json_t *j = st == LM_OK ? figures(name, s, path) : NULL;
    lm_snapshot_close(s);
    LM_TRY(st);
    if (j != NULL)
        (void)json_object_set_new(j, "verified", json_boolean(cli_flag(&c->args, OPT_VERIFY)));
    return state_tell(c, j, err);
}
