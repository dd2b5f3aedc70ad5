// Cancel, of everything: receive, accept, connect, timer, queued operations, work. Each ends once, as cancelled or with its
// real result, what it had opened is closed again, and what was queued behind it goes on.
//
// cancel [races = 3000]

#include "harness.h"

#include <stdatomic.h>

// Cancels an operation that cannot end by itself.
static void cancelled(sl_loop loop, sl_op op)
{
    CHECK_IS(sl_op_status(op), 0);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    await_end(op);
    CHECK_IS(sl_op_cancel(op), SL_ERR_ENDED);
    CHECK_IS(result_of(loop, op), SL_ERR_CANCELLED);
    CHECK_IS(sl_op_cancel(op), SL_ERR_STALE);
}

static void streams(sl_loop loop)
{
    sl_stream here, there;
    sl_op first, second, third, op;
    sl_event event;
    char a[4], b[4], c[4];
    connect_pair(loop, &here, &there);
    CHECK_IS(sl_stream_receive(here, a, 4, 0, NULL, &op), SL_OK);
    cancelled(loop, op);
    CHECK_IS(sl_stream_receive(here, NULL, 0, SL_MULTISHOT, NULL, &op), SL_OK);
    cancelled(loop, op);
    // The one in the middle of a queue: the others keep their order.
    CHECK_IS(sl_stream_receive(here, a, 4, SL_EXACT, NULL, &first), SL_OK);
    CHECK_IS(sl_stream_receive(here, b, 4, SL_EXACT, NULL, &second), SL_OK);
    CHECK_IS(sl_stream_receive(here, c, 4, SL_EXACT, NULL, &third), SL_OK);
    cancelled(loop, second);
    CHECK_IS(sl_stream_send(there, "11112222", 8, 0, NULL, &op), SL_OK);
    for (int i = 0; i < 3; i++) {
        event = next_event(loop);
        CHECK(event.op == op || event.op == first || event.op == third);
        CHECK_IS(event.result, event.op == op ? 8 : 4);
    }
    CHECK(memcmp(a, "1111", 4) == 0 && memcmp(c, "2222", 4) == 0);
    // Part-way: the bytes are not lost, the event counts them.
    CHECK_IS(sl_stream_receive(here, a, 4, SL_EXACT, NULL, &first), SL_OK);
    CHECK_IS(sl_stream_send(there, "333", 3, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 3);
    CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    sl_descriptor descriptor;
    CHECK_IS(sl_descriptor_of(here, &descriptor), SL_OK);
    while (readable(descriptor, 0)) {
        sched_yield(); // Until the loop has taken the three bytes.
    }
    CHECK_IS(sl_op_cancel(first), SL_OK);
    event = next_event(loop);
    CHECK_IS(event.result, SL_ERR_CANCELLED);
    CHECK_IS(event.flags, SL_EVENT_PARTIAL);
    CHECK_IS(event.detail, 3);
    CHECK(memcmp(a, "333", 3) == 0);
    close_resource(loop, here);
    close_resource(loop, there);
}

static void listeners_and_timers(sl_loop loop)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 0, &address);
    sl_op op, second;
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_OK);
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, NULL, &second), SL_OK);
    cancelled(loop, second);
    cancelled(loop, op);
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, NULL, &op), SL_OK);
    cancelled(loop, op);
    // The listener works on.
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_OK);
    raw_socket other = raw_connect(&address);
    int64_t stream = result_of(loop, op);
    CHECK(stream > 0);
    close_socket(other);
    close_resource(loop, (sl_stream)stream);
    close_resource(loop, listener);
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, NULL, &op), SL_OK);
    cancelled(loop, op);
    CHECK_IS(sl_timer(loop, 3600 * SECOND, 1000, NULL, &op), SL_OK);
    cancelled(loop, op);
}

