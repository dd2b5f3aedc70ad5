// Timers: never early by the monotonic clock, each once; repeating ones count their ticks, also those that nobody took.
//
// timers [single timers = 2000] [ticks = 300]

#include "harness.h"

static void single(sl_loop loop, size_t count)
{
    uint64_t *due = calloc(count, sizeof *due), random = 4, late = 0;
    CHECK(due);
    for (size_t i = 0; i < count; i++) {
        uint64_t delay = random_below(&random, 4) ? random_below(&random, 200 * MILLISECOND) : random_below(&random, 1000);
        sl_options options = tagged(i);
        // Before the call: it may fire as soon as the call has begun.
        due[i] = now_ns() + delay;
        CHECK_IS(sl_timer(loop, delay, 0, &options, NULL), SL_OK);
    }
    for (size_t i = 0; i < count; i++) {
        sl_event event = next_event(loop);
        uint64_t now = now_ns();
        CHECK_IS(event.result, 1);
        CHECK_IS(event.flags, 0);
        CHECK(due[event.user_data] != 0);
        CHECK(now >= due[event.user_data]);
        late = now - due[event.user_data] > late ? now - due[event.user_data] : late;
        due[event.user_data] = 0;
    }
    printf("the latest timer was %.2f ms late\n", (double)late / 1e6);
    free(due);
}

static void repeating(sl_loop loop, int64_t ticks)
{
    const uint64_t delay = 3 * MILLISECOND, period = MILLISECOND;
    uint64_t begun = now_ns();
    int64_t fired = 0;
    sl_op op, pause;
    sl_options handle = by_handle();
    sl_event event;
    CHECK_IS(sl_timer(loop, delay, period, NULL, &op), SL_OK);
    while (fired < ticks) {
        event = next_event(loop);
        CHECK_IS(event.op, op);
        CHECK_IS(event.flags, SL_EVENT_MORE);
        CHECK(event.result >= 1);
        fired += event.result;
        // The n-th tick is due at delay + (n - 1) * period.
        CHECK(now_ns() - begun >= delay + (uint64_t)(fired - 1) * period);
    }
    // Those that nobody takes are counted.
    CHECK_IS(sl_timer(loop, 50 * MILLISECOND, 0, &handle, &pause), SL_OK);
    CHECK_IS(sl_op_wait(pause, PATIENCE, &event), 1);
    int64_t events = 0, missed = 0;
    while (missed < 40) {
        event = next_event(loop);
        CHECK(event.result >= 1);
        missed += event.result;
        events++;
    }
    fired += missed;
    CHECK(now_ns() - begun >= delay + (uint64_t)(fired - 1) * period);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    do {
        event = next_event(loop);
        CHECK_IS(event.op, op);
    } while (event.flags & SL_EVENT_MORE);
    CHECK_IS(event.result, SL_ERR_CANCELLED);
    CHECK_IS(sl_op_status(op), SL_ERR_STALE);
    printf("%" PRId64 " ticks taken with %" PRId64 " events\n", missed, events);
}

// With room for one unclaimed event the ticks behind it are joined to the next.
static void joined(void)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_unclaimed = 1;
    sl_loop loop = open_loop(&options);
    sl_options handle = by_handle();
    sl_event event;
    sl_op op, pause;
    uint64_t begun = now_ns();
    CHECK_IS(sl_timer(loop, MILLISECOND, MILLISECOND, NULL, &op), SL_OK);
    CHECK_IS(sl_timer(loop, 60 * MILLISECOND, 0, &handle, &pause), SL_OK);
    CHECK_IS(sl_op_wait(pause, PATIENCE, &event), 1);
    CHECK(counters_of(loop).unclaimed <= 1);
    int64_t first = next_event(loop).result, second = next_event(loop).result;
    CHECK(first >= 1 && second >= 1);
    CHECK(first + second >= 40);
    CHECK(now_ns() - begun >= (uint64_t)(first + second) * MILLISECOND);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    do {
        event = next_event(loop);
    } while (event.flags & SL_EVENT_MORE);
    CHECK_IS(event.result, SL_ERR_CANCELLED);
    close_loop(loop);
}

static void on_tick(sl_loop loop, const sl_event *event)
{
    (void)loop;
    CHECK(event->result >= 1 || event->result == SL_ERR_CANCELLED);
}

// More ticks than any loop can serve: they are counted together, and everything else goes on.
static void too_fast(sl_loop loop)
{
    enum { COUNT = 32 };
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_tick);
    sl_op ops[COUNT], op;
    for (int i = 0; i < COUNT; i++) {
        CHECK_IS(sl_timer(loop, 0, 1000, &options, &ops[i]), SL_OK);
    }
    for (int i = 0; i < 50; i++) {
        CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_IS(sl_op_cancel(ops[i]), SL_OK);
    }
    while (counters_of(loop).in_flight > 0) {
        sched_yield();
    }
}

static void far_away(sl_loop loop)
{
    sl_op near_op, far_op;
    CHECK_IS(sl_timer(loop, INT64_MAX, INT64_MAX, NULL, &far_op), SL_OK);
    CHECK_IS(sl_timer(loop, 0, 0, NULL, &near_op), SL_OK);
    CHECK_IS(result_of(loop, near_op), 1);
    CHECK_IS(sl_op_status(far_op), 0);
    CHECK_IS(sl_op_cancel(far_op), SL_OK);
    CHECK_IS(result_of(loop, far_op), SL_ERR_CANCELLED);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    single(loop, argument(argc, argv, 1, 2000));
    repeating(loop, (int64_t)argument(argc, argv, 2, 300));
    joined();
    too_fast(loop);
    far_away(loop);
    close_loop(loop);
    check_returned(before);
    return 0;
}
