/* Rotary position embedding: see rope.h. Formulas: Su et al. 2021 (RoPE); Chen et al. 2023 (linear); Peng et
 * al. 2023, "YaRN", section 3 (NTK-by-parts and attention temperature); Llama 3.1 model card (llama3). */
#include "model/rope.h"

#include <math.h>
#include "model/config.h"

enum { ROPE_KEY_MAX = 96 };

/* Reads of rope keys: GGUF "ARCH.rope.KEY"; config.json "rope_scaling.KEY" or, in newer files,
 * "rope_parameters.KEY". */
struct rope_keys {
    const struct checkpoint *c;
    const char *arch;
    const char *hf_group;
    char gguf[ROPE_KEY_MAX], hf[ROPE_KEY_MAX];
};

static void set_key(struct rope_keys *k, const char *gguf, const char *hf)
{
    snprintf(k->gguf, sizeof k->gguf, "rope.%s", gguf ? gguf : "");
    snprintf(k->hf, sizeof k->hf, "%s.%s", k->hf_group, hf ? hf : "");
}

/* A real number in [min, max]; *out keeps its value when the key is absent, which is an error when *out is
 * NAN. */
static int read_real(double *out, struct rope_keys *k, const char *gguf, const char *hf, double min,
                     double max, struct error *err)
{
    set_key(k, gguf, hf);
    struct config_row row = {gguf ? k->gguf : NULL, hf ? k->hf : NULL, CONFIG_REAL, 0, min, max, *out};
    return config_read(out, &row, 1, k->c, k->arch, err);
}

static int scaling_from_name(enum rope_scaling *out, struct rope_keys *k, struct str name, struct error *err)
{
    if (str_is(name, "none") || str_is(name, "default"))
        *out = ROPE_NONE;
    else if (str_is(name, "linear"))
        *out = ROPE_LINEAR;
    else if (str_is(name, "llama3"))
        *out = ROPE_LLAMA3;
    else if (str_is(name, "yarn"))
        *out = ROPE_YARN;
    else
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s: RoPE scaling \"%.*s\" is not supported; known are none, linear, llama3, yarn",
                         checkpoint_metadata(k->c)->file, STR_ARG(name));
    return STATUS_OK;
}

static int read_scaling(struct rope_config *r, struct rope_keys *k, struct error *err)
{
    r->scaling = ROPE_NONE;
    set_key(k, "scaling.type", "rope_type");
    const struct value *v = config_find(k->c, k->arch, k->gguf, k->hf);
    if (!v) {
        set_key(k, "scaling.type", "type"); /* the older spelling in config.json */
        v = config_find(k->c, k->arch, k->gguf, k->hf);
    }
    if (v && v->type != VALUE_STRING)
        return error_set(err, STATUS_FORMAT, "%s: the RoPE scaling type: expected a string",
                         checkpoint_metadata(k->c)->file);
    if (v) return scaling_from_name(&r->scaling, k, v->string, err);
    /* GGUF files from before the type key: a factor alone means linear. */
    if (config_find(k->c, k->arch, "rope.scaling.factor", NULL) ||
        config_find(k->c, k->arch, "rope.scale_linear", NULL))
        r->scaling = ROPE_LINEAR;
    return STATUS_OK;
}

static double yarn_mscale(double factor, double mscale)
{
    return factor > 1 ? 0.1 * mscale * log(factor) + 1 : 1;
}

/* YaRN's temperature on queries and keys. GGUF states a multiplier of the paper's value; config.json states
 * the value itself, or DeepSeek's pair mscale, mscale_all_dim. */
