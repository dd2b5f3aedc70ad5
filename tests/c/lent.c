// Lent buffers: the limit pauses and loses nothing, a second release is stale, what cannot fit is refused, and one handle's
// bytes are never seen in another's buffer.
//
// lent [bytes = 33554432] [look behind the bytes = 1]

#include "harness.h"

enum { BUFFER = 4096, MOST = 16 };

static sl_loop small_loop(void)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.receive_buffer_size = BUFFER;
    options.max_lent_bytes = MOST * BUFFER;
    return open_loop(&options);
}

static void *send_all(void *argument_of_thread)
{
    struct {
        raw_socket other;
        size_t total;
    } *given = argument_of_thread;
    uint8_t *bytes = malloc(given->total);
    CHECK(bytes);
    fill(bytes, given->total, 2, 0);
    for (size_t sent = 0; sent < given->total;) {
        int count = (int)send(given->other, (char *)bytes + sent, given->total - sent, 0);
        CHECK(count > 0);
        sent += (size_t)count;
    }
    free(bytes);
    close_socket(given->other);
    return NULL;
}

// Holds all that can be had before giving back; the bytes come in order all the same. What is given back at the very moment in
// which the loop has run out is no lack of memory: with this many bytes that moment comes a few times.
static void limit(sl_loop loop, size_t total)
{
    struct {
        raw_socket other;
        size_t total;
    } given = {0, total};
    sl_stream stream = stream_and_socket(loop, &given.other);
    pthread_t sender = spawn(send_all, &given);
    sl_buffer held[MOST];
    size_t count = 0, most = 0;
    uint64_t got = 0;
    sl_op receiving;
    CHECK_IS(sl_stream_receive(stream, NULL, 0, SL_MULTISHOT, NULL, &receiving), SL_OK);
    for (;;) {
        sl_counters counters = counters_of(loop);
        CHECK(counters.lent_bytes <= MOST * BUFFER);
        CHECK(counters.lent_buffers >= count);
        if (count > 0 && (count == MOST || got == total || counters.lent_bytes >= MOST * BUFFER)) {
            // Oldest last: order of release is the caller's business.
            sl_buffer buffer = held[--count];
            CHECK_IS(sl_buffer_release(buffer), SL_OK);
            CHECK_IS(sl_buffer_release(buffer), SL_ERR_STALE);
        }
        if (count == 0 || got < total) {
            sl_event event;
            sl_status taken = count == 0 ? sl_wait(loop, &event, 1, PATIENCE) : sl_poll(loop, &event, 1);
            if (taken == 0) {
                sched_yield();
                continue;
            }
            CHECK_IS(taken, 1);
            CHECK_IS(event.op, receiving);
            if (!(event.flags & SL_EVENT_MORE)) {
                CHECK_IS(event.result, 0);
                break;
            }
            CHECK_IS(event.flags, SL_EVENT_MORE | SL_EVENT_LENT);
            CHECK(event.result > 0 && event.result <= BUFFER);
            CHECK(matches(event.data, (size_t)event.result, 2, got));
            got += (uint64_t)event.result;
            held[count++] = event.detail;
            most = count > most ? count : most;
        }
    }
    CHECK_IS(got, total);
    CHECK(total < MOST * BUFFER * 4 || most > 1);
    pthread_join(sender, NULL);
    close_resource(loop, stream);
    CHECK_IS(counters_of(loop).lent_bytes, 0);
}

// More than the loop may ever lend ends with an error; as much as is held at the moment waits.
static void too_much(sl_loop loop)
{
    sl_op op, waiting;
    sl_event event;
    static uint8_t bytes[MOST * BUFFER];
    CHECK_IS(sl_path_write(loop, "lent.tmp", bytes, sizeof bytes, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), sizeof bytes);
    sl_file file = open_file(loop, "lent.tmp", SL_OPEN_READ);
    sl_status status = sl_file_read(file, NULL, MOST * BUFFER + 1, 0, 0, NULL, &op);
    CHECK_IS(status == SL_OK ? result_of(loop, op) : status, SL_ERR_NO_BUFFERS);
    status = sl_file_read(file, NULL, SIZE_MAX / 4, 0, 0, NULL, &op);
    CHECK_IS(status == SL_OK ? result_of(loop, op) : status, SL_ERR_NO_BUFFERS);

    CHECK_IS(sl_file_read(file, NULL, MOST * BUFFER, 0, 0, NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK_IS(event.result, sizeof bytes);
    CHECK_IS(sl_file_read(file, NULL, BUFFER, 0, 0, NULL, &waiting), SL_OK);
    sl_options handle = by_handle();
    sl_event other;
    for (int i = 0; i < 10; i++) {
        CHECK_IS(sl_timer(loop, 1, 0, &handle, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &other), 1);
        CHECK_IS(sl_op_status(waiting), 0);
    }
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    event = next_event(loop);
    CHECK_IS(event.op, waiting);
    CHECK_IS(event.result, BUFFER);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    // One that waits for a buffer can be cancelled like any other.
    CHECK_IS(sl_file_read(file, NULL, MOST * BUFFER, 0, 0, NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK_IS(sl_file_read(file, NULL, BUFFER, 0, 0, NULL, &waiting), SL_OK);
    CHECK_IS(sl_op_cancel(waiting), SL_OK);
    CHECK_IS(result_of(loop, waiting), SL_ERR_CANCELLED);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    close_resource(loop, file);
    CHECK_IS(remove("lent.tmp"), 0);
}

static void foreign_bytes(sl_loop loop)
{
    static uint8_t secret[BUFFER];
    sl_stream first, first_peer, second, second_peer;
    sl_event event;
    sl_op op;
    memset(secret, 0xa5, sizeof secret);
    connect_pair(loop, &first, &first_peer);
    connect_pair(loop, &second, &second_peer);
    for (int round = 0; round < 50; round++) {
        CHECK_IS(sl_stream_send(first_peer, secret, sizeof secret, 0, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), sizeof secret);
        for (size_t got = 0; got < sizeof secret; got += (size_t)event.result) {
            CHECK_IS(sl_stream_receive(first, NULL, BUFFER, 0, NULL, &op), SL_OK);
            event = next_event(loop);
            CHECK(event.result > 0 && ((uint8_t *)event.data)[event.result - 1] == 0xa5);
            CHECK_IS(sl_buffer_release(event.detail), SL_OK);
        }
        CHECK_IS(sl_stream_send(second_peer, "ten bytes.", 10, 0, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), 10);
        CHECK_IS(sl_stream_receive(second, NULL, BUFFER, 0, NULL, &op), SL_OK);
        event = next_event(loop);
        CHECK(event.result == 10 && memcmp(event.data, "ten bytes.", 10) == 0);
        for (int i = 10; i < BUFFER; i++) {
            CHECK(((volatile uint8_t *)event.data)[i] != 0xa5);
        }
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    close_resource(loop, first);
    close_resource(loop, first_peer);
    close_resource(loop, second);
    close_resource(loop, second_peer);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_loop loop = small_loop();
    limit(loop, argument(argc, argv, 1, 32 << 20));
    too_much(loop);
    if (argument(argc, argv, 2, 1)) {
        foreign_bytes(loop);
    }
    close_loop(loop);
    check_returned(before);
    return 0;
}
