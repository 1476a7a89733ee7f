/* base/cpus.c - affinity, cores and quotas, read leniently: what is not there
 * does not limit. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/cpus.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/str.h"

static bool has(const lm_cpus *c, uint32_t i)
{
    return i < LM_CPUS_MAX && (c->bits[i / 64] >> i % 64 & 1);
}

static void put(lm_cpus *c, uint32_t i)
{
    c->bits[i / 64] |= (uint64_t)1 << i % 64;
}

void lm_cpus_allowed(lm_cpus *out)
{
    *out = (lm_cpus){ { 0 } };
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (uint32_t i = 0; i < LM_CPUS_MAX && i < CPU_SETSIZE; i++)
            if (CPU_ISSET((size_t)i, &set))
                put(out, i);
        return;
    }
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    for (uint32_t i = 0; i < LM_CPUS_MAX && (long)i < LM_MAX(n, 1L); i++)
        put(out, i);
}

uint32_t lm_cpus_count(const lm_cpus *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < LM_CPUS_MAX; i++)
        n += has(c, i);
    return n;
}

static bool read_line(const char *path, char *buf, size_t n)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(buf, (int)n, f) != NULL;
    (void)fclose(f);
    return ok;
}

uint32_t lm_cpus_physical(const lm_cpus *c)
{
    lm_cpus seen = { { 0 } }; /* first siblings of the cores met */
    uint32_t n = 0;
    for (uint32_t i = 0; i < LM_CPUS_MAX; i++) {
        char path[96], line[64];
        unsigned long first = i;
        if (!has(c, i))
            continue;
        (void)snprintf(path, sizeof path,
                       "/sys/devices/system/cpu/cpu%" PRIu32 "/topology/thread_siblings_list", i);
        if (read_line(path, line, sizeof line) && line[0] >= '0' && line[0] <= '9')
            first = strtoul(line, NULL, 10);
        if (first >= LM_CPUS_MAX)
            first = i;
        n += !has(&seen, (uint32_t)first);
        put(&seen, (uint32_t)first);
    }
    return n;
}

/* "50000 100000" -> 0.5; 0 where there is no limit. */
static double share_of(const char *line)
{
    long long quota = 0, period = 0;
    return sscanf(line, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0
               ? (double)quota / (double)period
               : 0;
}

double lm_cpus_quota(void)
{
    char line[256], path[320], group[200] = "";
    double best = 0;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "0::", 3) == 0)
            (void)sscanf(line + 3, "%199[^\n]", group);
    if (f)
        (void)fclose(f);
    if (strcmp(group, "/") == 0)
        group[0] = 0;
    for (;;) { /* version 2: the group and everything above it */
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        double here = read_line(path, line, sizeof line) ? share_of(line) : 0;
        if (here > 0 && (best <= 0 || here < best))
            best = here;
        char *slash = strrchr(group, '/');
        if (!slash)
            break;
        *slash = 0;
    }
    char quota[64], period[64];
    if (best <= 0 && read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota) &&
        read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period)) {
        (void)snprintf(line, sizeof line, "%s %s", quota, period);
        best = share_of(line);
    }
    return best;
}

uint32_t lm_cpus_threads(const lm_cpus *c)
{
    uint32_t n = lm_cpus_physical(c);
    double quota = lm_cpus_quota();
    if (quota > 0 && quota < (double)n)
        n = (uint32_t)ceil(quota);
    return LM_MAX(n, 1u);
}

/* --- masks -------------------------------------------------------------------- */

static bool parse_hex(lm_cpus *out, const char *digits)
{
    size_t n = strlen(digits);
    if (n == 0 || n > LM_CPUS_MAX / 4)
        return false;
    for (size_t i = 0; i < n; i++) {
        static const char hex[] = "0123456789abcdef0123456789ABCDEF";
        const char *at = strchr(hex, digits[n - 1 - i]);
        if (!at)
            return false;
        out->bits[i / 16] |= (uint64_t)((at - hex) % 16) << i % 16 * 4;
    }
    return true;
}

static bool parse_number(const char **p, uint32_t *out)
{
    uint32_t v = 0;
    if (**p < '0' || **p > '9')
        return false;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        v = v * 10 + (uint32_t)(**p - '0');
        if (v >= LM_CPUS_MAX)
            return false;
    }
    *out = v;
    return true;
}

static bool parse_list(lm_cpus *out, const char *p)
{
    for (;; p++) {
        uint32_t from, to;
        if (!parse_number(&p, &from))
            return false;
        to = from;
        if (*p == '-') {
            p++;
            if (!parse_number(&p, &to) || to < from)
                return false;
        }
        for (uint32_t i = from; i <= to; i++)
            put(out, i);
        if (*p == 0)
            return true;
        if (*p != ',')
            return false;
    }
}

lm_status lm_cpus_parse(lm_cpus *out, const char *text, lm_error *err)
{
    lm_quoted_buf q;
    lm_cpus mine;
    char have[LM_CPUS_TEXT];
    lm_cpus_allowed(&mine);
    lm_cpus_text(&mine, have, sizeof have);
    *out = (lm_cpus){ { 0 } };
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    if (!(hex ? parse_hex(out, text + 2) : parse_list(out, text)) || lm_cpus_count(out) == 0)
        return lm_fail(err, LM_ERR_USAGE,
                       "'%s' names no processors: allowed is a list such as 0-3,8 or a mask such as 0x10f, "
                       "within %s",
                       lm_quoted_z(&q, text), have);
    for (uint32_t i = 0; i < LM_CPUS_MAX; i++)
        if (has(out, i) && !has(&mine, i))
            return lm_fail(err, LM_ERR_USAGE,
                           "'%s' names processor %" PRIu32 ", this process may use %" PRIu32 ": %s",
                           lm_quoted_z(&q, text), i, lm_cpus_count(&mine), have);
    return LM_OK;
}

void lm_cpus_text(const lm_cpus *c, char *out, size_t n)
{
    size_t used = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < LM_CPUS_MAX; i++) {
        char part[32];
        uint32_t end = i;
        if (!has(c, i))
            continue;
        while (has(c, end + 1))
            end++;
        int k = end > i ? snprintf(part, sizeof part, "%s%" PRIu32 "-%" PRIu32, used ? "," : "", i, end)
                        : snprintf(part, sizeof part, "%s%" PRIu32, used ? "," : "", i);
        if (used + (size_t)k + 4 > n) {
            (void)snprintf(out + used, n - used, "...");
            return;
        }
        memcpy(out + used, part, (size_t)k + 1);
        used += (size_t)k;
        i = end;
    }
}

lm_status lm_cpus_bind(const lm_cpus *c, lm_error *err)
{
#ifdef __linux__
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < LM_CPUS_MAX && i < CPU_SETSIZE; i++)
        if (has(c, i))
            CPU_SET((size_t)i, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        return lm_fail(err, LM_ERR_IO, "the system does not bind threads to processors: %s", strerror(errno));
    return LM_OK;
#else
    (void)c;
    return lm_fail(err, LM_ERR_UNSUPPORTED, "this system does not bind threads to processors");
#endif
}
