/* tools/memory.c - what this process holds, as the system counts it. */
#include <stdio.h>

#include "base/compiler.h"
#include "lemma/tools.h"

void lm_process_memory(lm_memory *out)
{
    char line[160];
    unsigned long long kb;
    *out = (lm_memory){ 0 };
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmHWM: %llu kB", &kb) == 1)
            out->peak = kb * 1024u;
        if (sscanf(line, "RssAnon: %llu kB", &kb) == 1)
            out->anonymous = kb * 1024u;
        if (sscanf(line, "RssFile: %llu kB", &kb) == 1)
            out->file = kb * 1024u;
    }
    if (f)
        (void)fclose(f);
}

bool lm_process_forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");
    bool ok = f && fputs("5", f) >= 0; /* proc(5): resets the peak resident set size */
    return f && fclose(f) == 0 && ok;
}
