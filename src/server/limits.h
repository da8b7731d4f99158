/* Every limit of the server: one table, printed by `fathom serve --check`, read by whoever enforces a row. */
#ifndef FATHOM_SERVER_LIMITS_H
#define FATHOM_SERVER_LIMITS_H

enum {
    LIMIT_BODY_BYTES = 64 << 20,
    LIMIT_HEADER_BYTES = 64 << 10,
    LIMIT_NESTING = 64,
    LIMIT_MESSAGES = 10000,
    LIMIT_TOOLS = 256,
    LIMIT_CALLS = 256,
    LIMIT_STOPS = 16,
    LIMIT_STOP_BYTES = 256,
    LIMIT_CHOICES = 128,
    LIMIT_INPUTS = 2048,
    LIMIT_TOP_LOGPROBS = 20,
    LIMIT_BIASES = 1024,
    LIMIT_FORM_BYTES = 64 << 10,
    LIMIT_FORM_TEXTS = 4096,
    LIMIT_QUEUE = 64,
    LIMIT_CONNECTIONS = 1000,
    LIMIT_IDLE_S = 60,
    LIMIT_ARRIVAL_S = 120,
    LIMIT_DRAIN_S = 30,
    LIMIT_UPSTREAM_BYTES = 64 << 20,
    LIMIT_EVENT_BYTES = 4 << 20,
    LIMIT_WRONG_KEYS = 20,
    LIMIT_WRONG_KEY_S = 3,
};

struct limit_row {
    const char *name;
    long long value;
    const char *meaning;
};
extern const struct limit_row limit_rows[]; /* ends in a NULL name */

#endif
