// Shutdown and close of a loop: everything ends, the events can still be taken, then waits say SL_ERR_SHUT_DOWN; closing
// counts what nobody took; a close that runs out of time can be repeated; threads that wait are sent home.
//
// shutdown [rounds = 200] [closes with much in flight = 20] [operations in flight at each = 1000]

#include "harness.h"

#include <stdatomic.h>

static uint8_t bytes[8 << 20];

// One or more of every kind, all without an end of their own. How many.
static int much_under_way(sl_loop loop, sl_stream *here)
{
    sl_stream there;
    sl_address address;
    static uint8_t in[16];
    connect_pair(loop, here, &there);
    sl_listener listener = listen_here(loop, 0, &address);
    CHECK_IS(sl_stream_receive(*here, in, 16, SL_EXACT, NULL, NULL), SL_OK);
    CHECK_IS(sl_stream_receive(*here, NULL, 0, SL_MULTISHOT, NULL, NULL), SL_OK);
    CHECK_IS(sl_stream_send(*here, bytes, sizeof bytes, 0, NULL, NULL), SL_OK);
    CHECK_IS(sl_stream_send(*here, bytes, sizeof bytes, 0, NULL, NULL), SL_OK);
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, NULL), SL_OK);
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, NULL, NULL), SL_OK);
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, NULL, NULL), SL_OK);
    CHECK_IS(sl_timer(loop, INT64_MAX, 1000, NULL, NULL), SL_OK);
    return 8;
}

static void in_order(void)
{
    sl_loop loop = open_loop(NULL);
    sl_stream here;
    sl_op op = 0, handle_op;
    sl_options handle = by_handle();
    sl_event event;
    int count = much_under_way(loop, &here);
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, &handle, &handle_op), SL_OK);
    CHECK_IS(sl_loop_shutdown(loop), SL_OK);
    CHECK_IS(sl_loop_shutdown(loop), SL_OK);
    CHECK_IS(sl_nop(loop, NULL, &op), SL_ERR_SHUT_DOWN);
    CHECK_IS(op, 0);
    for (int i = 0; i < count; i++) {
        event = next_event(loop);
        // The ends of a connection close one after the other: the second may hear of the first before it is cancelled.
        CHECK(event.result == SL_ERR_CANCELLED || event.result == SL_ERR_CONNECTION_RESET ||
              (event.result == 0 && event.kind == SL_STREAM_RECEIVE));
        CHECK_IS(event.flags & SL_EVENT_MORE, 0);
    }
    CHECK_IS(sl_op_wait(handle_op, PATIENCE, &event), 1);
    CHECK_IS(event.result, SL_ERR_CANCELLED);
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), SL_ERR_SHUT_DOWN);
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), SL_ERR_SHUT_DOWN);
    CHECK_IS(counters_of(loop).resources, 0);
    close_loop(loop);
}

static void discarded(void)
{
    sl_loop loop = open_loop(NULL);
    sl_stream here;
    sl_op op;
    sl_options handle = by_handle();
    int count = much_under_way(loop, &here);
    for (int i = 0; i < 100; i++, count++) {
        CHECK_IS(sl_nop(loop, i % 2 ? &handle : NULL, &op), SL_OK);
    }
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), count);
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), SL_ERR_STALE);
    CHECK_IS(sl_op_status(op), SL_ERR_STALE);
    CHECK_IS(sl_close(here, NULL, NULL), SL_ERR_STALE);
}

static gate at_work, released;

static int64_t hold(void *unused)
{
    (void)unused;
    gate_open(&at_work);
    gate_pass(&released);
    return 3;
}

static void out_of_time(void)
{
    const gate closed = GATE_CLOSED;
    at_work = released = closed;
    sl_loop loop = open_loop(NULL);
    CHECK_IS(sl_work(loop, hold, NULL, NULL, NULL), SL_OK);
    gate_pass(&at_work);
    CHECK_IS(sl_loop_close(loop, 0), SL_ERR_TIMED_OUT);
    uint64_t before = now_ns();
    CHECK_IS(sl_loop_close(loop, 20 * MILLISECOND), SL_ERR_TIMED_OUT);
    CHECK(now_ns() - before >= 20 * MILLISECOND);
    CHECK_IS(sl_nop(loop, NULL, NULL), SL_ERR_SHUT_DOWN);
    gate_open(&released);
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), 1);
}

