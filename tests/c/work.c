// Functions on worker threads: results and errors come back, never more run at a time than the limit says, submitting and
// cancelling from inside works, and neither files nor timers wait for them.
//
// work [functions = 20000]

#include "harness.h"

#include <stdatomic.h>

enum { THREADS = 3 };

static atomic_int running, most;
static atomic_size_t total;
static sl_loop loop;

static int64_t count(void *argument_of_work)
{
    int now = atomic_fetch_add(&running, 1) + 1, seen = atomic_load(&most);
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now)) {
    }
    if ((uintptr_t)argument_of_work % 64 == 0) {
        sched_yield(); // Lets the others in, so that too many would be seen.
    }
    atomic_fetch_add(&total, 1);
    atomic_fetch_sub(&running, 1);
    return (int64_t)(uintptr_t)argument_of_work;
}

static void many(size_t functions)
{
    uint8_t *seen = calloc(functions, 1);
    CHECK(seen);
    size_t submitted = 0, taken = 0;
    while (taken < functions) {
        while (submitted < functions && submitted - taken < 1000) {
            sl_options options = tagged(submitted);
            CHECK_IS(sl_work(loop, count, (void *)(uintptr_t)submitted, &options, NULL), SL_OK);
            submitted++;
        }
        sl_event events[100];
        sl_status got = sl_wait(loop, events, 100, PATIENCE);
        CHECK(got > 0);
        for (sl_status i = 0; i < got; i++, taken++) {
            CHECK_IS(events[i].result, events[i].user_data);
            CHECK_IS(events[i].kind, SL_WORK);
            CHECK_IS(seen[events[i].user_data]++, 0);
        }
    }
    CHECK_IS(atomic_load(&total), functions);
    CHECK(atomic_load(&most) <= THREADS);
    CHECK(counters_of(loop).threads <= 1 + THREADS + 4);
    free(seen);
}

static int64_t negative(void *unused)
{
    (void)unused;
    return SL_ERR_BUSY;
}

// From a worker: submits, waits for nothing, cancels.
static int64_t submits(void *unused)
{
    sl_op op;
    (void)unused;
    CHECK_IS(sl_post(loop, 17, NULL, NULL), SL_OK);
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, NULL, &op), SL_OK);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    return 0;
}

static void results(void)
{
    sl_options handle = by_handle();
    sl_event event;
    sl_op op;
    CHECK_IS(sl_work(loop, negative, NULL, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_BUSY);
    CHECK_IS(sl_work(loop, submits, NULL, &handle, &op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK_IS(event.result, 0);
    int64_t sum = next_event(loop).result + next_event(loop).result;
    CHECK_IS(sum, 17 + SL_ERR_CANCELLED);
}

static gate released = GATE_CLOSED;
static atomic_int holding;

static int64_t hold(void *unused)
{
    (void)unused;
    atomic_fetch_add(&holding, 1);
    gate_pass(&released);
    return 0;
}

// All workers are busy, and more wait: everything else goes on.
static void starving(void)
{
    sl_op op;
    sl_event event;
    sl_options handle = by_handle();
    for (int i = 0; i < THREADS * 3; i++) {
        CHECK_IS(sl_work(loop, hold, NULL, NULL, NULL), SL_OK);
    }
    while (atomic_load(&holding) < THREADS) {
        sched_yield();
    }
    CHECK_IS(sl_path_write(loop, "work.tmp", "work", 4, 0, 0644, &handle, &op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK_IS(event.result, 4);
    CHECK_IS(sl_timer(loop, 1000, 0, &handle, &op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK_IS(atomic_load(&holding), THREADS);
    gate_open(&released);
    for (int i = 0; i < THREADS * 3; i++) {
        CHECK_IS(next_event(loop).result, 0);
    }
    CHECK_IS(remove("work.tmp"), 0);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_work_threads = THREADS;
    loop = open_loop(&options);
    many(argument(argc, argv, 1, 20000));
    results();
    starving();
    close_loop(loop);
    check_returned(before);
    return 0;
}
