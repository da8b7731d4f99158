/* What reading and writing of the responses API share. */
#ifndef FATHOM_SERVER_RESPONSES_H
#define FATHOM_SERVER_RESPONSES_H

#include "server/intake.h"

enum item_kind { ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL };

struct item {
    enum item_kind kind;
    char id[40];
    size_t first, end; /* of the choice's thinking or text */
    int call;          /* index */
};

struct responses_own {
    struct item *items;
    int n_items;
    bool is_open; /* the last item is not done */
    bool summarises;
    int64_t sequence;
    struct buf echo;   /* members of the request that the response repeats, as JSON: "key":value,... */
    struct buf custom; /* names of custom tools, each between two line feeds */
};

extern const struct api responses_api;

struct responses_own *responses_own_open(void);
void responses_add_custom(struct responses_own *own, struct str name);
bool responses_keep_echo(struct intake *in, struct responses_own *own);
/* "space::name" */
struct str responses_join_name(struct intake *in, struct str space, struct str name);

#endif
