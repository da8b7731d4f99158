/* Nearest names: what a mistyped command, option or model probably meant. */
#ifndef FATHOM_PROGRAMS_SUGGEST_H
#define FATHOM_PROGRAMS_SUGGEST_H

/* Edits that turn a into b: insert, delete, replace a character, swap two neighbours. Case is ignored. Only
 * the first 32 characters are compared. */
int suggest_distance(const char *a, const char *b);

/* Remembers the nearest of the names it is shown. */
struct suggestion {
    const char *typed;
    const char *best; /* NULL: nothing is near enough */
    int distance;
};
void suggest_init(struct suggestion *s, const char *typed);
void suggest_offer(struct suggestion *s, const char *name);

#endif
