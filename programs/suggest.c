/* Nearest names. */
#include "suggest.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

enum { MAX_CHARS = 32 };

static int lower(char c)
{
    return tolower((unsigned char)c);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

int suggest_distance(const char *a, const char *b)
{
    int n = (int)strnlen(a, MAX_CHARS), m = (int)strnlen(b, MAX_CHARS);
    int d[MAX_CHARS + 1][MAX_CHARS + 1]; /* d[i][j]: the first i characters of a into the first j of b */
    for (int i = 0; i <= n; i++) d[i][0] = i;
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        for (int j = 1; j <= m; j++) {
            int replace = d[i - 1][j - 1] + (lower(a[i - 1]) != lower(b[j - 1]));
            d[i][j] = least(replace, least(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[n][m];
}

void suggest_init(struct suggestion *s, const char *typed)
{
    *s = (struct suggestion){.typed = typed};
}

void suggest_offer(struct suggestion *s, const char *name)
{
    size_t n = strlen(s->typed), shorter = n < strlen(name) ? n : strlen(name);
    int distance = suggest_distance(s->typed, name);
    if (shorter >= 3 && strncasecmp(s->typed, name, shorter) == 0)
        distance = 1; /* "token", or "temperature" for "temp" */
    int limit = n <= 4 ? 1 : n <= 7 ? 2 : 3;
    if (distance > limit || distance >= (int)n) return;
    if (s->best && s->distance <= distance) return;
    s->best = name;
    s->distance = distance;
}
