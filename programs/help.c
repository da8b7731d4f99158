/* Help texts for the terminal. */
#include "help.h"

#include <string.h>
#include "kernels/kernels.h"
#include "suggest.h"
#include "version.h"

enum { COLUMNS = 80 };

/* Writes text word by word, lines at most COLUMNS wide, later lines indented; `at` is the column already
 * reached. */
static void wrap(FILE *to, const char *text, int indent, int at)
{
    while (*text) {
        if (*text == '\n') {
            fputc('\n', to);
            at = 0;
            text++;
            continue;
        }
        int n = (int)strcspn(text, " \n");
        if (at > indent && at + 1 + n > COLUMNS) {
            fputc('\n', to);
            at = 0;
        }
        if (at < indent || at == 0)
            fprintf(to, "%*s", indent - at, "");
        else
            fputc(' ', to), at++;
        if (at < indent) at = indent;
        fwrite(text, 1, (size_t)n, to);
        at += n;
        text += n;
        while (*text == ' ') text++;
    }
}

static void options_print(FILE *to, unsigned command)
{
    enum { HELP_COLUMN = 24 };
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *row = &option_rows[i];
        if (!(row->commands & command)) continue;
        char letter[8] = "    ", head[64], text[512];
        if (row->letter) snprintf(letter, sizeof letter, "-%c, ", row->letter);
        int n = snprintf(head, sizeof head, "  %s--%s%s%s", letter, row->name, row->arg ? " " : "",
                         row->arg ? row->arg : "");
        fputs(head, to);
        if (n > HELP_COLUMN - 2) {
            fputc('\n', to);
            n = 0;
        }
        if (row->initial && strcmp(row->initial, "0") != 0)
            snprintf(text, sizeof text, "%s (default: %s)", row->help, row->initial);
        else
            snprintf(text, sizeof text, "%s", row->help);
        wrap(to, text, HELP_COLUMN, n);
        fputc('\n', to);
    }
}

/* Examples as "command   # meaning", the meanings below each other. */
static void examples_print(FILE *to, const char *examples)
{
    int width = 0;
    for (const char *p = examples; *p; p = strchr(p, '\n') + 1) {
        size_t n = strcspn(p, "\n");
        const char *mark = memmem(p, n, " # ", 3);
        if (mark && mark - p > width) width = (int)(mark - p);
    }
    for (const char *p = examples; *p; p = strchr(p, '\n') + 1) {
        size_t n = strcspn(p, "\n");
        const char *mark = memmem(p, n, " # ", 3);
        if (!mark)
            fprintf(to, "  %.*s\n", (int)n, p);
        else
            fprintf(to, "  %-*.*s  %.*s\n", width, (int)(mark - p), p, (int)(p + n - mark - 1), mark + 1);
    }
}

void help_command(FILE *to, const struct command *c)
{
    fprintf(to, "Usage: fathom %s [OPTION]...%s%s\n\n", c->name, *c->args ? " " : "", c->args);
    wrap(to, c->text, 0, 0);
    fputs("\nOptions:\n", to);
    options_print(to, 1u << (c - commands));
    fputs("\nExamples:\n", to);
    examples_print(to, c->examples);
}

void help_overview(FILE *to)
{
    fputs("Fathom runs open language models on ordinary processors.\n\n"
          "Usage: fathom COMMAND [OPTION]...\n\nCommands:\n",
          to);
    for (int i = 0; i < N_COMMANDS; i++) fprintf(to, "  %-12s%s\n", commands[i].name, commands[i].summary);
    fputs("\nStart here:\n"
          "  fathom run                          # chat with the default model\n"
          "  fathom run -p \"write a function that reverses a string\"\n"
          "  fathom COMMAND --help               # options and examples of a command\n"
          "\n`fathom --version` prints the version, `fathom --man` the manual page.\n"
          "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n",
          to);
}

void help_version(FILE *to)
{
    fprintf(to, "fathom %s\ncommit %s\nisa    ", fathom_version, fathom_commit);
    for (int i = 0; i < n_isa_levels; i++)
        fprintf(to, "%s%s%s", i ? ", " : "", isa_levels[i].name,
                isa_levels[i].available() ? "" : " (not on this machine)");
    fputc('\n', to);
}

int cmd_help(const struct options *o, struct error *err)
{
    if (o->n_args == 0) {
        help_overview(stdout);
        return EXIT_DONE;
    }
    const struct command *c = command_find(o->args[0]);
    if (c) {
        help_command(stdout, c);
        return EXIT_DONE;
    }
    struct suggestion s;
    suggest_init(&s, o->args[0]);
    for (int i = 0; i < N_COMMANDS; i++) suggest_offer(&s, commands[i].name);
    if (s.best) return usage_error(err, "no command \"%.60s\"; did you mean \"%s\"?", o->args[0], s.best);
    return usage_error(err, "no command \"%.60s\"; `fathom help` lists the commands", o->args[0]);
}
