/* format/packstore.c - walking the places where packs live. */
#include "format/packstore.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/folder.h"
#include "format/json.h"
#include "format/limits.h"
#include "format/packfiles.h"
#include "format/packplaces.h"

enum { MAX_DEPTH = 4, MAX_ITEMS = 16384 };

/* Adds the bytes of a regular file (behind links); false: it is none. */
static bool add_size(const char *path, uint64_t *sum)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    *sum += st.st_size > 0 ? (uint64_t)st.st_size : 0;
    return true;
}

/* A folder being walked and those above it: a link back to one of them is not
 * followed. */
typedef struct trail {
    const struct trail *above;
    dev_t device;
    ino_t inode;
} trail;

static bool new_on(const trail *above, const char *folder, trail *out)
{
    struct stat st;
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))
        return false;
    for (const trail *t = above; t; t = t->above)
        if (t->device == st.st_dev && t->inode == st.st_ino)
            return false;
    *out = (trail){ .above = above, .device = st.st_dev, .inode = st.st_ino };
    return true;
}

/* Adopts name and path. */
static lm_status add(lm_pack_list *l, char *name, char *path, const char *kind, const char *place,
                     uint64_t n_bytes, lm_error *err)
{
    lm_status status = l->n < MAX_ITEMS
                           ? lm_grow((void **)&l->items, &l->cap, l->n + 1, sizeof *l->items, err)
                           : lm_fail(err, LM_ERR_UNSUPPORTED, "more than %d packs are installed", MAX_ITEMS);
    if (status != LM_OK) {
        lm_free(name);
        lm_free(path);
        return status;
    }
    l->items[l->n++] =
        (lm_pack_item){ .name = name, .path = path, .kind = kind, .place = place, .n_bytes = n_bytes };
    return LM_OK;
}

/* "mlx" when config.json has a quantisation block of MLX's kind. */
static const char *kind_of(const char *folder)
{
    const lm_json_limits limits = { .max_bytes = LM_LIMIT_CONFIG_BYTES };
    const char *kind = "safetensors";
    char *path = NULL;
    json_t *config = NULL;
    if (lm_path_join(&path, folder, "config.json", NULL) == LM_OK &&
        lm_json_read(&config, path, &limits, NULL) == LM_OK) {
        const json_t *q = json_object_get(config, "quantization");
        if (json_object_get(q, "bits") || json_object_get(q, "group_size"))
            kind = "mlx";
    }
    json_decref(config);
    lm_free(path);
    return kind;
}

static lm_status add_folder(lm_pack_list *l, const char *folder, const char *name, const lm_pack_files *files,
                            const char *place, lm_error *err)
{
    uint64_t bytes = 0;
    char *n = NULL, *p = NULL;
    bool files_all = true;
    for (size_t i = 0; i < files->weights.n; i++) {
        char *path = NULL;
        LM_TRY(lm_path_join(&path, folder, files->weights.names[i], err));
        files_all &= add_size(path, &bytes);
        lm_free(path);
    }
    if (!files_all)
        return LM_OK;
    LM_TRY(lm_strdup_n(name, strlen(name), &n, err));
    lm_status status = lm_strdup_n(folder, strlen(folder), &p, err);
    if (status != LM_OK) {
        lm_free(n);
        return status;
    }
    return add(l, n, p, kind_of(folder), place, bytes, err);
}

/* A .gguf file (the first of a split one); `alone` when its folder has no other,
 * so that the folder's name is enough. */
static lm_status add_gguf(lm_pack_list *l, const char *folder, const lm_folder *in, const char *file,
                          const char *rel, bool alone, const char *place, lm_error *err)
{
    lm_str name = { 0 };
    char *path = NULL, *n = NULL;
    size_t stem = strlen(file) - strlen(".gguf");
    unsigned no = 0, of = 0;
    bool split = lm_split_name(file, &stem, &no, &of);
    uint64_t bytes = 0;
    bool files_all = true;

    for (size_t i = 0; i < in->n; i++) {
        size_t other;
        char *part = NULL;
        bool same =
            strcmp(in->names[i], file) == 0 || (split && lm_split_name(in->names[i], &other, &no, &of) &&
                                                other == stem && strncmp(in->names[i], file, stem) == 0);
        if (!same)
            continue;
        LM_TRY(lm_path_join(&part, folder, in->names[i], err));
        files_all &= add_size(part, &bytes);
        lm_free(part);
    }
    if (!files_all)
        return LM_OK;
    lm_str_addz(&name, rel);
    if (!alone || !*rel) {
        if (*rel)
            lm_str_addc(&name, '/');
        lm_str_add(&name, file, stem);
    }
    lm_status status = lm_str_take(&name, &n, NULL, err);
    lm_str_clear(&name);
    if (status == LM_OK)
        status = lm_path_join(&path, folder, file, err);
    if (status != LM_OK) {
        lm_free(n);
        return status;
    }
    return add(l, n, path, "gguf", place, bytes, err);
}

