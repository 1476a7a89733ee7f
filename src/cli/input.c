/* cli/input.c - text, ids, times and JSON from files and arguments. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli.h"

/* More text than any context holds (a token is seldom above 16 bytes). */
#define INPUT_MAX ((size_t)1 << 30)

/* Everything up to the end of `fd`; `label` stands in messages. */
static lm_status read_all(int fd, const char *label, char **out, size_t *n, lm_error *err)
{
    lm_str s = { .max = INPUT_MAX };
    lm_quoted_buf q;
    char buf[65536];
    while (!s.failed) {
        ssize_t got = read(fd, buf, sizeof buf);
        if (got == 0)
            break;
        if (got < 0 && errno == EINTR && !cli_interrupted())
            continue;
        if (got < 0) {
            lm_str_clear(&s);
            return lm_fail(err, LM_ERR_IO, "cannot read %s: %s", lm_quoted_z(&q, label), strerror(errno));
        }
        lm_str_add(&s, buf, (size_t)got);
    }
    lm_status st = lm_str_take(&s, out, n, err);
    lm_str_clear(&s);
    return st == LM_OK ? st : lm_wrap(err, st, "%s", lm_quoted_z(&q, label));
}

/* Text may come from a pipe, as <(command) gives it, or a terminal; packs may not. */
lm_status cli_read(const char *path, char **out, size_t *n, lm_error *err)
{
    struct stat st;
    lm_quoted_buf q;
    if (strcmp(path, "-") == 0 || strcmp(path, "/dev/stdin") == 0)
        return read_all(STDIN_FILENO, "standard input", out, n, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        int why = errno;
        return lm_fail(err, why == ENOENT || why == ENOTDIR ? LM_ERR_USAGE : LM_ERR_IO, "cannot open %s: %s",
                       lm_quoted_z(&q, path), strerror(why));
    }
    lm_status status = LM_OK;
    if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
        status = lm_fail(err, LM_ERR_USAGE, "%s is a %s, not a file", lm_quoted_z(&q, path),
                         S_ISDIR(st.st_mode) ? "folder" : "disk");
    else if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > INPUT_MAX)
        status = lm_fail(err, LM_ERR_USAGE, "%s has %lld bytes, allowed are %zu", lm_quoted_z(&q, path),
                         (long long)st.st_size, INPUT_MAX);
    else
        status = read_all(fd, path, out, n, err);
    (void)close(fd);
    return status;
}

lm_status cli_need_text_file(const char *path, lm_error *err)
{
    static const char *const ends[] = { ".jinja", ".json", ".jinja2", ".txt" };
    lm_quoted_buf q;
    size_t n = strlen(path);
    for (size_t i = 0; i < LM_LEN(ends); i++) {
        size_t k = strlen(ends[i]);
        if (n > k && strcmp(path + n - k, ends[i]) == 0 && access(path, F_OK) != 0)
            return lm_fail(err, LM_ERR_USAGE, "cannot open %s: %s", lm_quoted_z(&q, path), strerror(errno));
    }
    return LM_OK;
}

lm_status cli_can_write(const char *path, lm_error *err)
{
    struct stat st;
    lm_quoted_buf q;
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (*path == '\0' || n >= sizeof folder)
        return lm_fail(err, LM_ERR_USAGE, "the name of the file to write is %s",
                       n > 0 ? "too long" : "empty");
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return lm_fail(err, LM_ERR_USAGE, "cannot write %s: it is %s", lm_quoted_z(&q, path),
                       S_ISDIR(st.st_mode) ? "a folder" : "no file");
    memcpy(folder, n > 0 ? path : ".", n > 0 ? n : 1);
    folder[n > 0 ? n : 1] = '\0';
    if (access(folder, W_OK | X_OK) != 0)
        return lm_fail(err, LM_ERR_IO, "cannot write %s: %s", lm_quoted_z(&q, path), strerror(errno));
    return LM_OK;
}

