/* The manual page, fathom(1), in the man macros. */
#include "help.h"

#include <string.h>
#include "version.h"

/* Text as roff reads it: a backslash is an escape, a plain hyphen may break, a line must not begin with . or
 * '. */
static void roff(FILE *to, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool line_start = i == 0 || text[i - 1] == '\n';
        if (line_start && (text[i] == '.' || text[i] == '\'')) fputs("\\&", to);
        if (text[i] == '\\')
            fputs("\\e", to);
        else if (text[i] == '-')
            fputs("\\-", to);
        else
            fputc(text[i], to);
    }
}

static void roff_str(FILE *to, const char *text)
{
    roff(to, text, strlen(text));
}

/* Paragraphs of a text, one per line. */
static void paragraphs(FILE *to, const char *text)
{
    for (const char *p = text; *p; p = strchr(p, '\n') + 1) {
        fputs(".PP\n", to);
        roff(to, p, strcspn(p, "\n"));
        fputc('\n', to);
    }
}

static void option(FILE *to, const struct option_row *row)
{
    fputs(".TP\n", to);
    if (row->letter) fprintf(to, "\\fB\\-%c\\fR, ", row->letter);
    fputs("\\fB\\-\\-", to);
    roff_str(to, row->name);
    fputs("\\fR", to);
    if (row->arg) fprintf(to, " \\fI%s\\fR", row->arg);
    fputc('\n', to);
    roff_str(to, row->help);
    if (row->initial && strcmp(row->initial, "0") != 0) {
        fputs(" (default: ", to);
        roff_str(to, row->initial);
        fputc(')', to);
    }
    fputc('\n', to);
}

static void command(FILE *to, const struct command *c)
{
    fprintf(to, ".SS \"%s \\- ", c->name);
    roff_str(to, c->summary);
    fprintf(to, "\"\n.PP\n\\fBfathom %s\\fR [\\fIOPTION\\fR]...", c->name);
    if (*c->args) fprintf(to, " \\fI%s\\fR", c->args);
    fputc('\n', to);
    paragraphs(to, c->text);
    for (int i = 0; i < n_option_rows; i++)
        if (option_rows[i].commands >> (c - commands) & 1) option(to, &option_rows[i]);
    fputs(".PP\nExamples:\n.PP\n.nf\n.RS 4\n", to);
    roff_str(to, c->examples);
    fputs(".RE\n.fi\n", to);
}

static const struct {
    const char *name, *text;
} variables[] = {
    {"XDG_CACHE_HOME",
     "Models are kept in $XDG_CACHE_HOME/fathom/models; without the variable in ~/.cache/fathom/models."},
    {"NO_COLOR", "If set and not empty, text is shown without colours."},
    {"TERM", "On a \"dumb\" terminal answers are shown as plain text."},
};

static const struct {
    const char *code, *text;
} exit_codes[] = {
    {"0", "Done."},
    {"1", "Failed; a sentence on standard error says why."},
    {"2", "Wrong usage: an unknown command or option, or a value out of range."},
    {"130", "Interrupted by Ctrl\\-C."},
};

void help_man(FILE *to)
{
    fprintf(to, ".TH FATHOM 1 \"\" \"fathom %s\" \"User Commands\"\n", fathom_version);
    fputs(".SH NAME\nfathom \\- run open language models on ordinary processors\n"
          ".SH SYNOPSIS\n\\fBfathom\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n"
          ".SH DESCRIPTION\nFathom loads the weights of a language model from GGUF or safetensors files and "
          "runs it on "
          "the processor.\nA \\fIMODEL\\fR is a .gguf file, a .safetensors file, a folder with config.json, "
          "or a name "
          "that \\fBfathom fetch\\fR lists.\n\\fBfathom \\-\\-version\\fR prints the version, \\fBfathom "
          "\\-\\-man\\fR this "
          "page.\n.SH COMMANDS\n",
          to);
    for (int i = 0; i < N_COMMANDS; i++) command(to, &commands[i]);
    fputs(".SH ENVIRONMENT\n", to);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        fprintf(to, ".TP\n%s\n%s\n", variables[i].name, variables[i].text);
    fputs(".SH EXIT STATUS\n", to);
    for (size_t i = 0; i < sizeof exit_codes / sizeof *exit_codes; i++)
        fprintf(to, ".TP\n%s\n%s\n", exit_codes[i].code, exit_codes[i].text);
}
