/* format/packfind.c - PACK as a path or a name, and what to say when it is neither. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/folder.h"
#include "format/json.h"
#include "format/packfiles.h"
#include "format/packplaces.h"
#include "format/packstore.h"

static bool same(const char *a, const char *b, bool fold)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(fold && tolower((unsigned char)*a) == tolower((unsigned char)*b)))
            return false;
    return *a == *b;
}

/* "llama3" means "llama3:latest", as Ollama takes it. */
static bool same_tagged(const char *name, const char *pack, bool fold)
{
    static const char tag[] = ":latest";
    char cut[256];
    size_t n = strlen(name);
    if (!lm_ends_with(name, tag) || n - strlen(tag) >= sizeof cut)
        return false;
    memcpy(cut, name, n - strlen(tag));
    cut[n - strlen(tag)] = 0;
    return same(cut, pack, fold);
}

/* How well `name` answers to `pack`: 0 not at all. */
static int match(const char *name, const char *pack)
{
    const char *last = lm_base_name(name);
    for (int fold = 0; fold < 2; fold++) {
        if (same(name, pack, fold) || same_tagged(name, pack, fold))
            return 4 - fold;
        if (!strchr(pack, '/') && (same(last, pack, fold) || same_tagged(last, pack, fold)))
            return 2 - fold;
    }
    return 0;
}

static lm_status find_in(const lm_pack_list *l, const char *pack, const lm_pack_item **out, lm_error *err)
{
    const lm_pack_item *best = NULL, *other = NULL;
    int best_match = 0;
    lm_quoted_buf q, a, b;
    for (size_t i = 0; i < l->n; i++) {
        int m = match(l->items[i].name, pack);
        if (m > best_match) {
            best = &l->items[i];
            other = NULL;
            best_match = m;
        } else if (m && m == best_match && m <= 2 && strcmp(l->items[i].name, best->name) != 0) {
            other = &l->items[i];
        }
    }
    *out = best;
    if (!other)
        return LM_OK;
    return lm_fail(err, LM_ERR_USAGE, "several packs are called '%s', among them %s and %s: name one in full",
                   lm_quoted_z(&q, pack), lm_quoted_z(&a, best->name), lm_quoted_z(&b, other->name));
}

/* Edits (insert, delete, change) between two names, without case; names are cut
 * at 63 bytes, which is enough to tell what is near. */
static unsigned distance(const char *a, const char *b)
{
    enum { CUT = 63 };
    unsigned row[CUT + 1], m = (unsigned)LM_MIN(strlen(b), CUT), n = (unsigned)LM_MIN(strlen(a), CUT);
    for (unsigned j = 0; j <= m; j++)
        row[j] = j;
    for (unsigned i = 1; i <= n; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= m; j++) {
            unsigned up = row[j];
            unsigned change =
                diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            row[j] = LM_MIN(LM_MIN(up, row[j - 1]) + 1, change);
            diagonal = up;
        }
    }
    return row[m];
}

