// libevent: events for readiness, with the system calls done here, which is quicker than its bufferevents; no locks, as
// there is one thread. Its timers are for times that differ: the heap, not the lists of common timeouts.

#include "common.h"

#include <event2/event.h>
#include <event2/listener.h>

static struct event_base *base;

static void loop_open(void)
{
    struct event_config *config = event_config_new();
    // Nothing here is added twice to one descriptor, so the changes can wait for the next turn.
    CHECK(config && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == 0);
    base = event_base_new_with_config(config);
    event_config_free(config);
    CHECK(base);
}

// --- Servers.

static void watch(echo_connection *c, short interest, event_callback_fn on_ready)
{
    CHECK(event_assign(c->of_peer, base, c->fd, (short)(interest | EV_PERSIST), on_ready, c) == 0);
    CHECK(event_add(c->of_peer, NULL) == 0);
}

static void on_ready(evutil_socket_t fd, short what, void *argument)
{
    echo_connection *c = argument;
    bool wrote = c->rest != NULL;
    echo_state state = echo_step(c);
    (void)fd, (void)what;
    if (state == ECHO_END) {
        event_free(c->of_peer);
        close(c->fd);
        free(c->rest);
        free(c);
    } else if (wrote != (state == ECHO_WRITE)) {
        event_del(c->of_peer);
        watch(c, state == ECHO_WRITE ? EV_WRITE : EV_READ, on_ready);
    }
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int length,
                          void *unused)
{
    echo_connection *c = calloc(1, sizeof *c);
    (void)listener, (void)from, (void)length, (void)unused;
    CHECK(c);
    c->fd = fd;
    c->of_peer = event_new(base, fd, 0, NULL, NULL);
    CHECK(c->of_peer);
    watch(c, EV_READ, on_ready);
}

static void on_visitor(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int length,
                       void *unused)
{
    (void)listener, (void)from, (void)length, (void)unused;
    close(fd);
}

static void serve(evconnlistener_cb on_accepted)
{
    loop_open();
    int fd = listen_here();
    CHECK(evutil_make_socket_nonblocking(fd) == 0);
    // It listens already, hence no backlog.
    CHECK(evconnlistener_new(base, on_accepted, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, fd));
    CHECK(event_base_dispatch(base) == 0);
}

static void serve_echo(void) { serve(on_connection); }

static void serve_accept(void) { serve(on_visitor); }

// --- Timers. It reads the system's coarse clock, which stands still between two ticks.

static timers clockwork;
static uint64_t grain;

static void on_fired(evutil_socket_t fd, short what, void *number)
{
    (void)fd, (void)what;
    timers_fired(&clockwork, (uint64_t)(uintptr_t)number, now_ns(), grain);
}

static void run_timers(void)
{
    loop_open();
    clockwork = timers_open();
    struct timespec tick;
    CHECK(clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0);
    grain = (uint64_t)tick.tv_nsec;
    size_t each = event_get_struct_event_size();
    char *all = malloc(clockwork.count * each);
    CHECK(all);
    for (uint64_t number = 0; number < clockwork.count; number++) {
        struct event *timer = (struct event *)(void *)(all + number * each);
        uint64_t delay = timers_delay(&clockwork, number);
        struct timeval time = {.tv_sec = (time_t)(delay / 1000000000), .tv_usec = (suseconds_t)(delay / 1000 % 1000000)};
        CHECK(event_assign(timer, base, -1, 0, on_fired, (void *)(uintptr_t)number) == 0);
        CHECK(event_add(timer, &time) == 0);
    }
    CHECK(event_base_dispatch(base) >= 0);
    timers_report(&clockwork);
}

// --- Its size, and how long a loop takes to open and close.

static void size(void) { library_size((void *)(uintptr_t)event_base_new_with_config); }

static void loop_once(void)
{
    loop_open();
    event_base_free(base);
}

static void open_loops(void) { open_and_close(loop_once); }

MAIN({"echo", serve_echo}, {"accept", serve_accept}, {"timers", run_timers}, {"size", size}, {"open", open_loops})
