/* A conversation: the messages so far, and their file.
 *
 * The file is JSON that other programs read too: {"messages": [{"role": "user", "content": "..."}, ...]}. */
#ifndef FATHOM_PROGRAMS_CONVERSATION_H
#define FATHOM_PROGRAMS_CONVERSATION_H

#include "chat/chat.h"

struct conversation {
    struct chat_message *messages; /* contents are owned; a system message is the first or there is none */
    size_t n, cap;
};

void conversation_free(struct conversation *c); /* leaves it empty and usable */
int conversation_push(struct conversation *c, enum chat_role role, struct str content, struct error *err);
/* Forgets the last message. */
void conversation_pop(struct conversation *c);
/* Sets, replaces or (empty text) removes the system message. */
int conversation_set_system(struct conversation *c, struct str text, struct error *err);
/* The system message, or an empty view. */
struct str conversation_system(const struct conversation *c);

int conversation_save(const struct conversation *c, const char *path, struct error *err);
/* On an error c stays as it was. */
int conversation_load(struct conversation *c, const char *path, struct error *err);

#endif
