/* Takes forms of answers from standard input and walks through their machines, for checks by other programs.
 *
 * A request is a line "KIND SEED WALKS BYTES TEXTS" and BYTES bytes of the form, then for each of TEXTS a
 * line with a length and so many bytes. KIND: schema, regex, gbnf. Answered by a line "refused MICROSECONDS
 * MESSAGE", or "taken MICROSECONDS", then for each walk a line "end N", "cut N" (too long) or "stuck N" and
 * the N bytes that were chosen at random among those that the machine allows, then for each text a line "yes"
 * or "no". */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/rng.h"
#include "server/gbnf.h"
#include "server/regex.h"
#include "server/schema.h"

enum { WALK_BYTES = 1500, EAGER_BYTES = 60 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* whatever else the machine does */
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static struct grammar *compile(const char *kind, struct str text, struct problem *p)
{
    *p = (struct problem){0};
    if (strcmp(kind, "regex") == 0) return regex_compile(text, "form", p);
    if (strcmp(kind, "gbnf") == 0) return gbnf_compile(text, "form", p);
    struct node *n = node_parse(text, p);
    struct grammar *g = n ? schema_compile(n, "form", p) : NULL;
    node_free(n);
    return g;
}

/* Prefers what closes something once the text is long, so that most walks come to an end. */
static char choose(struct rng *rng, const char *allowed, size_t n, size_t length)
{
    for (size_t i = 0; length > EAGER_BYTES && i < n; i++)
        if (strchr("\"]})", allowed[i]) && rng_below(rng, 2) == 0) return allowed[i];
    return allowed[rng_below(rng, n)];
}

static void walk(const struct grammar *g, struct rng *rng, struct grammar_machine *m,
                 struct grammar_scratch *scratch)
{
    char text[WALK_BYTES];
    size_t n = 0;
    const char *end = "cut";
    grammar_machine_init(m, g);
    while (n < sizeof text) {
        char allowed[256];
        size_t n_allowed = 0;
        bool can_end = grammar_machine_can_end(m);
        if (can_end && rng_below(rng, n > EAGER_BYTES ? 2 : 8) == 0) break;
        for (int c = 0; c < 256; c++) {
            char byte = (char)c;
            if (grammar_machine_accepts(m, (struct str){&byte, 1}, scratch)) allowed[n_allowed++] = byte;
        }
        if (n_allowed == 0) {
            if (!can_end) end = "stuck";
            break;
        }
        text[n] = choose(rng, allowed, n_allowed, n);
        if (!grammar_machine_feed(m, (struct str){text + n, 1}, scratch)) end = "stuck";
        n++;
    }
    if (n < sizeof text && strcmp(end, "stuck") != 0) end = "end";
    printf("%s %zu\n", end, n);
    fwrite(text, 1, n, stdout);
    putchar('\n');
}

static bool matches(const struct grammar *g, struct str text, struct grammar_machine *m,
                    struct grammar_scratch *scratch)
{
    grammar_machine_init(m, g);
    return grammar_machine_feed(m, text, scratch) && grammar_machine_can_end(m);
}

static char *read_bytes(size_t n)
{
    char *p = malloc(n + 1);
    if (p && fread(p, 1, n, stdin) != n) {
        free(p);
        p = NULL;
    }
    return p;
}

int main(void)
{
    char kind[16], line[128];
    unsigned long long seed;
    size_t n_walks, n_bytes, n_texts;
    struct grammar_machine *m = malloc(sizeof *m);
    struct grammar_scratch *scratch = malloc(sizeof *scratch);
    while (m && scratch && fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%15s %llu %zu %zu %zu", kind, &seed, &n_walks, &n_bytes, &n_texts) != 5) return 2;
        char *form = read_bytes(n_bytes);
        if (!form) return 2;
        struct problem p;
        struct rng rng;
        rng_seed(&rng, seed);
        double start = now_us();
        struct grammar *g = compile(kind, (struct str){form, n_bytes}, &p);
        double took = now_us() - start;
        if (g)
            printf("taken %.0f\n", took);
        else
            printf("refused %.0f %d %s\n", took, p.status, p.text);
        for (size_t i = 0; g && i < n_walks; i++) walk(g, &rng, m, scratch);
        for (size_t i = 0; i < n_texts; i++) {
            size_t n;
            if (!fgets(line, sizeof line, stdin) || sscanf(line, "%zu", &n) != 1) return 2;
            char *text = read_bytes(n);
            if (!text) return 2;
            if (g) puts(matches(g, (struct str){text, n}, m, scratch) ? "yes" : "no");
            free(text);
        }
        fflush(stdout);
        grammar_free(g);
        free(form);
    }
    free(m);
    free(scratch);
    return 0;
}
