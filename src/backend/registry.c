/* backend/registry.c - backends by name. */
#include <string.h>

#include "backend/backend.h"

const lm_backend *lm_backend_by_name(const char *name)
{
    static const lm_backend *const all[] = { &lm_backend_cpu, &lm_backend_ref };
    for (size_t i = 0; i < LM_LEN(all); i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}
