/* Sessions of DeepSeek V4: the same bits from a file, behind a mark and as a copy, and the same text with and
 * without speculation. */
#include "v4_bits.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "engine/internal.h"
#include "engine/speculative.h"

static enum numerics contract_of(const struct fixture *f)
{
    return f->numerics == &v4_exact  ? NUMERICS_EXACT
           : f->numerics == &v4_fast ? NUMERICS_FAST
                                     : NUMERICS_REFERENCE;
}

static struct engine *open_engine(const struct fixture *f, enum numerics n)
{
    struct engine *e;
    struct error err = {0};
    need(engine_open(&e, f->path, &(struct engine_options){.n_threads = 1, .n_ctx = N_CTX, .numerics = n},
                     &err),
         &err);
    return e;
}

static void saved_sessions_are_tied_to_model_and_numerics(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    struct engine *e = open_engine(f, f->numerics == &v4_fast ? NUMERICS_FAST : NUMERICS_REFERENCE),
                  *exact = open_engine(f, NUMERICS_EXACT);
    struct session *a, *b;
    struct temp_folder files, other_folder;
    temp_folder_make(&files);
    char path[160];
    snprintf(path, sizeof path, "%s", temp_folder_path(&files, "session"));
    need(session_open(&a, e, &err), &err);
    need(session_open(&b, exact, &err), &err);
    need(session_eval(a, f->ids, 30, NULL, &err), &err);
    need(session_save(a, path, &err), &err);
    assert_int_equal(session_load(b, path, &err), STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.text, "numerics"));
    session_close(b);
    engine_close(exact);

    struct v4_config c; /* the same shapes, another seed */
    v4_test_config("dspark", &c);
    if (strstr(f->name, "MTP")) c.dspark_block = 0, c.n_mtp = 1;
    temp_folder_make(&other_folder);
    v4_test_write(&other_folder, &c, 99);
    struct engine *other;
    need(engine_open(&other, other_folder.path, &(struct engine_options){.n_ctx = N_CTX}, &err), &err);
    need(session_open(&b, other, &err), &err);
    assert_int_equal(session_load(b, path, &err), STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.text, "another model"));
    session_close(b);
    engine_close(other);
    temp_folder_remove(&other_folder);

    need(session_open(&b, e, &err), &err);
    need(session_load(b, path, &err), &err);
    need(session_eval(a, f->ids + 30, 20, NULL, &err), &err);
    need(session_eval(b, f->ids + 30, 20, NULL, &err), &err);
    assert_memory_equal(session_logits(a), session_logits(b), V * sizeof(float));
    session_close(a);
    session_close(b);
    engine_close(e);
    temp_folder_remove(&files);
}

enum { LONG = 1500, MARK_STEP = 150, MARKS = 4 };

/* Two sequences that part at `at`. */
static void long_ids(int32_t *ids, int at, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, 7);
    for (int i = 0; i < LONG; i++) {
        if (i == at) rng_seed(&r, seed);
        ids[i] = (int32_t)rng_below(&r, V);
    }
}

/* Evaluates ids up to `end`, with a mark now and then. */
static void eval_marked(struct session *s, const int32_t *ids, int end)
{
    struct error err = {0};
    for (int at = session_n_tokens(s); at < end; at = session_n_tokens(s)) {
        int n = end - at < MARK_STEP ? end - at : MARK_STEP;
        need(session_eval(s, ids + at, n, NULL, &err), &err);
        session_mark(s);
    }
}

/* A session that goes back to a mark, or begins as a copy of another at one, gives the logits of one that was
 * never elsewhere. Farther back than the rings reach (512 tokens), that takes a mark. */
