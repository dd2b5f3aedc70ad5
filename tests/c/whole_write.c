// A write is whole: one send of many megabytes through small socket buffers to a slow reader is one event, with every byte
// in its place; where the reader goes away or the send is cancelled, the event says how much was taken, and what is sent behind it
// comes after exactly that.
//
// whole_write [bytes = 67108864]

#include "harness.h"

static void slow_reader(sl_loop loop, uint8_t *bytes, size_t total)
{
    enum { PIECE = 30000 };
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_options options = by_handle();
    uint8_t *piece = malloc(PIECE);
    uint64_t random = 1, got = 0;
    sl_event event;
    sl_op op, after;
    CHECK(piece);
    CHECK_IS(sl_stream_set(stream, SL_STREAM_SEND_BUFFER, 65536), SL_OK);
    CHECK_IS(sl_stream_send(stream, bytes, total, 0, &options, &op), SL_OK);
    CHECK_IS(sl_stream_shutdown(stream, &options, &after), SL_OK);
    for (;;) {
        int count = (int)recv(other, (char *)piece, 1 + random_below(&random, PIECE), 0);
        CHECK(count >= 0);
        if (count == 0) {
            break;
        }
        CHECK(matches(piece, (size_t)count, 6, got));
        got += (uint64_t)count;
        if (got < total / 2) {
            // Far more is missing than socket buffers hold.
            CHECK(total < (16 << 20) || sl_op_status(op) == 0);
        }
    }
    CHECK_IS(got, total);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK(event.result == (int64_t)total && event.flags == 0);
    CHECK_IS(sl_op_wait(after, PATIENCE, &event), 1);
    CHECK_IS(event.result, 0);
    close_socket(other);
    close_resource(loop, stream);
    free(piece);
}

// The reader closes after a part, or the send is cancelled in the middle.
static void broken(sl_loop loop, uint8_t *bytes, size_t total, int by_cancel)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_options options = by_handle();
    static uint8_t piece[100000];
    uint64_t got = 0;
    sl_event event;
    sl_op op, behind;
    CHECK_IS(sl_stream_set(stream, SL_STREAM_SEND_BUFFER, 65536), SL_OK);
    CHECK_IS(sl_stream_send(stream, bytes, total, 0, &options, &op), SL_OK);
    CHECK_IS(sl_stream_send(stream, "behind", 6, 0, &options, &behind), SL_OK);
    while (got < sizeof piece) {
        int count = (int)recv(other, (char *)piece, sizeof piece - got, 0);
        CHECK(count > 0 && matches(piece, (size_t)count, 6, got));
        got += (uint64_t)count;
    }
    if (by_cancel) {
        CHECK_IS(sl_op_cancel(op), SL_OK);
    } else {
        close_socket(other);
    }
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK(by_cancel ? event.result == SL_ERR_CANCELLED
                    : event.result == SL_ERR_CONNECTION_RESET || event.result == SL_ERR_BROKEN_PIPE);
    CHECK_IS(event.flags, SL_EVENT_PARTIAL);
    CHECK(event.detail >= got && event.detail < total);
    CHECK(by_cancel || event.os_error != 0);
    uint64_t taken = event.detail;
    // Exactly what the event says arrives, and then what was sent behind it.
    while (by_cancel && got < taken) {
        size_t left = (size_t)(taken - got);
        int count = (int)recv(other, (char *)piece, left < sizeof piece ? left : sizeof piece, 0);
        CHECK(count > 0 && matches(piece, (size_t)count, 6, got));
        got += (uint64_t)count;
    }
    CHECK_IS(sl_op_wait(behind, PATIENCE, &event), 1);
    CHECK(by_cancel ? event.result == 6 : event.result < 0 && event.flags == 0);
    close_resource(loop, stream);
    if (by_cancel) {
        CHECK_IS(recv(other, (char *)piece, sizeof piece, MSG_WAITALL), 6);
        CHECK(memcmp(piece, "behind", 6) == 0);
        close_socket(other);
    }
}

int main(int argc, char **argv)
{
    start();
    size_t total = argument(argc, argv, 1, 64 << 20);
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    size_t enough = total < (24 << 20) ? 24 << 20 : total;
    uint8_t *bytes = malloc(enough);
    CHECK(bytes);
    fill(bytes, total, 6, 0);
    slow_reader(loop, bytes, total);
    // More than the largest socket buffers hold, whatever was asked for.
    fill(bytes + total, enough - total, 6, total);
    broken(loop, bytes, enough, 0);
    broken(loop, bytes, enough, 1);
    close_loop(loop);
    free(bytes);
    check_returned(before);
    return 0;
}
