/* The store of `fathom serve`: see serve_store.h. */
#include "serve_store.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include "models.h"
#include "say.h"

/* Makes the folders too; the last is nobody else's, whatever the mask for new files says. */
static int usual_path(struct buf *path, struct error *err)
{
    int rc = state_path(path, NULL, err);
    char *slash = strrchr(buf_cstr(path), '/');
    if (rc != STATUS_OK || !slash) return rc;
    *slash = '\0';
    rc = folder_make(path->p, err);
    *slash = '/';
    if (rc == STATUS_OK && mkdir(path->p, 0700) != 0 && errno != EEXIST)
        rc = error_set(err, STATUS_IO, "%s: cannot make the folder: %s", path->p, strerror(errno));
    buf_puts(path, "/serve.db");
    return rc;
}

int serve_store_open(struct store **out, const struct options *o, struct term *t, struct error *err)
{
    struct buf path;
    struct error why;
    *out = NULL;
    if (o->no_store) return STATUS_OK;
    if (o->store) return store_open(out, o->store, err);
    buf_init(&path, 4096);
    int rc = usual_path(&path, &why);
    if (rc == STATUS_OK) rc = store_open(out, buf_cstr(&path), &why);
    if (rc != STATUS_OK)
        say(t, SGR_WARNING,
            "fathom serve: %s; conversations are not kept (--no-store says so too, --store names another "
            "file)",
            why.text);
    buf_free(&path);
    return STATUS_OK;
}
