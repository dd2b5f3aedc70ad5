// The wake descriptor is readable exactly while events wait for sl_poll, sl_wait or sl_dispatch: asked with a timeout of 0
// after every step of a random walk, for the usual kind of descriptor and for a socket.
//
// wake_exact [steps = 5000]

#include "harness.h"

#if !defined(_WIN32)
#include <sys/stat.h>
#endif

enum { MOST = 64 };

// Events that wait: in the queue, and for sl_dispatch.
static int queued, dispatchable;
static sl_descriptor wake;

static void check_wake(void)
{
    CHECK_IS(readable(wake, 0), queued + dispatchable > 0);
}

static void on_event(sl_loop loop, const sl_event *event)
{
    (void)loop;
    (void)event;
    dispatchable--;
}

// Submits some and waits for their ends; with the handle and on the loop's thread nothing waits for the queue.
static void submit(sl_loop loop, uint64_t *random)
{
    sl_op ops[MOST];
    int count = 1 + (int)random_below(random, 8);
    uint32_t delivery = random_below(random, 4) ? SL_DELIVER_QUEUE : SL_DELIVER_DISPATCH;
    sl_options options = delivered(delivery, 0, delivery == SL_DELIVER_DISPATCH ? on_event : NULL);
    for (int i = 0; i < count; i++) {
        sl_status status = random_below(random, 2) ? sl_nop(loop, &options, &ops[i])
                                                   : sl_timer(loop, random_below(random, 20000), 0, &options, &ops[i]);
        CHECK_IS(status, SL_OK);
    }
    for (int i = 0; i < count; i++) {
        await_end(ops[i]);
    }
    *(delivery == SL_DELIVER_DISPATCH ? &dispatchable : &queued) += count;
}

static void submit_elsewhere(sl_loop loop)
{
    sl_options options = by_handle();
    sl_event event;
    sl_op op;
    CHECK_IS(sl_nop(loop, &options, &op), SL_OK);
    await_end(op);
    check_wake();
    CHECK_IS(sl_op_poll(op, &event), 1);
}

static void take(sl_loop loop, uint64_t *random)
{
    sl_event events[MOST];
    size_t capacity = 1 + random_below(random, MOST / 2);
    if (random_below(random, 2)) {
        sl_status got = random_below(random, 2) ? sl_poll(loop, events, capacity) : sl_wait(loop, events, capacity, 0);
        CHECK_IS(got, queued < (int)capacity ? queued : (int)capacity);
        queued -= got;
    } else {
        int before = dispatchable;
        sl_status ran = sl_dispatch(loop, capacity, 0);
        CHECK_IS(ran, before < (int)capacity ? before : (int)capacity);
        CHECK_IS(dispatchable, before - ran);
    }
}

// From asleep to awake: poll(2) itself waits for the event.
static void sleep_on_it(sl_loop loop)
{
    sl_op op;
    if (queued + dispatchable == 0) {
        CHECK_IS(sl_timer(loop, 100000, 0, NULL, &op), SL_OK);
        CHECK_IS(readable(wake, (int)(PATIENCE / MILLISECOND)), 1);
        await_end(op);
        queued = 1;
    }
}

static void walk(uint32_t flags, size_t steps)
{
    sl_loop_options options = {0};
    uint64_t random = 5;
    options.size = sizeof options;
    options.flags = flags;
    sl_loop loop = open_loop(&options);
    // Asked for only when events wait already: it must be readable from the start.
    submit(loop, &random);
    CHECK_IS(sl_loop_wake_descriptor(loop, &wake), SL_OK);
    check_wake();
#if !defined(_WIN32)
    struct stat kind;
    CHECK_IS(fstat((int)wake, &kind), 0);
    CHECK(!flags || S_ISSOCK(kind.st_mode));
#endif
    for (size_t i = 0; i < steps; i++) {
        switch (random_below(&random, 6)) {
        case 0:
        case 1:
            if (queued + dispatchable < 1000) {
                submit(loop, &random);
            }
            break;
        case 2:
            submit_elsewhere(loop);
            break;
        case 3:
            sleep_on_it(loop);
            break;
        default:
            take(loop, &random);
        }
        check_wake();
    }
    while (queued + dispatchable > 0) {
        take(loop, &random);
        check_wake();
    }
    // Events that a shutdown makes count as well.
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, NULL, NULL), SL_OK);
    CHECK_IS(sl_loop_shutdown(loop), SL_OK);
    CHECK_IS(readable(wake, (int)(PATIENCE / MILLISECOND)), 1);
    CHECK_IS(next_event(loop).result, SL_ERR_CANCELLED);
    close_loop(loop);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    walk(0, argument(argc, argv, 1, 5000));
    walk(SL_LOOP_WAKE_SOCKET, argument(argc, argv, 1, 5000));
    check_returned(before);
    return 0;
}
