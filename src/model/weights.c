/* Weight tables: see weights.h. */
#include "model/weights.h"

#include "model/scratch.h"

enum { NAME_MAX_BYTES = 256 };

static bool is_layered(const struct weight_spec *s)
{
    return strchr(s->gguf ? s->gguf : s->hf, '#') != NULL;
}

static const char *pattern_of(const struct weight_spec *s, const struct checkpoint *c)
{
    return checkpoint_kind(c) == CHECKPOINT_GGUF ? s->gguf : s->hf;
}

/* Writes the pattern with its numbers filled in. Patterns are ours and short: the result always fits. */
static const char *expand(char name[NAME_MAX_BYTES], const char *pattern, int layer, int expert)
{
    size_t n = 0;
    for (const char *p = pattern; *p; p++) {
        if (*p == '#' || *p == '@')
            n += (size_t)snprintf(name + n, NAME_MAX_BYTES - n, "%d", *p == '#' ? layer : expert);
        else if (n + 1 < NAME_MAX_BYTES)
            name[n++] = *p;
        CHECK(n < NAME_MAX_BYTES);
    }
    name[n] = '\0';
    return name;
}

/* A decimal number below limit without leading zeros at s[*at]; -1 when there is none. */
static int read_number(struct str s, size_t *at, int limit)
{
    size_t start = *at;
    int x = 0;
    while (*at < s.n && s.p[*at] >= '0' && s.p[*at] <= '9') {
        x = x * 10 + (s.p[(*at)++] - '0');
        if (x >= limit) return -1;
    }
    return *at == start || (s.p[start] == '0' && *at > start + 1) ? -1 : x;
}

/* Does the name fit the pattern, with numbers in range? *layer is -1 for names without a layer. */
static bool matches(struct str name, const char *pattern, int n_layers, int n_experts, int *layer)
{
    size_t at = 0;
    *layer = -1;
    for (const char *p = pattern; *p; p++) {
        if (*p == '#') {
            if ((*layer = read_number(name, &at, n_layers)) < 0) return false;
        } else if (*p == '@') {
            if (read_number(name, &at, n_experts) < 0) return false;
        } else if (at >= name.n || name.p[at++] != *p)
            return false;
    }
    return at == name.n;
}

static bool in_table(const struct weight_binding *b, const struct checkpoint *c, struct str name)
{
    for (const struct weight_spec *s = b->specs; s < b->specs + b->n_specs; s++) {
        const char *pattern = pattern_of(s, c);
        int layer;
        if (pattern && matches(name, pattern, b->n_layers, b->n_experts, &layer) &&
            s->need(b->model, layer) != WEIGHT_ABSENT)
            return true;
    }
    return false;
}

/* Scales lie beside the weight they belong to: NAME_scale_inv, NAME_scale, or BASE.scale beside BASE.weight.
 */
