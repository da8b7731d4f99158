/* The engine's thread: see scheduler.h. */
#include "server/scheduler.h"

#include <pthread.h>
#include <string.h>
#include <time.h>
#include "server/prefix.h"

enum {
    SCORED_ROWS = 16, /* prompt tokens per step whose logits are wanted */
    MIN_PREFILL = 8,  /* prompt tokens per step however slow the machine is */
    MARK_TAIL = 8,    /* tokens of a prompt behind its last mark: the beginning of the answer's turn */
    RECENT_OWNERS = 64,
    IDLE_WAIT_MS = 50, /* between looks at jobs that are all blocked */
};
static const double STEP_S = 0.15; /* of reading prompts while answers are running */

struct slot {
    struct session *session;
    uint64_t owner, last_used; /* of what the session holds */
    /* The job in work, NULL: none. */
    struct job *job;
    struct chat_turn *turn; /* opened when the prompt is read */
    int n_fed;              /* prompt tokens in the session */
    int n_marked;           /* length at the last mark */
    bool decoding;
    int32_t newest; /* decoding: chosen, not yet evaluated */
    struct chat_usage usage;
    double start_s, decode_start_s;
};

struct scheduler {
    struct engine *engine;
    const struct tokenizer *tokenizer;
    struct scheduler_options o;
    struct slot *slots;
    uint64_t tick;
    bool active;            /* counted in o.turns */
    double prefill_token_s; /* running mean of what a prompt token takes, 0: not known */
    float *scored;          /* (SCORED_ROWS, n_vocab) once it is needed */
    float *hidden;          /* (n_batch, dim) once it is needed */

