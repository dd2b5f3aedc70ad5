// Callbacks on the loop's thread: always the same thread and not the submitter's; they may submit, cancel and close; what
// would deadlock there, and on a worker's thread, is refused.
//
// deliver_thread [chain = 20000]

#include "harness.h"

#include <stdatomic.h>

static pthread_t submitter, loop_thread;
static atomic_int loop_thread_known;
static gate finished = GATE_CLOSED;
static sl_op to_cancel;
static sl_stream to_close, peer;
static atomic_int cancelled, closed;

static void check_thread(void)
{
    CHECK(!pthread_equal(pthread_self(), submitter));
    if (!atomic_exchange(&loop_thread_known, 1)) {
        loop_thread = pthread_self();
    }
    CHECK(pthread_equal(pthread_self(), loop_thread));
}

static void check_refused(sl_loop loop, sl_op handle)
{
    sl_event event;
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), SL_ERR_DEADLOCK);
    CHECK_IS(sl_wait(loop, &event, 1, 1000), SL_ERR_DEADLOCK);
    CHECK_IS(sl_op_wait(handle, SL_FOREVER, &event), SL_ERR_DEADLOCK);
    CHECK_IS(sl_dispatch(loop, 0, SL_FOREVER), SL_ERR_DEADLOCK);
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), SL_ERR_DEADLOCK);
    CHECK_IS(sl_loop_close(loop, 0), SL_ERR_DEADLOCK);
    CHECK(strlen(sl_last_error()) > 0);
    // What does not wait is allowed.
    CHECK_IS(sl_poll(loop, &event, 1), 0);
    CHECK_IS(sl_dispatch(loop, 0, 0), 0);
    CHECK_IS(sl_op_poll(handle, &event), 0);
    CHECK_IS(sl_op_status(handle), 0);
}

static void on_cancelled(sl_loop loop, const sl_event *event)
{
    check_thread();
    (void)loop;
    CHECK_IS(event->result, SL_ERR_CANCELLED);
    atomic_fetch_add(&cancelled, 1);
}

static void on_closed(sl_loop loop, const sl_event *event)
{
    check_thread();
    (void)loop;
    CHECK_IS(event->result, 0);
    CHECK_IS(event->kind, SL_CLOSE);
    CHECK_IS(atomic_load(&cancelled), 3);
    atomic_fetch_add(&closed, 1);
    gate_open(&finished);
}

// Every link of the chain is submitted by the callback before it.
static void on_link(sl_loop loop, const sl_event *event)
{
    check_thread();
    if (event->user_data > 0) {
        sl_options options = delivered(SL_DELIVER_THREAD, event->user_data - 1, on_link);
        CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
        return;
    }
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_closed);
    CHECK_IS(sl_op_cancel(to_cancel), SL_OK);
    CHECK_IS(sl_close(to_close, &options, NULL), SL_OK);
    CHECK_IS(sl_close(to_close, &options, NULL), SL_ERR_STALE);
}

static sl_op waiting_handle;

static void on_refusals(sl_loop loop, const sl_event *event)
{
    check_thread();
    CHECK_IS(event->result, 0);
    check_refused(loop, waiting_handle);
}

static int64_t refusals_on_worker(void *argument_of_work)
{
    CHECK(!pthread_equal(pthread_self(), submitter));
    check_refused(*(sl_loop *)argument_of_work, waiting_handle);
    return 5;
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    submitter = pthread_self();
    sl_loop loop = open_loop(NULL);
    sl_options handle = by_handle(), options = delivered(SL_DELIVER_THREAD, 0, on_refusals);
    sl_event event;
    sl_op op;
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, &handle, &waiting_handle), SL_OK);
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    CHECK_IS(sl_work(loop, refusals_on_worker, &loop, &handle, &op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK_IS(event.result, 5);

    connect_pair(loop, &to_close, &peer);
    options = delivered(SL_DELIVER_THREAD, 0, on_cancelled);
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, &options, &to_cancel), SL_OK);
    CHECK_IS(sl_stream_receive(to_close, NULL, 0, SL_MULTISHOT, &options, NULL), SL_OK);
    CHECK_IS(sl_stream_receive(to_close, NULL, 10, 0, &options, NULL), SL_OK);
    options = delivered(SL_DELIVER_THREAD, argument(argc, argv, 1, 20000), on_link);
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    gate_pass(&finished);
    CHECK_IS(atomic_load(&closed), 1);
    close_resource(loop, peer);
    CHECK_IS(sl_op_cancel(waiting_handle), SL_OK);
    CHECK_IS(sl_op_wait(waiting_handle, PATIENCE, &event), 1);
    CHECK_IS(event.result, SL_ERR_CANCELLED);
    // The loop's thread counts an event as taken after its callback has returned.
    while (counters_of(loop).in_flight > 0) {
        sched_yield();
    }
    close_loop(loop);
    check_returned(before);
    return 0;
}
