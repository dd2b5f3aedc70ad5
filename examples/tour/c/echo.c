/* The echo server of the tour: 1,000 connections for two seconds, server and clients in one process, each on a loop of its
 * own, with callbacks on the loops' threads. Meanwhile the main thread counts: its own ticks show that it stays free.
 *
 * Every byte that a client sends tells which connection it belongs to and where in it; the client checks each that comes
 * back. */

#include "tour.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef _WIN32
#include <sys/resource.h>
#endif

#define CONNECTIONS 1000
#define MESSAGE 128
#define SECOND_NS UINT64_C(1000000000)
#define RUN_NS (2 * SECOND_NS)
#define LIVE_NS (SECOND_NS / 10)
/* Nothing here takes this long on a machine that works. */
#define PATIENCE_NS (30 * SECOND_NS)

/* What the loops' threads tell the main thread. */
static atomic_uint_fast64_t connected, messages, wrong, broken, ended;
static atomic_bool stopping;

/* ---- the server: what comes in goes out again ---- */

/* One connection of the server. Touched on the server loop's thread only. */
typedef struct {
    sl_stream stream;
    unsigned char buffer[4 * MESSAGE];
} peer;

static void on_peer_received(sl_loop loop, const sl_event *event);

static sl_options on_loop(sl_callback callback, void *state)
{
    return (sl_options){.size = sizeof(sl_options),
                        .delivery = SL_DELIVER_THREAD,
                        .user_data = (uint64_t)(uintptr_t)state,
                        .callback = callback};
}

static void on_peer_closed(sl_loop loop, const sl_event *event)
{
    (void)loop;
    free((void *)(uintptr_t)event->user_data);
}

static void peer_close(peer *self)
{
    sl_options options = on_loop(on_peer_closed, self);
    sl_close(self->stream, &options, &(sl_op){0});
}

static void peer_receive(peer *self)
{
    sl_options options = on_loop(on_peer_received, self);
    if (sl_stream_receive(self->stream, self->buffer, sizeof self->buffer, 0, &options, &(sl_op){0}) < 0)
        peer_close(self);
}

static void on_peer_sent(sl_loop loop, const sl_event *event)
{
    (void)loop;
    peer *self = (void *)(uintptr_t)event->user_data;
    if (event->result < 0)
        peer_close(self);
    else
        peer_receive(self);
}

static void on_peer_received(sl_loop loop, const sl_event *event)
{
    (void)loop;
    peer *self = (void *)(uintptr_t)event->user_data;
    sl_options options = on_loop(on_peer_sent, self);
    if (event->result <= 0 ||
        sl_stream_send(self->stream, self->buffer, (size_t)event->result, 0, &options, &(sl_op){0}) < 0)
        peer_close(self);
}

static void on_accepted(sl_loop loop, const sl_event *event)
{
    if (event->result < 0)
        return; /* The listener is closed at the end. */
    peer *self = malloc(sizeof *self);
    if (!self) {
        sl_close((uint64_t)event->result, NULL, &(sl_op){0});
        return;
    }
    (void)loop;
    self->stream = (sl_stream)event->result;
    peer_receive(self);
}

/* ---- the clients: send, receive, check, again ---- */

/* One client. Touched on the client loop's thread only, once its connect is submitted. */
typedef struct {
    sl_stream stream;
    uint64_t number;
    uint64_t position;
    int under_way;
    int failed;
    unsigned char out[MESSAGE], in[MESSAGE];
} client;

/* The byte at a place of a client's stream. */
static unsigned char byte_at(const client *self, uint64_t position)
{
    uint64_t word = (self->number << 40 ^ position >> 3) * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned char)(word >> (8 * (position & 7)));
}

static void on_client_step(sl_loop loop, const sl_event *event);

static void on_nothing(sl_loop loop, const sl_event *event)
{
    (void)loop, (void)event;
}