static bool first_gguf(const char *name)
{
    size_t stem;
    unsigned no, of;
    return lm_ends_with(name, ".gguf") && name[0] != '.' && !lm_starts_with(name, "mmproj") &&
           (!lm_split_name(name, &stem, &no, &of) || no == 1);
}

/* Packs in `folder` and below, `rel` being its name so far. */
static lm_status walk(lm_pack_list *l, const char *folder, const char *rel, const char *place, int depth,
                      const trail *above, lm_error *err)
{
    trail here;
    lm_folder in = { 0 };
    lm_pack_files files = { 0 };
    size_t n_gguf = 0;
    lm_status status = LM_OK;

    if (!new_on(above, folder, &here) || lm_folder_read(&in, folder, NULL) != LM_OK)
        return LM_OK; /* not there, not ours to read, or a link back */
    bool whole = lm_folder_has(&in, "config.json") &&
                 lm_pack_files_find(&files, folder, true, NULL) == LM_OK && files.kind == LM_PACK_SAFETENSORS;
    if (whole && *rel)
        status = add_folder(l, folder, rel, &files, place, err);
    else if (whole)
        status = add_folder(l, folder, lm_base_name(folder), &files, place, err);
    for (size_t i = 0; i < in.n; i++)
        n_gguf += first_gguf(in.names[i]);
    for (size_t i = 0; i < in.n && status == LM_OK; i++) {
        char *path = NULL, *name = NULL;
        if (in.names[i][0] == '.' || !lm_plain_name(in.names[i]))
            continue;
        if (first_gguf(in.names[i])) {
            status = add_gguf(l, folder, &in, in.names[i], rel, n_gguf == 1 && !whole, place, err);
            continue;
        }
        if (whole || depth == 0)
            continue;
        status = lm_path_join(&path, folder, in.names[i], err);
        if (status == LM_OK && lm_path_kind_of(path) == LM_PATH_FOLDER) {
            status = *rel ? lm_path_join(&name, rel, in.names[i], err)
                          : lm_strdup_n(in.names[i], strlen(in.names[i]), &name, err);
            if (status == LM_OK)
                status = walk(l, path, name, place, depth - 1, &here, err);
        }
        lm_free(path);
        lm_free(name);
    }
    lm_pack_files_clear(&files);
    lm_folder_clear(&in);
    return status;
}

/* The snapshot that refs/main names, else the last by name. */
static lm_status snapshot_of(char **out, const char *model, lm_error *err)
{
    char *ref = NULL, *snapshots = NULL, *hash = NULL;
    size_t n = 0;
    lm_folder in = { 0 };
    *out = NULL;
    LM_TRY(lm_path_join(&snapshots, model, "snapshots", err));
    lm_status status = lm_path_join(&ref, model, "refs/main", err);
    if (status == LM_OK && lm_folder_read(&in, snapshots, NULL) == LM_OK && in.n) {
        const char *name = in.names[in.n - 1];
        if (lm_read_file(ref, 256, &hash, &n, NULL) == LM_OK) {
            hash[strcspn(hash, "\r\n ")] = 0;
            name = lm_folder_has(&in, hash) ? hash : name;
        }
        status = lm_path_join(out, snapshots, name, err);
    }
    lm_free(hash);
    lm_free(ref);
    lm_free(snapshots);
    lm_folder_clear(&in);
    return status;
}

/* models--org--name/snapshots/HASH/ with links into blobs/. */
static lm_status walk_huggingface(lm_pack_list *l, const char *root, lm_error *err)
{
    static const char prefix[] = "models--";
    lm_folder in = { 0 };
    lm_status status = LM_OK;
    if (lm_folder_read(&in, root, NULL) != LM_OK)
        return LM_OK;
    for (size_t i = 0; i < in.n && status == LM_OK; i++) {
        lm_str name = { 0 };
        char *model = NULL, *snapshot = NULL;
        if (!lm_starts_with(in.names[i], prefix) || !lm_plain_name(in.names[i]))
            continue;
        const char *rest = in.names[i] + strlen(prefix), *cut = strstr(rest, "--");
        lm_str_add(&name, rest, cut ? (size_t)(cut - rest) : strlen(rest));
        if (cut)
            lm_str_addf(&name, "/%s", cut + 2);
        status = lm_str_status(&name, err);
        if (status == LM_OK)
            status = lm_path_join(&model, root, in.names[i], err);
        if (status == LM_OK)
            status = snapshot_of(&snapshot, model, err);
        if (status == LM_OK && snapshot)
            status = walk(l, snapshot, lm_str_z(&name), "huggingface", 1, NULL, err);
        lm_free(model);
        lm_free(snapshot);
        lm_str_clear(&name);
    }
    lm_folder_clear(&in);
    return status;
}

