/* backend/cpu/cpu.c - the CPU as a backend: device, options, table. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/cpu/panels.h"
#include "backend/cpu/plan.h"
#include "base/fail.h"
#include "base/mem.h"

/* "portable, avx2" */
static void isa_names(char *out, size_t n)
{
    size_t used = 0;
    for (int i = 0; i < LM_ISA_COUNT && used < n; i++)
        if (lm_isa_has((lm_isa)i))
            used += (size_t)snprintf(out + used, n - used, "%s%s", i ? ", " : "", lm_isa_name((lm_isa)i));
}

static lm_status isa_of(const char *name, lm_isa *out, lm_error *err)
{
    char have[128];
    lm_quoted_buf q;
    if (!name) {
        *out = lm_isa_best();
        return LM_OK;
    }
    isa_names(have, sizeof have);
    for (int i = 0; i < LM_ISA_COUNT; i++)
        if (strcmp(name, lm_isa_name((lm_isa)i)) == 0) {
            if (!lm_isa_has((lm_isa)i)) {
                const char *why = lm_isa_why((lm_isa)i);
                return lm_fail(err, LM_ERR_UNSUPPORTED, "this machine has no %s%s%s%s, it has %s", name,
                               why ? " (" : "", why ? why : "", why ? ")" : "", have);
            }
            *out = (lm_isa)i;
            return LM_OK;
        }
    return lm_fail(err, LM_ERR_USAGE, "instruction set '%s' is unknown, this machine has %s",
                   lm_quoted_z(&q, name), have);
}

static void cpu_close(lm_device *d)
{
    if (!d)
        return;
    lm_team_close(d->team);
    if (d->bound)
        (void)lm_cpus_bind(&d->before, NULL); /* what was allowed before is allowed */
    lm_free(d);
}

/* Before the team is made: its threads inherit where they may run. */
static lm_status bind_threads(lm_device *d, const char *mask, lm_error *err)
{
    lm_cpus cpus;
    if (!mask)
        return LM_OK;
    lm_status s = lm_cpus_parse(&cpus, mask, err);
    if (s == LM_OK) {
        lm_cpus_allowed(&d->before);
        s = lm_cpus_bind(&cpus, err);
    }
    d->bound = s == LM_OK;
    return s == LM_OK ? s : lm_wrap(err, s, "the processors to run on (-C, --cpu-mask)");
}

static lm_status open_team(lm_device *d, uint32_t n, lm_error *err)
{
    uint32_t most = lm_team_limit();
    d->n_threads = n ? n : lm_team_default();
    if (d->n_threads > most)
        return lm_fail(err, LM_ERR_USAGE,
                       "the number of threads (-t, --threads) is %" PRIu32
                       ", this machine allows 1 to %" PRIu32,
                       n, most);
    return lm_team_open(&d->team, d->n_threads, err);
}

static lm_status cpu_open(lm_device **out, const lm_device_options *o, lm_error *err)
{
    lm_device *d = NULL;
    lm_isa isa = LM_ISA_PORTABLE;
    bool precise = o && o->compute && strcmp(o->compute, "precise") == 0;
    LM_TRY(isa_of(o ? o->isa : NULL, &isa, err));
    LM_TRY(LM_NEW(&d, 1, err));
    d->isa = isa;
    d->compute = precise ? LM_COMPUTE_PRECISE : LM_COMPUTE_FAST;
    d->kernels = lm_cpu_kernels_of(isa);
    lm_status status = bind_threads(d, o ? o->cpu_mask : NULL, err);
    if (status == LM_OK)
        status = open_team(d, o ? o->n_threads : 0, err);
    if (status != LM_OK) {
        cpu_close(d);
        return status;
    }
    *out = d;
    return LM_OK;
}

static void cpu_info(const lm_device *d, lm_kv_format kv, lm_device_info *out)
{
    *out = (lm_device_info){ .n_threads = d->n_threads };
    (void)snprintf(out->name, sizeof out->name, "cpu %s%s, %" PRIu32 " thread%s", lm_isa_name(d->isa),
                   d->compute == LM_COMPUTE_PRECISE ? " precise" : "", d->n_threads,
                   d->n_threads == 1 ? "" : "s");
    lm_cpu_numerics(d->isa, d->compute, kv, out->numerics, sizeof out->numerics);
}

static uint64_t cpu_plan_bytes(const lm_plan *pl)
{
    return pl->bytes;
}

static bool cpu_reads_panels(const lm_device *d)
{
    return lm_isa_reads_panels(d->isa);
}

const lm_backend lm_backend_cpu = {
    .name = "cpu",
    .default_kv = LM_KV_BF16,
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .compile = lm_cpu_compile,
    .plan_bytes = cpu_plan_bytes,
    .run = lm_cpu_run,
    .plan_free = lm_cpu_plan_free,
    .reads_panels = cpu_reads_panels,
    .trace = lm_cpu_trace_ask,
    .trace_step = lm_cpu_trace_step,
    .trace_read = lm_cpu_trace_read,
};
