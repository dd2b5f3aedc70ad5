// Deadlines: receive, accept, connect, timer, queued work. Never early, and what ends in time keeps its result.
//
// deadline [rounds = 200]

#include "harness.h"

static void times_out(sl_loop loop, sl_op op, uint64_t begun, uint64_t timeout_ns)
{
    CHECK_IS(result_of(loop, op), SL_ERR_TIMED_OUT);
    CHECK(now_ns() - begun >= timeout_ns);
}

static void one_each(sl_loop loop)
{
    const uint64_t timeout = 20 * MILLISECOND;
    sl_options options = until(timeout);
    sl_stream here, there;
    sl_address address;
    sl_op op;
    char bytes[8];
    connect_pair(loop, &here, &there);
    sl_listener listener = listen_here(loop, 0, &address);
    uint64_t begun = now_ns();
    CHECK_IS(sl_stream_receive(here, bytes, 8, 0, &options, &op), SL_OK);
    times_out(loop, op, begun, timeout);
    begun = now_ns();
    CHECK_IS(sl_stream_receive(here, NULL, 0, SL_MULTISHOT, &options, &op), SL_OK);
    times_out(loop, op, begun, timeout);
    begun = now_ns();
    CHECK_IS(sl_tcp_accept(listener, 0, &options, &op), SL_OK);
    times_out(loop, op, begun, timeout);
    begun = now_ns();
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, &options, &op), SL_OK);
    times_out(loop, op, begun, timeout);
    begun = now_ns();
    CHECK_IS(sl_timer(loop, 3600 * SECOND, 0, &options, &op), SL_OK);
    times_out(loop, op, begun, timeout);
    // In time: the deadline that passes later does nothing.
    options = until(PATIENCE);
    CHECK_IS(sl_stream_receive(here, bytes, 2, SL_EXACT, &options, &op), SL_OK);
    CHECK_IS(sl_stream_send(there, "in", 2, 0, NULL, NULL), SL_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_IS(next_event(loop).result, 2);
    }
    CHECK_IS(sl_op_status(op), SL_ERR_STALE);
    CHECK_IS(counters_of(loop).timed_out, 5);
    close_resource(loop, here);
    close_resource(loop, there);
    close_resource(loop, listener);
}

// A queue of receives whose deadlines pass in another order than that of the queue.
static void queued(sl_loop loop)
{
    enum { COUNT = 50 };
    sl_stream here, there;
    uint64_t begun = now_ns(), random = 2, timeouts[COUNT];
    char bytes[COUNT];
    connect_pair(loop, &here, &there);
    for (int i = 0; i < COUNT; i++) {
        timeouts[i] = 1 + random_below(&random, 50 * MILLISECOND);
        sl_options options = until(timeouts[i]);
        options.user_data = (uint64_t)i;
        CHECK_IS(sl_stream_receive(here, &bytes[i], 1, 0, &options, NULL), SL_OK);
    }
    for (int i = 0; i < COUNT; i++) {
        sl_event event = next_event(loop);
        CHECK_IS(event.result, SL_ERR_TIMED_OUT);
        CHECK(now_ns() - begun >= timeouts[event.user_data]);
        timeouts[event.user_data] = UINT64_MAX; // Twice would be too early.
    }
    // The stream is none the worse for it.
    sl_op op;
    CHECK_IS(sl_stream_send(there, "x", 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 1);
    CHECK_IS(sl_stream_receive(here, bytes, 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 1);
    CHECK_IS(bytes[0], 'x');
    close_resource(loop, here);
    close_resource(loop, there);
}

static gate released = GATE_CLOSED;

static int64_t hold(void *unused)
{
    (void)unused;
    gate_pass(&released);
    return 1;
}

// A function that runs is not interrupted: its deadline waits for its end. One that waits for a worker times out.
static void work(void)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_work_threads = 1;
    sl_loop loop = open_loop(&options);
    sl_options soon = until(10 * MILLISECOND), handle = by_handle();
    sl_event event;
    sl_op running, waiting;
    CHECK_IS(sl_work(loop, hold, NULL, &handle, &running), SL_OK);
    uint64_t begun = now_ns();
    CHECK_IS(sl_work(loop, hold, NULL, &soon, &waiting), SL_OK);
    times_out(loop, waiting, begun, 10 * MILLISECOND);
    CHECK_IS(sl_op_poll(running, &event), 0);
    gate_open(&released);
    CHECK_IS(sl_op_wait(running, PATIENCE, &event), 1);
    CHECK_IS(event.result, 1);
    close_loop(loop);
}

// The deadline and the bytes at the same moment: one of both, and no byte is lost.
static void races(sl_loop loop, size_t rounds)
{
    sl_stream here, there;
    size_t done = 0, late = 0;
    connect_pair(loop, &here, &there);
    for (size_t i = 0; i < rounds; i++) {
        const uint64_t timeout = MILLISECOND / 2;
        sl_options options = until(timeout);
        char byte = 0, expected = (char)('a' + i % 26);
        sl_op receiving, sending;
        CHECK_IS(sl_stream_receive(here, &byte, 1, 0, &options, &receiving), SL_OK);
        uint64_t begun = now_ns();
        while (now_ns() - begun < timeout - 50000 + i % 100 * 1000) {
        }
        CHECK_IS(sl_stream_send(there, &expected, 1, 0, NULL, &sending), SL_OK);
        for (int k = 0; k < 2; k++) {
            sl_event event = next_event(loop);
            CHECK(event.result == 1 || (event.op == receiving && event.result == SL_ERR_TIMED_OUT));
            late += event.result < 0;
            done += event.op == receiving && event.result == 1;
            if (event.result < 0) {
                CHECK_IS(byte, 0);
                CHECK_IS(sl_stream_receive(here, &byte, 1, 0, NULL, &receiving), SL_OK);
                k--;
            }
        }
        CHECK_IS(byte, expected);
    }
    close_resource(loop, here);
    close_resource(loop, there);
    printf("%zu in time, %zu too late\n", done - late, late);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    one_each(loop);
    queued(loop);
    work();
    races(loop, argument(argc, argv, 1, 200));
    close_loop(loop);
    check_returned(before);
    return 0;
}
