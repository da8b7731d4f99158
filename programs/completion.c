/* Completion scripts for bash, zsh and fish. */
#include "help.h"

#include <string.h>
#include "chat/chat.h"
#include "kernels/kernels.h"
#include "models.h"

static bool has(const struct command *c, const struct option_row *row)
{
    return row->commands >> (c - commands) & 1;
}

static bool takes(const struct option_row *row, const char *arg)
{
    return row->arg && strcmp(row->arg, arg) == 0;
}

/* What may follow: an option's placeholder or a command's argument names the kind of value. */
static void names_print(FILE *to, const char *arg)
{
    if (strstr(arg, "MODEL") || strcmp(arg, "[NAME]") == 0)
        for (int i = 0; i < n_model_rows; i++) fprintf(to, "%s%s", i ? " " : "", model_rows[i].name);
    else if (strcmp(arg, "LEVEL") == 0) {
        fputs("auto", to);
        for (int i = 0; i < n_isa_levels; i++) fprintf(to, " %s", isa_levels[i].name);
    } else if (strcmp(arg, "FORMAT") == 0)
        for (int i = 0; chat_formats[i]; i++)
            fprintf(to, "%s%s", i ? " " : "", chat_format_name(chat_formats[i]));
    else if (strcmp(arg, "[COMMAND]") == 0)
        for (int i = 0; i < N_COMMANDS; i++) fprintf(to, "%s%s", i ? " " : "", commands[i].name);
    else if (strcmp(arg, "bash|zsh|fish") == 0)
        fputs("bash zsh fish", to);
}

static void bash_words(FILE *to, const char *arg, const char *indent)
{
    fprintf(to, "%sCOMPREPLY=($(compgen ", indent);
    if (strstr(arg, "MODEL") || strcmp(arg, "FILE") == 0) fputs("-f ", to);
    fputs("-W \"", to);
    names_print(to, arg);
    fputs("\" -- \"$cur\"))\n", to);
}

static void bash(FILE *to)
{
    fputs("_fathom()\n{\n    local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
          "    compopt -o filenames 2>/dev/null\n    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n",
          to);
    fputs("        COMPREPLY=($(compgen -W \"--help --version --man", to);
    for (int i = 0; i < N_COMMANDS; i++) fprintf(to, " %s", commands[i].name);
    fputs("\" -- \"$cur\"))\n        return\n    fi\n    case \"${COMP_WORDS[1]}\" in\n", to);
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        fprintf(to, "    %s)\n        case \"$prev\" in\n", c->name);
        for (int r = 0; r < n_option_rows; r++) {
            const struct option_row *row = &option_rows[r];
            if (!has(c, row) || !row->arg) continue;
            fprintf(to, "        --%s", row->name);
            if (row->letter) fprintf(to, "|-%c", row->letter);
            fputs(")\n", to);
            bash_words(to, row->arg, "            ");
            fputs("            return ;;\n", to);
        }
        fputs("        esac\n        case \"$cur\" in\n        -*) COMPREPLY=($(compgen -W \"", to);
        for (int r = 0; r < n_option_rows; r++)
            if (has(c, &option_rows[r])) fprintf(to, "--%s ", option_rows[r].name);
        fputs("\" -- \"$cur\")) ;;\n", to);
        if (*c->args) {
            fputs("        *)\n", to);
            bash_words(to, c->args, "            ");
            fputs("            ;;\n", to);
        }
        fputs("        esac ;;\n", to);
    }
    fputs("    esac\n}\ncomplete -F _fathom fathom\n", to);
}

/* Quotes for zsh's _arguments and for fish: inside '...', with the characters that _arguments reads taken
 * out. */
static void quoted(FILE *to, const char *text, bool zsh)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs(zsh ? "'\\''" : "\\'", to);
        else if (*text == '\\' && !zsh)
            fputs("\\\\", to);
        else if (zsh && strchr("[]:\\", *text))
            fprintf(to, "\\%c", *text);
        else
            fputc(*text, to);
    }
}

