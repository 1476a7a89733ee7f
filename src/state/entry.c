/* state/entry.c - entry files: sections with tags and lengths behind a header. */
#include "state/entry.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "state/io.h"

static const char magic[8] = "LMENT01\n";
enum { VERSION = 1, ENDIAN = 0x01020304 };

typedef struct {
    char magic[8];
    uint32_t version, endian;
    uint64_t n_bytes;  /* of the whole file */
    uint64_t checksum; /* XXH3-64 of all bytes behind the header, seed = that of the header before it */
    uint8_t serial[16];
    uint64_t created;
    uint32_t flags, n_sections;
} header;
_Static_assert(sizeof(header) == 64, "stored as it is");

typedef struct {
    char tag[8];
    uint64_t n_bytes; /* of the payload; the next section starts at a multiple of 8 */
} section;

typedef struct {
    lm_geometry geometry;
    lm_digest root;
    uint32_t first_page, n_pages;
} group_head;

typedef struct {
    lm_digest name;
    uint32_t run, slot; /* run: index into the section "runs" */
} page_row;
_Static_assert(sizeof(page_row) == 40 && sizeof(group_head) == 96, "stored as it is");

/* --- identity ----------------------------------------------------------------------- */

const char *lm_wake_text(lm_wake_reason r)
{
    static const char *const texts[] = {
#define X(name, text) text,
        LM_WAKE_TABLE(X)
#undef X
    };
    return (unsigned)r < LM_WAKE_COUNT ? texts[r] : "?";
}

static bool text_differs(const char *a, const char *b, size_t n)
{
    return strncmp(a, b, n) != 0;
}

uint32_t lm_state_id_compare(const lm_state_id *a, const lm_state_id *b, uint32_t n_tokens)
{
    uint32_t bits = 0;
    bool had = !lm_digest_is_zero(&a->model.adapter), has = !lm_digest_is_zero(&b->model.adapter);
#define DIFFERS(reason, condition) bits |= (uint32_t)((condition) ? 1 : 0) << LM_WAKE_##reason
    DIFFERS(MODEL_HASH, !lm_digest_equal(&a->model.weights, &b->model.weights));
    DIFFERS(ARCHITECTURE, text_differs(a->architecture, b->architecture, sizeof a->architecture));
    DIFFERS(LAYERS, a->n_layers != b->n_layers);
    DIFFERS(QUANTISATION, text_differs(a->quantisation, b->quantisation, sizeof a->quantisation));
    DIFFERS(CONTEXT, n_tokens > b->context);
    DIFFERS(TOKENIZER, !lm_digest_equal(&a->tokenizer, &b->tokenizer));
    DIFFERS(TEMPLATE, !lm_digest_equal(&a->chat_template, &b->chat_template));
    DIFFERS(ADAPTER_MISSING, had && !has);
    DIFFERS(ADAPTER_UNEXPECTED, !had && has);
    DIFFERS(ADAPTER_HASH, had && has && !lm_digest_equal(&a->model.adapter, &b->model.adapter));
    DIFFERS(ADAPTER_RANK, had && has && a->adapter_rank != b->adapter_rank);
    DIFFERS(PROGRAM, !lm_digest_equal(&a->model.program, &b->model.program));
    DIFFERS(NUMERICS, text_differs(a->model.numerics, b->model.numerics, sizeof a->model.numerics));
    DIFFERS(ADAPTER_PATH,
            had && has && text_differs(a->adapter_path, b->adapter_path, sizeof a->adapter_path));
    DIFFERS(BACKEND, text_differs(a->backend, b->backend, sizeof a->backend));
    DIFFERS(CACHE, text_differs(a->cache, b->cache, sizeof a->cache));
#undef DIFFERS
    return bits;
}

/* --- writing ------------------------------------------------------------------------ */

lm_status lm_entry_name_check(const char *name, lm_error *err)
{
    size_t n = strlen(name);
    if (n == 0 || n > LM_MAX_ENTRY_NAME)
        return lm_fail(err, LM_ERR_USAGE, "the session's name has %zu bytes, allowed are 1 to %d", n,
                       LM_MAX_ENTRY_NAME);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return lm_fail(err, LM_ERR_USAGE, "the session's name has a control character at byte %zu", i);
    if (!lm_utf8_valid(name, n))
        return lm_fail(err, LM_ERR_USAGE, "the session's name is not UTF-8");
    return LM_OK;
}