static void marks_lead_back_to_the_same_bits(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    struct engine *e;
    need(engine_open(&e, f->path,
                     &(struct engine_options){
                         .n_threads = 2, .n_ctx = LONG, .numerics = contract_of(f), .n_marks = MARKS},
                     &err),
         &err);
    static int32_t first[LONG], second[LONG];
    const int parting = 700, end = 850;
    long_ids(first, LONG, 0);
    long_ids(second, parting, 8);
    struct session *s, *copy, *straight;
    need(session_open(&s, e, &err), &err);
    need(session_open(&copy, e, &err), &err);
    need(session_open(&straight, e, &err), &err);
    need(session_eval(straight, second, end, NULL, &err), &err);
    eval_marked(s, first, LONG);
    struct temp_folder files;
    temp_folder_make(&files);
    const char *path = temp_folder_path(&files, "marked");
    need(session_save(s, path, &err), &err);
    int reach = session_reach(s, parting);
    assert_true(reach > 0 && reach <= parting && reach % MARK_STEP == 0);
    assert_int_equal(session_reach(s, LONG - 500), LONG - 500); /* by the rings */
    need(session_copy(copy, s, parting, &err), &err);
    assert_int_equal(session_n_tokens(copy), reach);
    assert_int_equal(session_n_tokens(s), LONG);
    need(session_cut(s, parting, &err), &err);
    assert_int_equal(session_n_tokens(s), reach);
    struct session *both[] = {s, copy};
    for (int i = 0; i < 2; i++) {
        need(session_eval(both[i], second + reach, end - reach, NULL, &err), &err);
        if (memcmp(session_logits(both[i]), session_logits(straight), V * sizeof(float)) != 0)
            fail_msg("%s: %s", f->name, i ? "a copy differs" : "going back to a mark differs");
        /* Back to the same mark once more, and a little further by the rings. */
        need(session_cut(both[i], reach, &err), &err);
        assert_int_equal(session_n_tokens(both[i]), reach);
        need(session_eval(both[i], second + reach, end - reach, NULL, &err), &err);
        assert_memory_equal(session_logits(both[i]), session_logits(straight), V * sizeof(float));
        assert_int_equal(session_reach(both[i], reach - 1) < reach, true);
    }
    need(session_load(s, path, &err), &err); /* marks go along */
    assert_int_equal(session_n_tokens(s), LONG);
    need(session_cut(s, parting, &err), &err);
    assert_int_equal(session_n_tokens(s), reach);
    need(session_eval(s, second + reach, end - reach, NULL, &err), &err);
    assert_memory_equal(session_logits(s), session_logits(straight), V * sizeof(float));
    /* A saved session knows that its rings reach no further back than the mark that it came from. */
    need(session_save(copy, path, &err), &err);
    need(session_load(s, path, &err), &err);
    assert_int_equal(session_reach(s, reach - 1), 0);
    need(session_cut(s, reach, &err), &err);
    need(session_eval(s, second + reach, end - reach, NULL, &err), &err);
    assert_memory_equal(session_logits(s), session_logits(straight), V * sizeof(float));
    temp_folder_remove(&files);
    session_close(s);
    session_close(copy);
    session_close(straight);
    engine_close(e);
}

/* Draws from the logits by inverse distribution; greedy without temperature. */
static int32_t draw(struct rng *r, const float *logits, bool sampled)
{
    if (!sampled) return rig_greedy(logits, V);
    double total = 0, u = (double)(rng_next(r) >> 11) * 0x1p-53;
    float top = logits[rig_greedy(logits, V)];
    for (int i = 0; i < V; i++) total += exp(1.5 * (double)(logits[i] - top));
    double left = u * total;
    for (int i = 0; i < V; i++)
        if ((left -= exp(1.5 * (double)(logits[i] - top))) < 0) return i;
    return V - 1;
}

struct text {
    struct rng rng;
    bool sampled;
    int32_t ids[N_CTX];
    int n, limit;
    const struct text *known; /* guesses come from this text, every fourth one wrong */
};

static int pick(void *ctx, const float *logits, int32_t *id, struct error *err)
{
    (void)err;
    struct text *t = ctx;
    *id = t->ids[t->n++] = draw(&t->rng, logits, t->sampled);
    return t->n == t->limit ? SPECULATIVE_STOP : STATUS_OK;
}

static int32_t guess(void *ctx, const float *logits, int i)
{
    const struct text *t = ctx;
    struct rng copy = t->rng;
    if (t->known && t->n + i < t->limit) return (t->known->ids[t->n + i] + (rng_next(&copy) % 4 == 0)) % V;
    for (int k = 0; k < i; k++) rng_next(&copy);
    return draw(&copy, logits, t->sampled);
}

