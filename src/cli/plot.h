/* cli/plot.h - plain SVG: panels of lines or bars, one below the other.
 * Threads: one thread. */
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

typedef struct {
    double x, y, low, high;
} plot_point;

typedef struct {
    const char *label;
    const plot_point *points; /* ascending in x, none negative */
    size_t n;
} plot_series;

/* Bars where there are bars, else lines from zero up. */
typedef struct {
    const char *title, *unit, *x_unit;
    const plot_bar *bars;
    size_t n_bars;
    const plot_series *series;
    size_t n_series;
} plot_panel;

/* Writes the file whole or not at all. */
lm_status plot_write(const char *path, const char *title, const plot_panel *panels, size_t n, lm_error *err);

#endif
