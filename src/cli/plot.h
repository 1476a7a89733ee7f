/* cli/plot.h - a plain SVG bar chart.  Threads: one thread. */
#ifndef LM_CLI_PLOT_H
#define LM_CLI_PLOT_H

#include <stddef.h>

#include "lemma/error.h"

typedef struct {
    const char *label; /* ours or the pack's name; escaped here */
    double value;      /* length of the bar */
    double low, high;  /* spread, drawn as a line; equal: none */
    char note[64];     /* at the end of the bar */
} plot_bar;

/* Writes the file whole or not at all. */
lm_status plot_write(const char *path, const char *title, const char *unit, const plot_bar *bars, size_t n,
                     lm_error *err);

#endif
