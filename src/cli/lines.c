/* cli/lines.c - what a person types: libedit on a terminal, getline() elsewhere.
 *
 * A terminal that knows bracketed paste sends ESC [ 200 ~ TEXT ESC [ 201 ~.  A
 * paste of one line goes into the line as if typed; one of several lines is kept
 * aside, and the line shows "[pasted 12 lines]" in its place. */
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/chat.h"

/* One paste may not take more memory than any context has text for. */
#define PASTE_MAX ((size_t)16 << 20)
enum { HISTORY_LINES = 2000 };

struct line_reader {
    EditLine *el; /* NULL: not a terminal */
    History *hist;
    char *history; /* file, or NULL */
    bool more;     /* inside a block or a continued line */
    bool dropped;  /* ctrl-C: what was typed so far does not count */
    lm_str input;
    char **paste; /* several lines each */
    size_t n_paste, cap_paste;
    char *plain; /* getline()'s */
    size_t cap_plain;
    lm_str scratch;
};

static const char *prompt_of(EditLine *el)
{
    void *data = NULL;
    (void)el_get(el, EL_CLIENTDATA, &data);
    const line_reader *r = data;
    return r != NULL && r->more ? ". " : "> ";
}

static void placeholder(char *buf, size_t cap, size_t i, const char *paste)
{
    size_t lines = 1;
    for (const char *s = paste; *s != '\0'; s++)
        lines += *s == '\n';
    (void)snprintf(buf, cap, "[paste %zu: %zu lines]", i + 1, lines);
}

/* Called by libedit at the start of a bracketed paste. */
static unsigned char on_paste(EditLine *el, int key)
{
    static const char end[] = "\033[201~";
    void *data = NULL;
    char c;
    (void)key;
    (void)el_get(el, EL_CLIENTDATA, &data);
    line_reader *r = data;
    lm_str text = { .max = PASTE_MAX };
    while (el_getc(el, &c) == 1) {
        lm_str_addc(&text, c == '\r' ? '\n' : c);
        if (text.n >= sizeof end - 1 &&
            memcmp(text.s + text.n - (sizeof end - 1), end, sizeof end - 1) == 0) {
            text.n -= sizeof end - 1;
            break;
        }
    }
    while (text.n > 0 && text.s[text.n - 1] == '\n')
        text.n--;
    if (text.n == 0) {
        lm_str_clear(&text);
        return CC_NORM;
    }
    text.s[text.n] = '\0';
    char shown[64];
    const char *insert = text.s;
    if (strchr(text.s, '\n') != NULL &&
        lm_grow((void **)&r->paste, &r->cap_paste, r->n_paste + 1, sizeof *r->paste, NULL) == LM_OK &&
        lm_strdup_n(text.s, text.n, &r->paste[r->n_paste], NULL) == LM_OK) {
        placeholder(shown, sizeof shown, r->n_paste, r->paste[r->n_paste]);
        r->n_paste++;
        insert = shown;
    }
    bool refused = el_insertstr(el, insert) == -1;
    lm_str_clear(&text);
    return refused ? CC_ERROR : CC_REFRESH;
}

/* ctrl-C while typing: the line is dropped, the program stays. */
static unsigned char on_cancel(EditLine *el, int key)
{
    void *data = NULL;
    (void)key;
    (void)el_get(el, EL_CLIENTDATA, &data);
    ((line_reader *)data)->dropped = true;
    return CC_EOF; /* ends el_gets(); raw_line() knows better */
}