// Nobody accepts, and the system's queue of connections is full: the connections that follow hang.
static void connects(sl_loop loop)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 1, &address);
    sl_stream made[16];
    sl_op op;
    sl_options options = until(200 * MILLISECOND);
    int count = 0;
    for (; count < 16; count++) {
        CHECK_IS(sl_tcp_connect(loop, &address, &options, &op), SL_OK);
        int64_t result = result_of(loop, op);
        if (result < 0) {
            CHECK_IS(result, SL_ERR_TIMED_OUT);
            break;
        }
        made[count] = (sl_stream)result;
    }
    CHECK(count > 0 && count < 16);
    CHECK_IS(sl_tcp_connect(loop, &address, NULL, &op), SL_OK);
    cancelled(loop, op);
    while (count > 0) {
        close_resource(loop, made[--count]);
    }
    close_resource(loop, listener);
}

static gate at_work = GATE_CLOSED, released = GATE_CLOSED;
static atomic_int begun;

static int64_t work(void *unused)
{
    (void)unused;
    atomic_fetch_add(&begun, 1);
    gate_open(&at_work);
    gate_pass(&released);
    return 12;
}

// What has begun reports its real result; what waits behind it never begins.
static void workers(void)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_work_threads = 1;
    sl_loop loop = open_loop(&options);
    sl_op running, waiting;
    CHECK_IS(sl_work(loop, work, NULL, NULL, &running), SL_OK);
    gate_pass(&at_work);
    CHECK_IS(sl_work(loop, work, NULL, NULL, &waiting), SL_OK);
    cancelled(loop, waiting);
    CHECK_IS(sl_op_cancel(running), SL_OK);
    CHECK_IS(sl_op_status(running), 0);
    gate_open(&released);
    CHECK_IS(result_of(loop, running), 12);
    CHECK_IS(atomic_load(&begun), 1);
    close_loop(loop);
}

// The result and the cancel come at the same moment: one of both, and no descriptor is lost.
static void races(sl_loop loop, size_t rounds)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 0, &address);
    uint64_t random = 8;
    size_t as_cancelled = 0, as_done = 0;
    for (size_t i = 0; i < rounds; i++) {
        sl_op ops[3];
        CHECK_IS(sl_tcp_accept(listener, 0, NULL, &ops[0]), SL_OK);
        CHECK_IS(sl_tcp_connect(loop, &address, NULL, &ops[1]), SL_OK);
        CHECK_IS(sl_file_open(loop, "cancel.tmp", SL_OPEN_READ, 0, NULL, &ops[2]), SL_OK);
        for (uint64_t spin = random_below(&random, 2000); spin > 0; spin--) {
            mix(spin);
        }
        for (int k = 2; k >= 0; k--) {
            sl_status status = sl_op_cancel(ops[k]);
            CHECK(status == SL_OK || status == SL_ERR_ENDED);
        }
        for (int k = 0; k < 3; k++) {
            sl_event event = next_event(loop);
            CHECK(event.op == ops[0] || event.op == ops[1] || event.op == ops[2]);
            if (event.result > 0) {
                sl_options options = by_handle();
                sl_op op;
                CHECK_IS(sl_close((uint64_t)event.result, &options, &op), SL_OK);
                CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
                CHECK_IS(event.result, 0);
                as_done++;
            } else {
                CHECK_IS(event.result, SL_ERR_CANCELLED);
                as_cancelled++;
            }
        }
    }
    // A connection whose accept was cancelled may still wait in the system's queue.
    close_resource(loop, listener);
    CHECK_IS(counters_of(loop).resources, 0);
    printf("%zu done, %zu cancelled\n", as_done, as_cancelled);
}

int main(int argc, char **argv)
{
    start();
    FILE *made = fopen("cancel.tmp", "w");
    CHECK(made && fclose(made) == 0);
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    streams(loop);
    listeners_and_timers(loop);
    connects(loop);
    workers();
    races(loop, argument(argc, argv, 1, 3000));
    close_loop(loop);
    check_returned(before);
    CHECK_IS(remove("cancel.tmp"), 0);
    return 0;
}
