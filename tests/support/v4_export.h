/* DeepSeek V4 weights under the names of other programs: GGUF `deepseek4` in any mixture of types, the
 * parameters of transformers, and the names under which it saves them.
 *
 * Names and keys stand here a second time on purpose. Exporter and loader share the weight table
 * (model/deepseek_v4/weights_table.c), so a name that is wrong there would agree with itself; these tables
 * are written from the formats and are the other witness, for the loader as for what the trainer exports. */
#ifndef FATHOM_TESTS_SUPPORT_V4_EXPORT_H
#define FATHOM_TESTS_SUPPORT_V4_EXPORT_H

#include "model/deepseek_v4/config.h"
#include "support/files.h"

/* Types of a GGUF file's tensors, by the part they play. DTYPE_F32 is 0: what is not named is F32. */
struct v4_types {
    enum dtype gate_up, down; /* of the routed experts; DTYPE_IQ2_XXS: random codes, as nothing encodes it */
    enum dtype matrices;      /* attention, shared expert, head: FP8 in the release, and the head */
    enum dtype others; /* the other matrices: embedding, hyper-connections, compressors, indexer, gate */
};

struct v4_export {
    const struct v4_config *c;
    const struct checkpoint *source; /* under the release's names; NULL: values by rule (see v4_export.c) */
    struct v4_types types;
    bool decoded;         /* F32 throughout, of the values that `types` would hold */
    bool claims_draft;    /* nextn_predict_layers is 1 though c has no draft block */
    bool without_scaling; /* no keys of YaRN */
    bool as_saved;        /* transformers: as save_pretrained names them */
    double shared_clamp;  /* swiglu_clamp_shexp; 0: no such key */
};

/* Abort when that fails. A draft block goes into GGUF without its contraction, which has no place there; not
 * into transformers. */
void v4_export_gguf(const char *path, const struct v4_export *x);
void v4_export_transformers(const struct temp_folder *f, const struct v4_export *x); /* model.safetensors */

#endif