static void on_client_closed(sl_loop loop, const sl_event *event)
{
    (void)loop, (void)event;
    atomic_fetch_add(&ended, 1);
}

static void client_close(client *self)
{
    sl_options options = on_loop(on_client_closed, self);
    if (self->failed)
        atomic_fetch_add(&broken, 1);
    if (sl_close(self->stream, &options, &(sl_op){0}) < 0)
        atomic_fetch_add(&ended, 1);
}

/* Sends one message and asks for as many bytes back. The next turn comes when both have ended, for only then do the two
 * buffers belong to the client again. */
static void client_turn(client *self)
{
    sl_options options = on_loop(on_client_step, self);
    for (unsigned i = 0; i < MESSAGE; i++)
        self->out[i] = byte_at(self, self->position + i);
    self->under_way = 2;
    if (sl_stream_receive(self->stream, self->in, MESSAGE, SL_EXACT, &options, &(sl_op){0}) < 0) {
        self->failed = 1;
        self->under_way--;
    }
    if (sl_stream_send(self->stream, self->out, MESSAGE, 0, &options, &(sl_op){0}) < 0) {
        self->failed = 1;
        self->under_way--;
    }
    if (self->under_way == 0)
        client_close(self);
}

/* Ends this side's sending, so that the receive that waits comes to its end too. */
static void client_give_up(client *self)
{
    sl_options options = on_loop(on_nothing, NULL);
    sl_stream_shutdown(self->stream, &options, &(sl_op){0});
}

static void on_client_step(sl_loop loop, const sl_event *event)
{
    (void)loop;
    client *self = (void *)(uintptr_t)event->user_data;
    self->under_way--;
    if (event->result != MESSAGE)
        self->failed = 1;
    if (self->under_way > 0 && !self->failed)
        return;
    if (self->failed) {
        if (self->under_way == 0)
            client_close(self);
        else
            client_give_up(self);
        return;
    }
    for (unsigned i = 0; i < MESSAGE; i++)
        if (self->in[i] != byte_at(self, self->position + i))
            atomic_fetch_add(&wrong, 1);
    self->position += MESSAGE;
    atomic_fetch_add_explicit(&messages, 1, memory_order_relaxed);
    if (atomic_load_explicit(&stopping, memory_order_relaxed))
        client_close(self);
    else
        client_turn(self);
}

static void on_connected(sl_loop loop, const sl_event *event)
{
    (void)loop;
    client *self = (void *)(uintptr_t)event->user_data;
    if (event->result < 0) {
        atomic_fetch_add(&broken, 1);
        atomic_fetch_add(&ended, 1);
        return;
    }
    self->stream = (sl_stream)event->result;
    atomic_fetch_add(&connected, 1);
    client_turn(self);
}

/* ---- the main thread ---- */

/* What the main thread knows about itself. */
typedef struct {
    sl_descriptor wake;
    uint64_t free_at_ns, longest_ns, ticks;
    uint64_t live_ns, live_longest_ns, live_ticks, live_messages;
} counter;

/* Waits a moment, notes how late it came back, and prints the live line now and then. */
static void count(counter *self)
{
    tour_wait_readable(self->wake); /* Never readable here, for all goes to callbacks: a wait of one millisecond. */
    uint64_t now = tour_now_ns();
    uint64_t meant = self->free_at_ns + TOUR_WAIT_NS;
    uint64_t late = now > meant ? now - meant : 0;
    self->free_at_ns = now;
    self->ticks++;
    if (late > self->live_longest_ns)
        self->live_longest_ns = late;
    if (late > self->longest_ns)
        self->longest_ns = late;
    if (now - self->live_ns < LIVE_NS)
        return;
    uint64_t so_far = atomic_load(&messages);
    printf("live\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", so_far - self->live_messages,
           self->ticks - self->live_ticks, self->live_longest_ns, now - self->live_ns);
    fflush(stdout);
    self->live_ns = now;
    self->live_longest_ns = 0;
    self->live_ticks = self->ticks;
    self->live_messages = so_far;
}

