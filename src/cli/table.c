/* cli/table.c - columns for people. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli.h"

void table_open(cli_table *t, size_t n_cols)
{
    *t = (cli_table){ .n_cols = n_cols };
}

void table_add(cli_table *t, const char *text)
{
    lm_str safe = { 0 };
    out_escape(&safe, text, strlen(text), false); /* a cell is one line */
    char *copy = NULL;
    if (t->failed || lm_grow((void **)&t->cell, &t->cap, t->n_cells + 1, sizeof *t->cell, NULL) != LM_OK ||
        lm_strdup_n(lm_str_z(&safe), safe.n, &copy, NULL) != LM_OK)
        t->failed = true;
    else
        t->cell[t->n_cells++] = copy;
    lm_str_clear(&safe);
}

void table_addf(cli_table *t, const char *fmt, ...)
{
    char buf[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    table_add(t, buf);
}

static size_t columns_of(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0u) != 0x80;
    return n;
}

static bool numeric(const cli_table *t, size_t col, size_t first_row)
{
    for (size_t i = first_row * t->n_cols + col; i < t->n_cells; i += t->n_cols) {
        const char *s = t->cell[i];
        if (*s != '\0' && !isdigit((unsigned char)*s) && *s != '-' && *s != '+')
            return false;
    }
    return true;
}

void table_print(const cli_table *t, bool head)
{
    size_t rows = t->n_cells / t->n_cols;
    for (size_t r = 0; r < rows; r++) {
        lm_str line = { 0 };
        for (size_t c = 0; c < t->n_cols; c++) {
            size_t width = 0;
            for (size_t i = c; i < t->n_cells; i += t->n_cols)
                width = LM_MAX(width, columns_of(t->cell[i]));
            const char *s = t->cell[r * t->n_cols + c];
            size_t pad = width - columns_of(s);
            bool right = numeric(t, c, head ? 1 : 0);
            if (c > 0)
                lm_str_addz(&line, "  ");
            for (size_t i = 0; right && i < pad; i++)
                lm_str_addc(&line, ' ');
            lm_str_addz(&line, s);
            for (size_t i = 0; !right && c + 1 < t->n_cols && i < pad; i++)
                lm_str_addc(&line, ' ');
        }
        while (line.n > 0 && line.s[line.n - 1] == ' ')
            line.n--;
        out_f("%.*s\n", (int)line.n, lm_str_z(&line));
        lm_str_clear(&line);
    }
}

void table_close(cli_table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        lm_free(t->cell[i]);
    lm_free(t->cell);
    *t = (cli_table){ 0 };
}

void size_text(char *buf, size_t cap, double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    size_t u = 0;
    while (bytes >= 1024 && u + 1 < LM_LEN(units)) {
        bytes /= 1024;
        u++;
    }
    (void)snprintf(buf, cap, u == 0 ? "%.0f %s" : bytes < 10 ? "%.2f %s" : "%.1f %s", bytes, units[u]);
}

/* Keys of the library's JSON whose numbers are bytes. */
static bool counts_bytes(const char *key)
{
    return strstr(key, "bytes") != NULL || strncmp(key, "memory", 6) == 0 || strcmp(key, "bandwidth") == 0;
}

static void add_value(cli_table *t, const char *key, const json_t *v)
{
    char buf[64];
    if (json_is_string(v))
        table_add(t, json_string_value(v));
    else if (json_is_boolean(v))
        table_add(t, json_is_true(v) ? "yes" : "no");
    else if (json_is_number(v) && counts_bytes(key)) {
        size_text(buf, sizeof buf, json_number_value(v));
        table_addf(t, "%s%s", buf, strcmp(key, "bandwidth") == 0 ? "/s" : "");
    } else if (json_is_integer(v))
        table_addf(t, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        table_addf(t, "%.6g", json_real_value(v));
    else if (json_is_array(v)) {
        lm_str s = { 0 };
        for (size_t i = 0; i < json_array_size(v); i++) {
            const json_t *x = json_array_get(v, i);
            if (i > 0)
                lm_str_addz(&s, " ");
            if (json_is_string(x))
                lm_str_addz(&s, json_string_value(x));
            else if (json_is_integer(x))
                lm_str_addf(&s, "%lld", (long long)json_integer_value(x));
            else if (json_is_real(x))
                lm_str_addf(&s, "%.6g", json_real_value(x));
        }
        table_add(t, s.n > 0 ? lm_str_z(&s) : "none");
        lm_str_clear(&s);
    } else
        table_add(t, "");
}

static bool rows_of_objects(const json_t *v)
{
    return json_is_array(v) && json_array_size(v) > 0 && json_is_object(json_array_get(v, 0));
}

static void print_rows(const json_t *rows)
{
    const json_t *first = json_array_get(rows, 0);
    const char *key;
    json_t *v;
    cli_table t;
    table_open(&t, json_object_size(first));
    json_object_foreach((json_t *)first, key, v) table_add(&t, key);
    for (size_t i = 0; i < json_array_size(rows); i++)
        json_object_foreach((json_t *)first, key, v)
            add_value(&t, key, json_object_get(json_array_get(rows, i), key));
    table_print(&t, true);
    table_close(&t);
}

static void print_object(const json_t *object, const char *prefix)
{
    const char *key;
    json_t *v;
    cli_table t;
    table_open(&t, 2);
    json_object_foreach((json_t *)object, key, v)
    {
        if (json_is_object(v) || rows_of_objects(v) || json_is_null(v))
            continue;
        table_addf(&t, "%s%s", prefix, key);
        add_value(&t, key, v);
    }
    table_print(&t, false);
    table_close(&t);
    json_object_foreach((json_t *)object, key, v)
    {
        if (json_is_object(v) && prefix[0] == '\0') {
            char inner[128];
            lm_quoted_buf q;
            (void)snprintf(inner, sizeof inner, "%s.", lm_quoted_z(&q, key));
            print_object(v, inner);
        } else if (rows_of_objects(v)) {
            lm_quoted_buf q;
            out_f("\n%s\n", lm_quoted_z(&q, key));
            print_rows(v);
        }
    }
}

void table_json(const json_t *json)
{
    if (rows_of_objects(json))
        print_rows(json);
    else if (json_is_object(json))
        print_object(json, "");
}
