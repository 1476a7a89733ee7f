/* format/folder.h - names in a folder, and paths put together with care.
 * Threads: any thread. */
#ifndef LM_FORMAT_FOLDER_H
#define LM_FORMAT_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct {
    char **names; /* sorted, without "." and ".." */
    size_t n, cap;
} lm_folder;

/* Missing folder: LM_ERR_NOT_FOUND. */
lm_status lm_folder_read(lm_folder *out, const char *path, lm_error *err) LM_NODISCARD;
void lm_folder_clear(lm_folder *f);
bool lm_folder_has(const lm_folder *f, const char *name);

/* Whether `name` names something right inside a folder: no '/', no "..", not
 * empty, no control character. */
bool lm_plain_name(const char *name);
bool lm_ends_with(const char *s, const char *end);
bool lm_starts_with(const char *s, const char *start);
/* Gives "a/b" (lm_free()). */
lm_status lm_path_join(char **out, const char *a, const char *b, lm_error *err) LM_NODISCARD;
/* Gives the path with the current folder in front unless it is absolute;
 * symbolic links stay (the Hugging Face cache lives by their names). */
lm_status lm_path_absolute(char **out, const char *path, lm_error *err) LM_NODISCARD;
typedef enum { LM_PATH_NONE, LM_PATH_FILE, LM_PATH_FOLDER, LM_PATH_OTHER } lm_path_kind;
lm_path_kind lm_path_kind_of(const char *path); /* follows links */

#endif