/* Both ends of each connection are in this process: it needs two descriptors for each. Returns how many it can have. */
static uint64_t allowed_connections(void)
{
#ifndef _WIN32
    const rlim_t others = 64;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 2 * CONNECTIONS + others) {
        rlim_t wanted = 2 * CONNECTIONS + others;
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            getrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur < wanted) {
            uint64_t connections = limit.rlim_cur > others ? (uint64_t)(limit.rlim_cur - others) / 2 : 1;
            printf("note\tthe system allows %" PRIu64 " descriptors, so there are %" PRIu64 " connections\n",
                   (uint64_t)limit.rlim_cur, connections);
            return connections;
        }
    }
#endif
    return CONNECTIONS;
}

static sl_listener serve(sl_loop loop, sl_address *address)
{
    sl_listener listener;
    sl_options accept = on_loop(on_accepted, NULL);
    if (sl_address_parse("127.0.0.1:0", address) < 0 || sl_tcp_listen(loop, address, NULL, &listener) < 0 ||
        sl_local_address(listener, address) < 0 ||
        sl_tcp_accept(listener, SL_MULTISHOT, &accept, &(sl_op){0}) < 0)
        tour_stop("the echo server", sl_last_error());
    return listener;
}

int main(void)
{
    uint64_t wanted = allowed_connections();
    client *clients = calloc(wanted, sizeof *clients);
    sl_loop server, loop;
    sl_address address;
    counter main_thread = {0};
    if (!clients || sl_loop_open(NULL, &server) < 0 || sl_loop_open(NULL, &loop) < 0 ||
        sl_loop_wake_descriptor(loop, &main_thread.wake) < 0)
        tour_stop("the echo server", sl_last_error());
    serve(server, &address);
    for (uint64_t i = 0; i < wanted; i++) {
        clients[i].number = i;
        sl_options options = on_loop(on_connected, &clients[i]);
        options.timeout_ns = PATIENCE_NS;
        if (sl_tcp_connect(loop, &address, &options, &(sl_op){0}) < 0)
            tour_stop("sl_tcp_connect", sl_last_error());
    }

    main_thread.free_at_ns = main_thread.live_ns = tour_now_ns();
    while (atomic_load(&connected) + atomic_load(&broken) < wanted)
        count(&main_thread);
    uint64_t start = tour_now_ns(), before = atomic_load(&messages), ticks = main_thread.ticks;
    main_thread.longest_ns = 0;
    while (tour_now_ns() - start < RUN_NS)
        count(&main_thread);
    uint64_t time = tour_now_ns() - start, exchanged = atomic_load(&messages) - before, longest = main_thread.longest_ns;
    ticks = main_thread.ticks - ticks;
    uint64_t threads = tour_threads();

    atomic_store(&stopping, true);
    uint64_t stop = tour_now_ns();
    while (atomic_load(&ended) < wanted && tour_now_ns() - stop < PATIENCE_NS)
        count(&main_thread);
    uint64_t lost = wanted - atomic_load(&ended);
    sl_loop_close(loop, SL_FOREVER);
    sl_loop_close(server, SL_FOREVER);
    printf("result\tconnections=%" PRIu64 "\tmessages=%" PRIu64 "\tsize=%d\ttime=%" PRIu64 "\tticks=%" PRIu64
           "\tblocked=%" PRIu64 "\twrong=%" PRIu64 "\tbroken=%" PRIu64 "\tlost=%" PRIu64,
           atomic_load(&connected), exchanged, MESSAGE, time, ticks, longest, atomic_load(&wrong),
           atomic_load(&broken), lost);
    if (threads > 0)
        printf("\tat_once=%" PRIu64, threads);
    if (tour_peak_memory() > 0)
        printf("\tmemory=%" PRIu64, tour_peak_memory());
    printf("\n");
    fflush(stdout);
    free(clients);
    return 0;
}
