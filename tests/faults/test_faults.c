/* Every scenario with every call that can fail made to fail: alone, and together with all calls after it.
 * Then with reads and writes that stop half-way or are interrupted. A failure has to be a clean error that
 * leaves nothing behind; where the program can do without the call, the result has to be the usual one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "faults.h"
#include "scenario.h"

static char folder[128];

const char *scenario_folder(void)
{
    return folder;
}

static const char *join(const char *dir, const char *name)
{
    static char paths[4][512];
    static int at;
    at = (at + 1) % 4;
    snprintf(paths[at], sizeof paths[at], "%s/%s", dir, name);
    return paths[at];
}

const char *scenario_path(const char *name)
{
    return join(folder, name);
}

const char *scenario_model(const char *name)
{
    const char *dir = getenv("FATHOM_TINY");
    return join(dir ? dir : ".", name);
}

uint64_t digest(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;
    if (h == 0) h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001B3u;
    return h;
}

/* No scenario leaves a file with another name than those it works on: no temporary remains. */
static bool folder_is_clean(void)
{
    DIR *d = opendir(folder);
    bool clean = d != NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' && strchr(e->d_name, '.')) {
            print_error("left behind: %s\n", e->d_name);
            clean = false;
        }
    if (d) closedir(d);
    return clean;
}

/* One run with the fault; true when a call failed, so that there may be a next one. */
static bool run_once(const struct scenario *s, enum fault_mode mode, long n, uint64_t expected)
{
    struct error err = {0};
    uint64_t result = 0;
    const char *kind = "";
    faults_start(mode, n);
    int rc = s->run(&result, &err);
    bool hit = faults_stop();
    size_t leaks = faults_leaks(&kind);
    const char *wrong = NULL;
    if (leaks > 0)
        wrong = "something was not released";
    else if (rc == STATUS_OK && result != expected)
        wrong = "it succeeded with another result";
    else if (rc != STATUS_OK && !hit)
        wrong = "it failed though no call did";
    else if (rc != STATUS_OK && mode == FAULT_SHORT)
        wrong = "a short or interrupted transfer was taken for a failure";
    else if (rc != STATUS_OK && (err.code != (enum status)rc || !err.text[0]))
        wrong = "the error was not described";
    else if (s->intact && !s->intact(rc == STATUS_OK))
        wrong = "what was there before was damaged";
    else if (!folder_is_clean())
        wrong = "a file was left behind";
    if (wrong)
        fail_msg("%s, call %ld (%s) fails%s: %s; status %d, \"%s\", %zu unreleased (%s)", s->name, n,
                 faults_what(), mode == FAULT_FROM ? " with all after it" : "", wrong, rc, err.text, leaks,
                 kind);
    return hit;
}

static void every_call_fails(void **state)
{
    const struct scenario *s = *state;
    struct error err = {0};
    uint64_t expected = 0;
    if (s->intact) s->intact(false); /* sets the scene */
    if (s->run(&expected, &err) != STATUS_OK) fail_msg("%s: %s", s->name, err.text);
    if (s->intact) assert_true(s->intact(true));
    long n = 1;
    while (run_once(s, FAULT_ONE, n, expected)) n++;
    assert_true(n > 1); /* the scenario has calls that can fail */
    for (long i = 1; i < n; i++) run_once(s, FAULT_FROM, i, expected);
    run_once(s, FAULT_SHORT, 0, expected);
}

static int remove_folder(void **state)
{
    (void)state;
    scenario_models_close();
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') unlink(scenario_path(e->d_name));
    if (d) closedir(d);
    return rmdir(folder);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.100s/fathom-faults-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) return 1;
    static struct CMUnitTest tests[64];
    size_t n = 0;
    const struct {
        const struct scenario *scenarios;
        size_t n;
    } parts[] = {{base_scenarios, n_base_scenarios},
                 {format_scenarios, n_format_scenarios},
                 {model_scenarios, n_model_scenarios},
                 {term_scenarios, n_term_scenarios}};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
        for (size_t i = 0; i < parts[p].n; i++) {
            const struct scenario *s = &parts[p].scenarios[i];
            tests[n++] = (struct CMUnitTest){s->name, every_call_fails, NULL, NULL, (void *)(uintptr_t)s};
        }
    return _cmocka_run_group_tests("faults", tests, n, NULL, remove_folder);
}