lm_status lm_entry_file(const char *name, char out[LM_ENTRY_FILE], lm_error *err)
{
    lm_digest d;
    LM_TRY(lm_entry_name_check(name, err));
    LM_TRY(lm_sha256(name, strlen(name), &d, err));
    lm_digest_hex(&d, out);
    memcpy(out + 64, ".ent", 5);
    return LM_OK;
}

lm_status lm_entry_check(const lm_entry *e, lm_error *err)
{
    const struct {
        const char *what, *text;
    } texts[] = { { "title", e->title },
                  { "labels", e->labels },
                  { "metadata", e->metadata },
                  { "messages", e->messages },
                  { "parent", e->parent } };
    LM_TRY(lm_entry_name_check(e->name, err));
    for (size_t i = 0; i < LM_LEN(texts); i++) {
        size_t n = strlen(texts[i].text);
        if (n > LM_MAX_ENTRY_TEXT)
            return lm_fail(err, LM_ERR_USAGE, "the session's %s: %zu bytes, allowed are %d", texts[i].what, n,
                           LM_MAX_ENTRY_TEXT);
        if (!lm_utf8_valid(texts[i].text, n))
            return lm_fail(err, LM_ERR_USAGE, "the session's %s: not UTF-8", texts[i].what);
    }
    if (e->n_tokens > LM_MAX_ENTRY_TOKENS || e->n_logits > LM_MAX_ENTRY_VOCAB ||
        e->n_sampler > LM_MAX_ENTRY_SAMPLER || e->n_groups > LM_STATE_GROUPS ||
        (e->flags & ~(uint32_t)LM_ENTRY_FLAGS))
        return lm_fail(err, LM_ERR_USAGE, "a session of %u tokens, %u logits, %zu bytes of sampler",
                       e->n_tokens, e->n_logits, e->n_sampler);
    return LM_OK;
}

static void add_section(lm_str *b, header *h, const char *tag, const void *bytes, size_t n)
{
    static const char zeros[8];
    section s = { .n_bytes = n };
    memcpy(s.tag, tag, strlen(tag));
    lm_str_add(b, (const char *)&s, sizeof s);
    if (n)
        lm_str_add(b, bytes, n);
    lm_str_add(b, zeros, (size_t)(lm_round_up(n, 8) - n));
    h->n_sections++;
}

/* The distinct runs of the page table; a few dozen, so found by looking through them. */
static lm_status add_groups(lm_str *b, header *h, const lm_entry *e, lm_error *err)
{
    lm_run_id *runs = NULL;
    page_row *rows = NULL;
    size_t n_runs = 0, cap = 0;
    lm_status status = LM_OK;
    for (uint32_t g = 0; g < e->n_groups && status == LM_OK; g++) {
        const lm_entry_group *eg = &e->groups[g];
        size_t n = eg->n_pages - eg->first_page, last = 0;
        group_head head = { eg->geometry, eg->root, eg->first_page, eg->n_pages };
        lm_str payload = { 0 };
        status = LM_NEW(&rows, n, err);
        for (size_t i = 0; i < n && status == LM_OK; i++) {
            size_t k = last;
            if (k >= n_runs || memcmp(&runs[k], &eg->pages[i].run, sizeof *runs) != 0)
                for (k = 0; k < n_runs && memcmp(&runs[k], &eg->pages[i].run, sizeof *runs) != 0; k++)
                    continue;
            if (k == n_runs) {
                status = lm_grow((void **)&runs, &cap, n_runs + 1, sizeof *runs, err);
                if (status != LM_OK)
                    break;
                runs[n_runs++] = eg->pages[i].run;
            }
            rows[i] = (page_row){ eg->pages[i].name, (uint32_t)k, eg->pages[i].slot };
            last = k;
        }
        if (status == LM_OK) {
            lm_str_add(&payload, (const char *)&head, sizeof head);
            lm_str_add(&payload, (const char *)rows, n * sizeof *rows);
            status = lm_str_status(&payload, err);
        }
        if (status == LM_OK)
            add_section(b, h, "group", payload.s, payload.n);
        lm_str_clear(&payload);
        lm_free(rows);
        rows = NULL;
    }
    if (status == LM_OK)
        add_section(b, h, "runs", runs, n_runs * sizeof *runs);
    lm_free(runs);
    return status;
}

