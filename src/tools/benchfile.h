/* tools/benchfile.h - a file of figures, as lemma bench writes it.
 *
 * Trust:   the file is hostile; messages say which value is not as it should be.
 * Threads: any thread.
 */
#ifndef LM_TOOLS_BENCHFILE_H
#define LM_TOOLS_BENCHFILE_H

#include <jansson.h>

#include "base/compiler.h"
#include "lemma/tools.h"

enum { LM_BENCH_ROWS = 4096, LM_BENCH_ROUNDS = 1000, LM_BENCH_BYTES = 64 << 20 };

typedef struct {
    const json_t *json;
    const char *test, *kv, *isa, *compute, *unit; /* borrowed from the document */
    uint32_t tokens, depth, threads;
    double median;
    double *speeds; /* [n_rounds] larger is better, whatever the unit */
    double *shares; /* [n_rounds]; NULL: there is no limit to compare with */
    size_t n_rounds;
    char label[192]; /* words of 32 letters and numbers of 32 bits fit */
} lm_bench_row;

typedef struct {
    json_t *doc;
    lm_bench_row *rows;
    size_t n_rows;
    double *numbers; /* what speeds and shares point into */
} lm_bench_file;

lm_status lm_bench_file_open(lm_bench_file *out, const char *path, lm_error *err) LM_NODISCARD;
void lm_bench_file_clear(lm_bench_file *f);
/* Whether two rows measured the same thing. */
bool lm_bench_same(const lm_bench_row *a, const lm_bench_row *b);

#endif
