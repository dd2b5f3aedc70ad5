// A program with an epoll loop of its own embeds a sideloop: level-triggered and edge-triggered, with callbacks run by
// sl_dispatch beside events taken by sl_poll.
//
// wake_epoll [ticks = 2000]

#include "harness.h"

#if !defined(__linux__)

int main(void)
{
    return skip("epoll is of Linux");
}

#else

#include <sys/epoll.h>

static size_t dispatched, polled;

static void on_tick(sl_loop loop, const sl_event *event)
{
    sl_options options = delivered(SL_DELIVER_DISPATCH, event->user_data - 1, on_tick);
    dispatched++;
    CHECK_IS(event->result, 0);
    // Alternately a callback and an event of the queue follow.
    if (event->user_data > 0 && event->user_data % 2) {
        CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    } else if (event->user_data > 0) {
        options = tagged(event->user_data - 1);
        CHECK_IS(sl_timer(loop, 1000, 0, &options, NULL), SL_OK);
    }
}

// Takes until nothing is left, as edge-triggered loops must.
static void on_wake(sl_loop loop)
{
    sl_event event;
    sl_status ran, got;
    int taken = 0;
    do {
        ran = sl_dispatch(loop, 0, 0);
        got = sl_poll(loop, &event, 1);
        CHECK(ran >= 0 && got >= 0);
        taken += ran + got;
        if (got == 1) {
            polled++;
            if (event.user_data > 0) {
                sl_options options = delivered(SL_DELIVER_DISPATCH, event.user_data - 1, on_tick);
                CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
            }
        }
    } while (ran + got > 0);
    CHECK(taken > 0);
}

static void run(size_t ticks, uint32_t trigger)
{
    sl_loop loop = open_loop(NULL);
    sl_descriptor wake, again;
    struct epoll_event event = {.events = EPOLLIN | trigger, .data = {.u64 = 42}};
    int own = epoll_create1(EPOLL_CLOEXEC);
    CHECK(own >= 0);
    CHECK_IS(sl_loop_wake_descriptor(loop, &wake), SL_OK);
    CHECK_IS(sl_loop_wake_descriptor(loop, &again), SL_OK);
    CHECK_IS(wake, again);
    CHECK_IS(epoll_ctl(own, EPOLL_CTL_ADD, (int)wake, &event), 0);
    CHECK_IS(epoll_wait(own, &event, 1, 0), 0);

    sl_options options = delivered(SL_DELIVER_DISPATCH, ticks - 1, on_tick);
    dispatched = polled = 0;
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    while (dispatched + polled < ticks) {
        CHECK_IS(epoll_wait(own, &event, 1, (int)(PATIENCE / MILLISECOND)), 1);
        CHECK_IS(event.data.u64, 42);
        on_wake(loop);
    }
    CHECK(dispatched > 0 && polled > 0);
    CHECK_IS(epoll_wait(own, &event, 1, 0), 0);
    close(own);
    close_loop(loop);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    run(argument(argc, argv, 1, 2000), 0);
    run(argument(argc, argv, 1, 2000), EPOLLET);
    check_returned(before);
    return 0;
}

#endif
