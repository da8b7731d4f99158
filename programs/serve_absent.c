/* fathom serve in a build without the libraries for it. */
#include "commands.h"

int cmd_serve(const struct options *o, struct error *err)
{
    (void)o;
    error_set(err, STATUS_UNSUPPORTED, "this build has no server: libmicrohttpd, jansson, libcurl or SQLite was absent");
    return EXIT_FAILED;
}