// The last callbacks run before the close returns, and none after it.
static atomic_int closed, late;
static atomic_int callbacks;

static void on_event(sl_loop loop, const sl_event *event)
{
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_event);
    if (atomic_load(&closed)) {
        atomic_store(&late, 1);
    }
    atomic_fetch_add(&callbacks, 1);
    CHECK(event->result >= 0 || event->result == SL_ERR_CANCELLED);
    sl_status status = sl_nop(loop, &options, NULL);
    CHECK(status == SL_OK || status == SL_ERR_SHUT_DOWN);
}

static sl_loop shared;
static sl_op shared_op;
static gate all_ready = GATE_CLOSED;

static void *wait_queue(void *unused)
{
    sl_event event;
    (void)unused;
    gate_pass(&all_ready);
    sl_status status;
    while ((status = sl_wait(shared, &event, 1, SL_FOREVER)) == 1) {
    }
    CHECK(status == SL_ERR_STALE || status == SL_ERR_SHUT_DOWN);
    return NULL;
}

static void *wait_handle(void *unused)
{
    sl_event event;
    (void)unused;
    gate_pass(&all_ready);
    sl_status status = sl_op_wait(shared_op, SL_FOREVER, &event);
    CHECK(status == SL_ERR_STALE || status == 1);
    return NULL;
}

static void *wait_dispatch(void *unused)
{
    (void)unused;
    gate_pass(&all_ready);
    sl_status status;
    while ((status = sl_dispatch(shared, 0, SL_FOREVER)) >= 0) {
    }
    CHECK(status == SL_ERR_STALE || status == SL_ERR_SHUT_DOWN);
    return NULL;
}

static void with_waiters(size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        const gate shut = GATE_CLOSED;
        all_ready = shut;
        atomic_store(&closed, 0);
        shared = open_loop(NULL);
        sl_options handle = by_handle(), thread = delivered(SL_DELIVER_THREAD, 0, on_event);
        CHECK_IS(sl_timer(shared, INT64_MAX, 0, &handle, &shared_op), SL_OK);
        CHECK_IS(sl_timer(shared, INT64_MAX, 0, &thread, NULL), SL_OK);
        CHECK_IS(sl_nop(shared, &thread, NULL), SL_OK);
        pthread_t threads[4] = {spawn(wait_queue, NULL), spawn(wait_queue, NULL), spawn(wait_handle, NULL),
                                spawn(wait_dispatch, NULL)};
        gate_open(&all_ready);
        if (i % 3 == 0) {
            CHECK_IS(sl_loop_shutdown(shared), SL_OK);
        }
        sl_status status = sl_loop_close(shared, SL_FOREVER);
        // The handle's event may have found its waiter or not.
        CHECK(status == 0 || status == 1);
        atomic_store(&closed, 1);
        for (int k = 0; k < 4; k++) {
            pthread_join(threads[k], NULL);
        }
        CHECK_IS(atomic_load(&late), 0);
    }
    CHECK(atomic_load(&callbacks) >= (int)rounds * 2);
}

// ---------------------------------------------------------------------------------------------------------------------
// Very much under way

enum { STREAMS = 10 };

// A listener of the system's own that has no room for another connection, so that whoever connects waits.
static void full_listener(sl_loop loop, raw_socket *filling, size_t count, sl_address *address)
{
    struct sockaddr_in here;
    memset(&here, 0, sizeof here);
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    raw_socket listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK((intptr_t)listener >= 0);
    CHECK_IS(bind(listener, (struct sockaddr *)&here, sizeof here), 0);
    CHECK_IS(listen(listener, 1), 0);
    sl_listener adopted;
    // The loop says its address, and closes it.
    CHECK_IS(sl_listener_adopt(loop, (sl_descriptor)listener, &adopted), SL_OK);
    CHECK_IS(sl_local_address(adopted, address), SL_OK);
    for (size_t i = 0; i < count; i++) {
        filling[i] = raw_connect(address);
    }
}

static int64_t short_work(void *unused)
{
    (void)unused;
    uint64_t x = 0;
    for (int i = 0; i < 1000; i++) {
        x = mix(x);
    }
    return (int64_t)(x >> 1);
}

