/* server/http.c by itself: connections that are slow, and what is closed of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "server/http.h"

enum { ARRIVAL_S = 1, PATIENCE_S = 60 /* of a busy machine */ };

static bool on_headers(void *ctx, struct exchange *x)
{
    (void)ctx;
    (void)x;
    return true;
}

static void on_request(void *ctx, struct exchange *x)
{
    (void)ctx;
    exchange_respond(x, 200, "text/plain", exchange_body(x));
}

static void on_end(void *ctx, struct exchange *x)
{
    (void)ctx;
    (void)x;
}

static struct http *open_http(int timeout_s, int arrival_s)
{
    struct http *h;
    struct error err;
    struct http_options o = {.address = "127.0.0.1",
                             .max_head_bytes = 64 << 10,
                             .max_body_bytes = 1 << 20,
                             .max_connections = 10,
                             .n_workers = 1,
                             .timeout_s = timeout_s,
                             .arrival_s = arrival_s,
                             .on_headers = on_headers,
                             .on_request = on_request,
                             .on_end = on_end};
    if (http_open(&h, &o, &err) != STATUS_OK) fail_msg("%s", err.text);
    return h;
}

static int connect_to(const struct http *h)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(h))};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char *const slow[] = {
    "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
};
enum { N_SLOW = sizeof slow / sizeof *slow };

/* Each sends a byte every 100 ms for as long as the other side listens. */
static void slow_requests_are_closed(void **state)
{
    (void)state;
    struct http *h = open_http(PATIENCE_S, ARRIVAL_S);
    int fds[N_SLOW], n_open = N_SLOW;
    double from_s = now_s();
    for (int i = 0; i < N_SLOW; i++) {
        fds[i] = connect_to(h);
        assert_int_equal(send(fds[i], slow[i], strlen(slow[i]), 0), strlen(slow[i]));
    }
    while (n_open > 0) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        double took_s = now_s() - from_s;
        if (took_s > PATIENCE_S) fail_msg("%d are open after %.1f s", n_open, took_s);
        for (int i = 0; i < N_SLOW; i++) {
            struct pollfd p = {.fd = fds[i], .events = POLLIN};
            char byte;
            if (fds[i] < 0 || (poll(&p, 1, 0) == 0 && send(fds[i], "a", 1, MSG_NOSIGNAL) == 1)) continue;
            assert_true(recv(fds[i], &byte, 1, 0) <= 0); /* no answer either */
            if (took_s < ARRIVAL_S) fail_msg("%s: closed after %.2f s", slow[i], took_s);
            close(fds[i]);
            fds[i] = -1;
            n_open--;
        }
    }
    http_close(h);
}

static bool ask(int fd)
{
    static const char request[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    char answer[1024] = "";
    size_t n = 0;
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1) return false;
    while (n < sizeof answer - 1 && !strstr(answer, "\r\n\r\nhello")) {
        ssize_t got = recv(fd, answer + n, sizeof answer - 1 - n, 0);
        if (got <= 0) return false;
        n += (size_t)got;
        answer[n] = '\0';
    }
    return true;
}

/* Each request has its time: a connection that is used lives on. */
static void used_connections_stay(void **state)
{
    (void)state;
    struct http *h = open_http(PATIENCE_S, ARRIVAL_S);
    int fd = connect_to(h);
    double start_s = now_s(), last_s = start_s;
    while (now_s() - start_s < 1.5 * ARRIVAL_S) {
        if (ask(fd)) {
            last_s = now_s();
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        } else if (now_s() - last_s < ARRIVAL_S) {
            fail_msg("closed %.2f s behind an answer", now_s() - last_s);
        } else { /* the machine was busy elsewhere */
            close(fd);
            fd = connect_to(h);
            start_s = last_s = now_s();
        }
    }
    close(fd);
    http_close(h);
}

static void silent_connections_are_closed(void **state)
{
    (void)state;
    struct http *h = open_http(1, PATIENCE_S);
    double from_s = now_s();
    int fds[] = {connect_to(h), connect_to(h)};
    assert_int_equal(send(fds[0], slow[0], strlen(slow[0]), 0), strlen(slow[0]));
    for (int i = 0; i < 2; i++) {
        char byte;
        assert_true(recv(fds[i], &byte, 1, 0) <= 0);
        double took_s = now_s() - from_s;
        if (took_s < 1 || took_s > PATIENCE_S / 2) fail_msg("connection %d: %.2f s", i, took_s);
        close(fds[i]);
    }
    http_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_requests_are_closed),
        cmocka_unit_test(used_connections_stay),
        cmocka_unit_test(silent_connections_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
