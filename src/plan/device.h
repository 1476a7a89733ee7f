/* plan/device.h - what this machine offers: memory, cores, within the container.
 * Threads: any thread. */
#ifndef LM_PLAN_DEVICE_H
#define LM_PLAN_DEVICE_H

#include <stdint.h>

typedef struct {
    uint64_t memory_total, memory_available; /* bytes, of the machine */
    uint64_t memory_limit;                   /* of the container (cgroup), UINT64_MAX: none */
    uint64_t memory_used_in_limit;
    uint32_t cores;    /* that the process may run on (affinity) */
    uint32_t physical; /* of these, without hyperthread siblings */
    double cpu_quota;  /* cores' worth of time (cgroup), 0: no quota */
    char cpu[96];      /* model name */
} lm_device_facts;

void lm_device_read(lm_device_facts *out);
/* Memory alone: what opening a model has to know, and the quickest to find out. */
void lm_device_read_memory(lm_device_facts *out);
/* Bytes that may still be used: the smaller of what is available and what the
 * container's limit leaves. */
uint64_t lm_device_free_memory(const lm_device_facts *f);
/* Threads to compute with by default: physical cores within quota, at least 1. */
uint32_t lm_device_threads(const lm_device_facts *f);

#endif