/* "sha256:" and 64 hexadecimal digits: the blob is sha256-…; anything else is no
 * name of a file of ours. */
static bool blob_name(const char *digest, char out[72])
{
    if (!digest || strlen(digest) != 71 || !lm_starts_with(digest, "sha256:") ||
        strspn(digest + 7, "0123456789abcdef") != 64)
        return false;
    memcpy(out, digest, 72);
    out[6] = '-';
    return true;
}

static lm_status add_manifest(lm_pack_list *l, const char *root, const char *manifest, const char *name,
                              lm_error *err)
{
    const lm_json_limits limits = { .max_bytes = LM_LIMIT_CONFIG_BYTES };
    json_t *m = NULL, *layer;
    size_t i;
    char *blobs = NULL, *path = NULL, *n = NULL, blob[72];
    uint64_t bytes = 0;
    lm_status status = LM_OK;
    if (lm_json_read(&m, manifest, &limits, NULL) != LM_OK)
        return LM_OK; /* not a manifest */
    json_array_foreach(json_object_get(m, "layers"), i, layer)
    {
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        if (!type || strcmp(type, "application/vnd.ollama.image.model") != 0 ||
            !blob_name(json_string_value(json_object_get(layer, "digest")), blob))
            continue;
        status = lm_path_join(&blobs, root, "blobs", err);
        if (status == LM_OK)
            status = lm_path_join(&path, blobs, blob, err);
        bool file = status == LM_OK && add_size(path, &bytes);
        if (file)
            status = lm_strdup_n(name, strlen(name), &n, err);
        if (file && status == LM_OK)
            status = add(l, n, path, "gguf", "ollama", bytes, err);
        else
            lm_free(path);
        break;
    }
    lm_free(blobs);
    json_decref(m);
    return status;
}

/* manifests/HOST/OWNER/NAME/TAG; the usual host and the owner "library" are left
 * out of the name, the last two parts have a colon between them. */
static lm_status walk_ollama(lm_pack_list *l, const char *root, const char *folder, const char *rel,
                             int depth, lm_error *err)
{
    lm_folder in = { 0 };
    lm_status status = LM_OK;
    if (lm_folder_read(&in, folder, NULL) != LM_OK)
        return LM_OK;
    for (size_t i = 0; i < in.n && status == LM_OK; i++) {
        const char *part = in.names[i];
        char *path = NULL;
        lm_str name = { 0 };
        if (part[0] == '.' || !lm_plain_name(part))
            continue;
        lm_str_addz(&name, rel);
        bool usual = (depth == 0 && strcmp(part, "registry.ollama.ai") == 0) ||
                     (depth == 1 && !*rel && strcmp(part, "library") == 0);
        if (!usual)
            lm_str_addf(&name, "%s%s", !*rel ? "" : depth == 3 ? ":" : "/", part);
        status = lm_str_status(&name, err);
        if (status == LM_OK)
            status = lm_path_join(&path, folder, part, err);
        if (status == LM_OK)
            status = depth == 3 ? add_manifest(l, root, path, lm_str_z(&name), err)
                                : walk_ollama(l, root, path, lm_str_z(&name), depth + 1, err);
        lm_free(path);
        lm_str_clear(&name);
    }
    lm_folder_clear(&in);
    return status;
}

lm_status lm_pack_list_read(lm_pack_list *out, const char *folder, lm_error *err)
{
    lm_pack_list l = { 0 };
    lm_pack_places places = { 0 };
    lm_status status;
    if (folder && lm_path_kind_of(folder) != LM_PATH_FOLDER) {
        lm_quoted_buf q;
        return lm_fail(err, LM_ERR_NOT_FOUND, "%s is no folder", lm_quoted_z(&q, folder));
    }
    status =
        folder ? walk(&l, folder, "", "folder", MAX_DEPTH, NULL, err) : lm_pack_places_read(&places, err);
    for (size_t i = 0; i < places.n && status == LM_OK; i++) {
        const lm_pack_place *p = &places.items[i];
        char *manifests = NULL;
        if (strcmp(p->kind, "huggingface") == 0) {
            status = walk_huggingface(&l, p->path, err);
        } else if (strcmp(p->kind, "ollama") == 0) {
            status = lm_path_join(&manifests, p->path, "manifests", err);
            if (status == LM_OK)
                status = walk_ollama(&l, p->path, manifests, "", 0, err);
            lm_free(manifests);
        } else {
            status = walk(&l, p->path, "", p->kind, MAX_DEPTH, NULL, err);
        }
    }
    lm_pack_places_clear(&places);
    if (status != LM_OK) {
        lm_pack_list_clear(&l);
        return status;
    }
    *out = l;
    return LM_OK;
}

void lm_pack_list_clear(lm_pack_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        lm_free(l->items[i].name);
        lm_free(l->items[i].path);
    }
    lm_free(l->items);
    *l = (lm_pack_list){ 0 };
}