static void speculation_changes_no_token(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    struct engine *e = open_engine(f, contract_of(f));
    uint64_t drafted = 0, accepted = 0;
    for (int sampled = 0; sampled < 2; sampled++) {
        struct text plain = {.sampled = sampled, .limit = 40};
        struct session *s;
        need(session_open(&s, e, &err), &err);
        rng_seed(&plain.rng, 42);
        need(session_eval(s, f->ids, 20, NULL, &err), &err);
        for (int32_t id; pick(&plain, session_logits(s), &id, &err) != SPECULATIVE_STOP;)
            need(session_eval(s, &id, 1, NULL, &err), &err);
        session_close(s);
        for (int way = 0; way < 3;
             way++) { /* real drafts, in a pace of their own, and drafts that are often right */
            int n_draft = way == 0 ? 1 : 3;
            struct text t = {.sampled = sampled, .limit = 40, .known = way == 2 ? &plain : NULL};
            struct speculator *sp;
            int32_t ids[SPECULATIVE_MAX_DRAFT + 1], newest;
            int n;
            rng_seed(&t.rng, 42);
            need(session_open(&s, e, &err), &err);
            struct speculative_options o = {
                .n_draft = n_draft, .always = way != 1, .pick = pick, .guess = guess, .ctx = &t};
            need(speculator_open(&sp, s, &o, &err), &err);
            need(session_eval(s, f->ids, 20, NULL, &err), &err);
            bool go_on = pick(&t, session_logits(s), &newest, &err) == STATUS_OK;
            while (go_on) {
                need(speculator_step(sp, newest, ids, &n, &go_on, &err), &err);
                newest = ids[n - 1];
            }
            assert_int_equal(t.n, plain.n);
            assert_memory_equal(t.ids, plain.ids, sizeof plain.ids);
            if (way == 2) assert_true(speculator_stats(sp)->n_accepted >= 15);
            drafted += way < 2 ? speculator_stats(sp)->n_drafted : 0;
            accepted += way < 2 ? speculator_stats(sp)->n_accepted : 0;
            speculator_close(sp);
            session_close(s);
        }
    }
    print_message("# %s: %d of %d drafts accepted, random weights\n", f->name, (int)accepted, (int)drafted);
    assert_true(drafted > 0);
    engine_close(e);
}

/* Steps of the slower way in `steps` steps, with the given seconds per token. */
static int count_guesses(struct pacing *p, int steps, double guessed, double plain)
{
    int n = 0;
    for (int i = 0; i < steps; i++) {
        bool g = pacing_guess(p);
        n += g;
        pacing_add(p, g, g ? 2 * guessed : plain, g ? 2 : 1);
    }
    return n;
}

static void guessing_stops_when_it_does_not_pay(void **state)
{
    (void)state;
    struct pacing slow = {0}, fast = {0}, turning = {0};
    assert_int_equal(count_guesses(&slow, PACING_TRIAL, 2, 1), PACING_TRIAL); /* a trial of each */
    assert_int_equal(count_guesses(&slow, PACING_TRIAL, 2, 1), 0);
    assert_int_equal(count_guesses(&slow, PACING_REVISIT, 2, 1), 0);          /* off */
    assert_int_equal(count_guesses(&slow, PACING_TRIAL, 2, 1), PACING_TRIAL); /* tried again */
    assert_int_equal(count_guesses(&slow, 50, 2, 1), 0);
    assert_int_equal(count_guesses(&fast, 2 * PACING_TRIAL, 0.5, 1), PACING_TRIAL);
    assert_int_equal(count_guesses(&fast, PACING_REVISIT, 0.5, 1), PACING_REVISIT);
    count_guesses(&turning, 200, 2, 1);
    count_guesses(&turning, 2 * PACING_REVISIT, 0.5, 1); /* a trial finds that it pays now */
    assert_true(count_guesses(&turning, 50, 0.5, 1) >= 50 - PACING_TRIAL);
}

int main(void)
{
    static const struct CMUnitTest properties[] = {
        cmocka_unit_test(saved_sessions_are_tied_to_model_and_numerics),
        cmocka_unit_test(marks_lead_back_to_the_same_bits),
        cmocka_unit_test(speculation_changes_no_token),
    };
    static const struct CMUnitTest others[] = {cmocka_unit_test(guessing_stops_when_it_does_not_pay)};
    return run_properties(properties, sizeof properties / sizeof *properties, others, 1);
}
