/* GET /usage: tokens by day, key and model, of the key that asks. */
#include <string.h>
#include "base/json.h"
#include "server/internal.h"
#include "server/prices.h"

enum { DAYS_DEFAULT = 30, DAYS_MAX = 3660, MAX_ANSWER_BYTES = 64 << 20 };

struct report {
    struct json_writer w;
    const struct prices *prices;
    struct usage_counts total;
    double cost;
    bool has_cost;
};

static void write_counts(struct json_writer *w, const struct usage_counts *n)
{
    json_key(w, "requests"), json_int(w, n->requests);
    json_key(w, "prompt_tokens"), json_int(w, n->prompt);
    json_key(w, "cached_tokens"), json_int(w, n->cached);
    json_key(w, "completion_tokens"), json_int(w, n->generated);
}

static void write_row(void *ctx, const struct usage_row *r)
{
    struct report *report = ctx;
    struct json_writer *w = &report->w;
    double cost;
    json_open(w, '{');
    json_key(w, "day"), json_str(w, str_from(day_name(r->day).text));
    json_key(w, "key"), json_str(w, str_from(owner_name(r->owner).text));
    json_key(w, "model"), json_str(w, r->model);
    write_counts(w, &r->n);
    if (prices_cost(report->prices, r->model, &r->n, &cost)) {
        json_key(w, "cost"), json_double(w, cost, 12);
        report->cost += cost;
        report->has_cost = true;
    }
    json_close(w, '}');
    report->total.requests += r->n.requests;
    report->total.prompt += r->n.prompt;
    report->total.cached += r->n.cached;
    report->total.generated += r->n.generated;
}

void handle_usage(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct error err;
    struct buf out;
    struct report report = {.prices = s->o.prices};
    uint64_t owner = exchange_owner(x);
    long n_days = DAYS_DEFAULT;
    const char *days = exchange_argument(x, "days");
    if (days) {
        char *end;
        n_days = strtol(days, &end, 10);
        if (*end || end == days || n_days < 1 || n_days > DAYS_MAX)
            problem_set(&p, 400, NULL, "days", "days must be between 1 and %d, found %.40s", DAYS_MAX, days);
    }
    if (!s->o.store)
        problem_set(&p, 404, "store_off", NULL, "this server counts no usage; start it without --no-store");
    buf_init(&out, MAX_ANSWER_BYTES);
    json_writer_init(&report.w, &out);
    json_open(&report.w, '{');
    json_key(&report.w, "object"), json_str(&report.w, STR("list"));
    json_key(&report.w, "data"), json_open(&report.w, '[');
    if (!p.status && usage_read(s->o.store, &owner, (int)n_days, write_row, &report, &err) != STATUS_OK)
        problem_set(&p, 503, NULL, NULL, "%s", err.text);
    json_close(&report.w, ']');
    json_key(&report.w, "total"), json_open(&report.w, '{');
    write_counts(&report.w, &report.total);
    if (report.has_cost) json_key(&report.w, "cost"), json_double(&report.w, report.cost, 12);
    json_close(&report.w, '}');
    json_close(&report.w, '}');
    if (!p.status && out.failed)
        problem_set(&p, 500, NULL, NULL, "no memory for the answer, of at most %d bytes", MAX_ANSWER_BYTES);
    if (p.status)
        problem_respond(x, &p, FAMILY_OPENAI);
    else
        exchange_respond(x, 200, "application/json", buf_view(&out));
    buf_free(&out);
}