lm_status cli_parse_ids(const char *text, size_t n, int32_t **ids, size_t *n_ids, lm_error *err)
{
    int32_t *list = NULL;
    size_t count = 0, cap = 0, i = 0;
    lm_status st = LM_OK;
    size_t start = 0;
    while (start < n && strchr(" \t\r\n", text[start]) != NULL)
        start++;
    if (n - start >= 10 && memcmp(text + start, "{\"tokens\"", 9) == 0)
        i = start + 9; /* our own JSON: the ids are all that follows */
    while (i < n && st == LM_OK) {
        size_t from = i;
        uint64_t v = 0;
        if (strchr(" \t\r\n,[]{}:", text[i]) != NULL && text[i] != '\0') {
            i++;
            continue;
        }
        while (i < n && text[i] >= '0' && text[i] <= '9' && v <= INT32_MAX)
            v = v * 10 + (uint64_t)(text[i++] - '0');
        bool ended = i == n || (text[i] != '\0' && strchr(" \t\r\n,]}", text[i]) != NULL);
        if (i == from || !ended || v > INT32_MAX) {
            size_t len = 0;
            lm_quoted_buf q;
            while (from + len < n && len < 24 && strchr(" \t\r\n,[]{}", text[from + len]) == NULL)
                len++;
            st = lm_fail(err, LM_ERR_USAGE, "'%s' at byte %zu is no token id, allowed is 0 to %d",
                         lm_quoted(&q, text + from, len), from, INT32_MAX);
        } else if ((st = lm_grow((void **)&list, &cap, count + 1, sizeof *list, err)) == LM_OK) {
            list[count++] = (int32_t)v;
        }
    }
    if (st != LM_OK) {
        lm_free(list);
        return st;
    }
    *ids = list;
    *n_ids = count;
    return LM_OK;
}

/* Days from 1970-01-01 to a day of the Gregorian calendar (months from March, so
 * that the leap day is the last of its year). */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

static bool digits(const char **s, int n, int *out)
{
    *out = 0;
    for (int i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        *out = *out * 10 + (**s - '0');
    }
    return true;
}

static bool skip(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

lm_status cli_parse_time(const char *text, int64_t *out, lm_error *err)
{
    const char *s = text;
    int y, mo, d, h = 0, mi = 0, sec = 0, oh = 0, om = 0, sign = 0;
    bool ok = digits(&s, 4, &y) && skip(&s, '-') && digits(&s, 2, &mo) && skip(&s, '-') && digits(&s, 2, &d);
    if (ok && (skip(&s, 'T') || skip(&s, ' '))) {
        ok = digits(&s, 2, &h) && skip(&s, ':') && digits(&s, 2, &mi);
        if (ok && skip(&s, ':'))
            ok = digits(&s, 2, &sec);
        if (ok && skip(&s, '.')) /* fractions of a second do not show in any template */
            while (*s >= '0' && *s <= '9')
                s++;
        if (ok && (*s == '+' || *s == '-')) {
            sign = *s++ == '+' ? 1 : -1;
            ok = digits(&s, 2, &oh);
            (void)skip(&s, ':');
            ok = ok && digits(&s, 2, &om);
        } else if (ok) {
            (void)skip(&s, 'Z');
        }
    }
    static const int month_days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    ok = ok && *s == '\0' && mo >= 1 && mo <= 12 && d >= 1 && d <= month_days[mo - 1] && h < 24 && mi < 60 &&
         sec <= 60 && oh < 24 && om < 60;
    if (!ok) {
        lm_quoted_buf q;
        return lm_fail(err, LM_ERR_USAGE, "'--now' is '%s', allowed is ISO 8601 such as 2024-07-26T12:00:00Z",
                       lm_quoted_z(&q, text));
    }
    *out = days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec - sign * (oh * 3600 + om * 60);
    if (*out < 0)
        return lm_fail(err, LM_ERR_USAGE, "'--now' is %s, allowed is 1970-01-01T00:00:00Z or later", text);
    return LM_OK;
}

json_t *cli_json_text(const char *s, size_t n)
{
    lm_str good = { 0 };
    if (lm_utf8_valid(s, n))
        return json_stringn(s, n);
    for (size_t i = 0; i < n;) {
        size_t len = 1;
        uint32_t c = lm_utf8_get(s + i, n - i, &len);
        lm_str_addu(&good, c == LM_UTF8_BAD ? 0xfffd : c);
        i += len;
    }
    json_t *j = good.failed ? NULL : json_stringn(lm_str_z(&good), good.n);
    lm_str_clear(&good);
    return j;
}

lm_status cli_json_parse(const char *what, const char *text, size_t n, json_t **out, lm_error *err)
{
    json_error_t e;
    lm_quoted_buf q, r;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (*out == NULL)
        return lm_fail(err, LM_ERR_USAGE, "%s, line %d, column %d: %s", lm_quoted_z(&q, what), e.line,
                       e.column, lm_quoted_z(&r, e.text));
    return LM_OK;
}
