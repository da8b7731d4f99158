/* Reading usage out of answers that pass: see forward_usage.h. */
#include "server/forward_usage.h"

#include "server/body.h"

static int64_t count_of(const struct node *o, const char *key)
{
    int64_t n = node_int(node_get(o, key));
    return n > 0 ? n : 0;
}

static void raise(int64_t *to, int64_t n)
{
    if (n > *to) *to = n;
}

/* OpenAI counts kept tokens among the input; Anthropic beside it, kept ones and those that were made to be
 * kept. */
static void take(struct usage_counts *n, const struct node *usage)
{
    int64_t beside = count_of(usage, "cache_read_input_tokens");
    int64_t input = count_of(usage, "input_tokens") + beside + count_of(usage, "cache_creation_input_tokens");
    int64_t among = count_of(node_get(usage, "prompt_tokens_details"), "cached_tokens") +
                    count_of(node_get(usage, "input_tokens_details"), "cached_tokens");
    raise(&n->prompt, input + count_of(usage, "prompt_tokens"));
    raise(&n->cached, beside + among);
    raise(&n->generated, count_of(usage, "output_tokens") + count_of(usage, "completion_tokens"));
    if (n->cached > n->prompt) n->cached = n->prompt;
}

void forward_usage_body(struct usage_counts *n, struct str body)
{
    struct problem ignored = {0};
    if (str_find(body, STR("\"usage\""), 0) == (size_t)-1)
        return; /* most events have none: do not read them */
    struct node *root = node_parse(body, &ignored);
    if (!root) return;
    take(n, node_get(root, "usage"));
    take(n, node_get(node_get(root, "message"), "usage"));  /* of Anthropic's message_start */
    take(n, node_get(node_get(root, "response"), "usage")); /* of OpenAI's response.completed */
    node_free(root);
}

void forward_usage_events(struct usage_counts *n, struct str events)
{
    for (size_t at = 0, end; at < events.n; at = end + 1) { /* lines; JSON of an event stands on one */
        end = str_find(events, STR("\n"), at);
        if (end == (size_t)-1) end = events.n;
        struct str line = str_slice(events, at, end);
        if (str_starts(line, STR("data:"))) forward_usage_body(n, str_slice(line, 5, line.n));
    }
}
