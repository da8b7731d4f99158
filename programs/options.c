/* The option table and its parser. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "commands.h"
#include "suggest.h"

#define FIELD(member) offsetof(struct options, member)
#define ON(command)   (1u << COMMAND_##command)

enum { FIRST_LONG = 256, MAX_ROWS = 128 }; /* getopt values of rows start past every letter */

static const unsigned all_commands = (1u << N_COMMANDS) - 1;
static const unsigned runs_model = ON(RUN) | ON(SERVE) | ON(LOGITS) | ON(BENCH) | ON(EVAL);

// clang-format off
const struct option_row option_rows[] = {
    {"model", 'm', "MODEL", OPTION_TEXT, FIELD(model), 0, 0, NULL, ON(RUN) | ON(SERVE) | ON(TOKENIZE) | ON(LOGITS) | ON(BENCH) | ON(EVAL),
     "a .gguf file, a model folder, or a name that `fathom fetch` lists (default: the small one named \"default\")"},

    {"model", 'm', "MODEL", OPTION_TEXT, FIELD(model), 0, 0, NULL, ON(DISTILL),
     "the teacher: a .gguf file, a model folder, or a name that `fathom fetch` lists (required)"},

    {"prompt", 'p', "TEXT", OPTION_TEXT, FIELD(prompt), 0, 0, NULL, ON(RUN),
     "answer this and exit; without it: chat on a terminal, otherwise standard input is the prompt"},
    {"file", 'f', "FILE", OPTION_TEXT, FIELD(file), 0, 0, NULL, ON(RUN),
     "put the contents of FILE in front of the prompt"},
    {"max-tokens", 'n', "N", OPTION_INT, FIELD(max_tokens), 0, 1 << 30, "0", ON(RUN),
     "stop an answer after N tokens; 0: where the model ends it"},
    {"temp", 0, "T", OPTION_REAL, FIELD(temperature), 0, 100, NULL, ON(RUN),
     "temperature: 0 always takes the likeliest token, 1 samples as trained (default: what the model suggests, else 0.7)"},
    {"top-k", 0, "K", OPTION_INT, FIELD(top_k), 0, 1 << 30, "0", ON(RUN),
     "sample among the K likeliest tokens only; 0: all"},
    {"top-p", 0, "P", OPTION_REAL, FIELD(top_p), 0, 1, NULL, ON(RUN),
     "sample among the likeliest tokens that together have probability P (default: what the model suggests, else 0.95)"},
    {"min-p", 0, "P", OPTION_REAL, FIELD(min_p), 0, 1, "0", ON(RUN),
     "drop tokens less likely than P times the likeliest"},
    {"seed", 0, "N", OPTION_COUNT, FIELD(seed), 0, 0, NULL, ON(RUN),
     "the same seed gives the same text (default: another one each time)"},
    {"effort", 0, "HOW", OPTION_TEXT, FIELD(effort), 0, 0, NULL, ON(RUN),
     "how much a reasoning model thinks: low, high or max (default: as its release does)"},
    {"mtp", 0, "N", OPTION_INT, FIELD(n_draft), 0, 8, "0", ON(RUN),
     "guess N tokens per step with the model's own draft layers: faster where it pays, never another text; 0: off"},
    {"system", 's', "TEXT", OPTION_TEXT, FIELD(system), 0, 0, NULL, ON(RUN),
     "system message: how the model should behave"},
    {"raw", 0, NULL, OPTION_FLAG, FIELD(raw), 0, 0, NULL, ON(RUN),
     "continue the prompt as it stands, without the chat format"},
    {"format", 0, "FORMAT", OPTION_TEXT, FIELD(format), 0, 0, NULL, ON(RUN) | ON(SERVE) | ON(EVAL),
     "chat format to use instead of the model's own; a wrong name lists them"},
    {"no-think", 0, NULL, OPTION_FLAG, FIELD(no_think), 0, 0, NULL, ON(RUN),
     "ask a reasoning model to answer at once"},

    {"host", 0, "ADDRESS", OPTION_TEXT, FIELD(host), 0, 0, "127.0.0.1", ON(SERVE),
     "numeric address to listen on; one that others can reach needs --api-keys or FATHOM_API_KEY"},
    {"port", 0, "PORT", OPTION_INT, FIELD(port), 0, 65535, "8080", ON(SERVE),
     "port to listen on; 0: any free one, which is printed"},
    {"slots", 0, "N", OPTION_INT, FIELD(n_slots), 1, 64, "4", ON(SERVE),
     "conversations that are answered, and kept, at a time; each takes the memory of a context"},
    {"keep", 0, "DIR", OPTION_TEXT, FIELD(keep), 0, 0, NULL, ON(SERVE),
     "keep the states of conversations in this folder, for after a restart and for more of them than slots"},
    {"keep-size", 0, "SIZE", OPTION_SIZE, FIELD(keep_bytes), 0, 0, "8G", ON(SERVE),
     "the folder's limit; what was not used for longest goes"},
    {"store", 0, "FILE", OPTION_TEXT, FIELD(store), 0, 0, NULL, ON(SERVE),
     "SQLite file for the page's conversations and for usage (default: fathom/serve.db in $XDG_STATE_HOME or ~/.local/state)"},
    {"no-store", 0, NULL, OPTION_FLAG, FIELD(no_store), 0, 0, NULL, ON(SERVE),
     "keep no conversations and count no usage"},
    {"usage", 0, NULL, OPTION_FLAG, FIELD(usage), 0, 0, NULL, ON(SERVE),
     "print who used how many tokens, by day, key and model, and exit"},
    {"days", 0, "N", OPTION_INT, FIELD(n_days), 1, 3660, "30", ON(SERVE),
     "how many days --usage looks back"},
    {"prices", 0, "FILE", OPTION_TEXT, FIELD(prices), 0, 0, NULL, ON(SERVE),
     "JSON object of what a million tokens cost, by model: {\"MODEL\": {\"input\": 1, \"cached\": 0.1, \"output\": 2}}; * is any model"},
    {"name", 0, "NAME", OPTION_TEXT, FIELD(model_name), 0, 0, NULL, ON(SERVE),
     "how the model is called in answers (default: the name of its file)"},
    {"pooling", 0, "HOW", OPTION_TEXT, FIELD(pooling), 0, 0, NULL, ON(SERVE),
     "embeddings: mean of all tokens, or last, of the last one (default: what the model's file says, else mean)"},
    {"load-wait", 0, "SECONDS", OPTION_INT, FIELD(load_wait_s), 1, 86400, "120", ON(SERVE),
     "with several models: how long a request waits for its model to be loaded"},
    {"api-keys", 0, "FILE", OPTION_TEXT, FIELD(api_keys), 0, 0, NULL, ON(SERVE),
     "ask for a key: lines that begin with the SHA-256 of one, as sha256sum prints it; FATHOM_API_KEY adds one by itself"},
    {"allow-host", 0, "LIST", OPTION_TEXT, FIELD(allow_host), 0, 0, NULL, ON(SERVE),
     "names, separated by commas, that the server also answers to, beside localhost and its address"},
    {"allow-origin", 0, "LIST", OPTION_TEXT, FIELD(allow_origin), 0, 0, NULL, ON(SERVE),
     "web origins, such as https://chat.example, whose pages may use the server"},
    {"log", 0, "FORMAT", OPTION_TEXT, FIELD(log_format), 0, 0, "text", ON(SERVE),
     "text, or json: a JSON object per line"},
    {"config", 0, "FILE", OPTION_TEXT, FIELD(config), 0, 0, NULL, ON(SERVE),
     "read options from this file, by their names, and tables of several models; what the command line says goes before"},
    {"check", 0, NULL, OPTION_FLAG, FIELD(check), 0, 0, NULL, ON(SERVE),
     "check models and configuration, print them with the routes and limits, and exit"},

    {"special", 0, NULL, OPTION_FLAG, FIELD(special), 0, 0, NULL, ON(TOKENIZE),
     "read and print control tokens such as <|im_start|>; else they are plain text, and dropped by --decode"},
    {"decode", 0, NULL, OPTION_FLAG, FIELD(spell), 0, 0, NULL, ON(TOKENIZE),
     "the reverse: ids on standard input, text on standard output"},

    {"ids", 0, "LIST", OPTION_TEXT, FIELD(ids), 0, 0, NULL, ON(LOGITS),
     "token ids, separated by commas or spaces; without it they are read from standard input"},
    {"config", 0, "FILE", OPTION_TEXT, FIELD(config), 0, 0, NULL, ON(SYNTH),
     "config.json of the model to imitate"},
    {"config", 0, "FILE", OPTION_TEXT, FIELD(config), 0, 0, NULL, ON(TRAIN) | ON(EXPORT),
     "description of the run (required)"},
    {"from", 0, "FILE", OPTION_TEXT, FIELD(from), 0, 0, NULL, ON(EXPORT),
     "checkpoint to export (default: the run's newest)"},
    {"as", 0, "FORMAT", OPTION_TEXT, FIELD(as), 0, 0, "fp4", ON(EXPORT),
     "fp4: FP4 experts, FP8 and BF16 as in the release; fp8; bf16; f32; gguf: one file, experts in MXFP4; transformers: f32 with the names of Hugging Face transformers"},
    {"output", 'o', "DIR", OPTION_TEXT, FIELD(output), 0, 0, NULL, ON(EXPORT),
     "folder to write into, made if it is missing, or GGUF file to write (required)"},
    {"from", 0, "MODEL", OPTION_TEXT, FIELD(from), 0, 0, NULL, ON(SFT) | ON(DISTILL),
     "what to start from: the description of a run (a .toml file), a model folder or a .gguf file (required)"},
    {"output", 'o', "DIR", OPTION_TEXT, FIELD(output), 0, 0, NULL, ON(SFT) | ON(DISTILL),
     "folder of the new run: description, data, checkpoints, report; made if it is missing (required)"},
    {"epochs", 0, "N", OPTION_INT, FIELD(n_epochs), 1, 10000, "3", ON(SFT) | ON(DISTILL),
     "how often each conversation is learnt"},
    {"rate", 0, "R", OPTION_REAL, FIELD(rate), 0, 1, "0.0005", ON(SFT) | ON(DISTILL),
     "largest step of the optimizer; it falls along a cosine"},
    {"held-out", 0, "FILE", OPTION_TEXT, FIELD(held_out), 0, 0, NULL, ON(SFT) | ON(DISTILL),
     "conversations that are evaluated, never learnt"},
    {"real-dims", 0, "NAME", OPTION_TEXT, FIELD(real_dims), 0, 0, NULL, ON(SYNTH),
     "a released configuration instead: flash or pro; or tiny, a few megabytes that take every branch (default: tiny)"},
    {"layers", 0, "N", OPTION_INT, FIELD(n_layers), 0, 256, "0", ON(SYNTH),
     "write the first N layers only; 0: all"},
    {"seed", 0, "N", OPTION_COUNT, FIELD(seed), 0, 0, "0", ON(SYNTH),
     "the same seed gives the same weights"},
    {"output", 'o', "DIR", OPTION_TEXT, FIELD(output), 0, 0, NULL, ON(SYNTH),
     "folder to write into; made if it is missing (required)"},
    {"output", 'o', "FILE", OPTION_TEXT, FIELD(output), 0, 0, NULL, ON(LOGITS),
     "safetensors file to write (required)"},
    {"decode", 0, NULL, OPTION_FLAG, FIELD(stepwise), 0, 0, NULL, ON(LOGITS),
     "evaluate token by token instead of all at once"},

    {"vocab", 0, "N", OPTION_INT, FIELD(n_vocab), 512, 65536, "4096", ON(DATA),
     "ids of the vocabulary to learn"},
    {"tokenizer", 0, "FILE", OPTION_TEXT, FIELD(tokenizer), 0, 0, NULL, ON(DATA),
     "tokenizer.json to use"},
    {"tokenizer", 0, "FILE", OPTION_TEXT, FIELD(tokenizer), 0, 0, NULL, ON(SFT) | ON(DISTILL),
     "tokenizer.json of the model (default: the one that its run or folder has)"},
    {"fim", 0, "PERCENT", OPTION_INT, FIELD(fim_percent), 0, 100, "0", ON(DATA),
     "share of the texts that become pieces with a hole, the missing part last"},
    {"max-tokens", 'n', "N", OPTION_INT, FIELD(max_tokens), 0, 1 << 30, "0", ON(DATA),
     "leave out conversations of more than N tokens; 0: none"},
    {"seed", 0, "N", OPTION_COUNT, FIELD(seed), 0, 0, "0", ON(DATA),
     "where the holes are; the same seed gives the same shard"},
    {"output", 'o', "FILE", OPTION_TEXT, FIELD(output), 0, 0, NULL, ON(DATA),
     "file to write (required, but for show)"},

    {"limit", 0, "N", OPTION_INT, FIELD(limit), 0, 1 << 30, "0", ON(EVAL) | ON(DISTILL),
     "stop after N tasks or documents; 0: all"},
    {"max-tokens", 'n', "N", OPTION_INT, FIELD(max_tokens), 0, 1 << 30, "0", ON(EVAL) | ON(DISTILL),
     "stop an answer after N tokens; 0: 768"},
    {"think", 0, NULL, OPTION_FLAG, FIELD(think), 0, 0, NULL, ON(RUN) | ON(EVAL) | ON(DISTILL),
     "let a reasoning model reason first"},
    {"seed", 0, "N", OPTION_COUNT, FIELD(seed), 0, 0, "0", ON(EVAL),
     "which lines are asked for"},
    {"output", 'o', "FILE", OPTION_TEXT, FIELD(output), 0, 0, NULL, ON(EVAL),
     "file for the answers, as JSON lines"},

    {"prefill", 'p', "N", OPTION_INT, FIELD(n_prompt), 1, 1 << 24, "512", ON(BENCH),
     "tokens to prefill"},
    {"decode", 'n', "N", OPTION_INT, FIELD(n_decode), 1, 1 << 24, "128", ON(BENCH),
     "tokens to decode"},
    {"depth", 0, "N", OPTION_INT, FIELD(n_depth), 0, 1 << 24, "0", ON(BENCH),
     "measure behind N tokens whose keys and values are random numbers"},
    {"repeat", 'r', "N", OPTION_INT, FIELD(n_repeats), 1, 1000, "5", ON(BENCH),
     "measure N times: the median is over these"},
    {"machine", 0, NULL, OPTION_FLAG, FIELD(machine), 0, 0, NULL, ON(BENCH),
     "measure memory bandwidth and arithmetic peaks alone; needs no model"},
    {"profile", 0, NULL, OPTION_FLAG, FIELD(profile), 0, 0, NULL, ON(BENCH),
     "show where the time goes: each part of the model with its share, traffic and arithmetic"},
    {"json", 0, NULL, OPTION_FLAG, FIELD(json), 0, 0, NULL, ON(BENCH) | ON(EVAL),
     "print one JSON object"},

    {"ctx", 'c', "N", OPTION_INT, FIELD(n_ctx), 0, 1 << 30, "0", ON(RUN) | ON(SERVE) | ON(INSPECT) | ON(EVAL),
     "context length in tokens; 0: the model's own, less if memory is short"},
    {"rewind", 0, "N", OPTION_INT, FIELD(n_rewind), 0, 1 << 20, "0", ON(RUN) | ON(SERVE) | ON(INSPECT),
     "DeepSeek V4: an edited turn at most N tokens back costs no reading again; 0: 512"},
    {"ram", 0, "SIZE", OPTION_SIZE, FIELD(ram_bytes), 0, 0, NULL, runs_model | ON(INSPECT),
     "memory the model may use, such as 800M or 12G (default: what is free)"},
    {"threads", 't', "N", OPTION_INT, FIELD(n_threads), 0, 1024, "0", runs_model | ON(TRAIN) | ON(SFT) | ON(DISTILL),
     "worker threads; 0: one per usable core"},
    {"numerics", 0, "CONTRACT", OPTION_TEXT, FIELD(numerics), 0, 0, NULL, runs_model | ON(INSPECT),
     "fast: int8 activations for packed weights; exact: fp32 throughout; reference: with the roundings that the model was trained with (default: fast)"},
    {"isa", 0, "LEVEL", OPTION_TEXT, FIELD(isa), 0, 0, "auto", runs_model | ON(TRAIN) | ON(SFT) | ON(DISTILL),
     "instruction set to use; `fathom doctor` lists what this machine has (avx512: integer kernels of avx2)"},
    {"help", 'h', NULL, OPTION_FLAG, FIELD(help), 0, 0, NULL, all_commands,
     "show this help"},
};
// clang-format on
const int n_option_rows = sizeof option_rows / sizeof option_rows[0];
_Static_assert(sizeof option_rows / sizeof option_rows[0] <= MAX_ROWS, "struct options.given holds 128 bits");

