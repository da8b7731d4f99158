/* Commands: one row per subcommand of `fathom`. Help, man page and completion are made from this table and
 * option_rows[]. */
#ifndef FATHOM_PROGRAMS_COMMANDS_H
#define FATHOM_PROGRAMS_COMMANDS_H

#include "base/error.h"
#include "options.h"

enum command_id {
    COMMAND_RUN,
    COMMAND_SERVE,
    COMMAND_FETCH,
    COMMAND_INSPECT,
    COMMAND_TOKENIZE,
    COMMAND_LOGITS,
    COMMAND_BENCH,
    COMMAND_DOCTOR,
    COMMAND_SYNTH,
    COMMAND_DATA,
    COMMAND_TRAIN,
    COMMAND_SFT,
    COMMAND_DISTILL,
    COMMAND_EXPORT,
    COMMAND_EVAL,
    COMMAND_HELP,
    COMMAND_COMPLETION,
    N_COMMANDS,
};

/* Exit codes of the program. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

struct command {
    const char *name;
    const char *args; /* what follows the options in the usage line, "" for nothing */
    int args_min, args_max;
    const char *summary;  /* one line, imperative */
    const char *text;     /* paragraphs, each ending in a newline */
    const char *examples; /* lines "command # what it does" */
    /* Returns an exit code; on failure err says why and main prints it. */
    int (*run)(const struct options *o, struct error *err);
};

extern const struct command commands[N_COMMANDS];

/* NULL when there is none of that name. */
const struct command *command_find(const char *name);
/* The exit code that stands for a status. */
int exit_code(int status);
/* Fills err and returns EXIT_USAGE. */
int usage_error(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int cmd_run(const struct options *o, struct error *err);
int cmd_serve(const struct options *o, struct error *err);
int cmd_fetch(const struct options *o, struct error *err);
int cmd_inspect(const struct options *o, struct error *err);
int cmd_tokenize(const struct options *o, struct error *err);
int cmd_logits(const struct options *o, struct error *err);
int cmd_bench(const struct options *o, struct error *err);
int cmd_doctor(const struct options *o, struct error *err);
int cmd_synth(const struct options *o, struct error *err);
int cmd_data(const struct options *o, struct error *err);
int cmd_train(const struct options *o, struct error *err);
int cmd_sft(const struct options *o, struct error *err);
int cmd_distill(const struct options *o, struct error *err);
int cmd_export(const struct options *o, struct error *err);
int cmd_eval(const struct options *o, struct error *err);
int cmd_help(const struct options *o, struct error *err);
int cmd_completion(const struct options *o, struct error *err);

#endif
