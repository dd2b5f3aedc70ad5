// What is carried out on the thread that submits it keeps every promise: the order of a stream's events, the allowance of a call, lent
// memory that shows nobody else's bytes, and the limits of what goes on by itself.
//
// inline [rounds = 100]

#include "harness.h"

enum { PIECES = 100 };

// A receive on this thread, the next one by way of the loop: their events come in the order of the stream's bytes.
static void events_come_in_the_streams_order(size_t rounds)
{
    sl_loop loop = open_loop(NULL);
    sl_stream here, there;
    connect_pair(loop, &here, &there);
    static uint8_t sent[PIECES], received[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        sent[i] = (uint8_t)i;
    }
    for (size_t round = 0; round < rounds; round++) {
        sl_request requests[PIECES];
        CHECK_IS(sl_stream_send(here, sent, PIECES, 0, NULL, NULL), SL_OK);
        CHECK_IS(next_event(loop).result, PIECES);
        for (size_t i = 0; i < PIECES; i++) {
            requests[i] = request_of(SL_STREAM_RECEIVE, there);
            requests[i].buffer = &received[i];
            requests[i].length = 1;
            requests[i].user_data = i;
            // Beyond the first ones, which are inline, every third is kept from it.
            requests[i].options = i % 3 == 2 ? SL_OPTION_NO_INLINE : 0;
        }
        CHECK_IS(sl_submit(loop, requests, PIECES, NULL), PIECES);
        for (size_t i = 0; i < PIECES; i++) {
            sl_event event = next_event(loop);
            CHECK_IS(event.result, 1);
            CHECK_IS(event.user_data, i);
            CHECK_IS(received[i], i);
        }
    }
    close_resource(loop, here);
    close_resource(loop, there);
    close_loop(loop);
}

typedef struct shared {
    sl_loop loop;
    sl_stream stream;
} shared;

static void *submits_until_the_end(void *argument)
{
    shared *s = argument;
    sl_request requests[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        requests[i] = request_of(SL_STREAM_SEND, s->stream);
        requests[i].buffer = "x";
        requests[i].length = 1;
        requests[i].delivery = SL_DELIVER_HANDLE;
    }
    while (sl_submit(s->loop, requests, PIECES, NULL) > 0) {
    }
    return NULL;
}

// Two threads in the middle of their calls on one stream, and a third that shuts the loop down.
static void a_shutdown_waits_for_nobody_who_waits_for_it(size_t rounds)
{
    for (size_t round = 0; round < rounds; round++) {
        shared s;
        sl_stream there;
        s.loop = open_loop(NULL);
        connect_pair(s.loop, &s.stream, &there);
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) {
            threads[i] = spawn(submits_until_the_end, &s);
        }
        while (counters_of(s.loop).accepted < 200) {
        }
        CHECK_IS(sl_loop_shutdown(s.loop), SL_OK);
        for (int i = 0; i < 2; i++) {
            CHECK_IS(pthread_join(threads[i], NULL), 0);
        }
        CHECK(sl_loop_close(s.loop, SL_FOREVER) >= 0);
    }
}

// What was read in vain into lent memory is not there for whoever gets it next.
static void lent_memory_is_clean(void)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.receive_buffer_size = 512;
    sl_loop loop = open_loop(&options);
    sl_stream here, there;
    connect_pair(loop, &here, &there);
    static uint8_t secret[4096];
    memset(secret, 's', sizeof secret);
    sl_op op;
    CHECK_IS(sl_path_write(loop, "secret.tmp", secret, sizeof secret, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), sizeof secret);
    for (int round = 0; round < 20; round++) {
        CHECK_IS(sl_path_read(loop, "secret.tmp", NULL, &op), SL_OK);
        sl_event file = next_event(loop);
        CHECK_IS(file.result, sizeof secret);
        CHECK_IS(sl_buffer_release(file.detail), SL_OK);
        CHECK_IS(sl_stream_send(here, "x", 1, 0, NULL, NULL), SL_OK);
        CHECK_IS(next_event(loop).result, 1);
        CHECK_IS(sl_stream_receive(there, NULL, 0, 0, NULL, &op), SL_OK);
        sl_event received = next_event(loop);
        CHECK_IS(received.result, 1);
        for (int i = 1; i < 512; i++) {
            CHECK_IS(((uint8_t *)received.data)[i], 0);
        }
        CHECK_IS(sl_buffer_release(received.detail), SL_OK);
    }
    close_resource(loop, here);
    close_resource(loop, there);
    close_loop(loop);
    CHECK_IS(remove("secret.tmp"), 0);
}