bool parse_real(const char *text, double min, double max, double *out)
{
    /* strtod also takes blanks, hexadecimal, "inf" and "nan": none is a number that people type here. */
    if (*text == '\0' || strspn(text, "+-0123456789.eE") != strlen(text)) return false;
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (*end != '\0' || errno != 0 || !isfinite(v) || v < min || v > max) return false;
    *out = v;
    return true;
}

bool parse_int(const char *text, double min, double max, int *out)
{
    if (*text == '\0' || strspn(text, "+-0123456789") != strlen(text)) return false;
    double v;
    if (!parse_real(text, min, max, &v)) return false;
    *out = (int)v;
    return true;
}

bool parse_count(const char *text, uint64_t *out)
{
    if (*text == '\0' || strspn(text, "0123456789") != strlen(text)) return false;
    errno = 0;
    unsigned long long v = strtoull(text, NULL, 10);
    if (errno != 0) return false;
    *out = v;
    return true;
}

bool parse_size(const char *text, uint64_t *out)
{
    char digits[32];
    size_t n = strspn(text, "0123456789.");
    if (n == 0 || n >= sizeof digits) return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    double v, unit = 1;
    const char *units = "KMGT", *suffix = text + n;
    if (*suffix != '\0') {
        const char *hit = strchr(units, *suffix >= 'a' ? *suffix - 'a' + 'A' : *suffix);
        if (!hit) return false;
        for (const char *u = units; u <= hit; u++) unit *= 1024;
        suffix++;
        if (strcmp(suffix, "") != 0 && strcasecmp(suffix, "B") != 0 && strcasecmp(suffix, "iB") != 0)
            return false;
    }
    if (!parse_real(digits, 0, 1e15, &v) || v * unit < 1 || v * unit > 1e18) return false;
    *out = (uint64_t)(v * unit);
    return true;
}