static lm_status open_terminal(line_reader *r, lm_error *err)
{
    HistEvent ev;
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8"); /* a bare container: type UTF-8 all the same */
    r->el = el_init("lemma", stdin, stdout, stderr);
    r->hist = history_init();
    if (r->el == NULL || r->hist == NULL)
        return lm_fail(err, LM_ERR_FAILED, "the terminal cannot be used for line editing");
    (void)history(r->hist, &ev, H_SETSIZE, HISTORY_LINES);
    (void)history(r->hist, &ev, H_SETUNIQUE, 1);
    if (r->history != NULL)
        (void)history(r->hist, &ev, H_LOAD, r->history);
    (void)el_set(r->el, EL_CLIENTDATA, r);
    (void)el_set(r->el, EL_PROMPT, prompt_of);
    (void)el_set(r->el, EL_EDITOR, "emacs");
    (void)el_set(r->el, EL_SIGNAL, 0);
    (void)el_set(r->el, EL_HIST, history, r->hist);
    (void)el_set(r->el, EL_ADDFN, "lm-paste", "bracketed paste", on_paste);
    (void)el_set(r->el, EL_BIND, "\033[200~", "lm-paste", NULL);
    (void)el_set(r->el, EL_ADDFN, "lm-cancel", "drop the line", on_cancel);
    (void)el_set(r->el, EL_BIND, "^C", "lm-cancel", NULL);
    (void)el_set(r->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    return LM_OK;
}

lm_status line_reader_open(line_reader **out, const char *history_file, lm_error *err)
{
    line_reader *r = NULL;
    lm_status st = LM_NEW(&r, 1, err);
    if (st == LM_OK && history_file != NULL)
        st = lm_strdup_n(history_file, strlen(history_file), &r->history, err);
    if (st == LM_OK && isatty(STDIN_FILENO) == 1 && out_is_terminal())
        st = open_terminal(r, err);
    if (st != LM_OK) {
        line_reader_close(r);
        return st;
    }
    *out = r;
    return LM_OK;
}

static void drop_pastes(line_reader *r)
{
    for (size_t i = 0; i < r->n_paste; i++)
        lm_free(r->paste[i]);
    r->n_paste = 0;
}

void line_reader_close(line_reader *r)
{
    HistEvent ev;
    if (r == NULL)
        return;
    if (r->history != NULL && r->hist != NULL) {
        mode_t before = umask(077); /* what was typed is nobody else's */
        (void)history(r->hist, &ev, H_SAVE, r->history);
        (void)umask(before);
    }
    if (r->el != NULL)
        el_end(r->el);
    if (r->hist != NULL)
        history_end(r->hist);
    drop_pastes(r);
    lm_free(r->paste);
    lm_free(r->history);
    lm_str_clear(&r->input);
    lm_str_clear(&r->scratch);
    free(r->plain); /* getline()'s own allocation */
    lm_free(r);
}

static const char *raw_line(line_reader *r, size_t *n)
{
    if (r->el != NULL) {
        int count = 0;
        struct termios before, typing;
        bool known = tcgetattr(STDIN_FILENO, &before) == 0;
        if (known) {
            typing = before;
            typing.c_cc[VINTR] = _POSIX_VDISABLE; /* while typing, ctrl-C is a key */
            (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &typing);
        }
        (void)fputs("\033[?2004h", stdout); /* bracketed paste on, only while a line is read */
        (void)fflush(stdout);
        const char *line = el_gets(r->el, &count);
        (void)fputs("\033[?2004l", stdout);
        (void)fflush(stdout);
        if (known)
            (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
        *n = line != NULL && count > 0 ? (size_t)count : 0;
        return *n > 0 ? line : NULL;
    }
    ssize_t got = getline(&r->plain, &r->cap_plain, stdin);
    *n = got > 0 ? (size_t)got : 0;
    return got > 0 ? r->plain : NULL;
}

/* The line with its placeholders replaced by what was pasted. */
static void add_expanded(line_reader *r, const char *line, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t skip = 0;
        for (size_t k = 0; k < r->n_paste && line[i] == '[' && skip == 0; k++) {
            char shown[64];
            placeholder(shown, sizeof shown, k, r->paste[k]);
            if (strncmp(line + i, shown, LM_MIN(strlen(shown), n - i)) == 0 && strlen(shown) <= n - i) {
                lm_str_addz(&r->input, r->paste[k]);
                skip = strlen(shown);
            }
        }
        if (skip == 0)
            lm_str_addc(&r->input, line[i]);
        i += skip > 0 ? skip : 1;
    }
}

static void remember(line_reader *r, const char *line, size_t n)
{
    HistEvent ev;
    if (r->hist == NULL || n == 0)
        return;
    lm_str_reset(&r->scratch);
    lm_str_add(&r->scratch, line, n);
    (void)history(r->hist, &ev, H_ENTER, lm_str_z(&r->scratch));
}

static bool next(line_reader *r, const char **text, size_t *n)
{
    bool block = false, first = true;
    lm_str_reset(&r->input);
    drop_pastes(r);
    r->more = false;
    for (;;) {
        size_t len = 0;
        const char *line = raw_line(r, &len);
        if (line == NULL)
            break;
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            len--;
        remember(r, line, len);
        if (!first)
            lm_str_addc(&r->input, '\n');
        if (first && len >= 3 && memcmp(line, "\"\"\"", 3) == 0) {
            block = true;
            line += 3;
            len -= 3;
            if (len == 0) {
                r->more = true;
                /* The first line of the block is the next one. */
                line = raw_line(r, &len);
                if (line == NULL)
                    break;
                while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
                    len--;
            }
        }
        first = false;
        if (block && len >= 3 && memcmp(line + len - 3, "\"\"\"", 3) == 0) {
            add_expanded(r, line, len - 3);
            if (r->input.n > 0 && r->input.s[r->input.n - 1] == '\n')
                r->input.n--;
            break;
        }
        bool on = block || (len > 0 && line[len - 1] == '\\');
        add_expanded(r, line, !block && on ? len - 1 : len);
        if (!on)
            break;
        r->more = true;
    }
    r->more = false;
    *text = lm_str_z(&r->input);
    *n = r->input.n;
    return !first;
}

bool line_reader_next(line_reader *r, const char **text, size_t *n)
{
    for (;;) {
        r->dropped = false;
        bool got = next(r, text, n);
        if (!r->dropped)
            return got;
        note_f("^C (ctrl-D leaves)");
    }
}
