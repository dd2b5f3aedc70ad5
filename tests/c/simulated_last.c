// A simulated loop without a thread: who waits for the last thing that is to happen gets it, in whichever way it is delivered, though
// nothing will happen after it; also what another thread brings about meanwhile.
//
// simulated_last [seeds = 100]

#include "harness.h"

static int called;

static void on_event(sl_loop loop, const sl_event *event)
{
    (void)loop;
    CHECK_IS(event->result, event->kind == SL_TIMER ? 1 : SL_ERR_TIMED_OUT);
    called++;
}

// A timer, or a deadline, after which nothing is left.
static sl_op start_last(sl_loop loop, int deadline, sl_options options)
{
    sl_op op;
    sl_address address;
    if (!deadline) {
        CHECK_IS(sl_timer(loop, SECOND, 0, &options, &op), SL_OK);
        return op;
    }
    options.timeout_ns = SECOND;
    CHECK_IS(sl_tcp_accept(listen_here(loop, 1, &address), 0, &options, &op), SL_OK);
    return op;
}

static void awaited(sl_loop loop, int deadline)
{
    const int64_t result = deadline ? SL_ERR_TIMED_OUT : 1;
    sl_event event;
    start_last(loop, deadline, tagged(0));
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), 1);
    CHECK_IS(event.result, result);
    CHECK_IS(sl_op_wait(start_last(loop, deadline, by_handle()), SL_FOREVER, &event), 1);
    CHECK_IS(event.result, result);
    start_last(loop, deadline, delivered(SL_DELIVER_DISPATCH, 0, on_event));
    called = 0;
    CHECK_IS(sl_dispatch(loop, 0, SL_FOREVER), 1);
    CHECK_IS(called, 1);
}

static void *post_something(void *loop)
{
    CHECK_IS(sl_post(*(sl_loop *)loop, 5, NULL, NULL), SL_OK);
    return NULL;
}

static void from_another_thread(sl_loop loop)
{
    pthread_t other = spawn(post_something, &loop);
    sl_event event;
    // Without end: simulated time does not wait for another thread.
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), 1);
    CHECK_IS(event.result, 5);
    pthread_join(other, NULL);
}

int main(int argc, char **argv)
{
    start();
    for (size_t seed = 1; seed <= argument(argc, argv, 1, 100); seed++) {
        sl_loop_options options = {0};
        options.size = sizeof options;
        options.driver = SL_DRIVER_SIM;
        options.seed = seed;
        sl_loop loop;
        CHECK_IS(sl_loop_open(&options, &loop), SL_OK);
        awaited(loop, 0);
        awaited(loop, 1);
        from_another_thread(loop);
        close_loop(loop);
    }
    return 0;
}
