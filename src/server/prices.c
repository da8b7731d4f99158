/* The price table, and how rows of usage are named: see prices.h. */
#include "server/prices.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include "base/json.h"

static int read_price(struct json_reader *r, struct price *row, const char *name, struct error *err)
{
    if (json_next(r) != JSON_OBJECT)
        return error_set(err, STATUS_FORMAT, "%s: %s: expected an object with input and output", name,
                         row->model);
    row->input = row->cached = row->output = -1;
    while (json_next(r) == JSON_KEY) {
        double *to = str_is(r->str, "input")    ? &row->input
                     : str_is(r->str, "cached") ? &row->cached
                     : str_is(r->str, "output") ? &row->output
                                                : NULL;
        if (!to)
            return error_set(err, STATUS_FORMAT, "%s: %s: expected input, cached or output, found %.*s", name,
                             row->model, (int)(r->str.n < 40 ? r->str.n : 40), r->str.p);
        if (json_next(r) != JSON_NUMBER || !json_get_double(r, to) || !(*to >= 0) || !isfinite(*to))
            return error_set(err, STATUS_FORMAT, "%s: %s: expected a price of 0 or more", name, row->model);
    }
    if (r->event == JSON_ERROR) return json_error(r, name, err);
    if (row->input < 0 || row->output < 0)
        return error_set(err, STATUS_FORMAT, "%s: %s: expected both input and output", name, row->model);
    if (row->cached < 0) row->cached = row->input;
    return STATUS_OK;
}

static int read_table(struct prices *p, struct json_reader *r, const char *name, struct error *err)
{
    if (json_next(r) != JSON_OBJECT)
        return r->event == JSON_ERROR
                   ? json_error(r, name, err)
                   : error_set(err, STATUS_FORMAT, "%s: expected an object of models", name);
    while (json_next(r) == JSON_KEY) {
        if (p->n == PRICES_MAX)
            return error_set(err, STATUS_RANGE, "%s: at most %d models", name, PRICES_MAX);
        struct price *row = &p->rows[p->n++];
        if (r->str.n >= sizeof row->model)
            return error_set(err, STATUS_RANGE, "%s: a model's name of %zu bytes, at most %zu", name,
                             r->str.n, sizeof row->model - 1);
        memcpy(row->model, r->str.p, r->str.n);
        row->model[r->str.n] = '\0';
        int rc = read_price(r, row, name, err);
        if (rc != STATUS_OK) return rc;
    }
    return json_next(r) == JSON_END ? STATUS_OK : json_error(r, name, err);
}

int prices_read(struct prices *p, struct str text, const char *name, struct error *err)
{
    struct json_reader r;
    *p = (struct prices){.rows = calloc(PRICES_MAX, sizeof *p->rows)};
    if (!p->rows) return error_set(err, STATUS_NOMEM, "%s: no memory", name);
    json_reader_init(&r, text);
    int rc = read_table(p, &r, name, err);
    json_reader_free(&r);
    if (rc != STATUS_OK) prices_free(p);
    return rc;
}

void prices_free(struct prices *p)
{
    free(p->rows);
    *p = (struct prices){.n = 0};
}

bool prices_cost(const struct prices *p, struct str model, const struct usage_counts *n, double *cost)
{
    const struct price *found = NULL;
    for (int i = 0; p && p->rows && i < p->n; i++)
        if (str_is(model, p->rows[i].model) || (!found && strcmp(p->rows[i].model, "*") == 0))
            found = &p->rows[i];
    if (!found) return false;
    *cost = ((double)(n->prompt - n->cached) * found->input + (double)n->cached * found->cached +
             (double)n->generated * found->output) /
            1e6;
    return true;
}

struct owner_name owner_name(uint64_t owner)
{
    struct owner_name name = {"local"};
    unsigned char bytes[8]; /* the key's hash begins with them, in this order */
    memcpy(bytes, &owner, sizeof bytes);
    for (size_t i = 0; owner && i < sizeof bytes; i++)
        snprintf(name.text + 2 * i, sizeof name.text - 2 * i, "%02x", bytes[i]);
    return name;
}

struct day_name day_name(int64_t day)
{
    struct day_name name;
    time_t seconds = (time_t)(day * 86400);
    struct tm t;
    gmtime_r(&seconds, &t);
    strftime(name.text, sizeof name.text, "%Y-%m-%d", &t);
    return name;
}