static bool is_scale_of_known(const struct weight_binding *b, const struct checkpoint *c, struct str name)
{
    static const struct {
        struct str suffix;
        const char *instead;
    } forms[] = {{{"_scale_inv", 10}, ""}, {{"_scale", 6}, ""}, {{".scale", 6}, ".weight"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char base[NAME_MAX_BYTES];
        if (!str_ends(name, forms[i].suffix)) continue;
        int n = snprintf(base, sizeof base, "%.*s%s", (int)(name.n - forms[i].suffix.n), name.p,
                         forms[i].instead);
        if (n < (int)sizeof base && in_table(b, c, str_from(base)) && checkpoint_find(c, base)) return true;
    }
    return false;
}

static int check_unknown(const struct weight_binding *b, const struct checkpoint *c, const struct model *m,
                         struct error *err)
{
    for (size_t i = 0; i < checkpoint_n_tensors(c); i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        if (!in_table(b, c, t->name) && !is_scale_of_known(b, c, t->name))
            return error_set(err, STATUS_UNSUPPORTED,
                             "%s: tensor %.*s has no place in a %s model of %d layers", t->file,
                             STR_ARG(t->name), m->arch->name, b->n_layers);
    }
    return STATUS_OK;
}

/* A pass over every (row of the table, layer). */
typedef int visit_fn(const struct weight_binding *b, const struct weight_spec *s, const struct checkpoint *c,
                     int layer, void *ctx, struct error *err);

static int visit(const struct weight_binding *b, const struct checkpoint *c, visit_fn *fn, void *ctx,
                 struct error *err)
{
    for (const struct weight_spec *s = b->specs; s < b->specs + b->n_specs; s++) {
        int n = is_layered(s) ? b->n_layers : 1;
        if (s->kind == WEIGHT_IGNORED || !pattern_of(s, c)) continue;
        for (int l = 0; l < n; l++) {
            int layer = is_layered(s) ? l : -1;
            if (s->need(b->model, layer) == WEIGHT_ABSENT) continue;
            int rc = fn(b, s, c, layer, ctx, err);
            if (rc != STATUS_OK) return rc;
        }
    }
    return STATUS_OK;
}

/* Presence of every required tensor, and the arena bytes of those that are there. */
static int count_bytes(const struct weight_binding *b, const struct weight_spec *s,
                       const struct checkpoint *c, int layer, void *ctx, struct error *err)
{
    struct scratch *size = ctx;
    char name[NAME_MAX_BYTES];
    const char *pattern = pattern_of(s, c);
    int n = strchr(pattern, '@') ? b->n_experts : 1, found = 0;
    for (int e = 0; e < n; e++) found += checkpoint_find(c, expand(name, pattern, layer, e)) != NULL;
    if (found < n && s->need(b->model, layer) == WEIGHT_REQUIRED) {
        int e = 0;
        while (checkpoint_find(c, expand(name, pattern, layer, e))) e++;
        return error_set(err, STATUS_FORMAT, "%s: tensor %s is missing: expected %d x %d", checkpoint_path(c),
                         name, b->dims[s->rows], s->kind == WEIGHT_VECTOR ? 1 : b->dims[s->cols]);
    }
    if (found && s->kind == WEIGHT_VECTOR) scratch_take(size, (uint64_t)b->dims[s->rows], sizeof(float));
    if (found && s->kind == WEIGHT_EXPERTS) scratch_take(size, (uint64_t)b->n_experts, sizeof(struct matrix));
    return STATUS_OK;
}

struct bind {
    struct model *model;
    char *layers;
    struct arena *arena;
    struct kernels kernels; /* only asked which formats can be multiplied */
};

static int check_format(const struct bind *x, const struct checkpoint *c, const struct matrix *m,
                        const char *name, struct error *err)
{
    if (kernels_matmul(&x->kernels, m->dtype)) return STATUS_OK;
    return error_set(err, STATUS_UNSUPPORTED, "%s: tensor %s: %s cannot hold weights", checkpoint_path(c),
                     name, dtypes[m->dtype].name);
}

static void count_matrix(struct bind *x, const struct matrix *m)
{
    x->model->n_params += (uint64_t)m->rows * (uint64_t)m->cols;
    x->model->weight_bytes += matrix_bytes(m);
}

static int bind_experts(struct bind *x, const struct weight_binding *b, const struct weight_spec *s,
                        const struct checkpoint *c, int layer, struct matrix **out, struct error *err)
{
    char name[NAME_MAX_BYTES];
    const char *pattern = pattern_of(s, c);
    int rows = b->dims[s->rows], cols = b->dims[s->cols], rc = STATUS_OK;
    struct matrix *m = arena_new(x->arena, struct matrix, (size_t)b->n_experts);
    if (!m) return error_set(err, STATUS_NOMEM, "%s: expert table", checkpoint_path(c));
    for (int e = 0; e < b->n_experts && rc == STATUS_OK; e++) {
        expand(name, pattern, layer, e);
        rc = strchr(pattern, '@') ? checkpoint_matrix(&m[e], c, rows, cols, err, "%s", name)
                                  : checkpoint_expert(&m[e], c, e, b->n_experts, rows, cols, err, "%s", name);
        if (rc == STATUS_OK) rc = check_format(x, c, &m[e], name, err);
        if (rc == STATUS_OK) count_matrix(x, &m[e]);
    }
    *out = m;
    return rc;
}

static int bind_one(const struct weight_binding *b, const struct weight_spec *s, const struct checkpoint *c,
                    int layer, void *ctx, struct error *err)
{
    struct bind *x = ctx;
    char name[NAME_MAX_BYTES];
    char *owner = layer < 0 ? (char *)b->model : x->layers + (size_t)layer * b->layer_bytes;
    void *field = owner + s->field;
    if (s->kind == WEIGHT_EXPERTS) return bind_experts(x, b, s, c, layer, field, err);
    if (!checkpoint_find(c, expand(name, pattern_of(s, c), layer, 0)))
        return STATUS_OK; /* optional: count_bytes has checked */
    int rows = b->dims[s->rows];
    if (s->kind == WEIGHT_MATRIX) {
        struct matrix *m = field;
        int rc = checkpoint_matrix(m, c, rows, b->dims[s->cols], err, "%s", name);
        if (rc == STATUS_OK) rc = check_format(x, c, m, name, err);
        if (rc == STATUS_OK) count_matrix(x, m);
        return rc;
    }
    float *v = arena_new(x->arena, float, (size_t)rows);
    if (!v) return error_set(err, STATUS_NOMEM, "%s: tensor %s: %d floats", checkpoint_path(c), name, rows);
    x->model->n_params += (uint64_t)rows;
    x->model->weight_bytes += (uint64_t)rows * sizeof(float);
    *(const float **)field = v;
    return checkpoint_vector(v, c, rows, err, "%s", name);
}

int weights_bind(const struct weight_binding *b, const struct checkpoint *c, struct model *m, void **layers,
                 struct arena *arena, size_t extra_bytes, struct error *err)
{
    struct bind x = {.model = m, .arena = arena};
    struct scratch size = {0};
    int rc = kernels_init(&x.kernels, "ref", err);
    if (rc == STATUS_OK) rc = visit(b, c, count_bytes, &size, err);
    if (rc == STATUS_OK) rc = check_unknown(b, c, m, err);
    if (rc != STATUS_OK) return rc;
    scratch_take(&size, (uint64_t)b->n_layers, b->layer_bytes);
    scratch_take(&size, extra_bytes, 1);
    rc = arena_init(arena, size.bytes, "model tables", err);
    if (rc != STATUS_OK) return rc;
    x.layers = arena_alloc_n(arena, (size_t)b->n_layers, b->layer_bytes);
    if (!x.layers) return error_set(err, STATUS_NOMEM, "%s: %d layers", checkpoint_path(c), b->n_layers);
    *layers = x.layers; /* zero-filled: fresh from the arena */
    return visit(b, c, bind_one, &x, err);
}
