// The queue: every accepted operation gives exactly one last event with its user data; batches, capacity and timeouts.
//
// deliver_queue [operations = 100000]

#include "harness.h"

// One at a time, with everything that an event says.
static void one_by_one(sl_loop loop)
{
    for (uint64_t i = 0; i < 100; i++) {
        sl_options options = tagged(mix(i));
        sl_op op = 0;
        sl_event event;
        CHECK_IS(sl_post(loop, (int64_t)(i * 3), &options, &op), SL_OK);
        CHECK((int64_t)op > 0);
        sl_status status = sl_op_status(op);
        CHECK(status == 0 || status == 1);
        CHECK_IS(sl_wait(loop, &event, 1, PATIENCE), 1);
        CHECK(event.user_data == mix(i));
        CHECK_IS(event.result, i * 3);
        CHECK_IS(event.op, op);
        CHECK_IS(event.kind, SL_POST);
        CHECK_IS(event.flags, 0);
        CHECK_IS(event.detail, 0);
        CHECK_IS(event.os_error, 0);
        CHECK(event.data == NULL);
        CHECK_IS(sl_op_status(op), SL_ERR_STALE);
        CHECK_IS(sl_op_cancel(op), SL_ERR_STALE);
        CHECK_IS(sl_poll(loop, &event, 1), 0);
    }
}

// Submits all in batches and takes them in pieces of another size; each must come exactly once.
static void in_batches(sl_loop loop, size_t total)
{
    enum { BATCH = 256, PIECE = 100, MOST = 10000 };
    uint8_t *seen = calloc(total, 1);
    sl_op *ids = calloc(total, sizeof *ids);
    CHECK(seen && ids);
    size_t submitted = 0, taken = 0;
    while (taken < total) {
        sl_request requests[BATCH];
        size_t count = total - submitted < BATCH ? total - submitted : BATCH;
        count = submitted - taken < MOST ? count : 0;
        for (size_t i = 0; i < count; i++) {
            requests[i] = request_of(i % 2 ? SL_NOP : SL_POST, loop);
            requests[i].user_data = submitted + i;
        }
        CHECK_IS(sl_submit(loop, requests, count, ids + submitted), count);
        submitted += count;
        sl_event events[PIECE];
        sl_status got = count > 0 ? sl_poll(loop, events, PIECE) : sl_wait(loop, events, PIECE, PATIENCE);
        CHECK(got >= 0 && (got > 0 || count > 0));
        for (sl_status i = 0; i < got; i++) {
            CHECK(events[i].user_data < submitted);
            CHECK_IS(seen[events[i].user_data]++, 0);
            CHECK_IS(events[i].op, ids[events[i].user_data]);
            CHECK_IS(events[i].result, 0);
        }
        taken += (size_t)got;
    }
    check_at_rest(loop);
    free(seen);
    free(ids);
}

// A batch is accepted up to the first request that is wrong.
static void cut_short(sl_loop loop)
{
    sl_request requests[10];
    sl_op ids[10] = {0};
    sl_event events[10];
    for (int i = 0; i < 10; i++) {
        requests[i] = request_of(SL_POST, loop);
        requests[i].user_data = (uint64_t)i;
    }
    requests[6].offset = -1;
    uint64_t refused = counters_of(loop).refused;
    CHECK_IS(sl_submit(loop, requests, 10, ids), 6);
    CHECK(sl_last_error()[0]);
    CHECK(ids[5] != 0 && ids[6] == 0 && ids[9] == 0);
    for (int i = 0; i < 6; i++) {
        await_end(ids[i]);
    }
    CHECK_IS(sl_poll(loop, events, 10), 6);
    CHECK_IS(sl_submit(loop, requests + 6, 4, ids), SL_ERR_INVALID);
    CHECK(counters_of(loop).refused > refused);
    CHECK_IS(sl_submit(loop, requests, 6, NULL), 6);
    for (int left = 6; left > 0;) {
        left -= sl_wait(loop, events, 10, PATIENCE);
    }
    CHECK_IS(sl_submit(loop, NULL, 0, NULL), 0);
    check_at_rest(loop);
}

static void nothing_there(sl_loop loop)
{
    sl_event event;
    uint64_t before = now_ns();
    CHECK_IS(sl_wait(loop, &event, 1, 20 * MILLISECOND), 0);
    CHECK(now_ns() - before >= 20 * MILLISECOND);
    CHECK_IS(sl_wait(loop, &event, 1, 0), 0);
    CHECK_IS(sl_poll(loop, &event, 1), 0);
    CHECK_IS(sl_poll(loop, NULL, 0), 0);
    CHECK_IS(sl_wait(loop, &event, 0, 1), SL_ERR_INVALID);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    one_by_one(loop);
    in_batches(loop, argument(argc, argv, 1, 100000));
    cut_short(loop);
    nothing_there(loop);
    close_loop(loop);
    check_returned(before);
    return 0;
}