static int read_magnitude(struct rope_config *r, struct rope_keys *k, struct error *err)
{
    double given = 0, mscale = 0, all_dim = 0, times = 1;
    int rc = read_real(&given, k, NULL, "attention_factor", 0, 1e3, err);
    if (rc == STATUS_OK) rc = read_real(&mscale, k, NULL, "mscale", 0, 1e3, err);
    if (rc == STATUS_OK) rc = read_real(&all_dim, k, NULL, "mscale_all_dim", 0, 1e3, err);
    if (rc == STATUS_OK) rc = read_real(&times, k, "scaling.attn_factor", NULL, 0, 1e3, err);
    if (rc == STATUS_OK) rc = read_real(&times, k, "scaling.yarn_attn_factor", NULL, 0, 1e3, err);
    if (given > 0)
        r->magnitude = given;
    else if (mscale > 0 && all_dim > 0)
        r->magnitude = yarn_mscale(r->factor, mscale) / yarn_mscale(r->factor, all_dim);
    else
        r->magnitude = times * yarn_mscale(r->factor, 1);
    return rc;
}

static int read_yarn(struct rope_config *r, struct rope_keys *k, struct error *err)
{
    int truncate = 1;
    r->beta_fast = 32;
    r->beta_slow = 1;
    int rc = read_real(&r->beta_fast, k, "scaling.yarn_beta_fast", "beta_fast", 1e-3, 1e6, err);
    if (rc == STATUS_OK)
        rc = read_real(&r->beta_slow, k, "scaling.yarn_beta_slow", "beta_slow", 1e-3, 1e6, err);
    if (rc == STATUS_OK) rc = read_magnitude(r, k, err);
    if (rc == STATUS_OK) {
        set_key(k, NULL, "truncate");
        struct config_row row = {NULL, k->hf, CONFIG_BOOL, 0, 0, 1, 1};
        rc = config_read(&truncate, &row, 1, k->c, k->arch, err);
    }
    r->truncate = truncate;
    return rc;
}

static int read_llama3(struct rope_config *r, struct rope_keys *k, struct error *err)
{
    r->low_freq_factor = r->high_freq_factor = CONFIG_REQUIRED;
    int rc = read_real(&r->low_freq_factor, k, NULL, "low_freq_factor", 1e-3, 1e6, err);
    if (rc == STATUS_OK) rc = read_real(&r->high_freq_factor, k, NULL, "high_freq_factor", 1e-3, 1e6, err);
    if (rc == STATUS_OK && r->high_freq_factor <= r->low_freq_factor)
        return error_set(err, STATUS_FORMAT,
                         "%s: RoPE high_freq_factor must exceed low_freq_factor: found %g and %g",
                         checkpoint_metadata(k->c)->file, r->high_freq_factor, r->low_freq_factor);
    return rc;
}

static int read_n_rot(struct rope_config *r, struct rope_keys *k, int head_dim, struct error *err)
{
    int n_rot = 0;
    double part = 1;
    struct config_row rows[] = {
        {"rope.dimension_count", NULL, CONFIG_INT, 0, 2, head_dim, head_dim},
    };
    struct config_row part_row = {NULL, "partial_rotary_factor", CONFIG_REAL, 0, 0, 1, 1};
    int rc = config_read(&n_rot, rows, 1, k->c, k->arch, err);
    if (rc == STATUS_OK) rc = config_read(&part, &part_row, 1, k->c, k->arch, err);
    if (rc == STATUS_OK) rc = read_real(&part, k, NULL, "partial_rotary_factor", 0, 1, err);
    if (rc != STATUS_OK) return rc;
    r->n_rot = (int)(n_rot * part);
    if (r->n_rot < 2 || r->n_rot % 2)
        return error_set(err, STATUS_FORMAT,
                         "%s: rotary dimensions: expected an even number of at least 2, found %d",
                         checkpoint_metadata(k->c)->file, r->n_rot);
    return STATUS_OK;
}

