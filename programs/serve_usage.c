/* The table of `fathom serve --usage`: see serve_usage.h. */
#include "serve_usage.h"

#include "base/file_map.h"

enum { PRICES_FILE_MAX = 1 << 20 };

int serve_prices_open(struct prices *p, const struct options *o, struct error *err)
{
    struct buf text;
    if (!o->prices) return STATUS_OK;
    buf_init(&text, PRICES_FILE_MAX);
    int rc = file_read(&text, o->prices, err);
    if (rc == STATUS_OK) rc = prices_read(p, buf_view(&text), o->prices, err);
    buf_free(&text);
    return rc;
}

struct table {
    const struct prices *prices;
    struct usage_counts total;
    double cost;
    int n;
};

static void print_line(const char *day, const char *key, struct str model, const struct usage_counts *n,
                       bool has_cost, double cost)
{
    printf("%-10s  %-16s  %-24.*s %8lld %12lld %12lld %12lld", day, key, STR_ARG(model),
           (long long)n->requests, (long long)n->prompt, (long long)n->cached, (long long)n->generated);
    if (has_cost) printf(" %12.4f", cost);
    printf("\n");
}

static void print_row(void *ctx, const struct usage_row *r)
{
    struct table *t = ctx;
    double cost = 0;
    bool has_cost = prices_cost(t->prices, r->model, &r->n, &cost);
    print_line(day_name(r->day).text, owner_name(r->owner).text, r->model, &r->n, has_cost, cost);
    t->n++;
    t->cost += cost;
    t->total.requests += r->n.requests;
    t->total.prompt += r->n.prompt;
    t->total.cached += r->n.cached;
    t->total.generated += r->n.generated;
}

int serve_usage_print(struct store *s, const struct prices *p, const struct options *o, struct error *err)
{
    struct table t = {.prices = p};
    if (!s)
        return error_set(err, STATUS_RANGE,
                         "--usage reads what the server has kept; with --no-store there is nothing");
    printf("%-10s  %-16s  %-24s %8s %12s %12s %12s%s\n", "day", "key", "model", "requests", "prompt",
           "cached", "generated", p->n ? "         cost" : "");
    int rc = usage_read(s, NULL, o->n_days, print_row, &t, err);
    if (rc == STATUS_OK && t.n > 1) print_line("total", "", STR(""), &t.total, p->n > 0, t.cost);
    return rc;
}
