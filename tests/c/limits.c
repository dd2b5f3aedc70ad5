// Limits: operations, resources, unclaimed events and loops. Full is refused with SL_ERR_AGAIN or pauses; nothing is
// dropped, and taking what waits makes room again.
//
// limits [connections = 200] [loops = 256]

#include "harness.h"

static sl_loop_options limits_of(uint32_t operations, uint32_t unclaimed, uint32_t resources)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_operations = operations;
    options.max_unclaimed = unclaimed;
    options.max_resources = resources;
    return options;
}

static void operations(void)
{
    enum { MOST = 8 };
    sl_loop_options options = limits_of(MOST, 0, 0);
    sl_loop loop = open_loop(&options);
    sl_op ops[MOST], op = 0;
    sl_request requests[4];
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < MOST; i++) {
            CHECK_IS(sl_timer(loop, INT64_MAX, 0, NULL, &ops[i]), SL_OK);
        }
        uint64_t refused = counters_of(loop).refused;
        CHECK_IS(sl_nop(loop, NULL, &op), SL_ERR_AGAIN);
        CHECK_IS(counters_of(loop).refused, refused + 1);
        CHECK_IS(counters_of(loop).in_flight, MOST);
        // An event that nobody took holds its place.
        CHECK_IS(sl_op_cancel(ops[3]), SL_OK);
        await_end(ops[3]);
        CHECK_IS(sl_nop(loop, NULL, &op), SL_ERR_AGAIN);
        CHECK_IS(op, 0);
        CHECK_IS(result_of(loop, ops[3]), SL_ERR_CANCELLED);
        // A batch is accepted as far as there is room.
        for (int i = 0; i < 4; i++) {
            requests[i] = request_of(SL_NOP, loop);
        }
        CHECK_IS(sl_submit(loop, requests, 4, ops + 3), 1);
        CHECK(strlen(sl_last_error()) > 0);
        CHECK_IS(sl_submit(loop, requests, 4, NULL), SL_ERR_AGAIN);
        CHECK_IS(result_of(loop, ops[3]), 0);
        for (int i = 0; i < MOST; i++) {
            if (i != 3) {
                CHECK_IS(sl_op_cancel(ops[i]), SL_OK);
                CHECK_IS(result_of(loop, ops[i]), SL_ERR_CANCELLED);
            }
        }
    }
    close_loop(loop);
}

static void resources(void)
{
    sl_loop_options options = limits_of(0, 0, 3);
    sl_loop loop = open_loop(&options);
    sl_address address;
    sl_listener listeners[3], more = 0;
    sl_op op;
    for (int i = 0; i < 3; i++) {
        listeners[i] = listen_here(loop, 0, &address);
    }
    CHECK_IS(sl_address_parse("127.0.0.1:0", &address), SL_OK);
    CHECK_IS(sl_tcp_listen(loop, &address, NULL, &more), SL_ERR_AGAIN);
    CHECK_IS(more, 0);
    CHECK_IS(counters_of(loop).resources, 3);
    // Where the place is missing only at the end, the operation says so; it is not refused later, nor does it leak.
    sl_status status = sl_file_open(loop, "limits.tmp", SL_OPEN_WRITE | SL_OPEN_CREATE, 0644, NULL, &op);
    CHECK_IS(status == SL_OK ? result_of(loop, op) : status, SL_ERR_AGAIN);
    close_resource(loop, listeners[1]);
    sl_file file = open_file(loop, "limits.tmp", SL_OPEN_WRITE | SL_OPEN_CREATE);
    close_resource(loop, file);
    close_resource(loop, listeners[0]);
    close_resource(loop, listeners[2]);
    close_loop(loop);
    CHECK_IS(remove("limits.tmp"), 0);
}

// A multishot accept pauses at the limit and goes on when events are taken; all connections arrive.
static void unclaimed(size_t connections)
{
    enum { MOST = 4 };
    sl_loop_options options = limits_of(0, MOST, 0);
    sl_loop loop = open_loop(&options);
    sl_address address;
    sl_listener listener = listen_here(loop, 0, &address);
    raw_socket *others = calloc(connections, sizeof *others);
    sl_op accepting, op;
    sl_options handle = by_handle();
    sl_event event;
    CHECK(others);
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, NULL, &accepting), SL_OK);
    for (size_t i = 0; i < connections; i++) {
        others[i] = raw_connect(&address);
    }
    for (size_t taken = 0; taken < connections; taken++) {
        uint64_t expected = connections - taken < MOST ? connections - taken : MOST;
        while (counters_of(loop).unclaimed < expected) {
            sched_yield();
        }
        // Some turns later it is still no more.
        for (int i = 0; i < 3; i++) {
            CHECK_IS(sl_timer(loop, 1, 0, &handle, &op), SL_OK);
            CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        }
        CHECK_IS(counters_of(loop).unclaimed, expected);
        event = next_event(loop);
        CHECK(event.op == accepting && event.flags == SL_EVENT_MORE && event.result > 0);
        CHECK_IS(sl_close((sl_stream)event.result, &handle, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    }
    CHECK_IS(sl_op_cancel(accepting), SL_OK);
    CHECK_IS(result_of(loop, accepting), SL_ERR_CANCELLED);
    CHECK_IS(counters_of(loop).more, connections);
    for (size_t i = 0; i < connections; i++) {
        close_socket(others[i]);
    }
    free(others);
    close_resource(loop, listener);
    close_loop(loop);
}

static void many_loops(size_t most)
{
    sl_loop loops[256], more = 0;
    CHECK(most <= 256);
    for (size_t i = 0; i < most; i++) {
        loops[i] = open_loop(NULL);
    }
    if (most == 256) {
        CHECK_IS(sl_loop_open(NULL, &more), SL_ERR_AGAIN);
        CHECK_IS(more, 0);
    }
    for (size_t i = 0; i < most; i++) {
        sl_op op;
        CHECK_IS(sl_post(loops[i], (int64_t)i, NULL, &op), SL_OK);
        CHECK_IS(result_of(loops[i], op), i);
    }
    for (size_t i = 0; i < most; i++) {
        close_loop(loops[i]);
    }
    for (size_t i = 0; i < most; i++) {
        CHECK_IS(sl_loop_shutdown(loops[i]), SL_ERR_STALE);
    }
}

int main(int argc, char **argv)
{
    start();
    size_t connections = argument(argc, argv, 1, 200);
    raise_descriptor_limit(256 * 4 + connections + 100);
    holdings before = holdings_now();
    operations();
    resources();
    unclaimed(connections);
    many_loops(argument(argc, argv, 2, 256));
    check_returned(before);
    return 0;
}
