// Order and exactness on a stream: many sends and receives of odd lengths under way at a time complete in the order
// submitted and join to one stream of bytes; SL_EXACT, vectored sends, half-close, options and addresses.
//
// streams [pieces = 5000]

#include "harness.h"

enum { LONGEST = 3000 };

static size_t length_of_piece(size_t index)
{
    return (size_t)(mix(index) % LONGEST);
}

// All pieces at once from one side, through a small send buffer, so that most of them wait for the others.
static void in_order(sl_loop loop, size_t pieces)
{
    sl_stream here, there;
    uint64_t total = 0, sent = 0, received = 0, random = 3;
    connect_pair(loop, &here, &there);
    CHECK_IS(sl_stream_set(here, SL_STREAM_SEND_BUFFER, 4096), SL_OK);
    for (size_t i = 0; i < pieces; i++) {
        total += length_of_piece(i);
    }
    uint8_t *out = malloc(total + 1), *in = calloc(total + 1, 1);
    CHECK(out && in);
    fill(out, total, 9, 0);
    uint64_t at = 0;
    for (size_t i = 0; i < pieces; i++) {
        sl_options options = tagged(i);
        CHECK_IS(sl_stream_send(here, out + at, length_of_piece(i), 0, &options, NULL), SL_OK);
        at += length_of_piece(i);
    }
    CHECK_IS(sl_stream_shutdown(here, NULL, NULL), SL_OK);
    // Receives of other lengths, 50 at a time: exact ones, so that the place of each is known.
    size_t next_send = 0, awaited = 0;
    uint64_t asked = 0;
    int shut = 0;
    while (received < total || next_send < pieces || !shut) {
        for (; awaited < 50 && asked < total; awaited++) {
            uint64_t length = 1 + random_below(&random, LONGEST);
            length = length < total - asked ? length : total - asked;
            sl_options options = tagged(asked);
            CHECK_IS(sl_stream_receive(there, in + asked, length, SL_EXACT, &options, NULL), SL_OK);
            asked += length;
        }
        sl_event event = next_event(loop);
        if (event.kind == SL_STREAM_SEND) {
            CHECK_IS(event.user_data, next_send);
            CHECK_IS(event.result, length_of_piece(next_send));
            sent += (uint64_t)event.result;
            next_send++;
        } else if (event.kind == SL_STREAM_SHUTDOWN) {
            CHECK_IS(event.result, 0);
            CHECK_IS(next_send, pieces);
            shut = 1;
        } else {
            CHECK_IS(event.user_data, received);
            CHECK(event.result > 0);
            received += (uint64_t)event.result;
            awaited--;
        }
    }
    CHECK(sent == total && matches(in, total, 9, 0));
    sl_op op;
    CHECK_IS(sl_stream_receive(there, in, 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    // The other direction is still open.
    CHECK_IS(sl_stream_send(there, "back", 4, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    CHECK_IS(sl_stream_receive(here, in, 4, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    CHECK(memcmp(in, "back", 4) == 0);
    close_resource(loop, here);
    close_resource(loop, there);
    free(out);
    free(in);
}

static void exact(sl_loop loop)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    uint8_t in[1000], out[1000];
    sl_options options = by_handle();
    sl_event event;
    sl_op op;
    fill(out, sizeof out, 4, 0);
    // Without SL_EXACT what is there is enough.
    CHECK_IS(sl_stream_receive(stream, in, sizeof in, 0, &options, &op), SL_OK);
    CHECK_IS(send(other, (char *)out, 10, 0), 10);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK(event.result > 0 && event.result <= 10);
    uint64_t at = (uint64_t)event.result;
    CHECK_IS(sl_stream_receive(stream, in + at, sizeof in - at, SL_EXACT, &options, &op), SL_OK);
    for (size_t i = 10; i < sizeof out; i++) {
        CHECK_IS(sl_op_poll(op, &event), 0);
        CHECK_IS(send(other, (char *)out + i, 1, 0), 1);
    }
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK_IS(event.result, sizeof in - at);
    CHECK(matches(in, sizeof in, 4, 0));
    // Fewer means the end; so do all that follow.
    CHECK_IS(sl_stream_receive(stream, in, 100, SL_EXACT, &options, &op), SL_OK);
    CHECK_IS(send(other, "end", 3, 0), 3);
    close_socket(other);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK(event.result == 3 && event.flags == 0 && memcmp(in, "end", 3) == 0);
    CHECK_IS(sl_stream_receive(stream, in, 100, SL_EXACT, &options, &op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK(event.result == 0 && event.flags == 0);
    CHECK_IS(sl_stream_receive(stream, NULL, 100, 0, &options, &op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK(event.result == 0 && event.flags == 0 && event.data == NULL);
    // It needs memory of the caller's.
    CHECK_IS(sl_stream_receive(stream, NULL, 100, SL_EXACT, &options, &op), SL_ERR_INVALID);
    close_resource(loop, stream);
}

static void vectored(sl_loop loop)
{
    enum { SLICES = 1024 };
    static uint8_t bytes[SLICES * 10], in[SLICES * 10];
    sl_slice slices[SLICES];
    sl_stream here, there;
    size_t total = 0;
    sl_op op;
    connect_pair(loop, &here, &there);
    fill(bytes, sizeof bytes, 5, 0);
    for (size_t i = 0; i < SLICES; i++) {
        slices[i].data = i % 10 ? bytes + total : NULL;
        slices[i].length = i % 10;
        total += i % 10;
    }
    CHECK_IS(sl_stream_sendv(here, slices, SLICES, NULL, &op), SL_OK);
    memset(slices, 0xee, sizeof slices); // The array was copied.
    CHECK_IS(result_of(loop, op), total);
    CHECK_IS(sl_stream_receive(there, in, total, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), total);
    CHECK(matches(in, total, 5, 0));
    // Nothing is something, too.
    CHECK_IS(sl_stream_sendv(here, NULL, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_stream_send(here, NULL, 0, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    close_resource(loop, here);
    close_resource(loop, there);
}

static void settings(sl_loop loop)
{
    sl_stream here, there;
    sl_address a, b, parsed;
    char text[64];
    int64_t value = 0;
    connect_pair(loop, &here, &there);
    CHECK_IS(sl_stream_get(here, SL_STREAM_NO_DELAY, &value), SL_OK);
    CHECK_IS(value, 1);
    CHECK_IS(sl_stream_set(here, SL_STREAM_NO_DELAY, 0), SL_OK);
    CHECK_IS(sl_stream_get(here, SL_STREAM_NO_DELAY, &value), SL_OK);
    CHECK_IS(value, 0);
    CHECK_IS(sl_stream_set(here, SL_STREAM_KEEP_ALIVE, 1), SL_OK);
    CHECK_IS(sl_stream_get(here, SL_STREAM_KEEP_ALIVE, &value), SL_OK);
    CHECK_IS(value, 1);
    CHECK_IS(sl_stream_set(here, SL_STREAM_RECEIVE_BUFFER, 32768), SL_OK);
    CHECK_IS(sl_stream_get(here, SL_STREAM_RECEIVE_BUFFER, &value), SL_OK);
    CHECK(value >= 32768);
    CHECK_IS(sl_local_address(here, &a), SL_OK);
    CHECK_IS(sl_peer_address(there, &b), SL_OK);
    CHECK(memcmp(&a, &b, sizeof a) == 0);
    CHECK(sl_address_format(&a, text, sizeof text) > 0);
    CHECK_IS(sl_address_parse(text, &parsed), SL_OK);
    CHECK(memcmp(&a, &parsed, sizeof a) == 0);
    CHECK_IS(sl_address_format(&a, text, 4), sl_address_format(&a, NULL, 0));
    CHECK(strcmp(text, "127") == 0);
    // Reset instead of a farewell.
    sl_op op;
    CHECK_IS(sl_stream_set(here, SL_STREAM_LINGER, 0), SL_OK);
    close_resource(loop, here);
    CHECK_IS(sl_stream_receive(there, NULL, 0, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_CONNECTION_RESET);
    close_resource(loop, there);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    in_order(loop, argument(argc, argv, 1, 5000));
    exact(loop);
    vectored(loop);
    settings(loop);
    close_loop(loop);
    check_returned(before);
    return 0;
}
