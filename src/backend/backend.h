/* backend/backend.h - who runs programs.
 *
 * A backend makes a plan of a program: kernels chosen, operations fused, the
 * workspace sized.  It names the first operation, format or shape that it has no
 * kernel for; it never moves work elsewhere in silence (DESIGN 3.2).
 *
 * Threads: a device and its plans belong to one thread at a time.
 */
#ifndef LM_BACKEND_H
#define LM_BACKEND_H

#include "backend/trace.h"
#include "base/compiler.h"
#include "tensor/program.h"
#include "tensor/step.h"

typedef struct lm_device lm_device;
typedef struct lm_plan lm_plan;

typedef struct {
    uint32_t n_threads;   /* 0: the backend's default */
    const char *isa;      /* NULL: the best there is; else "avx512", "avx2", "portable" */
    const char *compute;  /* NULL: "fast"; or "precise"; no matter to "ref" */
    const char *cpu_mask; /* NULL: any; "0-3,8", "0x10f": until close, also of the thread that opens */
} lm_device_options;

typedef struct {
    char name[96];     /* "cpu avx512, 2 threads": what people see */
    char numerics[64]; /* numerics id: equal ids give equal bits (N1) */
    uint32_t n_threads;
} lm_device_info;

typedef struct {
    uint32_t max_tokens;   /* of a step */
    uint32_t max_rows;     /* wanted rows of a step */
    uint32_t max_segments; /* of a step */
    uint32_t max_context;  /* positions of a session */
    lm_kv_format kv;
} lm_plan_options;

typedef struct {
    const char *name;
    lm_kv_format default_kv;
    lm_status (*open)(lm_device **out, const lm_device_options *o, lm_error *err);
    void (*close)(lm_device *d);
    /* For plans with caches of that format. */
    void (*info)(const lm_device *d, lm_kv_format kv, lm_device_info *out);

    /* LM_ERR_UNSUPPORTED with "cpu has no kernel for …". Keeps d and p. */
    lm_status (*compile)(lm_device *d, const lm_program *p, const lm_plan_options *o, lm_plan **out,
                         lm_error *err);
    uint64_t (*plan_bytes)(const lm_plan *p); /* exact, all that run() will use */
    lm_status (*run)(lm_plan *p, const lm_step *s, lm_error *err);
    void (*plan_free)(lm_plan *p);

    /* Whether linears read lm_matrix.panels where they are; NULL: no. */
    bool (*reads_panels)(const lm_device *d);

    /* Records steps of that kind up to the nth from now, keeping the last of them;
     * nth 0: no more.  All three NULL: this backend records nothing. */
    lm_status (*trace)(lm_plan *p, lm_trace_kind kind, uint32_t nth, lm_error *err);
    bool (*trace_step)(const lm_plan *p, lm_trace_step *out); /* false: there was none */
    void (*trace_read)(const lm_plan *p, void (*each)(void *user, const lm_trace_piece *piece), void *user);
} lm_backend;

extern const lm_backend lm_backend_ref, lm_backend_cpu;

/* NULL: no such backend. */
const lm_backend *lm_backend_by_name(const char *name);

#endif
