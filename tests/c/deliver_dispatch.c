// Callbacks inside sl_dispatch: on the thread that calls it, with user data, in pieces, nested, and after a shutdown.
//
// deliver_dispatch [operations = 50000]

#include "harness.h"

#include <stdatomic.h>

static pthread_t dispatcher;
static uint8_t *seen;
static size_t ran, nested;

static void on_event(sl_loop loop, const sl_event *event)
{
    CHECK(loop != 0);
    CHECK(pthread_equal(pthread_self(), dispatcher));
    CHECK_IS(event->result, event->user_data);
    CHECK_IS(event->kind, SL_POST);
    CHECK_IS(event->flags & SL_EVENT_MORE, 0);
    CHECK_IS(seen[event->user_data]++, 0);
    ran++;
}

// Dispatches those that wait behind it from inside, submits another, and takes from the queue.
static void on_nested(sl_loop loop, const sl_event *event)
{
    sl_options options = delivered(SL_DELIVER_DISPATCH, event->user_data - 1, on_nested);
    sl_op queued, cancelled;
    nested++;
    if (event->user_data > 0) {
        CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
        CHECK_IS(sl_dispatch(loop, 1, PATIENCE), 1);
    } else {
        CHECK_IS(sl_nop(loop, NULL, &queued), SL_OK);
        CHECK_IS(result_of(loop, queued), 0);
        CHECK_IS(sl_timer(loop, INT64_MAX, 0, NULL, &cancelled), SL_OK);
        CHECK_IS(sl_op_cancel(cancelled), SL_OK);
        CHECK_IS(result_of(loop, cancelled), SL_ERR_CANCELLED);
    }
}

static void many(sl_loop loop, size_t total)
{
    seen = calloc(total, 1);
    CHECK(seen);
    for (size_t i = 0; i < total; i++) {
        sl_options options = delivered(SL_DELIVER_DISPATCH, i, on_event);
        while (sl_post(loop, (int64_t)i, &options, NULL) == SL_ERR_AGAIN) {
            CHECK(sl_dispatch(loop, 0, PATIENCE) > 0);
        }
    }
    while (ran < total) {
        size_t before = ran;
        sl_status count = sl_dispatch(loop, 7, PATIENCE);
        CHECK(count > 0 && count <= 7);
        CHECK_IS(ran - before, count);
    }
    free(seen);
}

static void on_count(sl_loop loop, const sl_event *event)
{
    (void)loop;
    CHECK_IS(event->result, SL_ERR_CANCELLED);
    ran++;
}

static void edges(sl_loop loop)
{
    sl_options options = delivered(SL_DELIVER_DISPATCH, 0, NULL);
    sl_event event;
    sl_op op = 0;
    CHECK_IS(sl_dispatch(loop, 0, 0), 0);
    uint64_t before = now_ns();
    CHECK_IS(sl_dispatch(loop, 0, 5 * MILLISECOND), 0);
    CHECK(now_ns() - before >= 5 * MILLISECOND);
    CHECK(sl_nop(loop, &options, &op) < 0);
    CHECK_IS(op, 0);

    // The event of a callback is neither in the queue nor with the handle.
    options.callback = on_nested;
    CHECK_IS(sl_nop(loop, &options, &op), SL_OK);
    await_end(op);
    CHECK_IS(sl_poll(loop, &event, 1), 0);
    CHECK_IS(sl_op_poll(op, &event), SL_ERR_DELIVERY);
    CHECK_IS(sl_dispatch(loop, 0, 0), 1);
    CHECK_IS(sl_op_status(op), SL_ERR_STALE);

    options.user_data = 20;
    nested = 0;
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    CHECK_IS(sl_dispatch(loop, 1, PATIENCE), 1);
    CHECK_IS(nested, 21);
}

static void after_shutdown(sl_loop loop)
{
    sl_options options = delivered(SL_DELIVER_DISPATCH, 0, on_count);
    for (int i = 0; i < 10; i++) {
        CHECK_IS(sl_timer(loop, INT64_MAX, 0, &options, NULL), SL_OK);
    }
    CHECK_IS(sl_loop_shutdown(loop), SL_OK);
    ran = 0;
    while (ran < 10) {
        CHECK(sl_dispatch(loop, 0, PATIENCE) > 0);
    }
    CHECK_IS(sl_dispatch(loop, 0, SL_FOREVER), SL_ERR_SHUT_DOWN);
}

static atomic_size_t shared;

static void on_shared(sl_loop loop, const sl_event *event)
{
    (void)loop;
    (void)event;
    atomic_fetch_add(&shared, 1);
}

static void *dispatch_to_the_end(void *loop)
{
    sl_status count;
    while ((count = sl_dispatch((sl_loop)(uintptr_t)loop, 1, SL_FOREVER)) > 0) {
        CHECK_IS(count, 1);
    }
    CHECK_IS(count, SL_ERR_SHUT_DOWN);
    return NULL;
}

// Threads that wait for the same callbacks: one that waits without end has run one when it returns, whoever else takes them.
static void by_several(size_t total)
{
    sl_loop loop = open_loop(NULL);
    sl_options options = delivered(SL_DELIVER_DISPATCH, 0, on_shared);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        threads[i] = spawn(dispatch_to_the_end, (void *)(uintptr_t)loop);
    }
    for (size_t i = 0; i < total; i++) {
        while (sl_post(loop, 0, &options, NULL) == SL_ERR_AGAIN) {
            sched_yield();
        }
    }
    CHECK_IS(sl_loop_shutdown(loop), SL_OK);
    for (size_t i = 0; i < 4; i++) {
        CHECK_IS(pthread_join(threads[i], NULL), 0);
    }
    CHECK_IS(atomic_load(&shared), total);
    close_loop(loop);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    dispatcher = pthread_self();
    sl_loop loop = open_loop(NULL);
    many(loop, argument(argc, argv, 1, 50000));
    edges(loop);
    check_at_rest(loop);
    after_shutdown(loop);
    close_loop(loop);
    by_several(20000);
    check_returned(before);
    return 0;
}