// What goes on by itself keeps to the length that it was given, and to the number of events that may wait.
static void multishots_keep_to_their_limits(void)
{
    enum { STREAMS = 20, LENGTH = 40 };
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_unclaimed = 1;
    sl_loop loop = open_loop(&options);
    sl_stream here[STREAMS], there[STREAMS];
    sl_op receives[STREAMS];
    size_t got[STREAMS] = {0};
    uint8_t bytes[LENGTH];
    memset(bytes, 'b', sizeof bytes);
    for (size_t i = 0; i < STREAMS; i++) {
        sl_options tag = tagged(i);
        connect_pair(loop, &here[i], &there[i]);
        CHECK_IS(sl_stream_receive(there[i], NULL, i % 2 ? 0 : 4, SL_MULTISHOT, &tag, &receives[i]), SL_OK);
    }
    for (size_t i = 0; i < STREAMS; i++) {
        sl_options silent = by_handle();
        sl_op op;
        sl_event event;
        CHECK_IS(sl_stream_send(here[i], bytes, LENGTH, 0, &silent, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        CHECK_IS(event.result, LENGTH);
    }
    for (size_t left = STREAMS * LENGTH; left > 0;) {
        CHECK(counters_of(loop).unclaimed <= 1);
        sl_event event = next_event(loop);
        CHECK(event.flags & SL_EVENT_MORE);
        CHECK(event.user_data % 2 || event.result <= 4);
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
        got[event.user_data] += (size_t)event.result;
        left -= (size_t)event.result;
    }
    for (size_t i = 0; i < STREAMS; i++) {
        CHECK_IS(got[i], LENGTH);
        CHECK_IS(sl_op_cancel(receives[i]), SL_OK);
        CHECK_IS(next_event(loop).result, SL_ERR_CANCELLED);
    }
    for (size_t i = 0; i < STREAMS; i++) {
        close_resource(loop, here[i]);
        close_resource(loop, there[i]);
    }
    close_loop(loop);
}

static gate loop_is_held = GATE_CLOSED, loop_may_go_on = GATE_CLOSED;

static void hold_the_loop(sl_loop loop, const sl_event *event)
{
    (void)loop;
    (void)event;
    gate_open(&loop_is_held);
    gate_pass(&loop_may_go_on);
}

// One call carries out no more than it may, whatever the delivery.
static void a_call_has_its_allowance(void)
{
    sl_loop loop = open_loop(NULL);
    sl_options held = delivered(SL_DELIVER_THREAD, 0, hold_the_loop);
    CHECK_IS(sl_nop(loop, &held, NULL), SL_OK);
    gate_pass(&loop_is_held);
    sl_request requests[PIECES];
    sl_op ops[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        requests[i] = request_of(SL_POST, loop);
        requests[i].delivery = SL_DELIVER_HANDLE;
    }
    CHECK_IS(sl_submit(loop, requests, PIECES, ops), PIECES);
    size_t ended = 0;
    for (size_t i = 0; i < PIECES; i++) {
        ended += sl_op_status(ops[i]) == 1;
    }
    CHECK_IS(ended, 32);
    gate_open(&loop_may_go_on);
    for (size_t i = 0; i < PIECES; i++) {
        sl_event event;
        CHECK_IS(sl_op_wait(ops[i], PATIENCE, &event), 1);
    }
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), 0);
}

int main(int argc, char **argv)
{
    start();
    size_t rounds = argument(argc, argv, 1, 100);
    holdings before = holdings_now();
    events_come_in_the_streams_order(rounds);
    a_shutdown_waits_for_nobody_who_waits_for_it(rounds / 5 + 1);
    lent_memory_is_clean();
    multishots_keep_to_their_limits();
    a_call_has_its_allowance();
    check_returned(before);
    return 0;
}
