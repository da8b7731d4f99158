/* What a service manager wants to know, if it asks: ready, ending. */
#ifndef FATHOM_PROGRAMS_NOTIFY_H
#define FATHOM_PROGRAMS_NOTIFY_H

/* Lines such as "READY=1", in one datagram to the socket that NOTIFY_SOCKET names (systemd's protocol of
 * sd_notify). Nothing happens without it, or when nobody reads there. */
void notify(const char *lines);

#endif