static uint64_t sum_of(const uint8_t *bytes, size_t n)
{
    header h;
    memcpy(&h, bytes, sizeof h);
    h.checksum = 0;
    return lm_xxh64(bytes + sizeof h, n - sizeof h, lm_xxh64(&h, sizeof h, 0));
}

lm_status lm_entry_encode(const lm_entry *e, uint8_t **out, size_t *n, lm_error *err)
{
    lm_str b = { .max = LM_MAX_ENTRY_BYTES };
    header h = { .version = VERSION, .endian = ENDIAN, .created = e->created, .flags = e->flags };
    LM_TRY(lm_entry_check(e, err));
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.serial, e->serial, sizeof h.serial);
    lm_str_add(&b, (const char *)&h, sizeof h);
    add_section(&b, &h, "name", e->name, strlen(e->name) + 1);
    add_section(&b, &h, "title", e->title, strlen(e->title) + 1);
    add_section(&b, &h, "labels", e->labels, strlen(e->labels) + 1);
    add_section(&b, &h, "metadata", e->metadata, strlen(e->metadata) + 1);
    add_section(&b, &h, "messages", e->messages, strlen(e->messages) + 1);
    add_section(&b, &h, "parent", e->parent, strlen(e->parent) + 1);
    add_section(&b, &h, "identity", &e->id, sizeof e->id);
    add_section(&b, &h, "tokens", e->tokens, e->n_tokens * sizeof *e->tokens);
    add_section(&b, &h, "sampler", e->sampler, e->n_sampler);
    add_section(&b, &h, "logits", e->logits, e->n_logits * sizeof *e->logits);
    lm_status status = add_groups(&b, &h, e, err);
    if (status == LM_OK)
        status = lm_str_status(&b, err);
    if (status == LM_OK) {
        h.n_bytes = b.n;
        memcpy(b.s, &h, sizeof h);
        h.checksum = sum_of((const uint8_t *)b.s, b.n);
        memcpy(b.s, &h, sizeof h);
        status = lm_str_take(&b, (char **)out, n, err);
    }
    lm_str_clear(&b);
    return status;
}

/* --- reading ------------------------------------------------------------------------ */

typedef struct {
    const uint8_t *at;
    size_t n;
} span;

static lm_status text_of(const span *s, const char *what, const char **out, lm_error *err)
{
    const char *p = (const char *)s->at;
    if (s->n == 0 || s->n > LM_MAX_ENTRY_TEXT + 1 || memchr(p, 0, s->n) != p + s->n - 1 ||
        !lm_utf8_valid(p, s->n - 1))
        return lm_fail(err, LM_ERR_STATE, "the %s of an entry are no text of %zu bytes", what, s->n);
    *out = p;
    return LM_OK;
}

