/* cli/out.c - everything that leaves the program. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli.h"

static struct {
    bool tty, err_tty, colour, gone;
    int error; /* errno of the first failed write */
} out;

void out_setup(void)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    out.tty = isatty(STDOUT_FILENO) == 1;
    out.err_tty = isatty(STDERR_FILENO) == 1;
    out.colour = (no_color == NULL || *no_color == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

bool out_is_terminal(void)
{
    return out.tty;
}

bool err_is_terminal(void)
{
    return out.err_tty;
}

bool out_colour(void)
{
    return out.colour && out.tty;
}

bool out_gone(void)
{
    return out.gone;
}

static void failed(void)
{
    if (errno == EPIPE)
        out.gone = true;
    else if (out.error == 0)
        out.error = errno != 0 ? errno : EIO;
}

static void put(const char *s, size_t n)
{
    if (n == 0 || out.gone || out.error != 0)
        return;
    errno = 0;
    if (fwrite(s, 1, n, stdout) != n)
        failed();
}

void out_flush(void)
{
    errno = 0;
    if (!out.gone && out.error == 0 && fflush(stdout) != 0)
        failed();
}

lm_status out_close(lm_error *err)
{
    out_flush();
    if (out.error != 0)
        return lm_fail(err, LM_ERR_IO, "cannot write to standard output: %s", strerror(out.error));
    return LM_OK;
}

/* C0 (but for newline and tab where lines are kept), DEL, C1 and ill-formed bytes
 * are what a terminal could take for a command. */
void out_escape(lm_str *to, const char *s, size_t n, bool lines)
{
    for (size_t i = 0; i < n;) {
        size_t len = 1;
        uint32_t c = lm_utf8_get(s + i, n - i, &len);
        if (c == LM_UTF8_BAD)
            lm_str_addf(to, "\\x%02x", (unsigned)(unsigned char)s[i]);
        else if (lines && (c == '\n' || c == '\t'))
            lm_str_addc(to, (char)c);
        else if (c < 0x20 || c == 0x7f)
            lm_str_addf(to, "\\x%02x", (unsigned)c);
        else if (c >= 0x80 && c < 0xa0)
            lm_str_addf(to, "\\u%04x", (unsigned)c);
        else
            lm_str_add(to, s + i, len);
        i += len;
    }
}

void out_text(const char *s, size_t n)
{
    if (!out.tty) {
        put(s, n);
        return;
    }
    lm_str safe = { 0 };
    out_escape(&safe, s, n, true);
    put(lm_str_z(&safe), safe.n);
    lm_str_clear(&safe);
}

void out_z(const char *s)
{
    put(s, strlen(s));
}

void out_f(const char *fmt, ...)
{
    va_list ap;
    if (out.gone || out.error != 0)
        return;
    errno = 0;
    va_start(ap, fmt);
    if (vfprintf(stdout, fmt, ap) < 0)
        failed();
    va_end(ap);
}

lm_status out_json(const json_t *json, lm_error *err)
{
    /* Fifteen digits: what a double holds in every case. */
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY);
    if (text == NULL)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the JSON text");
    out_text(text, strlen(text)); /* JSON leaves DEL and C1 as they are */
    out_z("\n");
    free(text); /* jansson's own allocation */
    return LM_OK;
}

void note_f(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
}

void note_error(const lm_error *err)
{
    bool colour = out.colour && out.err_tty;
    (void)fprintf(stderr, "%slemma:%s %s\n", colour ? "\033[1;31m" : "", colour ? "\033[0m" : "",
                  err->text[0] != '\0' ? err->text : lm_status_text(err->status));
    if (err->hint[0] != '\0')
        (void)fprintf(stderr, "  hint: %s\n", err->hint);
}

void progress_start(cli_progress *p, const char *what, const char *unit)
{
    *p = (cli_progress){ .what = what, .unit = unit, .start_ns = cli_now_ns() };
}

void progress_at(cli_progress *p, uint64_t done, uint64_t of)
{
    uint64_t now = cli_now_ns();
    if (!out.err_tty || done == 0 || done >= of || now - p->start_ns < 1000000000u ||
        now - p->said_ns < 200000000u)
        return;
    double rate = (double)done * 1e9 / (double)(now - p->start_ns);
    (void)fprintf(stderr, "\r\033[K%s: %llu of %llu %s, %.*f/s, %.0f s left", p->what,
                  (unsigned long long)done, (unsigned long long)of, p->unit, rate < 10 ? 1 : 0, rate,
                  (double)(of - done) / rate);
    (void)fflush(stderr);
    p->said_ns = now;
    p->shown = true;
}

void progress_end(cli_progress *p)
{
    if (p->shown)
        (void)fputs("\r\033[K", stderr);
    p->shown = false;
}
