/* What run, tokenize, logits and bench share: a model opened as the command line says. */
#ifndef FATHOM_PROGRAMS_RUNTIME_H
#define FATHOM_PROGRAMS_RUNTIME_H

#include "base/buf.h"
#include "engine/engine.h"
#include "models.h"
#include "options.h"
#include "sample/sampler.h"
#include "text/tokenizer.h"

struct runtime {
    struct buf path;
    const struct model_row *row; /* NULL: the model was given by path */
    struct engine *engine;
    struct session *session;
    struct tokenizer *tokenizer;
    double load_s; /* from opening the file to an empty session */
    double pack_s; /* of which packing weights took this; 0: nothing was packed */
};

/* Resolves --model (fetching a named one if needed) and opens everything. Call runtime_close in every case.
 */
int runtime_open(struct runtime *r, const struct options *o, struct error *err);
/* The same without a session, with memory planned for so many, each with so many marks. */
int runtime_open_engine(struct runtime *r, const struct options *o, int n_sessions, int n_marks, struct error *err);
void runtime_close(struct runtime *r);

/* Sampling that suits the model: what its files say, else its row, else Fathom's own. */
void runtime_sampling(const struct runtime *r, struct sampler_options *s);
/* Whether the model reasons first when nobody says: yes, unless its generation_config.json has
 * "enable_thinking": false. */
bool runtime_thinks(const struct runtime *r);

/* --numerics as the engine takes it; STATUS_RANGE for an unknown word. */
int numerics_parse(enum numerics *out, const char *word, struct error *err);
/* Seconds of a clock that only goes forward. */
double clock_s(void);
/* Appends everything that standard input holds, at most in->max. */
int stdin_read(struct buf *in, struct error *err);
/* Appends the whole numbers of text, which separators of commas and white space part. */
int ids_parse(struct token_list *ids, struct str text, struct error *err);

#endif
