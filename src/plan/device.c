/* plan/device.c - /proc, /sys and cgroups (both versions), read leniently: what
 * is not there does not limit. */
#define _GNU_SOURCE
#include "plan/device.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpus.h"

static bool read_line(const char *path, char *buf, size_t cap)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(buf, (int)cap, f) != NULL;
    (void)fclose(f);
    if (ok)
        buf[strcspn(buf, "\n")] = 0;
    return ok;
}

static uint64_t read_number(const char *path, uint64_t otherwise)
{
    char buf[64];
    if (!read_line(path, buf, sizeof buf) || buf[0] < '0' || buf[0] > '9')
        return otherwise;
    return strtoull(buf, NULL, 10);
}

static void read_meminfo(lm_device_facts *f)
{
    char line[160];
    FILE *in = fopen("/proc/meminfo", "re");
    while (in && fgets(line, sizeof line, in)) {
        unsigned long long kb;
        if (sscanf(line, "MemTotal: %llu kB", &kb) == 1)
            f->memory_total = kb * 1024u;
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
            f->memory_available = kb * 1024u;
    }
    if (in)
        (void)fclose(in);
}

static void read_cpu_name(lm_device_facts *f)
{
    char line[256];
    FILE *in = fopen("/proc/cpuinfo", "re");
    while (in && fgets(line, sizeof line, in)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            line[strcspn(line, "\n")] = 0;
            (void)snprintf(f->cpu, sizeof f->cpu, "%.90s", colon + 2);
            break;
        }
    }
    if (in)
        (void)fclose(in);
}

static void read_cgroup(lm_device_facts *f)
{
    uint64_t v2 = read_number("/sys/fs/cgroup/memory.max", UINT64_MAX);
    uint64_t v1 = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", UINT64_MAX);
    f->memory_limit = LM_MIN(v1, v2);
    f->memory_used_in_limit = v2 < UINT64_MAX ? read_number("/sys/fs/cgroup/memory.current", 0)
                                              : read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes", 0);
    if (f->memory_limit >= UINT64_MAX / 4) /* v1 spells "none" as a huge number */
        f->memory_limit = UINT64_MAX;
}

void lm_device_read_memory(lm_device_facts *f)
{
    *f = (lm_device_facts){ .memory_limit = UINT64_MAX };
    read_meminfo(f);
    read_cgroup(f);
}

void lm_device_read(lm_device_facts *f)
{
    lm_cpus mine;
    lm_device_read_memory(f);
    read_cpu_name(f);
    lm_cpus_allowed(&mine);
    f->cores = lm_cpus_count(&mine);
    f->physical = lm_cpus_physical(&mine);
    f->cpu_quota = lm_cpus_quota();
}

uint64_t lm_device_free_memory(const lm_device_facts *f)
{
    uint64_t room = f->memory_limit == UINT64_MAX               ? UINT64_MAX
                    : f->memory_limit > f->memory_used_in_limit ? f->memory_limit - f->memory_used_in_limit
                                                                : 0;
    /* A machine that does not tell is not refused. */
    return LM_MIN(room, f->memory_available ? f->memory_available : UINT64_MAX);
}

uint32_t lm_device_threads(const lm_device_facts *f)
{
    uint32_t n = f->physical;
    if (f->cpu_quota > 0 && f->cpu_quota < n)
        n = (uint32_t)ceil(f->cpu_quota);
    return n ? n : 1;
}
