/* The table of limits. */
#include "server/limits.h"

#include <stddef.h>
#include "server/grammar.h"
#include "store/store.h"

const struct limit_row limit_rows[] = {
    {"body", LIMIT_BODY_BYTES, "bytes of a request's body"},
    {"headers", LIMIT_HEADER_BYTES, "bytes of request line and headers together"},
    {"nesting", LIMIT_NESTING, "levels of a JSON body"},
    {"messages", LIMIT_MESSAGES, "messages or input items of a request"},
    {"tools", LIMIT_TOOLS, "tools of a request"},
    {"calls", LIMIT_CALLS, "tool calls of one answer or of one message"},
    {"stops", LIMIT_STOPS, "stop strings of a request"},
    {"stop length", LIMIT_STOP_BYTES, "bytes of a stop string"},
    {"choices", LIMIT_CHOICES, "answers of one request (n times prompts)"},
    {"inputs", LIMIT_INPUTS, "texts of a request for embeddings"},
    {"top logprobs", LIMIT_TOP_LOGPROBS, "alternatives per token"},
    {"biases", LIMIT_BIASES, "entries of logit_bias"},
    {"form", LIMIT_FORM_BYTES, "bytes of a regular expression, or of a grammar's text"},
    {"form values", LIMIT_FORM_TEXTS, "texts of guided_choice"},
    {"form states", GRAMMAR_MAX_STATES, "states of the automata of an answer's form"},
    {"form depth", GRAMMAR_MAX_DEPTH, "levels of values or rules within each other in a formed answer"},
    {"queue", LIMIT_QUEUE, "requests that wait for a slot; beyond it: 429"},
    {"connections", LIMIT_CONNECTIONS, "open at a time"},
    {"idle", LIMIT_IDLE_S, "seconds without a byte before a connection is closed"},
    {"arrival", LIMIT_ARRIVAL_S, "seconds for a request's head to come, and for its body"},
    {"drain", LIMIT_DRAIN_S, "seconds that answers have to end after SIGTERM"},
    {"wrong keys", LIMIT_WRONG_KEYS, "offered by one address at once; beyond it: 429"},
    {"wrong key wait", LIMIT_WRONG_KEY_S, "seconds until an address may offer one more"},
    {"conversations", STORE_MAX_CONVERSATIONS, "kept for a key"},
    {"turns", STORE_MAX_TURNS, "of a kept conversation"},
    {"turn", STORE_MAX_TURN_BYTES, "bytes of a kept turn's text, and of its reasoning"},
    {"title", STORE_MAX_TITLE_BYTES, "bytes of a kept conversation's title"},
    {"settings", STORE_MAX_SETTINGS_BYTES, "bytes of a kept conversation's settings"},
    {"upstream", LIMIT_UPSTREAM_BYTES, "bytes of an upstream's answer that is no stream"},
    {"event", LIMIT_EVENT_BYTES, "bytes of an event of an upstream's stream"},
    {NULL, 0, NULL},
};
