// The handle: the event stays with its operation. Of several threads that wait for the same one, one gets it.
//
// deliver_handle [rounds = 2000]

#include "harness.h"

#include <stdatomic.h>

enum { WAITERS = 4 };

static void poll_and_wait(sl_loop loop)
{
    sl_options options = delivered(SL_DELIVER_HANDLE, 77, NULL);
    sl_event event, other;
    sl_op op, queued;
    // One that does not end by itself is under way however slow the machine is.
    CHECK_IS(sl_timer(loop, 3600 * SECOND, 0, &options, &op), SL_OK);
    CHECK_IS(sl_op_poll(op, &event), 0);
    CHECK_IS(sl_op_status(op), 0);
    CHECK_IS(sl_op_wait(op, 1000, &event), 0);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK_IS(event.result, SL_ERR_CANCELLED);

    CHECK_IS(sl_timer(loop, MILLISECOND, 0, &options, &op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK(event.user_data == 77 && event.op == op && event.result == 1 && event.kind == SL_TIMER);
    CHECK_IS(sl_op_poll(op, &event), SL_ERR_STALE);
    CHECK_IS(sl_op_wait(op, SL_FOREVER, &event), SL_ERR_STALE);

    // The event of a handle is not in the queue, nor the other way round.
    CHECK_IS(sl_nop(loop, &options, &op), SL_OK);
    await_end(op);
    CHECK_IS(sl_poll(loop, &other, 1), 0);
    CHECK_IS(sl_op_cancel(op), SL_ERR_ENDED);
    CHECK_IS(sl_op_poll(op, NULL), SL_ERR_NULL);
    CHECK_IS(sl_op_poll(op, &event), 1);
    CHECK_IS(sl_nop(loop, NULL, &queued), SL_OK);
    CHECK_IS(sl_op_poll(queued, &event), SL_ERR_DELIVERY);
    CHECK_IS(sl_op_wait(queued, 1, &event), SL_ERR_DELIVERY);
    CHECK_IS(result_of(loop, queued), 0);
}

// A handle holds one event, so that multishot operations cannot be delivered this way.
static void no_multishot(sl_loop loop)
{
    sl_options options = by_handle();
    sl_stream here, there;
    sl_op op = 0;
    connect_pair(loop, &here, &there);
    CHECK(sl_stream_receive(here, NULL, 0, SL_MULTISHOT, &options, &op) < 0);
    CHECK(sl_timer(loop, 1000, 1000, &options, &op) < 0);
    CHECK_IS(op, 0);
    close_resource(loop, here);
    close_resource(loop, there);
}

static sl_op shared;
static pthread_barrier_t ready, done;
static atomic_int winners, losers;

static void *wait_for_shared(void *rounds)
{
    for (size_t i = *(size_t *)rounds; i > 0; i--) {
        sl_event event;
        pthread_barrier_wait(&ready);
        sl_status status = sl_op_wait(shared, SL_FOREVER, &event);
        if (status == 1) {
            CHECK_IS(event.op, shared);
            atomic_fetch_add(&winners, 1);
        } else {
            CHECK_IS(status, SL_ERR_STALE);
            atomic_fetch_add(&losers, 1);
        }
        pthread_barrier_wait(&done);
    }
    return NULL;
}

static void many_waiters(sl_loop loop, size_t rounds)
{
    pthread_t threads[WAITERS];
    sl_options options = by_handle();
    pthread_barrier_init(&ready, NULL, WAITERS + 1);
    pthread_barrier_init(&done, NULL, WAITERS + 1);
    for (int i = 0; i < WAITERS; i++) {
        threads[i] = spawn(wait_for_shared, &rounds);
    }
    for (size_t i = 0; i < rounds; i++) {
        uint64_t delay = i % 3 * 20000;
        CHECK_IS(sl_timer(loop, delay, 0, &options, &shared), SL_OK);
        pthread_barrier_wait(&ready);
        pthread_barrier_wait(&done);
        CHECK_IS(atomic_load(&winners), i + 1);
        CHECK_IS(atomic_load(&losers), (i + 1) * (WAITERS - 1));
    }
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&ready);
    pthread_barrier_destroy(&done);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    poll_and_wait(loop);
    no_multishot(loop);
    many_waiters(loop, argument(argc, argv, 1, 2000));
    close_loop(loop);
    check_returned(before);
    return 0;
}