    struct recent { /* owners that had a slot lately */
        uint64_t owner, turn;
    } recent[RECENT_OWNERS];
    uint64_t n_turns;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct job *first, **last; /* waiting, in order of arrival */
    bool closing, woken;
    struct scheduler_stats stats;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool is_cancelled(const struct job *job)
{
    return job->options.cancel &&
           atomic_load_explicit(job->options.cancel, memory_order_relaxed); /* a flag alone */
}

/* The job looks at every token of its prompt: nothing of it may be reused. */
static bool reads_all(const struct job *job)
{
    return job->on_prompt || job->on_hidden;
}

/* ---- a job's life in its slot ---- */

static void finish(struct scheduler *s, struct slot *slot, int rc, const struct error *err)
{
    struct job *job = slot->job;
    struct error own = {0};
    double now = now_s();
    if (slot->turn) chat_turn_count(slot->turn, &slot->usage);
    if (slot->decoding)
        slot->usage.decode_s = now - slot->decode_start_s;
    else
        slot->usage.prefill_s = now - slot->start_s;
    bool cancelled = is_cancelled(job);
    if (rc == STATUS_OK && slot->turn) {
        if (cancelled) chat_turn_cancel(slot->turn);
        rc = chat_turn_end(slot->turn, &own);
        err = &own;
    }
    chat_turn_close(slot->turn);
    slot->turn = NULL;
    slot->job = NULL;
    slot->decoding = false;
    slot->last_used = ++s->tick;
    struct chat_usage usage = slot->usage;
    pthread_mutex_lock(&s->lock);
    s->stats.n_running--;
    s->stats.n_cancelled += cancelled;
    s->stats.n_failed += rc != STATUS_OK;
    s->stats.prompt_tokens += (uint64_t)usage.n_prompt;
    s->stats.reused_tokens += (uint64_t)usage.n_reused;
    s->stats.generated_tokens += (uint64_t)usage.n_generated;
    pthread_mutex_unlock(&s->lock);
    job->on_done(job->ctx, rc, err, &usage);
}

static void tell_prefill(struct slot *slot)
{
    const struct generate_options *o = &slot->job->options;
    o->on_event(o->ctx, &(struct chat_event){
                            .type = CHAT_EVENT_PREFILL, .done = slot->n_fed, .total = slot->usage.n_prompt});
}

/* ---- states on disk ---- */

static void count_keep(struct scheduler *s, uint64_t *counter)
{
    pthread_mutex_lock(&s->lock);
    ++*counter;
    pthread_mutex_unlock(&s->lock);
}

static void save(struct scheduler *s, const struct slot *slot)
{
    struct error err;
    int rc = keep_save(s->o.keep, slot->session, slot->owner, &err);
    count_keep(s, rc == STATUS_OK ? &s->stats.n_saved : &s->stats.n_keep_failed);
}

/* Tokens of the prompt that need not be read when the slot's session takes the job. */
static size_t kept_here(const struct scheduler *s, const struct slot *slot, const struct job *job)
{
    const struct session *session = slot->session;
    if (slot->owner != job->owner || reads_all(job)) return 0;
    size_t n =
        prefix_length(s->tokenizer, session_ids(session), (size_t)session_n_tokens(session), &job->prompt);
    return (size_t)session_reach(session, (int)n);
}

/* The same of the sessions of the other slots, the best of which is *best. */
static size_t kept_elsewhere(const struct scheduler *s, const struct slot *slot, const struct job *job,
                             const struct slot **best)
{
    size_t most = 0;
    for (const struct slot *other = s->slots; other < s->slots + s->o.n_slots; other++) {
        size_t n = other == slot ? 0 : kept_here(s, other, job);
        if (n > most) most = n, *best = other;
    }
    return most;
}

/* Takes a state from disk, or from another slot's session, when it has clearly more of the prompt than the
 * slot. What the slot loses is saved while nobody waits for a token. */
static void exchange_state(struct scheduler *s, struct slot *slot, const struct job *job)
{
    struct error err;
    int id = -1, rc = STATUS_OK;
    const struct slot *other = NULL;
    if (reads_all(job)) return;
    size_t n_had = (size_t)session_n_tokens(slot->session), here = kept_here(s, slot, job);
    size_t beside = kept_elsewhere(s, slot, job, &other), there = 0;
    if (s->o.keep) there = keep_find(s->o.keep, s->tokenizer, job->owner, &job->prompt, &id);
    bool copies = beside >= here + KEEP_MIN_TOKENS && beside >= there,
         loads = !copies && there >= here + KEEP_MIN_TOKENS, others_run = false;
    for (int i = 0; i < s->o.n_slots; i++) others_run |= &s->slots[i] != slot && s->slots[i].job;
    if (s->o.keep && !others_run && n_had - (copies || loads ? 0 : here) >= KEEP_MIN_TOKENS) {
        save(s, slot);
        if (loads)
            there = keep_find(s->o.keep, s->tokenizer, job->owner, &job->prompt, &id); /* places have moved */
    }
    if (copies) {
        size_t n = prefix_length(s->tokenizer, session_ids(other->session),
                                 (size_t)session_n_tokens(other->session), &job->prompt);
        if (session_copy(slot->session, other->session, (int)n, &err) == STATUS_OK) slot->owner = job->owner;
        return;
    }
    if (!loads || there < KEEP_MIN_TOKENS) return;
    rc = keep_load(s->o.keep, id, slot->session, &err);
    if (rc == STATUS_OK) slot->owner = job->owner;
    count_keep(s, rc == STATUS_OK ? &s->stats.n_loaded : &s->stats.n_keep_failed);
}

/* Puts the session where the prompt can go on from. */
static void start(struct scheduler *s, struct slot *slot, struct job *job)
{
    struct error err = {0};
    slot->start_s = now_s();
    exchange_state(s, slot, job);
    int rc = STATUS_OK, n = 0, n_had = session_n_tokens(slot->session);
    slot->job = job;
    slot->usage = (struct chat_usage){0};
    if (slot->owner == job->owner && !reads_all(job)) {
        rc = prefix_adopt(s->tokenizer, session_ids(slot->session), (size_t)n_had, &job->prompt, &err);
        n = chat_n_reusable(slot->session, job->prompt.ids, (int)job->prompt.n);
    }
    if (rc == STATUS_OK && n < n_had) rc = session_cut(slot->session, n, &err);
    slot->owner = job->owner;
    slot->n_fed = session_n_tokens(slot->session);
    slot->usage.n_prompt = (int)job->prompt.n;
    slot->usage.n_reused = slot->n_fed;
    if (rc == STATUS_OK && (int)job->prompt.n > session_n_ctx(slot->session)) /* adopted ids may be more */
        rc = error_set(&err, STATUS_RANGE, "prompt: %zu tokens do not fit into a context of %d",
                       job->prompt.n, session_n_ctx(slot->session));
    if (rc == STATUS_OK)
        rc = chat_turn_open(&slot->turn, s->tokenizer, engine_model(s->engine)->n_vocab, &job->options, &err);
    if (rc != STATUS_OK)
        finish(s, slot, rc, &err);
    else
        tell_prefill(slot);
}

/* Chooses the token that follows what the session holds. */
static void choose(struct scheduler *s, struct slot *slot)
{
    struct error err = {0};
    bool go_on = false;
    int rc = chat_turn_pick(slot->turn, session_logits(slot->session), session_ids(slot->session),
                            session_n_tokens(slot->session), session_n_ctx(slot->session), &slot->newest,
                            &go_on, &err);
    if (rc != STATUS_OK || !go_on) finish(s, slot, rc, &err);
}

static void score(struct slot *slot, const struct session_run *run)
{
    size_t n_vocab = (size_t)session_model(slot->session)->n_vocab;
    for (int i = 0; i < run->n_logits; i++)
        if (slot->n_fed + i + 1 < slot->usage.n_prompt)
            slot->job->on_prompt(slot->job->ctx, slot->n_fed + i + 1, run->logits + (size_t)i * n_vocab);
}

/* Marks the session's length: shortly before the end of the prompt, behind which histories often go on
 * otherwise than the answer did, and now and then. */
static void mark(struct slot *slot)
{
    int n = session_n_tokens(slot->session);
    bool at_tail = !slot->decoding && n == slot->usage.n_prompt - MARK_TAIL;
    if (n < slot->n_marked) slot->n_marked = 0; /* another conversation */
    if (n - slot->n_marked < SCHEDULER_MARK_EVERY && !(at_tail && n >= KEEP_MIN_TOKENS)) return;
    session_mark(slot->session);
    slot->n_marked = n;
}

/* A step has evaluated run for this slot. */
static void take_result(struct scheduler *s, struct slot *slot, const struct session_run *run)
{
    if (run->rc != STATUS_OK) {
        finish(s, slot, run->rc, &run->err);
        return;
    }
    mark(slot);
    if (!slot->decoding) {
        if (slot->job->on_prompt) score(slot, run);
        for (int i = 0; run->hidden && i < run->n; i++)
            slot->job->on_hidden(slot->job->ctx, slot->n_fed + i,
                                 run->hidden + (size_t)i * (size_t)session_model(slot->session)->dim);
        slot->n_fed += run->n;
        tell_prefill(slot);
        if (slot->n_fed < slot->usage.n_prompt) return;
        if (slot->job->prefill_only) {
            finish(s, slot, STATUS_OK, NULL);
            return;
        }
        slot->decoding = true;
        slot->decode_start_s = now_s();
        slot->usage.prefill_s = slot->decode_start_s - slot->start_s;
    }
    choose(s, slot);
}

/* ---- one step ---- */

struct plan {
    struct session_run runs[ENGINE_MAX_RUNS];
    struct slot *slots[ENGINE_MAX_RUNS];
    int n_runs, n_tokens, n_prefill;
    bool has_reader;
};

static bool is_ready(const struct slot *slot)
{
    const struct job *job = slot->job;
    return job && !(job->is_blocked && job->is_blocked(job->ctx));
}

static void plan_decodes(struct scheduler *s, struct plan *p)
{
    int n_batch = engine_plan(s->engine)->n_batch;
    for (struct slot *slot = s->slots; slot < s->slots + s->o.n_slots && p->n_tokens < n_batch; slot++) {
        if (!is_ready(slot) || !slot->decoding) continue;
        p->slots[p->n_runs] = slot;
        p->runs[p->n_runs++] =
            (struct session_run){.session = slot->session, .ids = &slot->newest, .n = 1, .n_logits = 1};
        p->n_tokens++;
    }
}

/* Answers of other models wait for the end of this step. */
static bool others_wait(const struct scheduler *s)
{
    return s->o.turns && atomic_load_explicit(&s->o.turns->n_active, memory_order_relaxed) > 1; /* a hint */
}

/* Prompt tokens that this step may take in all. */
static int prefill_room(const struct scheduler *s, const struct plan *p)
{
    int room = engine_plan(s->engine)->n_batch - p->n_tokens;
    if ((p->n_runs == 0 && !others_wait(s)) || s->prefill_token_s <= 0) return room;
    double n = STEP_S / s->prefill_token_s;
    int most = n < MIN_PREFILL ? MIN_PREFILL : n < room ? (int)n : room;
    return most < room ? most : room;
}

static void plan_prefill(struct scheduler *s, struct plan *p, struct slot *slot, int n)
{
    const struct job *job = slot->job;
    int left = slot->usage.n_prompt - slot->n_fed, max_run = engine_model(s->engine)->max_run;
    if (n > left) n = left;
    if (left > MARK_TAIL && n > left - MARK_TAIL && engine_model(s->engine)->arch->state_mark &&
        slot->usage.n_prompt >= KEEP_MIN_TOKENS)
        n = left - MARK_TAIL;
    if (max_run && n > max_run) n = max_run;
    struct session_run run = {.session = slot->session, .ids = job->prompt.ids + slot->n_fed};
    if (reads_all(job) && p->has_reader) return; /* there is room for the rows of one such job at a time */
    p->has_reader |= reads_all(job);
    if (job->on_hidden) run.hidden = s->hidden;
    if (job->on_prompt) {
        n = n < SCORED_ROWS ? n : SCORED_ROWS;
        run.logits = s->scored;
        run.n_logits = n;
    } else {
        run.n_logits = n == left && !job->prefill_only;
    }
    if (n < 1) return;
    run.n = n;
    p->slots[p->n_runs] = slot;
    p->runs[p->n_runs++] = run;
    p->n_tokens += n;
    p->n_prefill += n;
}

static void plan_prefills(struct scheduler *s, struct plan *p)
{
    int n_left = 0, room = prefill_room(s, p);
    for (struct slot *slot = s->slots; slot < s->slots + s->o.n_slots; slot++)
        n_left += is_ready(slot) && !slot->decoding;
    /* Those with little left take less than their share: the shortest first, so that others get the rest. */
    while (n_left > 0 && room > 0) {
        struct slot *shortest = NULL;
        int length = 0;
        for (struct slot *slot = s->slots; slot < s->slots + s->o.n_slots; slot++) {
            if (!is_ready(slot) || slot->decoding) continue;
            bool planned = false;
            for (int i = 0; i < p->n_runs; i++) planned |= p->slots[i] == slot;
            int left = slot->usage.n_prompt - slot->n_fed;
            if (!planned && (!shortest || left < length)) shortest = slot, length = left;
        }
        if (!shortest) break;
        int before = p->n_tokens, share = (room + n_left - 1) / n_left;
        plan_prefill(s, p, shortest, share);
        if (p->n_tokens == before) break; /* a second job to be scored waits for the next step */
        room -= p->n_tokens - before;
        n_left--;
    }
}

/* Room for what the job looks at. */
static int rows_open(struct scheduler *s, const struct job *job, struct error *err)
{
    const struct model *m = engine_model(s->engine);
    if (job->on_prompt && !s->scored)
        s->scored = calloc((size_t)SCORED_ROWS * (size_t)m->n_vocab, sizeof *s->scored);
    if (job->on_hidden && !s->hidden)
        s->hidden = calloc((size_t)engine_plan(s->engine)->n_batch * (size_t)m->dim, sizeof *s->hidden);
    if ((job->on_prompt && !s->scored) || (job->on_hidden && !s->hidden))
        return error_set(err, STATUS_NOMEM, "no memory for the logits or states of a prompt");
    return STATUS_OK;
}

static void set_active(struct scheduler *s, bool active)
{
    if (s->o.turns && active != s->active)
        atomic_fetch_add_explicit(&s->o.turns->n_active, active ? 1 : -1, memory_order_relaxed);
    s->active = active;
}

/* False when there was nothing to do. */
static bool step(struct scheduler *s)
{
    struct plan p;
    p.n_runs = p.n_tokens = p.n_prefill = 0;
    p.has_reader = false;
    struct error err = {0};
    for (struct slot *slot = s->slots; slot < s->slots + s->o.n_slots; slot++) {
        if (!slot->job) continue;
        int rc = rows_open(s, slot->job, &err);
        if (is_cancelled(slot->job) || rc != STATUS_OK) finish(s, slot, rc, &err);
    }
    plan_decodes(s, &p);
    plan_prefills(s, &p);
    set_active(s, p.n_runs > 0);
    if (p.n_runs == 0) return false;
    if (s->o.turns) turns_take(s->o.turns);
    double start_s = now_s();
    int rc = engine_step(s->engine, p.runs, p.n_runs, NULL, &err);
    double took_s = now_s() - start_s;
    if (s->o.turns) turns_give(s->o.turns);
    if (p.n_prefill >= MIN_PREFILL) {
        double each = took_s / p.n_tokens;
        s->prefill_token_s = s->prefill_token_s > 0 ? 0.7 * s->prefill_token_s + 0.3 * each : each;
    }
    for (int i = 0; i < p.n_runs; i++)
        if (rc == STATUS_OK)
            take_result(s, p.slots[i], &p.runs[i]);
        else
            finish(s, p.slots[i], rc, &err);
    int64_t kept = 0;
    for (int i = 0; i < s->o.n_slots; i++) kept += session_n_tokens(s->slots[i].session);
    pthread_mutex_lock(&s->lock);
    s->stats.n_steps++;
    s->stats.busy_s += took_s;
    s->stats.kept_tokens = kept;
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* ---- admission ---- */

/* What taking the slot costs: tokens to be read, and, the less the longer ago they were used, tokens that are
 * lost. */
static double slot_cost(const struct scheduler *s, const struct slot *slot, const struct job *job)
{
    const struct slot *other;
    size_t n_held = (size_t)session_n_tokens(slot->session), n = kept_here(s, slot, job),
           beside = kept_elsewhere(s, slot, job, &other), most = beside > n ? beside : n;
    int rank = 0;
    for (int i = 0; i < s->o.n_slots; i++) rank += s->slots[i].last_used > slot->last_used;
    double unread = job->prompt.n > most ? (double)(job->prompt.n - most) : 1;
    return unread + (double)(n_held - n) / (1 + rank);
}

static struct slot *slot_for(struct scheduler *s, const struct job *job)
{
    struct slot *best = NULL;
    double least = 0;
    for (struct slot *slot = s->slots; slot < s->slots + s->o.n_slots; slot++) {
        if (slot->job) continue;
        double cost = slot_cost(s, slot, job);
        if (!best || cost < least) best = slot, least = cost;
    }
    return best;
}

/* When the owner was last given a slot, 0 if that is long ago. */
static uint64_t last_turn(const struct scheduler *s, uint64_t owner)
{
    for (int i = 0; i < RECENT_OWNERS; i++)
        if (s->recent[i].turn && s->recent[i].owner == owner) return s->recent[i].turn;
    return 0;
}

static void note_turn(struct scheduler *s, uint64_t owner)
{
    struct recent *oldest = &s->recent[0];
    for (struct recent *r = s->recent; r < s->recent + RECENT_OWNERS; r++) {
        if (r->turn && r->owner == owner) {
            r->turn = ++s->n_turns;
            return;
        }
        if (r->turn < oldest->turn) oldest = r;
    }
    *oldest = (struct recent){owner, ++s->n_turns};
}

/* The first waiting job of the owner that has the fewest running, or among those, whose last turn is the
 * longest ago. Locked. */
static struct job *take_waiting(struct scheduler *s)
{
    struct job **best = NULL;
    int fewest = 0;
    uint64_t oldest = 0;
    for (struct job **at = &s->first; *at; at = &(*at)->next) {
        int n = 0;
        for (int i = 0; i < s->o.n_slots; i++) n += s->slots[i].job && s->slots[i].owner == (*at)->owner;
        uint64_t turn = last_turn(s, (*at)->owner);
        if (!best || n < fewest || (n == fewest && turn < oldest)) best = at, fewest = n, oldest = turn;
    }
    struct job *job = *best;
    *best = job->next;
    if (!*best) s->last = best;
    job->next = NULL;
    note_turn(s, job->owner);
    s->stats.n_queued--;
    s->stats.n_running++;
    s->stats.queue_s += now_s() - job->queued_s;
    return job;
}

/* Waiting jobs whose client has left, or all when the scheduler closes, end without a slot. */
static void drop_cancelled(struct scheduler *s)
{
    static const struct chat_usage nothing;
    struct error err;
    pthread_mutex_lock(&s->lock);
    for (struct job **at = &s->first; *at;) {
        struct job *job = *at;
        if (!s->closing && !is_cancelled(job)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        if (!*at) s->last = at;
        s->stats.n_queued--;
        s->stats.n_cancelled++;
        pthread_mutex_unlock(&s->lock);
        error_set(&err, STATUS_CANCELLED, "the server is shutting down");
        job->on_done(job->ctx, STATUS_CANCELLED, &err, &nothing);
        pthread_mutex_lock(&s->lock);
        at = &s->first; /* the list may have changed meanwhile */
    }
    pthread_mutex_unlock(&s->lock);
}

static void admit(struct scheduler *s)
{
    drop_cancelled(s);
    for (;;) {
        bool has_room = false;
        for (int i = 0; i < s->o.n_slots; i++) has_room |= !s->slots[i].job;
        pthread_mutex_lock(&s->lock);
        struct job *job = has_room && s->first && !s->closing ? take_waiting(s) : NULL;
        pthread_mutex_unlock(&s->lock);
        if (!job) return;
        start(s, slot_for(s, job), job);
    }
}

static void *run(void *ctx)
{
    struct scheduler *s = ctx;
    for (;;) {
        admit(s);
        bool worked = step(s);
        pthread_mutex_lock(&s->lock);
        bool runs = s->stats.n_running > 0, closing = s->closing;
        if (!closing && !worked && !s->woken && !s->first) {
            if (runs) { /* all blocked: their clients may leave without a word */
                struct timespec until;
                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_nsec += IDLE_WAIT_MS * 1000000L;
                if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
                pthread_cond_timedwait(&s->changed, &s->lock, &until);
            } else {
                pthread_cond_wait(&s->changed, &s->lock);
            }
        }
        s->woken = false;
        pthread_mutex_unlock(&s->lock);
        if (closing) break;
    }
    drop_cancelled(s);
    set_active(s, false);
    struct error err;
    error_set(&err, STATUS_CANCELLED, "the server is shutting down");
    for (int i = 0; i < s->o.n_slots; i++)
        if (s->slots[i].job) finish(s, &s->slots[i], STATUS_CANCELLED, &err);
    for (int i = 0; s->o.keep && i < s->o.n_slots; i++) save(s, &s->slots[i]);
    return NULL;
}

/* ---- from outside ---- */

int scheduler_open(struct scheduler **out, struct engine *e, const struct tokenizer *t,
                   const struct scheduler_options *o, struct error *err)
{
    *out = NULL;
    struct scheduler *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, STATUS_NOMEM, "scheduler: no memory");
    s->engine = e;
    s->tokenizer = t;
    s->o = *o;
    s->last = &s->first;
    s->stats.n_slots = o->n_slots;
    s->stats.n_ctx = engine_plan(e)->n_ctx;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    int rc = STATUS_OK;
    s->slots = calloc((size_t)o->n_slots, sizeof *s->slots);
    if (!s->slots) rc = error_set(err, STATUS_NOMEM, "scheduler: no memory for %d slots", o->n_slots);
    for (int i = 0; i < o->n_slots && rc == STATUS_OK; i++) rc = session_open(&s->slots[i].session, e, err);
    if (rc == STATUS_OK) {
        int e_no = pthread_create(&s->thread, NULL, run, s);
        if (e_no) rc = error_set(err, STATUS_NOMEM, "scheduler: cannot start a thread: %s", strerror(e_no));
        s->has_thread = e_no == 0;
    }
    if (rc == STATUS_OK)
        *out = s;
    else
        scheduler_close(s);
    return rc;
}

void scheduler_stop(struct scheduler *s)
{
    if (!s || !s->has_thread) return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    s->has_thread = false;
}

void scheduler_close(struct scheduler *s)
{
    if (!s) return;
    scheduler_stop(s);
    for (int i = 0; s->slots && i < s->o.n_slots; i++) session_close(s->slots[i].session);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->scored);
    free(s->hidden);
    free(s->slots);
    free(s);
}

int scheduler_submit(struct scheduler *s, struct job *job, struct error *err)
{
    int n_ctx = scheduler_n_ctx(s), rc = STATUS_OK;
    if (job->prompt.n < 1) return error_set(err, STATUS_RANGE, "prompt: must have at least one token");
    if (job->prompt.n > (size_t)n_ctx)
        return error_set(err, STATUS_RANGE, "prompt is too long: %zu tokens > %d maximum", job->prompt.n,
                         n_ctx);
    job->next = NULL;
    job->queued_s = now_s();
    pthread_mutex_lock(&s->lock);
    if (s->closing)
        rc = error_set(err, STATUS_CANCELLED, "the server is shutting down");
    else if (!job->continues && s->stats.n_queued >= s->o.n_queue) {
        s->stats.n_refused++;
        rc = error_set(err, STATUS_NOMEM, "%d requests are waiting already; try again later", s->o.n_queue);
    } else {
        *s->last = job;
        s->last = &job->next;
        s->stats.n_jobs++;
        s->stats.n_queued++;
        s->woken = true;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void scheduler_read_stats(struct scheduler *s, struct scheduler_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    pthread_mutex_unlock(&s->lock);
}

int scheduler_n_ctx(const struct scheduler *s)
{
    return engine_plan(s->engine)->n_ctx;
}