/* Writes the value of a row; false when text does not fit it. */
static bool option_store(struct options *o, const struct option_row *row, const char *text)
{
    char *at = (char *)o + row->field;
    switch (row->type) {
    case OPTION_FLAG: *(bool *)at = true; return true;
    case OPTION_TEXT: *(const char **)at = text; return true;
    case OPTION_INT: return parse_int(text, row->min, row->max, (int *)at);
    case OPTION_REAL: return parse_real(text, row->min, row->max, (double *)at);
    case OPTION_COUNT: return parse_count(text, (uint64_t *)at);
    case OPTION_SIZE: return parse_size(text, (uint64_t *)at);
    }
    return false;
}

static int value_error(const struct option_row *row, const char *text, struct error *err)
{
    switch (row->type) {
    case OPTION_INT:
        return error_set(err, STATUS_RANGE, "--%s: \"%s\" is not a whole number from %.0f to %.0f", row->name,
                         text, row->min, row->max);
    case OPTION_REAL:
        return error_set(err, STATUS_RANGE, "--%s: \"%s\" is not a number from %g to %g", row->name, text,
                         row->min, row->max);
    case OPTION_SIZE:
        return error_set(err, STATUS_RANGE, "--%s: \"%s\" is not a size; write for example 800M or 12G",
                         row->name, text);
    default:
        return error_set(err, STATUS_RANGE,
                         "--%s: \"%s\" is not a whole number from 0 to 18446744073709551615", row->name,
                         text);
    }
}