int rope_config_read(struct rope_config *r, const struct checkpoint *c, const char *arch, int head_dim,
                     int n_ctx_max, struct error *err)
{
    struct rope_keys k = {.c = c, .arch = arch, .hf_group = "rope_scaling"};
    if (config_find(c, arch, NULL, "rope_parameters.rope_theta") ||
        config_find(c, arch, NULL, "rope_parameters.rope_type"))
        k.hf_group = "rope_parameters";
    *r = (struct rope_config){.theta = 10000, .factor = 1, .original_ctx = n_ctx_max, .magnitude = 1};
    struct config_row theta = {"rope.freq_base", "rope_theta", CONFIG_REAL, 0, 1.001, 1e12, 10000};
    int rc = config_read(&r->theta, &theta, 1, c, arch, err);
    if (rc == STATUS_OK) rc = read_real(&r->theta, &k, NULL, "rope_theta", 1.001, 1e12, err);
    if (rc == STATUS_OK) rc = read_n_rot(r, &k, head_dim, err);
    if (rc == STATUS_OK) rc = read_scaling(r, &k, err);
    if (rc != STATUS_OK || r->scaling == ROPE_NONE) return rc;
    rc = read_real(&r->factor, &k, "scale_linear", NULL, 1e-3, 1e6, err);
    if (rc == STATUS_OK && config_find(c, arch, "rope.scale_linear", NULL) == NULL)
        r->factor = CONFIG_REQUIRED;
    if (rc == STATUS_OK) rc = read_real(&r->factor, &k, "scaling.factor", "factor", 1e-3, 1e6, err);
    if (rc == STATUS_OK)
        rc = read_real(&r->original_ctx, &k, "scaling.original_context_length",
                       "original_max_position_embeddings", 1, CONFIG_MAX_CTX, err);
    if (rc == STATUS_OK && r->scaling == ROPE_YARN) rc = read_yarn(r, &k, err);
    if (rc == STATUS_OK && r->scaling == ROPE_LLAMA3) rc = read_llama3(r, &k, err);
    return rc;
}

const char *rope_scaling_name(enum rope_scaling s)
{
    static const char *const names[] = {"none", "linear", "llama3", "yarn"};
    return names[s];
}

/* Wavelengths longer than the original context are stretched by factor, short ones stay, between them a
 * linear blend. */
static double scale_llama3(const struct rope_config *rc, double f)
{
    double turns = rc->original_ctx * f / (2 * M_PI); /* within the original context */
    if (turns < rc->low_freq_factor) return f / rc->factor;
    if (turns > rc->high_freq_factor) return f;
    double keep = (turns - rc->low_freq_factor) / (rc->high_freq_factor - rc->low_freq_factor);
    return (1 - keep) * f / rc->factor + keep * f;
}

/* The (fractional) pair index whose frequency makes `turns` turns within the original context. */
static double yarn_border(const struct rope_config *rc, double turns)
{
    return rc->n_rot * log(rc->original_ctx / (turns * 2 * M_PI)) / (2 * log(rc->theta));
}

static double scale_yarn(const struct rope_config *rc, double f, int i)
{
    double low = yarn_border(rc, rc->beta_fast), high = yarn_border(rc, rc->beta_slow);
    if (rc->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, rc->n_rot - 1);
    if (low == high) high += 0.001;
    double ramp =
        fmin(fmax((i - low) / (high - low), 0), 1); /* 0: fast pairs stay; 1: slow pairs are stretched */
    return f * (1 - ramp) + f / rc->factor * ramp;
}

int rope_init(struct rope *r, const struct rope_config *rc, const float *factors, struct arena *a)
{
    *r = (struct rope){.n_rot = rc->n_rot, .pairs = rc->pairs, .magnitude = rc->magnitude};
    r->inv_freq = arena_new(a, double, (size_t)rc->n_rot / 2);
    if (!r->inv_freq) return STATUS_NOMEM;
    for (int i = 0; i < rc->n_rot / 2; i++) {
        double f = pow(rc->theta, -2.0 * i / rc->n_rot);
        if (factors) f /= (double)factors[i];
        switch (rc->scaling) {
        case ROPE_NONE: break;
        case ROPE_LINEAR: f /= rc->factor; break;
        case ROPE_LLAMA3: f = scale_llama3(rc, f); break;
        case ROPE_YARN: f = scale_yarn(rc, f, i); break;
        }
        r->inv_freq[i] = f;
    }
    return STATUS_OK;
}

void rope_angles(const struct rope *r, int pos, float *cosines, float *sines)
{
    for (int i = 0; i < r->n_rot / 2; i++) {
        double angle = pos * r->inv_freq[i];
        cosines[i] = (float)(cos(angle) * r->magnitude);
        sines[i] = (float)(sin(angle) * r->magnitude);
    }
}