// What an operation of number `i` is: a bit of everything that waits, and some work and files in between.
static sl_status start_one(sl_loop loop, size_t i, const sl_stream *streams, sl_listener listener, const sl_address *full)
{
    static uint8_t in[4096];
    sl_stream stream = streams[i / 10 % STREAMS];
    switch (i % 10) {
    case 0:
        return sl_stream_receive(stream, in, sizeof in, SL_EXACT, NULL, NULL);
    case 1:
        return sl_stream_receive(stream, NULL, 0, 0, NULL, NULL);
    case 2:
        return sl_stream_receive(stream, NULL, 0, SL_MULTISHOT, NULL, NULL);
    case 3:
        return sl_stream_send(stream, bytes, sizeof bytes, 0, NULL, NULL);
    case 4:
        return sl_tcp_accept(listener, i % 20 ? 0 : SL_MULTISHOT, NULL, NULL);
    case 5:
        return sl_timer(loop, INT64_MAX, i % 20 ? 0 : 1000, NULL, NULL);
    case 6:
        return sl_tcp_connect(loop, full, NULL, NULL);
    case 7:
        return sl_work(loop, short_work, NULL, NULL, NULL);
    case 8:
        return sl_stream_receive(streams[STREAMS + i / 10 % STREAMS], in, sizeof in, 0, NULL, NULL);
    default:
        return i % 20 ? sl_file_open(loop, "shutdown.tmp", SL_OPEN_READ, 0, NULL, NULL)
                      : sl_path_read(loop, "shutdown.tmp", NULL, NULL);
    }
}

// Streams with silent other ends: sockets, and (where they can be had) pipes.
static void silent_streams(sl_loop loop, sl_stream *streams, raw_socket *others)
{
    for (int i = 0; i < 2 * STREAMS; i++) {
#if !defined(_WIN32)
        int pair[2];
        if (i >= STREAMS) {
            CHECK_IS(pipe(pair), 0);
            CHECK_IS(sl_stream_adopt(loop, pair[0], &streams[i]), SL_OK);
            others[i] = pair[1];
            continue;
        }
#endif
        streams[i] = stream_and_socket(loop, &others[i]);
        // Enough for the sends to wait, and no more.
        CHECK_IS(sl_stream_set(streams[i], SL_STREAM_SEND_BUFFER, 4096), SL_OK);
    }
}

// The time that the close of a loop takes with so much in flight, all of which ends and none of which is taken.
static uint64_t close_at_work(size_t operations)
{
    enum { FILLING = 2 };
    sl_loop loop = open_loop(NULL);
    sl_stream streams[2 * STREAMS];
    raw_socket others[2 * STREAMS], filling[FILLING];
    sl_address address, full;
    silent_streams(loop, streams, others);
    full_listener(loop, filling, FILLING, &full);
    sl_listener listener = listen_here(loop, 0, &address);
    for (size_t i = 0; i < operations; i++) {
        CHECK_IS(start_one(loop, i, streams, listener, &full), SL_OK);
    }
    uint64_t begun = now_ns();
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), operations);
    uint64_t taken = now_ns() - begun;
    for (int i = 0; i < 2 * STREAMS; i++) {
        close_socket(others[i]);
    }
    for (int i = 0; i < FILLING; i++) {
        close_socket(filling[i]);
    }
    return taken;
}

static void with_very_much(size_t rounds, size_t operations)
{
    uint64_t *times = calloc(rounds + 1, sizeof *times);
    CHECK(times);
    FILE *made = fopen("shutdown.tmp", "w");
    CHECK(made && fclose(made) == 0);
    holdings before = holdings_now();
    for (size_t i = 0; i < rounds; i++) {
        times[i] = close_at_work(operations);
        if (i % 100 == 0) {
            check_returned(before);
        }
    }
    check_returned(before);
    printf("%zu closes with %zu in flight: p50 %.3f ms, p99 %.3f ms, longest %.3f ms\n", rounds, operations,
           (double)percentile(times, rounds, 50) / 1e6, (double)percentile(times, rounds, 99) / 1e6,
           (double)percentile(times, rounds, 100) / 1e6);
    CHECK_IS(remove("shutdown.tmp"), 0);
    free(times);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    in_order();
    discarded();
    out_of_time();
    with_waiters(argument(argc, argv, 1, 200));
    check_returned(before);
    raise_descriptor_limit(2048);
    with_very_much(argument(argc, argv, 2, 20), argument(argc, argv, 3, 1000));
    return 0;
}
