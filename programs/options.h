/* Options: one table, read by the parser, --help, the man page and shell completion.
 *
 * A row says how an option is spelled, what values it takes, where the value goes and which commands know it.
 * A spelling may occur twice when two commands mean different things by it (-p of run and of bench). */
#ifndef FATHOM_PROGRAMS_OPTIONS_H
#define FATHOM_PROGRAMS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct command; /* commands.h */

enum { OPTIONS_MAX_ARGS = 12 };

/* Values of every option of every command; what was not given holds the row's default. */
struct options {
    const char *model, *prompt, *file, *system, *format, *isa, *ids, *output, *numerics, *config, *real_dims,
        *effort, *tokenizer, *held_out, *from, *as, *host, *api_keys, *allow_host, *allow_origin, *model_name, *log_format, *pooling, *keep, *store, *prices;
    int max_tokens, top_k, n_ctx, n_threads, n_prompt, n_decode, n_depth, n_repeats, n_layers, n_draft,
        n_rewind, n_vocab, n_epochs, fim_percent, limit, port, n_slots, n_days, load_wait_s;
    double temperature, top_p, min_p, rate;
    uint64_t seed, ram_bytes, keep_bytes;
    bool raw, no_think, think, special, spell, stepwise, json, machine, profile, check, no_store, usage, help;
    uint64_t given[2];                  /* bit i: option_rows[i] was on the command line */
    const char *args[OPTIONS_MAX_ARGS]; /* what is no option */
    int n_args;
};

enum option_type { OPTION_FLAG, OPTION_TEXT, OPTION_INT, OPTION_REAL, OPTION_COUNT, OPTION_SIZE };

struct option_row {
    const char *name; /* long spelling, without the dashes */
    char letter;      /* short spelling, 0: none */
    const char *arg;  /* placeholder of the value, NULL for flags; FILE, MODEL and LEVEL also tell completion
                         what fits */
    enum option_type type;
    size_t field;    /* offset in struct options */
    double min, max; /* of numbers */
    const char
        *initial;      /* default as it would be typed; NULL: zero, and the help text says what that means */
    unsigned commands; /* bit set of enum command_id */
    const char *help;
};

extern const struct option_row option_rows[];
extern const int n_option_rows;

/* Fills o from argv[1..] of command c (argv[0] is the command's name). A mistake is STATUS_RANGE with a
 * sentence that names the nearest spelling or the allowed range. Not thread-safe: getopt_long keeps state. */
int options_parse(struct options *o, const struct command *c, int argc, char **argv, struct error *err);
/* The row of a command by its long spelling; NULL: it knows none. */
const struct option_row *option_row_find(const char *name, const struct command *c);
/* Stores a value as the command line would. STATUS_RANGE says what is wrong with it. */
int option_set(struct options *o, const struct option_row *row, const char *text, struct error *err);
/* The option whose value lives at `field` was given: OPTION_GIVEN(o, seed). */
bool options_given(const struct options *o, size_t field);
#define OPTION_GIVEN(o, member) options_given((o), offsetof(struct options, member))

/* Strict readers: the whole text must be one number in [min, max]. */
bool parse_int(const char *text, double min, double max, int *out);
bool parse_real(const char *text, double min, double max, double *out);
bool parse_count(const char *text, uint64_t *out);
bool parse_size(const char *text, uint64_t *out); /* bytes, or with K, M, G, T (powers of 1024) */

#endif
