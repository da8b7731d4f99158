/* Weight tables: an architecture's single list of tensors, and the loader that binds and checks from it.
 *
 * A name holds '#' where the layer number stands and '@' where the expert number stands. Every tensor of the
 * checkpoint must be in the table: an unknown one means that the file holds a model this build would compute
 * wrongly. */
#ifndef FATHOM_MODEL_WEIGHTS_H
#define FATHOM_MODEL_WEIGHTS_H

#include "base/arena.h"
#include "format/checkpoint.h"
#include "model/model.h"

enum weight_kind {
    WEIGHT_MATRIX,  /* field: struct matrix, (rows, cols); no data when absent */
    WEIGHT_VECTOR,  /* field: const float *, (rows), decoded into the model's arena; NULL when absent */
    WEIGHT_EXPERTS, /* field: struct matrix *, n_experts of (rows, cols): one 3-D tensor, or one 2-D tensor
                       each where the name has '@' */
    WEIGHT_IGNORED, /* may be present, carries nothing that is needed */
};

enum weight_need { WEIGHT_ABSENT, WEIGHT_OPTIONAL, WEIGHT_REQUIRED };

struct weight_spec {
    const char *gguf, *hf; /* NULL: this container never has it */
    enum weight_kind kind;
    size_t field;   /* offset in the layer struct when the name has '#', in the model struct otherwise */
    int rows, cols; /* symbols: indices into weight_binding.dims */
    enum weight_need (*need)(const void *model, int layer);
};

struct weight_binding {
    const struct weight_spec *specs;
    int n_specs;
    void *model;        /* receives the fields of names without '#'; passed to need() */
    size_t layer_bytes; /* size of one layer struct */
    int n_layers, n_experts;
    const int *dims;
};

/* Binds every tensor of the table: fills the fields of b->model, and *layers with a new array of n_layers
 * layer structs. Presence is checked first, so that *arena (opened here, freed by the caller in every case)
 * is sized by tensors that exist; extra_bytes are left free in it for the caller. Adds up n_params and
 * weight_bytes of m. */
int weights_bind(const struct weight_binding *b, const struct checkpoint *c, struct model *m, void **layers,
                 struct arena *arena, size_t extra_bytes, struct error *err);

#endif