static bool holds(const char *name, const char *part)
{
    size_t n = strlen(part);
    for (; n >= 3 && strlen(name) >= n; name++) {
        size_t i = 0;
        while (i < n && tolower((unsigned char)name[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

static unsigned nearness(const char *name, const char *pack)
{
    char untagged[256];
    const char *last = lm_base_name(name);
    size_t n = LM_MIN(strcspn(last, ":"), sizeof untagged - 1);
    memcpy(untagged, last, n);
    untagged[n] = 0;
    unsigned least = LM_MIN(distance(name, pack), distance(last, pack));
    return holds(name, pack) ? 1 : LM_MIN(least, distance(untagged, pack));
}

/* Up to three names that the user may have meant. */
static void suggest(const lm_pack_list *l, const char *pack, lm_error *err)
{
    enum { SHOWN = 3 };
    const lm_pack_item *best[SHOWN] = { 0 };
    unsigned near[SHOWN], limit = LM_MAX(2u, (unsigned)strlen(pack) / 2);
    lm_str s = { 0 };
    size_t n = 0;
    lm_quoted_buf q;
    for (size_t i = 0; i < l->n; i++) {
        unsigned d = nearness(l->items[i].name, pack);
        size_t at = n;
        if (d > limit)
            continue;
        while (at > 0 && near[at - 1] > d)
            at--;
        if (at >= SHOWN)
            continue;
        n = LM_MIN(n + 1, SHOWN);
        for (size_t k = n - 1; k > at; k--) {
            best[k] = best[k - 1];
            near[k] = near[k - 1];
        }
        best[at] = &l->items[i];
        near[at] = d;
    }
    for (size_t i = 0; i < n; i++)
        lm_str_addf(&s, "%s%s", i ? ", " : "", lm_quoted_z(&q, best[i]->name));
    if (n)
        lm_hint(err, "near to it: %s", lm_str_z(&s));
    else
        lm_hint(err, "`lemma pack list` shows what is there; a path may be given instead of a name");
    lm_str_clear(&s);
}

/* A pack beside a path that is not there, with nearly its name. */
static bool suggest_beside(const char *pack, lm_error *err)
{
    const char *name = lm_base_name(pack);
    size_t n_dir = (size_t)(name - pack), n = strlen(name), best = n <= 3 ? 1 : LM_MAX(2u, n / 4);
    lm_folder in = { 0 };
    char *dir = NULL, *near = NULL;
    lm_quoted_buf q;
    if (n == 0 || lm_strdup_n(n_dir ? pack : ".", n_dir ? n_dir : 1, &dir, NULL) != LM_OK)
        return false;
    lm_status status = lm_folder_read(&in, dir, NULL);
    for (size_t i = 0; status == LM_OK && i < in.n; i++) {
        bool file = lm_ends_with(in.names[i], ".gguf");
        size_t d = file && lm_starts_with(in.names[i], name) ? 0 : distance(in.names[i], name);
        char *path = NULL;
        if (d > best || (d == best && near) || in.names[i][0] == '.' ||
            lm_path_join(&path, dir, in.names[i], NULL) != LM_OK)
            continue;
        lm_pack_files files = { 0 };
        if (file || lm_pack_files_find(&files, path, true, NULL) == LM_OK) {
            best = d;
            lm_free(near);
            near = path;
            path = NULL;
        }
        lm_pack_files_clear(&files);
        lm_free(path);
    }
    if (near)
        lm_hint(err, "did you mean %s?", lm_quoted_z(&q, n_dir ? near : near + 2)); /* without "./" */
    bool found = near != NULL;
    lm_free(near);
    lm_free(dir);
    lm_folder_clear(&in);
    return found;
}

static lm_status not_found(const lm_pack_list *l, const char *pack, lm_error *err)
{
    lm_pack_places places = { 0 };
    const char *home = getenv("HOME");
    size_t n_home = home ? strlen(home) : 0;
    lm_str s = { 0 };
    lm_quoted_buf q, r;
    if (!suggest_beside(pack, err))
        suggest(l, pack, err);
    LM_TRY(lm_pack_places_read(&places, err));
    for (size_t i = 0; i < places.n; i++) {
        const char *path = places.items[i].path;
        bool in_home = n_home > 1 && strncmp(path, home, n_home) == 0 && path[n_home] == '/';
        lm_str_addf(&s, "%s%s%s", i ? ", " : "", in_home ? "~" : "",
                    lm_quoted_z(&r, in_home ? path + n_home : path));
    }
    lm_status status =
        lm_fail(err, LM_ERR_NOT_FOUND, "no pack '%s': there is no such path, nor a pack of that name in %s",
                lm_quoted_z(&q, pack), places.n ? lm_str_z(&s) : "any store, for HOME is not set");
    lm_str_clear(&s);
    lm_pack_places_clear(&places);
    return status;
}

/* A folder or file right in $LEMMA_MODELS or the cache, even a broken one: its
 * error says more than "not found". */
static lm_status find_direct(char **path, const char *pack, lm_error *err)
{
    lm_pack_places places = { 0 };
    lm_status status = lm_pack_places_read(&places, err);
    for (size_t i = 0; i < places.n && status == LM_OK && !*path; i++) {
        if (strcmp(places.items[i].kind, "lemma") != 0 || strstr(pack, ".."))
            continue;
        status = lm_path_join(path, places.items[i].path, pack, err);
        if (status == LM_OK && lm_path_kind_of(*path) == LM_PATH_NONE) {
            lm_free(*path);
            *path = NULL;
        }
    }
    lm_pack_places_clear(&places);
    return status;
}

lm_status lm_pack_find(char **path, const char *pack, lm_error *err)
{
    lm_pack_list l = { 0 };
    const lm_pack_item *found = NULL;
    char *direct = NULL;
    lm_quoted_buf q;

    if (!*pack)
        return lm_fail(err, LM_ERR_USAGE, "the name of a pack is empty");
    if (lm_path_kind_of(pack) != LM_PATH_NONE)
        return lm_strdup_n(pack, strlen(pack), path, err);
    if (pack[0] == '/' || lm_starts_with(pack, "./") || lm_starts_with(pack, "../")) {
        if (!suggest_beside(pack, err))
            lm_hint(err,
                    "`lemma pack list` shows the packs on this machine, `lemma pack list DIR` those in DIR");
        return lm_fail(err, LM_ERR_NOT_FOUND, "there is no %s", lm_quoted_z(&q, pack));
    }
    LM_TRY(find_direct(&direct, pack, err));
    if (direct) {
        *path = direct;
        return LM_OK;
    }
    LM_TRY(lm_pack_list_read(&l, NULL, err));
    lm_status status = find_in(&l, pack, &found, err);
    if (status == LM_OK)
        status = found ? lm_strdup_n(found->path, strlen(found->path), path, err) : not_found(&l, pack, err);
    lm_pack_list_clear(&l);
    return status;
}
