/* Trained parameters as a model folder in the official layout: config.json and model.safetensors. */
#ifndef FATHOM_TRAIN_EXPORT_H
#define FATHOM_TRAIN_EXPORT_H

#include "kernels/kernels.h"
#include "train/params.h"

enum export_format {
    EXPORT_F32,  /* what training computed with */
    EXPORT_BF16, /* matrices and norms in BF16 */
    EXPORT_FP8,  /* matrices of attention and experts in FP8, 128 x 128 values to a scale */
    EXPORT_FP4,  /* as the releases: routed experts in FP4, 32 values to a scale, the rest as EXPORT_FP8 */
    N_EXPORT_FORMATS,
};
extern const char *const export_format_names[N_EXPORT_FORMATS];

/* What a tensor is stored as. */
enum dtype export_dtype(const struct v4_tensor_spec *t, enum export_format f);

/* Writes into dir, which exists. */
int export_official(const struct params *p, enum export_format f, const struct kernels *k, const char *dir,
                    struct error *err);

/* Writes into dir, which exists: names and configuration as Hugging Face transformers has them, all in F32,
 * without the MTP block, which it does not know. STATUS_UNSUPPORTED when layers with heavy compression differ
 * in their ratio, for which it has no words. */
int export_transformers(const struct params *p, const char *dir, struct error *err);

/* One GGUF file at path, as llama.cpp names things: experts in MXFP4, other matrices in BF16, vectors in F32,
 * without the MTP block. For parameters that params_round made into EXPORT_FP4 it holds the same numbers.
 * json: the text of tokenizer.json (named `tokenizer` in messages), which becomes the tokenizer's lists; may
 * be empty. */
int export_gguf(const struct params *p, const char *path, const char *tokenizer, struct str json,
                struct error *err);

/* Every parameter becomes what its export in this format would decode to. */
void params_round(struct params *p, enum export_format f, const struct kernels *k);

/* FP8 of a matrix (rows, cols) in blocks of 128 x 128, each with the power of two that brings its largest
 * value just below 448: codes (rows, cols), scales (blocks of rows, blocks of columns) as e8m0. */
void fp8_encode_matrix(uint8_t *codes, uint8_t *scales, const float *w, int rows, int cols);

#endif