static void zsh_values(FILE *to, const char *arg)
{
    if (strcmp(arg, "FILE") == 0)
        fputs("_files", to);
    else if (strstr(arg, "MODEL")) {
        fputs("{_alternative \"names\\:name\\:(", to);
        names_print(to, arg);
        fputs(")\" \"files\\:file\\:_files\"}", to);
    } else {
        fputc('(', to);
        names_print(to, arg);
        fputc(')', to);
    }
}

static void zsh(FILE *to)
{
    fputs("#compdef fathom\n_fathom()\n{\n    if (( CURRENT == 2 )); then\n        local -a names=(\n", to);
    for (int i = 0; i < N_COMMANDS; i++) {
        fprintf(to, "            '%s:", commands[i].name);
        quoted(to, commands[i].summary, true);
        fputs("'\n", to);
    }
    fputs("        )\n        _describe command names\n        return\n    fi\n    local name=$words[2]\n    "
          "shift words\n"
          "    (( CURRENT-- ))\n    case $name in\n",
          to);
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        fprintf(to, "    %s)\n        _arguments -s", c->name);
        for (int r = 0; r < n_option_rows; r++) {
            const struct option_row *row = &option_rows[r];
            if (!has(c, row)) continue;
            for (int is_letter = row->letter ? 1 : 0; is_letter >= 0; is_letter--) {
                if (is_letter)
                    fprintf(to, " \\\n            '-%c[", row->letter);
                else
                    fprintf(to, " \\\n            '--%s%s[", row->name, row->arg ? "=" : "");
                quoted(to, row->help, true);
                fputc(']', to);
                if (row->arg) {
                    fprintf(to, ":%s:", row->arg);
                    zsh_values(to, row->arg);
                }
                fputc('\'', to);
            }
        }
        if (*c->args) {
            fputs(" \\\n            '1:argument:", to);
            zsh_values(to, c->args);
            fputc('\'', to);
        }
        fputs(" ;;\n", to);
    }
    fputs("    esac\n}\nif [ \"$funcstack[1]\" = _fathom ]; then _fathom \"$@\"; else compdef _fathom "
          "fathom; fi\n",
          to);
}

static void fish(FILE *to)
{
    fputs("complete -c fathom -f\n", to);
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        fprintf(to, "complete -c fathom -n __fish_use_subcommand -a %s -d '", c->name);
        quoted(to, c->summary, false);
        fputs("'\n", to);
        if (*c->args) {
            fprintf(to, "complete -c fathom -n '__fish_seen_subcommand_from %s' %s-a '", c->name,
                    strstr(c->args, "MODEL") ? "-F " : "");
            names_print(to, c->args);
            fputs("'\n", to);
        }
        for (int r = 0; r < n_option_rows; r++) {
            const struct option_row *row = &option_rows[r];
            if (!has(c, row)) continue;
            fprintf(to, "complete -c fathom -n '__fish_seen_subcommand_from %s' -l %s", c->name, row->name);
            if (row->letter) fprintf(to, " -s %c", row->letter);
            if (row->arg) fputs(takes(row, "FILE") || takes(row, "MODEL") ? " -r -F" : " -x", to);
            if (takes(row, "MODEL") || takes(row, "LEVEL") || takes(row, "FORMAT")) {
                fputs(" -a '", to);
                names_print(to, row->arg);
                fputc('\'', to);
            }
            fputs(" -d '", to);
            quoted(to, row->help, false);
            fputs("'\n", to);
        }
    }
}

bool help_completion(FILE *to, const char *shell)
{
    static const struct {
        const char *name;
        void (*print)(FILE *to);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shells[i].name, shell) == 0) {
            shells[i].print(to);
            return true;
        }
    return false;
}

int cmd_completion(const struct options *o, struct error *err)
{
    if (help_completion(stdout, o->args[0])) return EXIT_DONE;
    return usage_error(err, "no completion for \"%.60s\"; there is bash, zsh and fish", o->args[0]);
}
