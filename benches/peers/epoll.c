// epoll and plain system calls: what a server without any library is.

#include "common.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { EVENTS = 1024 };

static int poller;

// Level-triggered: one receive a readiness is enough then.
static void watch(int operation, echo_connection *c, uint32_t interest)
{
    struct epoll_event event = {.events = interest, .data.ptr = c};
    CHECK(epoll_ctl(poller, operation, c->fd, &event) == 0);
}

static void step(echo_connection *c)
{
    bool wrote = c->rest != NULL;
    echo_state state = echo_step(c);
    if (state == ECHO_END) {
        close(c->fd);
        free(c->rest);
        free(c);
    } else if (wrote != (state == ECHO_WRITE)) {
        watch(EPOLL_CTL_MOD, c, state == ECHO_WRITE ? EPOLLOUT : EPOLLIN);
    }
}

// Accepts until nobody waits; what comes is closed at once, or echoed.
static void take_in(int listener, bool echo)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (!echo) {
            close(fd);
            continue;
        }
        echo_connection *c = calloc(1, sizeof *c);
        CHECK(c);
        c->fd = fd;
        watch(EPOLL_CTL_ADD, c, EPOLLIN);
    }
}

static void serve(bool echo)
{
    static struct epoll_event events[EVENTS];
    echo_connection listener = {.fd = listen_here()};
    poller = epoll_create1(EPOLL_CLOEXEC);
    CHECK(fcntl(listener.fd, F_SETFL, O_NONBLOCK) == 0);
    watch(EPOLL_CTL_ADD, &listener, EPOLLIN);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &listener) {
                take_in(listener.fd, echo);
            } else {
                step(events[i].data.ptr);
            }
        }
    }
}

static void serve_echo(void) { serve(true); }

static void serve_accept(void) { serve(false); }

// --- Posts: a vector behind a lock, and an eventfd that wakes the consumer.

static shared_vector shared = {.lock = PTHREAD_MUTEX_INITIALIZER};
static int bell;

static void *poster(void *unused)
{
    uint64_t each = number_argument("count", 250000), batch = number_argument("batch", 1), items[256] = {0}, one = 1;
    for (uint64_t i = 0; i < each; i += batch) {
        if (vector_add(&shared, items, batch < each - i ? batch : each - i)) {
            CHECK(write(bell, &one, sizeof one) == sizeof one);
        }
    }
    return unused;
}

static void post(void)
{
    bell = eventfd(0, EFD_CLOEXEC);
    posts p = posts_begin(poster);
    shared_vector taken = {0};
    for (uint64_t got = 0, rung; got < p.total; got += taken.length) {
        CHECK(read(bell, &rung, sizeof rung) == sizeof rung);
        vector_swap(&shared, &taken);
    }
    posts_report(&p);
}

MAIN({"echo", serve_echo}, {"accept", serve_accept}, {"post", post})
