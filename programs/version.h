/* Which build this is. */
#ifndef FATHOM_PROGRAMS_VERSION_H
#define FATHOM_PROGRAMS_VERSION_H

extern const char fathom_version[]; /* "0.1.0" */
extern const char fathom_commit[]; /* short hash, "-dirty" appended when files differ from it, or "unknown" */

#endif
