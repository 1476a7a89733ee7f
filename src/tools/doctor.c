/* tools/doctor.c - what this machine is and what lemma would do on it. */
#include <jansson.h>

#include "backend/backend.h"
#include "backend/cpu/linear.h"
#include "base/fail.h"
#include "base/str.h"
#include "format/folder.h"
#include "format/packplaces.h"
#include "format/packstore.h"
#include "lemma/lemma.h"
#include "plan/device.h"

static json_t *isas(void)
{
    json_t *a = json_array();
    for (int i = LM_ISA_COUNT; i-- > 0;)
        if (lm_isa_has((lm_isa)i))
            (void)json_array_append_new(a, json_string(lm_isa_name((lm_isa)i)));
    return a;
}

static json_t *machine(const lm_device_facts *f)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:I}", "version", lm_version(), "cpu", f->cpu, "cores",
                     (int)f->cores, "threads", (int)lm_device_threads(f), "memory",
                     (json_int_t)f->memory_total);
}

static lm_status give(json_t *o, char **json, lm_error *err)
{
    char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    if (!text)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the report");
    *json = text;
    return LM_OK;
}

lm_status lm_machine(char **json, lm_error *err)
{
    lm_device_facts f;
    lm_device_read(&f);
    json_t *o = machine(&f);
    (void)json_object_set_new(o, "isa", isas());
    return give(o, json, err);
}

static void add_missing(json_t *o, const char *what, const char *todo)
{
    (void)json_array_append_new(json_object_get(o, "missing"),
                                json_pack("{s:s, s:s}", "what", what, "todo", todo));
}

/* Where packs are looked for, and how many there are. */
static lm_status add_places(json_t *o, lm_error *err)
{
    lm_pack_places places = { 0 };
    lm_pack_list packs = { 0 };
    LM_TRY(lm_pack_places_read(&places, err));
    json_t *a = json_array();
    for (size_t i = 0; i < places.n; i++) {
        const lm_pack_place *p = &places.items[i];
        lm_quoted_buf q;
        json_t *path = json_string(p->path);
        (void)json_array_append_new(
            a, json_pack("{s:o, s:s, s:b}", "path", path ? path : json_string(lm_quoted_z(&q, p->path)),
                         "kind", p->kind, "exists", lm_path_kind_of(p->path) == LM_PATH_FOLDER));
    }
    (void)json_object_set_new(o, "pack_places", a);
    lm_pack_places_clear(&places);
    lm_status status = lm_pack_list_read(&packs, NULL, err);
    (void)json_object_set_new(o, "packs", json_integer((json_int_t)packs.n));
    if (status == LM_OK && packs.n == 0)
        add_missing(
            o, "no model was found",
            "put one into a folder of pack_places, name its folder in LEMMA_MODELS, or run `make models` in "
            "lemma's source folder");
    lm_pack_list_clear(&packs);
    return status;
}

/* Copies that 'lemma prepare' made. */
static void add_prepared(json_t *o)
{
    char *text = NULL;
    if (lm_prepared_list("", &text, NULL) != LM_OK)
        return;
    json_t *list = json_loads(text, 0, NULL);
    lm_give_back(text);
    (void)json_object_set_new(o, "prepared",
                              json_pack("{s:O, s:I, s:O}", "folder", json_object_get(list, "folder"),
                                        "copies",
                                        (json_int_t)json_array_size(json_object_get(list, "copies")), "bytes",
                                        json_object_get(list, "bytes")));
    json_decref(list);
}

lm_status lm_doctor(char **json, lm_error *err)
{
    lm_device_facts f;
    lm_device_read(&f);
    json_t *o = machine(&f);
    (void)json_object_update_new(o, json_pack("{s:I, s:f, s:[s, s]}", "memory_free",
                                              (json_int_t)lm_device_free_memory(&f), "bandwidth",
                                              lm_probe_bandwidth(0), "backends", "cpu", "ref"));
    if (f.memory_limit != UINT64_MAX)
        (void)json_object_set_new(o, "memory_limit", json_integer((json_int_t)f.memory_limit));
    if (f.cpu_quota > 0)
        (void)json_object_set_new(o, "cpu_quota", json_real(f.cpu_quota));
    (void)json_object_set_new(o, "isa", isas());
    (void)json_object_set_new(o, "missing", json_array());
    if (!lm_isa_has(LM_ISA_AVX2))
        add_missing(o, "no AVX2",
                    "the portable code runs, several times slower: use another machine if you can");
    add_prepared(o);
    lm_status status = o ? add_places(o, err) : LM_OK;
    if (status != LM_OK) {
        json_decref(o);
        return status;
    }
    return give(o, json, err);
}
