// An echo server on loop-thread callbacks, and its clients on the queue of another loop: every byte is checked by its
// position in its connection, nothing is lost or doubled, and descriptors and threads are back at the end.
//
// echo [connections = 1000] [messages = 1000000] [bytes a message = 64]

#include "harness.h"

#include <stdatomic.h>

enum { BATCH = 512 };

// What the client knows of a connection. It has one message on its way at a time.
typedef struct connection {
    sl_stream stream;
    uint64_t done;     // messages that came back
    int pending;       // events awaited before the next step
    int ended;         // its sending is shut down
    uint8_t *out, *in; // the message as sent, and as it comes back
} connection;

static size_t connections, messages_each, message_size;
static connection *table;
static atomic_ullong server_bytes;
static atomic_int server_open;

// --- The server: no hop, everything in callbacks on its loop's thread.

static void on_server_closed(sl_loop loop, const sl_event *event)
{
    (void)loop;
    CHECK_IS(event->result, 0);
    atomic_fetch_sub(&server_open, 1);
}

static void on_sent(sl_loop loop, const sl_event *event)
{
    (void)loop;
    CHECK(event->result > 0);
    atomic_fetch_add(&server_bytes, (unsigned long long)event->result);
    CHECK_IS(sl_buffer_release(event->user_data), SL_OK);
}

static void on_received(sl_loop loop, const sl_event *event)
{
    (void)loop;
    sl_stream stream = event->user_data;
    if (event->flags & SL_EVENT_MORE) {
        sl_options options = delivered(SL_DELIVER_THREAD, event->detail, on_sent);
        CHECK(event->flags & SL_EVENT_LENT);
        CHECK(event->result > 0);
        CHECK_IS(sl_stream_send(stream, event->data, (size_t)event->result, 0, &options, NULL), SL_OK);
    } else {
        sl_options options = delivered(SL_DELIVER_THREAD, 0, on_server_closed);
        CHECK_IS(event->result, 0);
        CHECK_IS(sl_close(stream, &options, NULL), SL_OK);
    }
}

static void on_accepted(sl_loop loop, const sl_event *event)
{
    (void)loop;
    if (!(event->flags & SL_EVENT_MORE)) {
        CHECK_IS(event->result, SL_ERR_CANCELLED);
        return;
    }
    CHECK(event->result > 0);
    sl_options options = delivered(SL_DELIVER_THREAD, (uint64_t)event->result, on_received);
    atomic_fetch_add(&server_open, 1);
    CHECK_IS(sl_stream_receive((sl_stream)event->result, NULL, 0, SL_MULTISHOT, &options, NULL), SL_OK);
}

// --- The client: takes many events, submits what follows from them in one call.

// The next message of a connection, or the end of its sending; the answer is awaited with it.
static size_t next_step(size_t index, sl_request *requests)
{
    connection *c = &table[index];
    c->ended = c->done == messages_each;
    requests[0] = request_of(c->ended ? SL_STREAM_SHUTDOWN : SL_STREAM_SEND, c->stream);
    requests[1] = request_of(SL_STREAM_RECEIVE, c->stream);
    if (!c->ended) {
        fill(c->out, message_size, index + 1, c->done * message_size);
        requests[0].buffer = c->out;
        requests[0].length = message_size;
    }
    // Also after the last message: a byte that came twice would be received here instead of the end.
    requests[1].buffer = c->in;
    requests[1].length = message_size;
    requests[1].flags = SL_EXACT;
    requests[0].user_data = requests[1].user_data = index;
    c->pending = 2;
    return 2;
}

// One event; the requests that follow from it go to `requests`. Returns how many.
static size_t step(const sl_event *event, sl_request *requests, size_t *closed)
{
    size_t index = event->user_data;
    connection *c = &table[index];
    CHECK(index < connections);
    CHECK_IS(event->flags, 0);
    if (event->kind == SL_TCP_CONNECT) {
        CHECK(event->result > 0);
        c->stream = (sl_stream)event->result;
        return next_step(index, requests);
    }
    if (event->kind == SL_CLOSE) {
        CHECK_IS(event->result, 0);
        ++*closed;
        return 0;
    }
    if (event->kind == SL_STREAM_RECEIVE) {
        CHECK_IS(event->result, c->ended ? 0 : message_size);
        CHECK(c->ended || matches(c->in, message_size, index + 1, c->done * message_size));
    } else {
        CHECK_IS(event->result, c->ended ? 0 : message_size);
    }
    if (--c->pending > 0) {
        return 0;
    }
    if (c->ended) {
        requests[0] = request_of(SL_CLOSE, c->stream);
        requests[0].user_data = index;
        return 1;
    }
    c->done++;
    return next_step(index, requests);
}

static void submit_all(sl_loop loop, const sl_request *requests, size_t count)
{
    if (count > 0) {
        CHECK_IS(sl_submit(loop, requests, count, NULL), count);
    }
}

static void run_clients(sl_loop loop, const sl_address *address)
{
    static sl_event events[BATCH];
    static sl_request requests[2 * BATCH];
    size_t closed = 0;
    for (size_t i = 0; i < connections; i++) {
        sl_options options = tagged(i);
        CHECK_IS(sl_tcp_connect(loop, address, &options, NULL), SL_OK);
    }
    while (closed < connections) {
        sl_status got = sl_wait(loop, events, BATCH, PATIENCE);
        CHECK(got > 0);
        size_t count = 0;
        for (sl_status i = 0; i < got; i++) {
            count += step(&events[i], requests + count, &closed);
        }
        submit_all(loop, requests, count);
    }
}

int main(int argc, char **argv)
{
    start();
    connections = argument(argc, argv, 1, 1000);
    messages_each = argument(argc, argv, 2, 1000000) / connections;
    message_size = argument(argc, argv, 3, 64);
    raise_descriptor_limit(connections * 2 + 100);
    table = calloc(connections, sizeof *table);
    CHECK(table);
    for (size_t i = 0; i < connections; i++) {
        table[i].out = malloc(message_size);
        table[i].in = malloc(message_size);
        CHECK(table[i].out && table[i].in);
    }

    holdings before = holdings_now();
    sl_loop server = open_loop(NULL), client = open_loop(NULL);
    sl_address address;
    sl_listener listener = listen_here(server, 0, &address);
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_accepted);
    uint64_t begun = now_ns();
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, &options, NULL), SL_OK);
    run_clients(client, &address);
    uint64_t took = now_ns() - begun;

    for (size_t i = 0; i < connections; i++) {
        CHECK_IS(table[i].done, messages_each);
        free(table[i].out);
        free(table[i].in);
    }
    free(table);
    close_resource(server, listener);
    while (counters_of(server).in_flight > 0) {
        sched_yield();
    }
    CHECK_IS(atomic_load(&server_open), 0);
    CHECK_IS(atomic_load(&server_bytes), connections * messages_each * message_size);
    CHECK_IS(counters_of(server).resources, 0);
    CHECK_IS(counters_of(client).resources, 0);
    close_loop(client);
    close_loop(server);
    check_returned(before);
    printf("%zu connections, %zu messages in %.2f s\n", connections, connections * messages_each, (double)took / 1e9);
    return 0;
}
