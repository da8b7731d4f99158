/* The program `fathom`: finds the command, reads its options, runs it, and says in one sentence what went
 * wrong. */
#include <string.h>
#include "commands.h"
#include "help.h"
#include "suggest.h"

static int unknown_command(const char *typed)
{
    struct suggestion s;
    suggest_init(&s, typed);
    for (int i = 0; i < N_COMMANDS; i++) suggest_offer(&s, commands[i].name);
    if (typed[0] == '-')
        fprintf(stderr,
                "fathom: unknown option %.60s; options follow a command: fathom COMMAND [OPTION]...\n",
                typed);
    else if (s.best)
        fprintf(stderr, "fathom: no command \"%.60s\"; did you mean \"%s\"?\n", typed, s.best);
    else
        fprintf(stderr, "fathom: no command \"%.60s\"; `fathom help` lists the commands\n", typed);
    return EXIT_USAGE;
}

/* What a full disk or a closed pipe swallowed must not look like success. */
static int finish(int code)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_DONE) {
        fputs("fathom: cannot write to standard output\n", stderr);
        return EXIT_FAILED;
    }
    return code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help_overview(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help_overview(stdout), finish(EXIT_DONE);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        return help_version(stdout), finish(EXIT_DONE);
    if (strcmp(name, "--man") == 0) return help_man(stdout), finish(EXIT_DONE);
    const struct command *c = command_find(name);
    if (!c) return unknown_command(name);

    struct options o;
    struct error err = {0};
    if (options_parse(&o, c, argc - 1, argv + 1, &err) != STATUS_OK) {
        fprintf(stderr, "fathom %s: %s\n", c->name, err.text);
        return EXIT_USAGE;
    }
    if (o.help) return help_command(stdout, c), finish(EXIT_DONE);
    int code = c->run(&o, &err);
    if (code != EXIT_DONE && err.code != STATUS_CANCELLED)
        fprintf(stderr, "fathom %s: %s\n", c->name, err.text);
    return finish(code);
}