const struct option_row *option_row_find(const char *name, const struct command *c)
{
    unsigned command = 1u << (c - commands);
    for (int i = 0; i < n_option_rows; i++)
        if ((option_rows[i].commands & command) && strcmp(option_rows[i].name, name) == 0)
            return &option_rows[i];
    return NULL;
}

int option_set(struct options *o, const struct option_row *row, const char *text, struct error *err)
{
    if (!option_store(o, row, text)) return value_error(row, text, err);
    o->given[(row - option_rows) / 64] |= (uint64_t)1 << ((row - option_rows) % 64);
    return STATUS_OK;
}

/* What getopt_long reads, made from the rows of one command. */
struct getopt_tables {
    struct option longs[MAX_ROWS + 1];
    char letters[3 + 2 * MAX_ROWS];
};

static void tables_build(struct getopt_tables *t, unsigned command)
{
    *t = (struct getopt_tables){0};
    char *letter = t->letters;
    *letter++ = ':'; /* tell a missing value from an unknown option */
    struct option *l = t->longs;
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *row = &option_rows[i];
        if (!(row->commands & command)) continue;
        *l++ = (struct option){row->name, row->arg ? required_argument : no_argument, NULL, FIRST_LONG + i};
        if (!row->letter) continue;
        *letter++ = row->letter;
        if (row->arg) *letter++ = ':';
    }
}

