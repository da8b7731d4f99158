/* What the answers of other servers say of their tokens. */
#ifndef FATHOM_SERVER_FORWARD_USAGE_H
#define FATHOM_SERVER_FORWARD_USAGE_H

#include "base/str.h"
#include "store/store.h"

/* Raises n to what the body of an answer says, in any API's terms. */
void forward_usage_body(struct usage_counts *n, struct str body);
/* The same of whole events of a stream; usage may come in several of them. */
void forward_usage_events(struct usage_counts *n, struct str events);

#endif
