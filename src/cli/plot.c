/* cli/plot.c - bars in SVG, readable on light and dark pages. */
#include "cli/plot.h"

#include "base/map.h"
#include "base/str.h"

enum { LEFT = 230, BAR = 380, RIGHT = 210, ROW = 30, TOP = 64 };

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

lm_status plot_write(const char *path, const char *title, const char *unit, const plot_bar *bars, size_t n,
                     lm_error *err)
{
    lm_str s = { 0 };
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = bars[i].high > most ? bars[i].high : bars[i].value > most ? bars[i].value : most;
    double scale = most > 0 ? BAR / most : 0;
    int height = TOP + ROW * (int)n + 24;
    lm_str_addf(&s,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                "font-family=\"sans-serif\" font-size=\"13\">\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
                "<text x=\"16\" y=\"26\" font-size=\"16\" fill=\"#222222\">",
                LEFT + BAR + RIGHT, height, LEFT + BAR + RIGHT, height);
    add_escaped(&s, title);
    lm_str_addz(&s, "</text>\n<text x=\"16\" y=\"46\" fill=\"#666666\">");
    add_escaped(&s, unit);
    lm_str_addz(&s, "</text>\n");
    for (size_t i = 0; i < n; i++) {
        int y = TOP + ROW * (int)i;
        lm_str_addf(&s, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#222222\">", LEFT - 10, y + 15);
        add_escaped(&s, bars[i].label);
        lm_str_addf(&s, "</text>\n<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#3b6ea5\"/>\n",
                    LEFT, y, bars[i].value * scale, ROW - 10);
        if (bars[i].high > bars[i].low)
            lm_str_addf(&s, "<path d=\"M%.1f %d H%.1f\" stroke=\"#222222\" stroke-width=\"2\"/>\n",
                        LEFT + bars[i].low * scale, y + (ROW - 10) / 2, LEFT + bars[i].high * scale);
        lm_str_addf(&s, "<text x=\"%.1f\" y=\"%d\" fill=\"#222222\">", LEFT + bars[i].high * scale + 8,
                    y + 15);
        add_escaped(&s, bars[i].note);
        lm_str_addz(&s, "</text>\n");
    }
    lm_str_addz(&s, "</svg>\n");
    lm_status st = lm_str_status(&s, err);
    if (st == LM_OK)
        st = lm_write_file(path, lm_str_z(&s), s.n, 0644, err);
    lm_str_clear(&s);
    return st;
}
