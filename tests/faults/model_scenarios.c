/* Faults on the way from a model file to logits. */
#include <string.h>
#include <unistd.h>
#include "engine/engine.h"
#include "format/checkpoint.h"
#include "scenario.h"
#include "text/tokenizer.h"

static int checkpoint(const char *name, uint64_t *result, struct error *err)
{
    struct checkpoint *c = NULL;
    int rc = checkpoint_open(&c, scenario_model(name), err);
    for (size_t i = 0; rc == STATUS_OK && i < checkpoint_n_tensors(c); i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        *result = digest(digest(*result, t->name.p, t->name.n), t->data, t->bytes);
    }
    checkpoint_close(c);
    return rc;
}

static int open_gguf(uint64_t *result, struct error *err)
{
    return checkpoint("tiny.gguf", result, err);
}
static int open_folder(uint64_t *result, struct error *err)
{
    return checkpoint("tiny-hf", result, err);
}

static int tokenizer(const char *name, uint64_t *result, struct error *err)
{
    struct checkpoint *c = NULL;
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    int rc = checkpoint_open(&c, scenario_model(name), err);
    if (rc == STATUS_OK) rc = tokenizer_open(&t, c, err);
    if (rc == STATUS_OK)
        rc = tokenizer_encode(t, STR("hello world, <|im_start|> 1234 \xff and the rest"), true, &ids, err);
    if (rc == STATUS_OK) *result = digest(0, ids.ids, ids.n * sizeof *ids.ids);
    token_list_free(&ids);
    tokenizer_close(t);
    checkpoint_close(c);
    return rc;
}

static int tokenizer_of_gguf(uint64_t *result, struct error *err)
{
    return tokenizer("tiny.gguf", result, err);
}
static int tokenizer_of_folder(uint64_t *result, struct error *err)
{
    return tokenizer("tiny-hf", result, err);
}

static const int32_t prompt[12] = {1, 5, 9, 40, 41, 42, 200, 260, 7, 8, 9, 2};

static uint64_t logits_digest(const struct session *s, const struct engine *e)
{
    return digest(0, session_logits(s), (size_t)engine_model(e)->n_vocab * sizeof(float));
}

/* Opens a model, evaluates, goes back, evaluates again. */
static int evaluate(uint64_t *result, struct error *err)
{
    struct engine *e = NULL;
    struct session *s = NULL;
    struct engine_options o = {.n_threads = 2, .n_ctx = 64, .n_batch = 8};
    int rc = engine_open(&e, scenario_model("tiny.gguf"), &o, err);
    if (rc == STATUS_OK) rc = session_open(&s, e, err);
    if (rc == STATUS_OK) rc = session_eval(s, prompt, 12, NULL, err);
    if (rc == STATUS_OK) rc = session_rewind(s, 5, err);
    if (rc == STATUS_OK) rc = session_eval(s, prompt + 5, 7, NULL, err);
    if (rc == STATUS_OK) *result = logits_digest(s, e);
    session_close(s);
    engine_close(e);
    return rc;
}

/* An engine that is open for the whole test: only the session's own calls fail. */
static struct engine *engine;

static int engine_ready(struct error *err)
{
    struct engine_options o = {.n_threads = 1, .n_ctx = 64, .n_batch = 8};
    return engine ? STATUS_OK : engine_open(&engine, scenario_model("tiny.gguf"), &o, err);
}

void scenario_models_close(void)
{
    engine_close(engine);
}

static int save(uint64_t *result, struct error *err)
{
    struct session *s = NULL;
    (void)result;
    int rc = engine_ready(err);
    if (rc == STATUS_OK) rc = session_open(&s, engine, err);
    if (rc == STATUS_OK) rc = session_eval(s, prompt, 12, NULL, err);
    if (rc == STATUS_OK) rc = session_save(s, scenario_path("snapshot"), err);
    session_close(s);
    return rc;
}

/* A saved file always loads, and continues as the session did. */
static bool save_intact(bool succeeded)
{
    struct session *s = NULL;
    struct error err;
    if (engine_ready(&err) != STATUS_OK) return false;
    if (access(scenario_path("snapshot"), F_OK) != 0) return !succeeded;
    bool good = session_open(&s, engine, &err) == STATUS_OK &&
                session_load(s, scenario_path("snapshot"), &err) == STATUS_OK && session_n_tokens(s) == 12 &&
                session_eval(s, prompt, 1, NULL, &err) == STATUS_OK;
    session_close(s);
    return good;
}

/* A load that fails leaves the session where it was: it goes on as if nothing had happened. */
static int load(uint64_t *result, struct error *err)
{
    struct session *s = NULL;
    int rc = engine_ready(err);
    if (rc == STATUS_OK) rc = session_open(&s, engine, err);
    if (rc == STATUS_OK) rc = session_eval(s, prompt + 3, 4, NULL, err);
    if (rc == STATUS_OK) {
        rc = session_load(s, scenario_path("snapshot"), err);
        bool old = session_n_tokens(s) == 4 && memcmp(session_ids(s), prompt + 3, 4 * sizeof *prompt) == 0;
        bool new = session_n_tokens(s) == 12 && memcmp(session_ids(s), prompt, sizeof prompt) == 0;
        if (rc == STATUS_OK ? !new : !old) abort(); /* a half-loaded session */
    }
    if (rc == STATUS_OK) rc = session_eval(s, prompt, 1, NULL, err);
    if (rc == STATUS_OK) *result = logits_digest(s, engine);
    session_close(s);
    return rc;
}

const struct scenario model_scenarios[] = {
    {"open GGUF", open_gguf, NULL},
    {"open Hugging Face folder", open_folder, NULL},
    {"tokenizer of GGUF", tokenizer_of_gguf, NULL},
    {"tokenizer of folder", tokenizer_of_folder, NULL},
    {"engine and session", evaluate, NULL},
    {"session_save", save, save_intact},
    {"session_load", load, NULL},
};
const size_t n_model_scenarios = sizeof model_scenarios / sizeof *model_scenarios;
