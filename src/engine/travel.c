/* engine/travel.c - sessions that go to another machine or format, as lemma/state.h shows it. */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/fail.h"
#include "lemma/state.h"
#include "state/store.h"

static void tell(const lm_bundle_report *r, const char *name, lm_bundle_result *out)
{
    if (!out)
        return;
    lm_bundle_result all = { .size = out->size,
                             .n_tokens = r->n_tokens,
                             .pages = r->pages,
                             .page_bytes = r->page_bytes,
                             .file_bytes = r->file_bytes };
    (void)snprintf(all.name, sizeof all.name, "%s", name);
    memcpy(out, &all, LM_MIN(sizeof all, (size_t)out->size));
}

lm_status lm_state_export(lm_store *s, const char *name, const char *path, lm_bundle_result *out,
                          lm_error *err)
{
    lm_bundle_report r = { 0 };
    LM_TRY(lm_store_export(s, name, path, &r, err));
    tell(&r, name, out);
    return LM_OK;
}

lm_status lm_state_import(lm_store *s, const char *path, const char *new_name, lm_bundle_result *out,
                          lm_error *err)
{
    lm_bundle_report r = { 0 };
    char name[LM_STATE_NAME];
    LM_TRY(lm_store_import(s, path, new_name, name, &r, err));
    tell(&r, name, out);
    return LM_OK;
}

lm_status lm_state_recode(lm_store *s, const char *name, const char *new_name, const char *format,
                          lm_bundle_result *out, lm_error *err)
{
    lm_bundle_report r = { 0 };
    LM_TRY(lm_store_recode(s, name, new_name, format, &r, err));
    tell(&r, new_name, out);
    return LM_OK;
}
