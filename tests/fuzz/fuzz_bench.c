/* Files of figures, as 'lemma bench compare' and 'plot' read them: whatever is let through
 * compares with itself as the same, and comes back as JSON of the same lines. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

#include "lemma/lemma.h"
#include "tools/benchfile.h"

static void require(int right)
{
    if (!right)
        abort();
}

static void read_back(const char *path, const lm_bench_file *f)
{
    char *text = NULL;
    json_error_t e;
    require(lm_bench_read(path, &text, NULL) == LM_OK);
    json_t *doc = json_loads(text, 0, &e);
    require(json_array_size(json_object_get(doc, "results")) == f->n_rows);
    json_decref(doc);
    lm_give_back(text);
}

/* Every line is in the comparison, with numbers as the file has them. */
static void compare_with_itself(const char *path, const lm_bench_file *f)
{
    char *text = NULL;
    json_error_t e;
    require(lm_bench_compare(path, path, 0.01, &text, NULL) == LM_OK);
    json_t *doc = json_loads(text, 0, &e);
    const json_t *rows = json_object_get(doc, "rows");
    require(json_array_size(rows) == f->n_rows);
    for (size_t i = 0; i < f->n_rows; i++) {
        const json_t *row = json_array_get(rows, i);
        const char *verdict = json_string_value(json_object_get(row, "verdict"));
        require(verdict && (strcmp(verdict, "same") == 0 || strcmp(verdict, "unclear") == 0));
        require(json_integer_value(json_object_get(row, "tokens")) == f->rows[i].tokens);
        require(json_integer_value(json_object_get(row, "depth")) == f->rows[i].depth);
        require(json_integer_value(json_object_get(row, "threads")) == f->rows[i].threads);
        require(strlen(f->rows[i].label) + 1 < sizeof f->rows[i].label);
    }
    json_decref(doc);
    lm_give_back(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lm_bench_file f;
    lm_error err = { 0 };
    char path[64];
    int fd = memfd_create("figures", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (lm_bench_file_open(&f, path, &err) == LM_OK) {
        read_back(path, &f);
        compare_with_itself(path, &f);
        lm_bench_file_clear(&f);
    } else {
        require(err.text[0] != 0);
    }
    (void)close(fd);
    return 0;
}