static lm_status group_of(lm_entry *e, const span *s, const span *runs, lm_error *err)
{
    lm_entry_group *g = &e->groups[e->n_groups];
    group_head head;
    if (s->n < sizeof head)
        return lm_fail(err, LM_ERR_STATE, "a page table of an entry has %zu bytes", s->n);
    memcpy(&head, s->at, sizeof head);
    LM_TRY(lm_geometry_check(&head.geometry, err));
    size_t n = (s->n - sizeof head) / sizeof(page_row);
    uint64_t want = ((uint64_t)e->n_tokens + head.geometry.page_tokens - 1) / head.geometry.page_tokens;
    if (head.first_page > head.n_pages || head.n_pages != want || head.n_pages - head.first_page != n ||
        (s->n - sizeof head) % sizeof(page_row))
        return lm_fail(err, LM_ERR_STATE,
                       "a page table of an entry of %u tokens has pages %u to %u in %zu bytes", e->n_tokens,
                       head.first_page, head.n_pages, s->n);
    if (head.geometry.group != e->n_groups)
        return lm_fail(err, LM_ERR_STATE, "page table %u of an entry is of cache group %u", e->n_groups,
                       head.geometry.group);
    LM_TRY(LM_NEW(&g->pages, n, err));
    g->geometry = head.geometry;
    g->root = head.root;
    g->first_page = head.first_page;
    g->n_pages = head.n_pages;
    e->n_groups++;
    for (size_t i = 0; i < n; i++) {
        page_row row;
        memcpy(&row, s->at + sizeof head + i * sizeof row, sizeof row);
        if (row.run >= runs->n / sizeof(lm_run_id))
            return lm_fail(err, LM_ERR_STATE, "a page of an entry lies in run %u of %zu", row.run,
                           runs->n / sizeof(lm_run_id));
        g->pages[i].name = row.name;
        g->pages[i].slot = row.slot;
        memcpy(&g->pages[i].run, runs->at + (size_t)row.run * sizeof(lm_run_id), sizeof(lm_run_id));
    }
    return LM_OK;
}

static lm_status check_header(const uint8_t *bytes, size_t n, header *h, lm_error *err)
{
    if (n < sizeof *h)
        return lm_fail(err, LM_ERR_TRUNCATED, "an entry file has %zu bytes, its header %zu", n, sizeof *h);
    memcpy(h, bytes, sizeof *h);
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return lm_fail(err, LM_ERR_STATE, "not an entry file: it does not start with \"LMENT01\"");
    if (h->endian != ENDIAN || h->version != VERSION)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "an entry file of version %u, this version reads %d",
                       h->version, VERSION);
    if (h->n_bytes != n)
        return lm_fail(err, LM_ERR_TRUNCATED, "an entry file has %zu bytes, its header says %" PRIu64, n,
                       h->n_bytes);
    if (h->checksum != sum_of(bytes, n))
        return lm_fail(err, LM_ERR_STATE, "an entry file does not match its checksum");
    if (h->flags & ~(uint32_t)LM_ENTRY_FLAGS)
        return lm_fail(err, LM_ERR_STATE, "an entry file has flags %u", h->flags);
    return LM_OK;
}

enum { NAME, TITLE, LABELS, METADATA, MESSAGES, PARENT, IDENTITY, TOKENS, SAMPLER, LOGITS, RUNS, N_TAGS };
static const char *const tags[N_TAGS] = { "name",     "title",  "labels",  "metadata", "messages", "parent",
                                          "identity", "tokens", "sampler", "logits",   "runs" };

/* Finds every section once; groups in their order. */
static lm_status find_sections(const uint8_t *bytes, size_t n, const header *h, span *found, span *groups,
                               uint32_t *n_groups, lm_error *err)
{
    uint64_t at = sizeof *h;
    for (uint32_t i = 0; i < h->n_sections; i++) {
        section s;
        if (!lm_inside(at, sizeof s, n))
            return lm_fail_at(err, LM_ERR_STATE, at, "an entry file ends within section %u of %u", i,
                              h->n_sections);
        memcpy(&s, bytes + at, sizeof s);
        at += sizeof s;
        if (!lm_inside(at, s.n_bytes, n))
            return lm_fail_at(err, LM_ERR_STATE, at,
                              "a section of an entry claims %" PRIu64 " bytes, %" PRIu64 " are left",
                              s.n_bytes, n - at);
        span here = { bytes + at, (size_t)s.n_bytes };
        at = LM_MIN(lm_round_up(at + s.n_bytes, 8), (uint64_t)n);
        int k = 0;
        while (k < N_TAGS && strncmp(s.tag, tags[k], sizeof s.tag) != 0)
            k++;
        if (k < N_TAGS && !found[k].at)
            found[k] = here;
        else if (k == N_TAGS && memcmp(s.tag, "group\0\0", 8) == 0 && *n_groups < LM_STATE_GROUPS)
            groups[(*n_groups)++] = here;
        else
            return lm_fail(err, LM_ERR_STATE, "section %u of an entry is unknown or there twice", i);
    }
    for (int k = 0; k < N_TAGS; k++)
        if (!found[k].at)
            return lm_fail(err, LM_ERR_STATE, "an entry file has no section \"%s\"", tags[k]);
    if (at != n)
        return lm_fail(err, LM_ERR_STATE, "an entry file has %" PRIu64 " bytes behind its sections", n - at);
    return LM_OK;
}

