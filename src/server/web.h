/* The web page: files that are compiled into the program. */
#ifndef FATHOM_SERVER_WEB_H
#define FATHOM_SERVER_WEB_H

#include <stddef.h>

struct web_file {
    const char *path, *type;
    const unsigned char *data;
    size_t bytes;
};
extern const struct web_file web_files[]; /* ends in a NULL path */

#endif
