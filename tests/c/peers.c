// Peers that behave badly: buffers of the least size, connections that are reset at every point of their life, and ends that stop
// sending and go on receiving. Every operation ends once, says how far it came, and no byte is lost or invented.
//
// peers [rounds = 2000] [bytes through the least buffers = 1000000]

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("its sockets of the system's own are POSIX's");
}

#else

#include <errno.h>

enum { BIG = 4 << 20, SOME = 100000, FEW = 10, PAIRS = 4 };

static uint8_t big[BIG], back[BIG];

// --- Buffers of the least size

typedef struct direction {
    sl_stream from, to;
    size_t received;
    uint8_t *out, *in;
} direction;

static void receive_more(direction *d, size_t index, size_t length, uint64_t *random)
{
    // Some wait for all of it, some take what comes.
    uint32_t flags = random_below(random, 2) ? SL_EXACT : 0;
    size_t most = 1 + random_below(random, 5000);
    sl_options options = tagged(index);
    most = most < length - d->received ? most : length - d->received;
    CHECK_IS(sl_stream_receive(d->to, d->in + d->received, most, flags, &options, NULL), SL_OK);
}

static void least_buffers(size_t length)
{
    direction all[2 * PAIRS];
    uint64_t random = 1;
    sl_loop loop = open_loop(NULL);
    for (size_t i = 0; i < 2 * PAIRS; i += 2) {
        raw_socket ends[2];
        CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        for (int j = 0; j < 2; j++) {
            sl_stream *made = j ? &all[i].to : &all[i].from;
            CHECK_IS(sl_stream_adopt(loop, ends[j], made), SL_OK);
            CHECK_IS(sl_stream_set(*made, SL_STREAM_SEND_BUFFER, 1), SL_OK);
            CHECK_IS(sl_stream_set(*made, SL_STREAM_RECEIVE_BUFFER, 1), SL_OK);
        }
        all[i + 1].from = all[i].to;
        all[i + 1].to = all[i].from;
    }
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        sl_options options = tagged(i);
        all[i].received = 0;
        all[i].out = malloc(length);
        all[i].in = calloc(length, 1);
        CHECK(all[i].out && all[i].in);
        fill(all[i].out, length, i, 0);
        CHECK_IS(sl_stream_send(all[i].from, all[i].out, length, 0, &options, NULL), SL_OK);
        receive_more(&all[i], i, length, &random);
    }
    for (size_t open = 4 * PAIRS; open > 0;) {
        sl_event event = next_event(loop);
        direction *d = &all[event.user_data];
        CHECK(event.result > 0);
        if (event.kind == SL_STREAM_SEND) {
            CHECK_IS(event.result, length);
            open--;
        } else if ((d->received += (size_t)event.result) < length) {
            receive_more(d, event.user_data, length, &random);
        } else {
            open--;
        }
    }
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        CHECK(matches(all[i].in, length, i, 0));
        free(all[i].out);
        free(all[i].in);
        if (i % 2 == 0) {
            close_resource(loop, all[i].from);
            close_resource(loop, all[i].to);
        }
    }
    close_loop(loop);
}

// --- Resets

