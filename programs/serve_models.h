/* The models of `fathom serve`: how they are measured before and opened when they are wanted. */
#ifndef FATHOM_PROGRAMS_SERVE_MODELS_H
#define FATHOM_PROGRAMS_SERVE_MODELS_H

#include "options.h"
#include "runtime.h"
#include "server/server.h"

enum { SERVE_MAX_MODELS = 32, SERVE_NAME_BYTES = 160, SERVE_MAX_ALIASES = 32 };

struct serve_model {
    char name[SERVE_NAME_BYTES]; /* how it is called in answers */
    int line;                    /* of the configuration, where its table begins; 0: there is none */
    struct options o;            /* of the command line, and what its table says otherwise */
    const char *aliases[SERVE_MAX_ALIASES];
    int n_aliases;
    struct memory_plan plan;          /* by serve_model_measure */
    const struct chat_format *format; /* NULL: none; by serve_model_measure or while it is open */
    /* While it is open. */
    struct runtime runtime;
    struct chat_texts *texts;
};

/* The name of the file or folder, without its ending, unless --name gives one. Fetches a model of the table.
 */
int serve_model_name(struct serve_model *m, struct error *err);
/* Reads what the model's files say of themselves: plan and format. Weights are not read. */
int serve_model_measure(struct serve_model *m, struct error *err);
/* m as the server takes it. Valid as long as m stays where it is. */
struct model_source serve_model_source(struct serve_model *m);

#endif