static const struct option_row *row_find(int value, unsigned command)
{
    if (value >= FIRST_LONG) return &option_rows[value - FIRST_LONG];
    for (int i = 0; i < n_option_rows; i++)
        if ((option_rows[i].commands & command) && option_rows[i].letter == value) return &option_rows[i];
    return NULL;
}

/* getopt_long returned '?': unknown, ambiguous, or a value given to a flag. */
static int unknown_error(const struct command *c, unsigned command, const char *typed, struct error *err)
{
    const struct option_row *flag = optopt ? row_find(optopt, command) : NULL;
    if (flag) return error_set(err, STATUS_RANGE, "--%s takes no value", flag->name);
    if (typed[0] == '-' && typed[1] != '-')
        return error_set(err, STATUS_RANGE, "unknown option -%c; `fathom %s --help` lists the options",
                         optopt, c->name);
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(typed + 2, "="), typed + 2);
    struct suggestion s;
    suggest_init(&s, name);
    int n_begin = 0;
    for (int i = 0; i < n_option_rows; i++) {
        if (!(option_rows[i].commands & command)) continue;
        suggest_offer(&s, option_rows[i].name);
        n_begin += strncmp(option_rows[i].name, name, strlen(name)) == 0;
    }
    if (n_begin > 1)
        return error_set(err, STATUS_RANGE,
                         "--%s may mean several options; write it in full (`fathom %s --help`)", name,
                         c->name);
    if (s.best) return error_set(err, STATUS_RANGE, "unknown option --%s; did you mean --%s?", name, s.best);
    return error_set(err, STATUS_RANGE, "unknown option --%s; `fathom %s --help` lists the options", name,
                     c->name);
}

