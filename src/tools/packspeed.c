/* tools/packspeed.c - which kernels read a pack's weights, and whether a copy is prepared. */
#include "backend/cpu/panels.h"
#include "engine/prepared.h"
#include "tools/packreport.h"

static json_t *of_format(const lm_quant *q, size_t tensors)
{
    lm_isa isa = lm_isa_best();
    const lm_cpu_linear *l = lm_cpu_linear_find(isa, LM_COMPUTE_FAST, q, q->block_elems);
    return json_pack("{s:s, s:I, s:s, s:b}", "format", q->name, "tensors", (json_int_t)tensors, "kernel",
                     l->name, "prepares", lm_isa_reads_panels(isa) && lm_panels_exist(q, q->block_elems));
}

void lm_report_speed(lm_pack_report *r, const lm_packfile *p)
{
    const lm_quant *found[64];
    size_t tensors[LM_LEN(found)] = { 0 }, n = 0;
    json_t *kernels = json_array();
    uint64_t bytes = 0;
    for (size_t i = 0; i < lm_packfile_n_tensors(p); i++) {
        const lm_tensor *t = lm_packfile_tensor(p, i);
        size_t k = 0;
        if (!t->quant || t->n_dims < 2)
            continue;
        while (k < n && found[k] != t->quant)
            k++;
        if (k == LM_LEN(found))
            continue;
        found[k] = t->quant;
        tensors[k]++;
        n = LM_MAX(n, k + 1);
    }
    for (size_t k = 0; k < n; k++)
        r->failed |= json_array_append_new(kernels, of_format(found[k], tensors[k])) != 0;
    lm_report_set(r, "kernels", kernels);
    lm_prepared_state s = lm_prepared_look(p, "", &bytes);
    const char *name = s == LM_PREPARED_USED ? "current" : lm_prepared_state_name(s);
    lm_report_set(r, "prepared",
                  bytes ? json_pack("{s:s, s:I}", "state", name, "bytes", (json_int_t)bytes)
                        : json_pack("{s:s}", "state", name));
}
