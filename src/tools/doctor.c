/* tools/doctor.c - what this machine is and what lemma would do on it. */
#include <jansson.h>

#include "backend/backend.h"
#include "backend/cpu/linear.h"
#include "base/fail.h"
#include "base/str.h"
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

lm_status lm_doctor(char **json, lm_error *err)
{
    lm_device_facts f;
    lm_device_read(&f);
    json_t *o = json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:f, s:[s, s]}", "version", lm_version(), "cpu",
                          f.cpu, "cores", (int)f.cores, "threads", (int)lm_device_threads(&f), "memory",
                          (json_int_t)f.memory_total, "memory_free", (json_int_t)lm_device_free_memory(&f),
                          "bandwidth", lm_probe_bandwidth(0), "backends", "cpu", "ref");
    if (f.memory_limit != UINT64_MAX)
        (void)json_object_set_new(o, "memory_limit", json_integer((json_int_t)f.memory_limit));
    if (f.cpu_quota > 0)
        (void)json_object_set_new(o, "cpu_quota", json_real(f.cpu_quota));
    (void)json_object_set_new(o, "isa", isas());
    char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    if (!text)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the report");
    *json = text;
    return LM_OK;
}