static int args_take(struct options *o, const struct command *c, int argc, char **argv, struct error *err)
{
    if (argc > c->args_max) {
        if (c == &commands[COMMAND_RUN])
            return error_set(err, STATUS_RANGE, "unexpected \"%.60s\": give the prompt as -p \"...\"",
                             argv[0]);
        return error_set(err, STATUS_RANGE, "unexpected \"%.60s\"; usage: fathom %s [OPTION]... %s",
                         argv[c->args_max], c->name, c->args);
    }
    if (argc < c->args_min)
        return error_set(err, STATUS_RANGE, "something is missing; usage: fathom %s [OPTION]... %s", c->name,
                         c->args);
    for (int i = 0; i < argc; i++) o->args[o->n_args++] = argv[i];
    return STATUS_OK;
}

int options_parse(struct options *o, const struct command *c, int argc, char **argv, struct error *err)
{
    *o = (struct options){0};
    unsigned command = 1u << (c - commands);
    for (int i = 0; i < n_option_rows; i++)
        if (option_rows[i].initial) CHECK(option_store(o, &option_rows[i], option_rows[i].initial));

    struct getopt_tables t;
    tables_build(&t, command);
    optind = 0; /* glibc: forget an earlier scan */
    opterr = 0;
    for (;;) {
        int at = optind > 0 ? optind : 1;
        int value = getopt_long(argc, argv, t.letters, t.longs, NULL);
        if (value == -1) break;
        if (value == '?') return unknown_error(c, command, argv[optind > at ? optind - 1 : at], err);
        const struct option_row *row = row_find(value == ':' ? optopt : value, command);
        if (value == ':')
            return error_set(err, STATUS_RANGE, "--%s needs a value: --%s %s", row->name, row->name,
                             row->arg);
        int rc = option_set(o, row, optarg, err);
        if (rc != STATUS_OK) return rc;
    }
    return o->help ? STATUS_OK : args_take(o, c, argc - optind, argv + optind, err);
}

bool options_given(const struct options *o, size_t field)
{
    for (int i = 0; i < n_option_rows; i++)
        if (option_rows[i].field == field && (o->given[i / 64] >> (i % 64) & 1)) return true;
    return false;
}
