/* The models that have a name, and the folder they are kept in. The default model is the row called
 * "default". */
#ifndef FATHOM_PROGRAMS_MODELS_H
#define FATHOM_PROGRAMS_MODELS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/* One GGUF file, published in n_parts Python packages that each hold a consecutive slice of it. In `package`
 * and `member` {n} stands for the part's number from 1, {nn} for the same in two digits. Without a package
 * it is a folder that ships with the program, under models/ in the tree. */
struct model_row {
    const char *name, *alias;
    const char *title, *licence;
    const char *package, *version, *member;
    int n_parts;
    uint64_t bytes;
    const char *sha256;        /* 64 lower-case hexadecimal digits */
    const char *file;          /* name in the cache folder, or below models/ */
    double temperature, top_p; /* that suit the model */
};

extern const struct model_row model_rows[];
extern const int n_model_rows;

/* By name or alias; NULL when there is none. */
const struct model_row *model_row_find(const char *name);
/* Fills {n} and {nn} of a pattern. */
void model_row_fill(struct buf *out, const char *pattern, int part);
/* Appends $XDG_CACHE_HOME/fathom or ~/.cache/fathom, and "/below" unless that is NULL. */
int cache_path(struct buf *out, const char *below, struct error *err);
/* Appends $XDG_STATE_HOME/fathom or ~/.local/state/fathom, and "/below" unless that is NULL. */
int state_path(struct buf *out, const char *below, struct error *err);
/* Makes every missing folder of path. */
int folder_make(const char *path, struct error *err);
/* Where the row's file is or will be, appended to out, which is empty. *present: it is there, with the right
 * length. */
int model_row_path(struct buf *out, const struct model_row *row, bool *present, struct error *err);

/* Turns a MODEL argument (NULL: the default model) into the path of a file or folder; fetches a named model
 * that is not there yet. *row: the row it came from, or NULL. */
int model_resolve(struct buf *path, const char *argument, const struct model_row **row, struct error *err);
/* Downloads, joins, verifies and stores the model (fetch.c). Shows progress on standard error. */
int model_fetch(const struct model_row *row, struct error *err);

#endif
