/* Packs by name: lemma's own folders, Hugging Face, LM Studio, Ollama. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/pack.h"
#include "format/packstore.h"
#include "support/tempdir.h"

static lm_tempdir home;

static const char gguf_file[] = LM_TEST_DATA "/packs/llama-Q4_0.gguf";
static const char digest[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static void copy_pack(const char *name, const char *pack)
{
    char to[512], from[512];
    (void)snprintf(to, sizeof to, "%s/config.json", name);
    (void)snprintf(from, sizeof from, "%s/packs/%s/config.json", LM_TEST_DATA, pack);
    lm_tempdir_copy(&home, to, from);
    (void)snprintf(to, sizeof to, "%s/model.safetensors", name);
    (void)snprintf(from, sizeof from, "%s/packs/%s/model.safetensors", LM_TEST_DATA, pack);
    lm_tempdir_copy(&home, to, from);
}

/* A home with one pack of every kind of store. */
static int fill(void **state)
{
    char path[1024], text[512];
    (void)state;
    home = lm_tempdir_make();
    copy_pack("models/tiny-mlx", "llama-mlx-q4");
    lm_tempdir_copy(&home, "models/org/flat.gguf", gguf_file);
    lm_tempdir_copy(&home, "models/org/other.gguf", gguf_file);
    copy_pack(".cache/lemma/models/cached", "llama");
    /* Hugging Face: files are links into blobs/. */
    copy_pack(".cache/huggingface/hub/models--acme--small--1B/blobs", "qwen3");
    lm_tempdir_text(&home, ".cache/huggingface/hub/models--acme--small--1B/refs/main", "abc123\n");
    static const char snap[] = ".cache/huggingface/hub/models--acme--small--1B/snapshots/abc123/";
    (void)snprintf(text, sizeof text, "%sconfig.json", snap);
    assert_int_equal(symlink("../../blobs/config.json", lm_tempdir_path(&home, text, path)), 0);
    (void)snprintf(text, sizeof text, "%smodel.safetensors", snap);
    assert_int_equal(symlink("../../blobs/model.safetensors", lm_tempdir_path(&home, text, path)), 0);
    lm_tempdir_text(&home, ".cache/huggingface/hub/models--acme--small--1B/snapshots/zzz/notes.txt", "old");
    /* LM Studio: publisher/model/file. */
    lm_tempdir_copy(&home, ".lmstudio/models/pub/Studio-GGUF/studio-q4.gguf", gguf_file);
    lm_tempdir_text(&home, ".lmstudio/models/pub/Studio-GGUF/mmproj-f16.gguf", "not looked at");
    /* Ollama: a manifest names the blob. */
    (void)snprintf(text, sizeof text,
                   "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.template\",\"digest\":\"x\"},"
                   "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:%s\"}]}",
                   digest);
    lm_tempdir_text(&home, ".ollama/models/manifests/registry.ollama.ai/library/tinyllama/latest", text);
    lm_tempdir_text(&home, ".ollama/models/manifests/registry.ollama.ai/me/mine/1b", text);
    lm_tempdir_text(
        &home, ".ollama/models/manifests/registry.ollama.ai/me/evil/x",
        "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\","
        "\"digest\":\"sha256:../../../../../../../../../../../../../../../../../../etc/passwd\"}]}");
    (void)snprintf(text, sizeof text, ".ollama/models/blobs/sha256-%s", digest);
    lm_tempdir_copy(&home, text, gguf_file);

    (void)setenv("HOME", home.path, 1);
    (void)setenv("LEMMA_MODELS", lm_tempdir_path(&home, "models", path), 1);
    static const char *const unset[] = { "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "OLLAMA_MODELS" };
    for (size_t i = 0; i < LM_LEN(unset); i++)
        (void)unsetenv(unset[i]);
    return 0;
}

static int take_away(void **state)
{
    (void)state;
    lm_tempdir_remove(&home);
    return 0;
}

static void every_store_is_listed(void **state)
{
    lm_pack_list l = { 0 };
    lm_str s = { 0 };
    (void)state;
    assert_int_equal(lm_pack_list_read(&l, NULL, NULL), LM_OK);
    for (size_t i = 0; i < l.n; i++) {
        lm_str_addf(&s, "%s %s %s\n", l.items[i].place, l.items[i].kind, l.items[i].name);
        assert_true(l.items[i].n_bytes > 10000);
    }
    assert_string_equal(lm_str_z(&s), "lemma gguf org/flat\n"
                                      "lemma gguf org/other\n"
                                      "lemma mlx tiny-mlx\n"
                                      "lemma safetensors cached\n"
                                      "huggingface safetensors acme/small--1B\n"
                                      "lmstudio gguf pub/Studio-GGUF\n"
                                      "ollama gguf tinyllama:latest\n"
                                      "ollama gguf me/mine:1b\n");
    lm_str_clear(&s);
    lm_pack_list_clear(&l);
}

static void a_folder_is_listed_by_itself(void **state)
{
    lm_pack_list l = { 0 };
    char path[1024];
    lm_error err = { 0 };
    (void)state;
    assert_int_equal(lm_pack_list_read(&l, lm_tempdir_path(&home, "models/org", path), NULL), LM_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.items[0].name, "flat");
    assert_string_equal(l.items[0].place, "folder");
    lm_pack_list_clear(&l);
    assert_int_equal(lm_pack_list_read(&l, "/nonexistent", &err), LM_ERR_NOT_FOUND);
    assert_string_equal(err.text, "/nonexistent is no folder");
}

static void what_is_no_file_is_not_listed_and_loops_end(void **state)
{
    lm_tempdir d = lm_tempdir_make();
    lm_pack_list l = { 0 };
    char path[1024];
    (void)state;
    lm_tempdir_copy(&d, "a/real.gguf", gguf_file);
    assert_int_equal(mkfifo(lm_tempdir_path(&d, "a/fifo.gguf", path), 0600), 0);
    assert_int_equal(symlink("/dev/null", lm_tempdir_path(&d, "a/device.gguf", path)), 0);
    assert_int_equal(symlink("nowhere", lm_tempdir_path(&d, "a/gone.gguf", path)), 0);
    assert_int_equal(mkdir(lm_tempdir_path(&d, "a/folder.gguf", path), 0700), 0);
    assert_int_equal(symlink("real.gguf", lm_tempdir_path(&d, "a/linked.gguf", path)), 0);
    assert_int_equal(symlink("..", lm_tempdir_path(&d, "a/back", path)), 0);
    assert_int_equal(symlink(".", lm_tempdir_path(&d, "a/self", path)), 0);
    lm_tempdir_text(&d, "b/config.json", "{}");
    assert_int_equal(mkfifo(lm_tempdir_path(&d, "b/model.safetensors", path), 0600), 0);
    assert_int_equal(lm_pack_list_read(&l, d.path, NULL), LM_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.items[0].name, "a/linked");
    assert_string_equal(l.items[1].name, "a/real");
    assert_int_equal(l.items[0].n_bytes, l.items[1].n_bytes);
    lm_pack_list_clear(&l);
    lm_tempdir_remove(&d);
}

static void names_lead_to_packs_that_open(void **state)
{
    static const char *const names[][2] = {
        { "tiny-mlx", "models/tiny-mlx" },
        { "org/flat.gguf", "models/org/flat.gguf" },
        { "org/flat", "models/org/flat.gguf" },
        { "other", "models/org/other.gguf" },
        { "cached", ".cache/lemma/models/cached" },
        { "acme/small--1B", ".cache/huggingface/hub/models--acme--small--1B/snapshots/abc123" },
        { "Acme/Small--1b", ".cache/huggingface/hub/models--acme--small--1B/snapshots/abc123" },
        { "small--1B", ".cache/huggingface/hub/models--acme--small--1B/snapshots/abc123" },
        { "studio-gguf", ".lmstudio/models/pub/Studio-GGUF/studio-q4.gguf" },
        { "tinyllama", ".ollama/models/blobs/sha256-"
                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
        { "me/mine:1b", ".ollama/models/blobs/sha256-"
                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(names); i++) {
        char want[1024], *path = NULL;
        lm_error err = { 0 };
        lm_packfile *p = NULL;
        if (lm_pack_find(&path, names[i][0], &err) != LM_OK)
            fail_msg("%s: %s", names[i][0], err.text);
        assert_string_equal(path, lm_tempdir_path(&home, names[i][1], want));
        if (lm_packfile_open(&p, path, true, &err) != LM_OK)
            fail_msg("%s: %s", names[i][0], err.text);
        assert_true(lm_packfile_n_tensors(p) > 0);
        lm_packfile_close(p);
        lm_free(path);
    }
}

static void paths_are_paths(void **state)
{
    char *path = NULL;
    lm_error err = { 0 };
    (void)state;
    assert_int_equal(lm_pack_find(&path, gguf_file, NULL), LM_OK);
    assert_string_equal(path, gguf_file);
    lm_free(path);
    assert_int_equal(lm_pack_find(&path, "./tiny-mlx", &err), LM_ERR_NOT_FOUND);
    assert_string_equal(err.text, "there is no ./tiny-mlx");
    lm_error_clear(&err);
    assert_int_equal(lm_pack_find(&path, "", &err), LM_ERR_USAGE);
}

static void what_is_missing_is_said_with_places_and_neighbours(void **state)
{
    char *path = NULL, want[2048];
    lm_error err = { 0 };
    (void)state;
    assert_int_equal(lm_pack_find(&path, "tinylama", &err), LM_ERR_NOT_FOUND);
    (void)snprintf(want, sizeof want,
                   "no pack 'tinylama': there is no such path, nor a pack of that name in ~/models, "
                   "~/.cache/lemma/models, ~/.cache/huggingface/hub, ~/.lmstudio/models, "
                   "~/.cache/lm-studio/models, ~/.ollama/models");
    assert_string_equal(err.text, want);
    assert_string_equal(err.hint, "near to it: tinyllama:latest, tiny-mlx");
    lm_error_clear(&err);
    assert_int_equal(lm_pack_find(&path, "zzzzzzzz", &err), LM_ERR_NOT_FOUND);
    assert_string_equal(err.hint,
                        "`lemma pack list` shows what is there; a path may be given instead of a name");
    lm_error_clear(&err);
    assert_int_equal(lm_pack_find(&path, "evil:x", &err), LM_ERR_NOT_FOUND);
    assert_null(path);
}

static void one_name_for_two_packs_is_asked_back(void **state)
{
    char *path = NULL;
    lm_error err = { 0 };
    (void)state;
    lm_tempdir_copy(&home, ".lmstudio/models/a/twin/x.gguf", gguf_file);
    lm_tempdir_copy(&home, ".lmstudio/models/b/twin/x.gguf", gguf_file);
    assert_int_equal(lm_pack_find(&path, "twin", &err), LM_ERR_USAGE);
    assert_string_equal(err.text,
                        "several packs are called 'twin', among them a/twin and b/twin: name one in full");
    assert_int_equal(lm_pack_find(&path, "b/twin", NULL), LM_OK);
    lm_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_store_is_listed),
        cmocka_unit_test(a_folder_is_listed_by_itself),
        cmocka_unit_test(what_is_no_file_is_not_listed_and_loops_end),
        cmocka_unit_test(names_lead_to_packs_that_open),
        cmocka_unit_test(paths_are_paths),
        cmocka_unit_test(what_is_missing_is_said_with_places_and_neighbours),
        cmocka_unit_test(one_name_for_two_packs_is_asked_back),
    };
    return cmocka_run_group_tests_name("format/packstore", tests, fill, take_away);
}