// Closes with a reset instead of an end.
static void reset(raw_socket other)
{
    struct linger at_once = {1, 0};
    CHECK_IS(setsockopt(other, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close_socket(other);
}

// How many bytes a transfer had done when it failed by a reset.
static uint64_t done_before(const sl_event *event)
{
    CHECK(event->result == SL_ERR_CONNECTION_RESET || event->result == SL_ERR_BROKEN_PIPE);
    CHECK(event->os_error == ECONNRESET || event->os_error == EPIPE);
    CHECK_IS(event->flags, event->detail > 0 ? SL_EVENT_PARTIAL : 0);
    return event->detail;
}

static void while_receiving(sl_loop loop, uint64_t seed)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op op;
    fill(big, FEW, seed, 0);
    CHECK_IS(sl_stream_receive(stream, back, FEW + 1, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(send(other, big, FEW, NO_SIGNAL), FEW);
    reset(other);
    sl_event event = next_event(loop);
    CHECK(event.op == op);
    uint64_t done = done_before(&event);
    CHECK(done <= FEW && matches(back, done, seed, 0));
    close_resource(loop, stream);
}

static void while_receiving_on(sl_loop loop, uint64_t seed)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    uint64_t done = 0;
    sl_op op;
    fill(big, SOME, seed, 0);
    CHECK_IS(sl_stream_receive(stream, NULL, 0, SL_MULTISHOT, NULL, &op), SL_OK);
    CHECK_IS(send(other, big, SOME, NO_SIGNAL), SOME);
    sl_event event = next_event(loop);
    reset(other);
    for (; event.flags & SL_EVENT_MORE; event = next_event(loop)) {
        CHECK(event.op == op && event.result > 0);
        CHECK(matches(event.data, (size_t)event.result, seed, done));
        done += (uint64_t)event.result;
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    CHECK_IS(done_before(&event), 0);
    CHECK(done > 0 && done <= SOME);
    close_resource(loop, stream);
}

static void while_sending(sl_loop loop, uint64_t seed)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op sending, queued;
    CHECK_IS(sl_stream_set(stream, SL_STREAM_SEND_BUFFER, 1), SL_OK);
    fill(big, BIG, seed, 0);
    CHECK_IS(sl_stream_send(stream, big, BIG, 0, NULL, &sending), SL_OK);
    CHECK_IS(sl_stream_send(stream, big, FEW, 0, NULL, &queued), SL_OK);
    ssize_t got = recv(other, back, SOME, 0);
    CHECK(got > 0 && matches(back, (size_t)got, seed, 0));
    reset(other);
    sl_event event = next_event(loop);
    CHECK(event.op == sending);
    uint64_t done = done_before(&event);
    CHECK(done >= (uint64_t)got && done < BIG);
    event = next_event(loop);
    CHECK(event.op == queued);
    CHECK_IS(done_before(&event), 0);
    // It stays so, whatever is tried.
    CHECK_IS(sl_stream_send(stream, big, FEW, 0, NULL, &queued), SL_OK);
    CHECK_IS(result_of(loop, queued), SL_ERR_BROKEN_PIPE);
    close_resource(loop, stream);
}

// Connections that are gone before anybody accepts them do not end an accept that goes on.
static void before_the_accept(sl_loop loop, uint64_t seed)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 16, &address);
    sl_op accepting, op;
    (void)seed;
    for (int i = 0; i < FEW; i++) {
        reset(raw_connect(&address));
    }
    raw_socket alive = raw_connect(&address);
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, NULL, &accepting), SL_OK);
    CHECK_IS(send(alive, "!", 1, NO_SIGNAL), 1);
    sl_options handle = by_handle();
    for (int found = 0; !found;) {
        sl_event event = next_event(loop);
        CHECK(event.op == accepting && event.flags == SL_EVENT_MORE && event.result > 0);
        sl_stream stream = (sl_stream)event.result;
        CHECK_IS(sl_stream_receive(stream, back, 1, 0, &handle, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        found = event.result == 1;
        CHECK(found ? back[0] == '!' : event.result == SL_ERR_CONNECTION_RESET);
        CHECK_IS(sl_close(stream, &handle, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    }
    close_socket(alive);
    CHECK_IS(sl_op_cancel(accepting), SL_OK);
    CHECK_IS(result_of(loop, accepting), SL_ERR_CANCELLED);
    close_resource(loop, listener);
}

// --- One direction ends, the other goes on

static void receive_all_raw(raw_socket other, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = recv(other, back + done, length - done, 0);
        CHECK(got > 0);
        done += (size_t)got;
    }
}

static void they_stop_sending(sl_loop loop, uint64_t seed)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op op, end, sending;
    fill(big, SOME, seed, 0);
    CHECK_IS(sl_stream_receive(stream, back, SOME + 1, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(sl_stream_receive(stream, back, 1, 0, NULL, &end), SL_OK);
    CHECK_IS(send(other, big, SOME, NO_SIGNAL), SOME);
    CHECK_IS(shutdown(other, SHUT_WR), 0);
    CHECK_IS(result_of(loop, op), SOME);
    CHECK(matches(back, SOME, seed, 0));
    CHECK_IS(result_of(loop, end), 0);
    fill(big, BIG / 4, ~seed, 0);
    CHECK_IS(sl_stream_send(stream, big, BIG / 4, 0, NULL, &sending), SL_OK);
    receive_all_raw(other, BIG / 4);
    CHECK(matches(back, BIG / 4, ~seed, 0));
    CHECK_IS(result_of(loop, sending), BIG / 4);
    close_resource(loop, stream);
    CHECK_IS(recv(other, back, 1, 0), 0);
    close_socket(other);
}

static void we_stop_sending(sl_loop loop, uint64_t seed)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op sending, ending, op;
    fill(big, SOME, seed, 0);
    // The end comes after what was submitted before it.
    CHECK_IS(sl_stream_send(stream, big, SOME, 0, NULL, &sending), SL_OK);
    CHECK_IS(sl_stream_shutdown(stream, NULL, &ending), SL_OK);
    receive_all_raw(other, SOME);
    CHECK(matches(back, SOME, seed, 0));
    CHECK_IS(recv(other, back, 1, 0), 0);
    CHECK_IS(result_of(loop, sending), SOME);
    CHECK_IS(result_of(loop, ending), 0);
    CHECK_IS(sl_stream_send(stream, big, 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_BROKEN_PIPE);
    CHECK_IS(sl_stream_receive(stream, back, SOME, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(send(other, big, SOME, NO_SIGNAL), SOME);
    CHECK_IS(result_of(loop, op), SOME);
    CHECK(matches(back, SOME, seed, 0));
    close_socket(other);
    CHECK_IS(sl_stream_receive(stream, back, 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    close_resource(loop, stream);
}

int main(int argc, char **argv)
{
    static void (*const ways[])(sl_loop loop, uint64_t seed) = {
        while_receiving, while_receiving_on, while_sending, before_the_accept, they_stop_sending, we_stop_sending,
    };
    start();
    size_t rounds = argument(argc, argv, 1, 2000), length = argument(argc, argv, 2, 1000000);
    holdings before = holdings_now();
    least_buffers(length);
    sl_loop loop = open_loop(NULL);
    for (size_t i = 0; i < rounds; i++) {
        ways[i % (sizeof ways / sizeof *ways)](loop, i);
    }
    close_loop(loop);
    printf("%zu connections, %d bytes at a time\n", rounds, (int)length);
    check_returned(before);
    return 0;
}

#endif
