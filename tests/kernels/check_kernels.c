/* Checks every kernel of every level that this machine runs, or times them.
 *
 *     check_kernels [--seed N]          TAP, one case for each kernel and level
 *     check_kernels --bench [NAME]      times the kernels whose name holds NAME; one thread */
#include "kernels/check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name;
    void (*check)(struct check *c);
    void (*bench)(const struct kernels *k);
} kernel_list[] = {
#define KERNEL(ret, name, args) {#name, check_##name, bench_##name},
#include "kernels/kernels.def"
#undef KERNEL
};
enum { N_KERNELS = sizeof kernel_list / sizeof kernel_list[0] };

static int n_cases;

static bool tap(bool ok, const char *level, const char *name)
{
    printf("%sok %d - %s %s\n", ok ? "" : "not ", ++n_cases, level, name);
    fflush(stdout);
    return ok;
}

static bool check_all(struct check *c)
{
    bool ok = tap(check_exp(c), "ref", "exp");
    for (int i = 0; i < N_KERNELS; i++) {
        memset(c->failed, 0, sizeof c->failed);
        c->kernel = kernel_list[i].name;
        kernel_list[i].check(c);
        for (int l = 0; l < c->n_levels; l++) ok = tap(!c->failed[l], c->level[l].isa, c->kernel) && ok;
    }
    for (int i = 0; i < n_isa_levels; i++)
        if (!isa_levels[i].available())
            printf("ok %d - %s # SKIP this machine lacks %s\n", ++n_cases, isa_levels[i].name,
                   isa_levels[i].needs);
    /* The best level must be what "auto" takes, and an unknown one an error that names it. */
    struct kernels k;
    struct error err = {0};
    ok = tap(kernels_init(&k, NULL, &err) == STATUS_OK && strcmp(k.isa, c->level[c->n_levels - 1].isa) == 0,
             "auto", "init") &&
         ok;
    ok = tap(kernels_init(&k, "z80", &err) == STATUS_UNSUPPORTED && strstr(err.text, "z80"), "unknown",
             "init") &&
         ok;
    printf("1..%d\n", n_cases);
    return ok;
}

int main(int argc, char **argv)
{
    static struct check c;
    uint64_t seed = (uint64_t)time(NULL);
    const char *bench = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--bench") == 0)
            bench = i + 1 < argc ? argv[++i] : "";
        else
            return fprintf(stderr, "usage: check_kernels [--seed N] [--bench [NAME]]\n"), 2;
    }
    for (int i = 0; i < n_isa_levels; i++)
        if (isa_levels[i].available())
            CHECK(kernels_init(&c.level[c.n_levels++], isa_levels[i].name, NULL) == STATUS_OK);
    if (bench) {
        for (int i = 0; i < N_KERNELS; i++)
            for (int l = 0; l < c.n_levels && strstr(kernel_list[i].name, bench); l++)
                kernel_list[i].bench(&c.level[l]);
        return 0;
    }
    printf("# seed %llu\n", (unsigned long long)seed);
    rng_seed(&c.rng, seed);
    return check_all(&c) ? 0 : 1;
}
