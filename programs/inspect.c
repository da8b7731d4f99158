/* fathom inspect: what a model is and needs, from its headers alone. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "chat/chat.h"
#include "commands.h"
#include "engine/engine.h"
#include "models.h"
#include "runtime.h"
#include "term/visible.h"

/* "name          value"; the value may come from the file. */
static void line(void *ctx, const char *name, const char *value)
{
    (void)ctx;
    struct buf safe;
    buf_init(&safe, 1 << 16);
    visible_append(&safe, str_from(value));
    printf("%-14s %s\n", name, buf_cstr(&safe));
    buf_free(&safe);
}

static void linef(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void linef(const char *name, const char *fmt, ...)
{
    char value[640];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    line(NULL, name, value);
}

static void show_tokenizer(const struct checkpoint *c, const struct model *m)
{
    struct tokenizer *t = NULL;
    struct error err;
    const struct chat_format *format;
    if (tokenizer_open(&t, c, &err) != STATUS_OK) {
        linef("tokenizer", "unusable: %s", err.text);
        return;
    }
    linef("tokenizer", "%s, %d tokens", tokenizer_name(t), tokenizer_n_vocab(t));
    if (m && chat_format_choose(&format, NULL, t, m, &err) == STATUS_OK)
        line(NULL, "chat format", chat_format_name(format));
    else if (m)
        line(NULL, "chat format", "none: a base model, for --raw");
    tokenizer_close(t);
}

static double mb(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

static void show_plan(const struct model *m, const struct options *o, enum numerics numerics)
{
    struct memory_plan p;
    struct error err;
    int rc =
        memory_plan_make(&p, m, &(struct engine_options){.ram_bytes = o->ram_bytes, .n_ctx = o->n_ctx, .numerics = numerics}, &err);
    printf("\nmemory for %d tokens of context\n", p.n_ctx);
    linef("  weights", "%10.1f MB  mapped from the file", mb(p.weight_bytes - p.packed_bytes));
    if (p.packed_bytes) linef("  packed", "%10.1f MB  the same weights for int8 products", mb(p.packed_bytes));
    linef("  context", "%10.1f MB  %" PRIu64 " bytes per token", mb(p.state_bytes), p.state_bytes_per_token);
    linef("  scratch", "%10.1f MB  for steps of %d tokens", mb(p.scratch_bytes), p.n_batch);
    linef("  together", "%10.1f MB  of %.1f MB (%s)", mb(p.total_bytes), mb(p.budget_bytes), p.budget_source);
    if (rc != STATUS_OK) linef("  does not fit", "%s", err.text);
}

static void shape_print(struct buf *out, const struct tensor *t)
{
    buf_putc(out, '(');
    for (int i = 0; i < t->n_dims; i++) buf_printf(out, "%s%" PRIu64, i ? ", " : "", t->dim[i]);
    buf_putc(out, ')');
}

static void show_tensors(const struct checkpoint *c)
{
    uint64_t n[DTYPE_COUNT] = {0}, bytes[DTYPE_COUNT] = {0};
    struct buf text;
    buf_init(&text, 1 << 16);
    for (size_t i = 0; i < checkpoint_n_tensors(c); i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        n[t->dtype]++;
        bytes[t->dtype] += t->bytes;
    }
    printf("\n%zu tensors\n", checkpoint_n_tensors(c));
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (n[d] > 0) printf("  %-12s %6" PRIu64 " tensors %12.1f MB\n", dtypes[d].name, n[d], mb(bytes[d]));
    putchar('\n');
    for (size_t i = 0; i < checkpoint_n_tensors(c); i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        buf_clear(&text);
        shape_print(&text, t);
        printf("  %-9s %-20s ", dtypes[t->dtype].name, buf_cstr(&text));
        buf_clear(&text);
        visible_append(&text, t->name);
        puts(buf_cstr(&text));
    }
    buf_free(&text);
}

int cmd_inspect(const struct options *o, struct error *err)
{
    struct buf path;
    struct checkpoint *c = NULL;
    struct model *m = NULL;
    const struct model_row *row;
    struct model_options mo = {.n_rewind = o->n_rewind};
    int rc = numerics_parse(&mo.numerics, o->numerics, err);
    if (rc != STATUS_OK) return exit_code(rc);
    buf_init(&path, 4096);
    rc = model_resolve(&path, o->n_args > 0 ? o->args[0] : NULL, &row, err);
    if (rc == STATUS_OK) rc = checkpoint_open(&c, buf_cstr(&path), err);
    if (rc != STATUS_OK) {
        buf_free(&path);
        return exit_code(rc);
    }
    line(NULL, "model", checkpoint_path(c));
    if (row) linef("title", "%s (%s)", row->title, row->licence);
    linef("file", "%s, %.1f MB", checkpoint_kind(c) == CHECKPOINT_GGUF ? "GGUF" : "safetensors",
          mb(checkpoint_bytes(c)));
    struct error why;
    if (model_open(&m, c, &mo, &why) != STATUS_OK) {
        m = NULL;
        linef("cannot run", "%s", why.text); /* what the file holds is still worth knowing */
    } else {
        linef("parameters", "%.1f million, %.1f MB of weights, %.1f MB read per token",
              (double)m->n_params / 1e6, mb(m->weight_bytes), mb(m->active_bytes));
        m->arch->describe(m, line, NULL);
    }
    show_tokenizer(c, m);
    if (m) show_plan(m, o, mo.numerics);
    show_tensors(c);
    model_close(m);
    checkpoint_close(c);
    buf_free(&path);
    return EXIT_DONE;
}
