/* cli/plot.c - lines and bars in SVG, readable on light and dark pages. */
#include "cli/plot.h"

#include <math.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/map.h"
#include "base/str.h"

/* Pixels.  A panel of lines is PLOT high, one of bars ROW a bar. */
enum { LEFT = 300, BAR = 380, RIGHT = 220, ROW = 30, TOP = 64, HEAD = 52, PLOT = 240, AXIS = 70 };

static const char *const colours[] = { "#3b6ea5", "#c0562f", "#4f8f4f", "#8a5ba5",
                                       "#b08a1e", "#2f9a9a", "#a53b6e", "#555555" };

static void add_escaped(lm_str *s, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '<')
            lm_str_addz(s, "&lt;");
        else if (c == '>')
            lm_str_addz(s, "&gt;");
        else if (c == '&')
            lm_str_addz(s, "&amp;");
        else if (c == '"')
            lm_str_addz(s, "&quot;");
        else
            lm_str_addc(s, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
}

static void add_text(lm_str *s, double x, double y, const char *more, const char *text)
{
    lm_str_addf(s, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, more);
    add_escaped(s, text);
    lm_str_addz(s, "</text>\n");
}

static int height_of(const plot_panel *p)
{
    int legend = p->n_series * 18 > PLOT ? (int)p->n_series * 18 : PLOT;
    return HEAD + (p->n_bars > 0 ? ROW * (int)p->n_bars : legend + 48);
}

static void add_bars(lm_str *s, const plot_panel *p, int top)
{
    double most = 0;
    for (size_t i = 0; i < p->n_bars; i++)
        most = LM_MAX(most, LM_MAX(p->bars[i].high, p->bars[i].value));
    double scale = most > 0 ? BAR / most : 0;
    for (size_t i = 0; i < p->n_bars; i++) {
        const plot_bar *b = &p->bars[i];
        int y = top + ROW * (int)i;
        add_text(s, LEFT - 10, y + 15, "text-anchor=\"end\" fill=\"#222222\"", b->label);
        lm_str_addf(s, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", LEFT, y,
                    b->value * scale, ROW - 10, colours[0]);
        if (b->high > b->low)
            lm_str_addf(s, "<path d=\"M%.1f %d H%.1f\" stroke=\"#222222\" stroke-width=\"2\"/>\n",
                        LEFT + b->low * scale, y + (ROW - 10) / 2, LEFT + b->high * scale);
        add_text(s, LEFT + LM_MAX(b->high, b->value) * scale + 8, y + 15, "fill=\"#222222\"", b->note);
    }
}

/* 1, 2 or 5 times a power of ten: some five of them make `most`. */
static double tick_of(double most)
{
    double unit = pow(10, floor(log10(most / 5)));
    double n = most / 5 / unit;
    return unit * (n <= 1 ? 1 : n <= 2 ? 2 : n <= 5 ? 5 : 10);
}

typedef struct {
    double x0, y0, sx, sy; /* where zero is, pixels a unit */
} frame;

static void add_axes(lm_str *s, const plot_panel *p, const frame *f, double max_x, double max_y)
{
    char text[32];
    double tx = tick_of(max_x), ty = tick_of(max_y);
    for (int i = 0; i * ty <= max_y * 1.001; i++) {
        double y = f->y0 - i * ty * f->sy;
        lm_str_addf(s, "<path d=\"M%.1f %.1f H%.1f\" stroke=\"#dddddd\"/>\n", f->x0, y,
                    f->x0 + max_x * f->sx);
        (void)snprintf(text, sizeof text, "%.6g", i * ty);
        add_text(s, f->x0 - 8, y + 4, "text-anchor=\"end\" fill=\"#666666\"", text);
    }
    for (int i = 0; i * tx <= max_x * 1.001; i++) {
        (void)snprintf(text, sizeof text, "%.6g", i * tx);
        add_text(s, f->x0 + i * tx * f->sx, f->y0 + 18, "text-anchor=\"middle\" fill=\"#666666\"", text);
    }
    add_text(s, f->x0 + max_x * f->sx / 2, f->y0 + 36, "text-anchor=\"middle\" fill=\"#666666\"", p->x_unit);
}

static void add_lines(lm_str *s, const plot_panel *p, int top)
{
    double max_x = 0, max_y = 0;
    for (size_t i = 0; i < p->n_series; i++)
        for (size_t k = 0; k < p->series[i].n; k++) {
            max_x = LM_MAX(max_x, p->series[i].points[k].x);
            max_y = LM_MAX(max_y, LM_MAX(p->series[i].points[k].y, p->series[i].points[k].high));
        }
    if (!(max_x > 0) || !(max_y > 0))
        return;
    double width = LEFT + BAR - AXIS;
    frame f = { .x0 = AXIS, .y0 = top + PLOT, .sx = width / max_x, .sy = (PLOT - 10) / max_y };
    add_axes(s, p, &f, max_x, max_y);
    for (size_t i = 0; i < p->n_series; i++) {
        const plot_series *r = &p->series[i];
        const char *colour = colours[i % LM_LEN(colours)];
        lm_str_addf(s, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" d=\"", colour);
        for (size_t k = 0; k < r->n; k++)
            lm_str_addf(s, "%c%.1f %.1f", k ? 'L' : 'M', f.x0 + r->points[k].x * f.sx,
                        f.y0 - r->points[k].y * f.sy);
        lm_str_addz(s, "\"/>\n");
        for (size_t k = 0; k < r->n; k++) {
            const plot_point *q = &r->points[k];
            double x = f.x0 + q->x * f.sx;
            lm_str_addf(s, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", x, f.y0 - q->y * f.sy,
                        colour);
            if (q->high > q->low)
                lm_str_addf(s, "<path d=\"M%.1f %.1f V%.1f\" stroke=\"%s\"/>\n", x, f.y0 - q->low * f.sy,
                            f.y0 - q->high * f.sy, colour);
        }
        double y = top + 14 + 18 * (double)i;
        lm_str_addf(s, "<rect x=\"%d\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"%s\"/>\n",
                    LEFT + BAR + 20, y - 10, colour);
        add_text(s, LEFT + BAR + 38, y, "fill=\"#222222\"", r->label);
    }
}

lm_status plot_write(const char *path, const char *title, const plot_panel *panels, size_t n, lm_error *err)
{
    lm_str s = { 0 };
    int width = LEFT + BAR + RIGHT, height = TOP, top = TOP - 16;
    for (size_t i = 0; i < n; i++)
        height += height_of(&panels[i]);
    lm_str_addf(&s,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                "font-family=\"sans-serif\" font-size=\"13\">\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                width, height, width, height);
    add_text(&s, 16, 26, "font-size=\"16\" fill=\"#222222\"", title);
    for (size_t i = 0; i < n; i++) {
        const plot_panel *p = &panels[i];
        add_text(&s, 16, top + 20, "font-weight=\"bold\" fill=\"#222222\"", p->title);
        add_text(&s, 16, top + 38, "fill=\"#666666\"", p->unit);
        if (p->n_bars > 0)
            add_bars(&s, p, top + HEAD);
        else
            add_lines(&s, p, top + HEAD);
        top += height_of(p);
    }
    lm_str_addz(&s, "</svg>\n");
    lm_status st = lm_str_status(&s, err);
    if (st == LM_OK)
        st = lm_write_file(path, lm_str_z(&s), s.n, 0644, err);
    lm_str_clear(&s);
    return st;
}
