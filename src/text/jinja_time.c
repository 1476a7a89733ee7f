/* text/jinja_time.c - strftime over the injected clock.
 *
 * Ours and not the C library's: that one speaks the language of the program's
 * locale, and a prompt must not. */
#include <stdio.h>
#include <time.h>

#include "text/jinja_int.h"

static const char *const days[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                    "Thursday", "Friday", "Saturday" };
static const char *const months[] = { "January", "February", "March",     "April",   "May",      "June",
                                      "July",    "August",   "September", "October", "November", "December" };

static int week(const struct tm *t, int first)
{
    return (t->tm_yday + 7 - (t->tm_wday + 7 - first) % 7) / 7;
}

/* A number in `width` places, or bare after "%-". */
static bool put_num(jj *J, jbuf *b, long v, int width, char filler, bool bare)
{
    char text[32];
    int n = bare            ? snprintf(text, sizeof text, "%ld", v)
            : filler == '0' ? snprintf(text, sizeof text, "%0*ld", width, v)
                            : snprintf(text, sizeof text, "%*ld", width, v);
    return lm_jj_put(J, b, text, (size_t)n, false);
}

static bool put_iso_week(jj *J, jbuf *b, const struct tm *t, char what, bool bare)
{
    int wday = (t->tm_wday + 6) % 7, year = t->tm_year + 1900, w = (t->tm_yday - wday + 10) / 7;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (w < 1) {
        int prev = year - 1;
        bool prev_leap = (prev % 4 == 0 && prev % 100 != 0) || prev % 400 == 0;
        w = (t->tm_yday + 365 + prev_leap - wday + 10) / 7;
        year = prev;
    } else if (w == 53 && t->tm_yday - wday + 3 >= 365 + leap) {
        w = 1;
        year++;
    }
    return what == 'V' ? put_num(J, b, w, 2, '0', bare) : put_num(J, b, year, 4, '0', bare);
}

static bool put_field(jj *J, jbuf *b, const struct tm *t, int64_t now, char c, bool bare);

static bool put_fields(jj *J, jbuf *b, const struct tm *t, int64_t now, const char *fields)
{
    for (; *fields; fields++) {
        bool letter = (*fields >= 'a' && *fields <= 'z') || (*fields >= 'A' && *fields <= 'Z');
        if (letter ? !put_field(J, b, t, now, *fields, false) : !lm_jj_put(J, b, fields, 1, false))
            return false;
    }
    return true;
}

static bool put_field(jj *J, jbuf *b, const struct tm *t, int64_t now, char c, bool bare)
{
    char abbr[4] = { 0 };
    int h12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12;
    switch (c) {
    case 'Y': return put_num(J, b, t->tm_year + 1900, 1, '0', bare);
    case 'C': return put_num(J, b, (t->tm_year + 1900) / 100, 2, '0', bare);
    case 'y': return put_num(J, b, t->tm_year % 100, 2, '0', bare);
    case 'm': return put_num(J, b, t->tm_mon + 1, 2, '0', bare);
    case 'd': return put_num(J, b, t->tm_mday, 2, '0', bare);
    case 'e': return put_num(J, b, t->tm_mday, 2, ' ', bare);
    case 'H': return put_num(J, b, t->tm_hour, 2, '0', bare);
    case 'k': return put_num(J, b, t->tm_hour, 2, ' ', bare);
    case 'I': return put_num(J, b, h12, 2, '0', bare);
    case 'l': return put_num(J, b, h12, 2, ' ', bare);
    case 'M': return put_num(J, b, t->tm_min, 2, '0', bare);
    case 'S': return put_num(J, b, t->tm_sec, 2, '0', bare);
    case 'j': return put_num(J, b, t->tm_yday + 1, 3, '0', bare);
    case 'u': return put_num(J, b, t->tm_wday ? t->tm_wday : 7, 1, '0', bare);
    case 'w': return put_num(J, b, t->tm_wday, 1, '0', bare);
    case 'U': return put_num(J, b, week(t, 0), 2, '0', bare);
    case 'W': return put_num(J, b, week(t, 1), 2, '0', bare);
    case 'V':
    case 'G': return put_iso_week(J, b, t, c, bare);
    case 's': return put_num(J, b, (long)now, 1, '0', bare);
    case 'f': return lm_jj_putz(J, b, "000000");
    case 'p': return lm_jj_putz(J, b, t->tm_hour < 12 ? "AM" : "PM");
    case 'P': return lm_jj_putz(J, b, t->tm_hour < 12 ? "am" : "pm");
    case 'A': return lm_jj_putz(J, b, days[t->tm_wday]);
    case 'B': return lm_jj_putz(J, b, months[t->tm_mon]);
    case 'a':
    case 'b':
    case 'h':
        for (int i = 0; i < 3; i++)
            abbr[i] = (c == 'a' ? days[t->tm_wday] : months[t->tm_mon])[i];
        return lm_jj_putz(J, b, abbr);
    case 'D':
    case 'x': return put_fields(J, b, t, now, "m/d/y");
    case 'F': return put_fields(J, b, t, now, "Y-m-d");
    case 'T':
    case 'X': return put_fields(J, b, t, now, "H:M:S");
    case 'R': return put_fields(J, b, t, now, "H:M");
    case 'r': return put_fields(J, b, t, now, "I:M:S p");
    case 'c': return put_fields(J, b, t, now, "a b e H:M:S Y");
    case 'n': return lm_jj_putz(J, b, "\n");
    case 't': return lm_jj_putz(J, b, "\t");
    case 'z':
    case 'Z': return true; /* datetime.now() knows no zone */
    case '%': return lm_jj_putz(J, b, "%");
    default: return JJ_TYPE(J, "strftime_now does not know '%%%c'", c >= ' ' && c < 0x7f ? c : '?');
    }
}

bool lm_jj_strftime(jj *J, jv format, jv *out)
{
    time_t now = (time_t)J->now;
    struct tm t;
    jbuf *b = lm_jj_buf(J, 32);
    if (format.kind != JV_STR)
        return JJ_TYPE(J, "strftime_now wants a format as str, not %s", lm_jj_type(format));
    if (!gmtime_r(&now, &t) || t.tm_year < -1899 || t.tm_year > 8099)
        return lm_jj_fail(J, LM_ERR_USAGE, "the clock stands outside the years 1 to 9999");
    const char *p = lm_jj_p(format);
    for (size_t at = 0, end; b && at < format.u.s.n; at++) {
        bool bare = false;
        if (p[at] != '%' || at + 1 == format.u.s.n) {
            if (!lm_jj_put(J, b, p + at, 1, lm_jj_run(format, at, &end)))
                return false;
            continue;
        }
        at++;
        if (p[at] == '-' && at + 1 < format.u.s.n) {
            bare = true;
            at++;
        }
        if (!put_field(J, b, &t, J->now, p[at], bare))
            return false;
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    return true;
}