static lm_status decode(lm_entry *e, size_t n, lm_error *err) /* long: one check for each section */
{
    header h = { .n_sections = 0 };
    span f[N_TAGS] = { { 0 } }, groups[LM_STATE_GROUPS];
    uint32_t n_groups = 0;
    LM_TRY(check_header(e->bytes, n, &h, err));
    LM_TRY(find_sections(e->bytes, n, &h, f, groups, &n_groups, err));
    memcpy(e->serial, h.serial, sizeof e->serial);
    e->flags = h.flags;
    e->created = h.created;
    LM_TRY(text_of(&f[NAME], "name", &e->name, err));
    LM_TRY(text_of(&f[TITLE], "title", &e->title, err));
    LM_TRY(text_of(&f[LABELS], "labels", &e->labels, err));
    LM_TRY(text_of(&f[METADATA], "metadata", &e->metadata, err));
    LM_TRY(text_of(&f[MESSAGES], "messages", &e->messages, err));
    LM_TRY(text_of(&f[PARENT], "parent", &e->parent, err));
    LM_TRY(lm_entry_name_check(e->name, err));
    if (f[IDENTITY].n != sizeof e->id || f[TOKENS].n % 4 || f[TOKENS].n / 4 > LM_MAX_ENTRY_TOKENS ||
        f[LOGITS].n % 4 || f[LOGITS].n / 4 > LM_MAX_ENTRY_VOCAB || f[SAMPLER].n > LM_MAX_ENTRY_SAMPLER ||
        f[RUNS].n % sizeof(lm_run_id))
        return lm_fail(err, LM_ERR_STATE,
                       "an entry file has %zu bytes of identity, %zu of tokens, %zu of logits", f[IDENTITY].n,
                       f[TOKENS].n, f[LOGITS].n);
    memcpy(&e->id, f[IDENTITY].at, sizeof e->id);
    const struct {
        char *s;
        size_t n;
    } ends[] = { { e->id.model.numerics, sizeof e->id.model.numerics },
                 { e->id.model_name, sizeof e->id.model_name },
                 { e->id.architecture, sizeof e->id.architecture },
                 { e->id.quantisation, sizeof e->id.quantisation },
                 { e->id.backend, sizeof e->id.backend },
                 { e->id.adapter_path, sizeof e->id.adapter_path },
                 { e->id.cache, sizeof e->id.cache } };
    for (size_t i = 0; i < LM_LEN(ends); i++)
        ends[i].s[ends[i].n - 1] = 0;
    /* Sections start at multiples of 8 in memory of malloc(). */
    e->tokens = (const int32_t *)(const void *)f[TOKENS].at;
    e->n_tokens = (uint32_t)(f[TOKENS].n / 4);
    e->logits = (const float *)(const void *)f[LOGITS].at;
    e->n_logits = (uint32_t)(f[LOGITS].n / 4);
    e->sampler = f[SAMPLER].at;
    e->n_sampler = f[SAMPLER].n;
    for (uint32_t i = 0; i < n_groups; i++)
        LM_TRY(group_of(e, &groups[i], &f[RUNS], err));
    return LM_OK;
}

lm_status lm_entry_decode(uint8_t *bytes, size_t n, lm_entry **out, lm_error *err)
{
    lm_entry *e = NULL;
    lm_status status = LM_NEW(&e, 1, err);
    if (status != LM_OK) {
        lm_free(bytes);
        return status;
    }
    e->bytes = bytes;
    status = decode(e, n, err);
    if (status != LM_OK) {
        lm_entry_free(e);
        return status;
    }
    *out = e;
    return LM_OK;
}

void lm_entry_free(lm_entry *e)
{
    if (!e)
        return;
    for (uint32_t i = 0; i < LM_STATE_GROUPS; i++)
        lm_free(e->groups[i].pages);
    lm_free(e->bytes);
    lm_free(e);
}
