/* What the parts of `fathom eval` share: a model that is asked, and counters that are printed. */
#ifndef FATHOM_PROGRAMS_EVAL_H
#define FATHOM_PROGRAMS_EVAL_H

#include "base/buf.h"
#include "chat/chat.h"
#include "chat/texts.h"
#include "data/conversation.h"
#include "options.h"
#include "runtime.h"
#include "term/progress.h"

enum { EVAL_ANSWER_MAX = 1 << 20, EVAL_MAX_CALLS = 8, EVAL_MAX_FIGURES = 8, EVAL_AT_ONCE = 16 };

struct eval_call {
    struct buf name, arguments;
    bool complete;
};

/* What the model said to one question. */
struct eval_answer {
    struct buf text, reasoning, raw; /* raw: the tokens as they were sampled, control tokens spelled */
    struct eval_call calls[EVAL_MAX_CALLS];
    int n_calls; /* may be more than are kept */
    enum chat_stop stop;
};

/* A question with its answer. The prompt is ids, or what `request` renders to. */
struct eval_task {
    struct buf line, request_text; /* the task's JSON; a request made from it */
    struct chat_message message;   /* of request_text */
    struct conversation *conversation;
    struct chat_request request;
    struct token_list ids;
    struct eval_answer answer;
};

struct eval;
/* Counts an answer. */
typedef int eval_judge_fn(struct eval *e, struct eval_task *t, struct error *err);

/* A figure of the result: n of total, or a value. */
struct eval_figure {
    const char *name;
    long n, total;
    double value; /* total 0 */
};

struct eval {
    const struct options *o;
    struct runtime r;
    struct session *sessions[EVAL_AT_ONCE]; /* [0] is r.session */
    int n_sessions;
    const struct chat_format *format;
    struct chat_texts *texts;
    struct eval_task tasks[EVAL_AT_ONCE]; /* the first n_tasks wait for their answers */
    int n_tasks;
    eval_judge_fn *judge;
    void *job;          /* the measure's own */
    struct buf samples; /* JSON lines, written to --output at the end */
    struct eval_figure figures[EVAL_MAX_FIGURES];
    int n_figures;
    long n_done, n_taken;
    struct term term;
    struct progress progress;
};

/* Opens the model that e->o names, and sessions to ask it in its chat format (asks) or one to read in. Call
 * eval_close in every case. */
int eval_open(struct eval *e, bool asks, struct error *err);
void eval_close(struct eval *e);
/* Another task may be taken: --limit is not reached. */
bool eval_wants_more(const struct eval *e);
/* An empty task to fill. */
struct eval_task *eval_next(struct eval *e);
/* The task is filled. When EVAL_AT_ONCE are there, all are answered together, greedily, and judged in order.
 */
int eval_ask(struct eval *e, struct error *err);
/* Answers and judges what is left. */
int eval_finish(struct eval *e, struct error *err);
/* Continues ids, greedily, until EOS, a stop string or max_tokens; the answer is that of tasks[0]. */
int eval_continue(struct eval *e, const struct token_list *ids, const struct str *stops, int n_stops,
                  int max_tokens, struct error *err);
/* Counts one more of a figure, which comes into being. */
void eval_count(struct eval *e, const char *name, bool hit);
void eval_value(struct eval *e, const char *name, double value);
/* One task is done. */
void eval_done(struct eval *e);

/* The first fenced block of a Markdown text, or all of it when there is none. */
struct str eval_code_block(struct str markdown);

/* Each reads its file, asks, and counts. */
int eval_code(struct eval *e, const char *path, struct error *err);  /* tasks with tests: pass@1 */
int eval_tools(struct eval *e, const char *path, struct error *err); /* tasks with a tool call to make */
int eval_humaneval(struct eval *e, const char *path,
                   struct error *err); /* HumanEval.jsonl; NULL: fetched by name */
int eval_bits(struct eval *e, const char *path, struct error *err);  /* bits per byte of documents */
int eval_lines(struct eval *e, const char *path, struct error *err); /* the next line, exactly */
int eval_holes(struct eval *e, const char *path, struct error *err); /* a missing line (FIM), exactly */

#endif
