// One busy handle does not keep the others waiting: while a peer sends as fast as it can to a multishot receive (callbacks on
// the loop's thread), and another takes an endless send as fast as it can, timers fire, connections are accepted and small
// messages come back in reasonable time, and lent memory does not pile up.
//
// fairness [rounds = 100]

#include "harness.h"

#include <stdatomic.h>

// Far longer than any fair loop needs on a slow machine, far shorter than a loop that serves one handle until it runs dry.
#define REASONABLE (5 * SECOND)

static atomic_int stop;
static atomic_ullong received, sent;
static uint8_t chunk[1 << 20];

static void *flood(void *other)
{
    while (!atomic_load(&stop)) {
        if (send(*(raw_socket *)other, (char *)chunk, sizeof chunk, NO_SIGNAL) <= 0) {
            break;
        }
    }
    close_socket(*(raw_socket *)other);
    return NULL;
}

static void *swallow(void *other)
{
    static char bytes[1 << 18];
    while (recv(*(raw_socket *)other, bytes, sizeof bytes, 0) > 0) {
    }
    close_socket(*(raw_socket *)other);
    return NULL;
}

static void on_received(sl_loop loop, const sl_event *event)
{
    (void)loop;
    if (event->flags & SL_EVENT_LENT) {
        atomic_fetch_add(&received, (unsigned long long)event->result);
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
    }
}

// Every send that ends is followed by another.
static void on_sent(sl_loop loop, const sl_event *event)
{
    (void)loop;
    sl_options options = delivered(SL_DELIVER_THREAD, event->user_data, on_sent);
    if (event->result > 0 && !atomic_load(&stop)) {
        atomic_fetch_add(&sent, (unsigned long long)event->result);
        CHECK_IS(sl_stream_send(event->user_data, chunk, sizeof chunk, 0, &options, NULL), SL_OK);
    }
}

static void wait_for(sl_op op, int64_t expected, uint64_t *longest)
{
    sl_event event;
    uint64_t before = now_ns();
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    uint64_t took = now_ns() - before;
    CHECK(expected < 0 ? event.result > 0 : event.result == expected);
    CHECK(took < REASONABLE);
    *longest = took > *longest ? took : *longest;
    if (event.kind == SL_TCP_ACCEPT) {
        CHECK_IS(sl_close((sl_stream)event.result, NULL, NULL), SL_OK);
    }
}

int main(int argc, char **argv)
{
    start();
    size_t rounds = argument(argc, argv, 1, 100);
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    raw_socket flooding, swallowing;
    sl_stream in = stream_and_socket(loop, &flooding), out = stream_and_socket(loop, &swallowing), here, there;
    sl_address address;
    sl_listener listener = listen_here(loop, 0, &address);
    sl_options handle = by_handle(), options = delivered(SL_DELIVER_THREAD, 0, on_received);
    sl_op op;
    uint64_t longest = 0;
    connect_pair(loop, &here, &there);
    pthread_t threads[2] = {spawn(flood, &flooding), spawn(swallow, &swallowing)};
    CHECK_IS(sl_stream_receive(in, NULL, 0, SL_MULTISHOT, &options, NULL), SL_OK);
    options = delivered(SL_DELIVER_THREAD, out, on_sent);
    CHECK_IS(sl_stream_send(out, chunk, sizeof chunk, 0, &options, NULL), SL_OK);
    for (size_t i = 0; i < rounds; i++) {
        char bytes[4];
        CHECK_IS(sl_nop(loop, &handle, &op), SL_OK);
        wait_for(op, 0, &longest);
        CHECK_IS(sl_timer(loop, 100000, 0, &handle, &op), SL_OK);
        wait_for(op, 1, &longest);
        CHECK_IS(sl_stream_send(here, "ping", 4, 0, NULL, NULL), SL_OK);
        CHECK_IS(sl_stream_receive(there, bytes, 4, SL_EXACT, &handle, &op), SL_OK);
        wait_for(op, 4, &longest);
        CHECK_IS(next_event(loop).result, 4);
        raw_socket caller = raw_connect(&address);
        CHECK_IS(sl_tcp_accept(listener, 0, &handle, &op), SL_OK);
        wait_for(op, -1, &longest);
        close_socket(caller);
        CHECK_IS(next_event(loop).kind, SL_CLOSE);
        CHECK(counters_of(loop).lent_bytes <= 16 << 20);
    }
    CHECK(atomic_load(&received) > 0 && atomic_load(&sent) > 0);
    printf("%llu MiB received and %llu MiB sent meanwhile; the longest wait was %.2f ms\n",
           (unsigned long long)atomic_load(&received) >> 20, (unsigned long long)atomic_load(&sent) >> 20,
           (double)longest / 1e6);
    atomic_store(&stop, 1);
    close_resource(loop, in);
    close_resource(loop, out);
    close_resource(loop, here);
    close_resource(loop, there);
    close_resource(loop, listener);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    while (counters_of(loop).in_flight > 0) {
        sched_yield();
    }
    close_loop(loop);
    check_returned(before);
    return 0;
}
