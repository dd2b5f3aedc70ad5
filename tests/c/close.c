// Close with operations under way: the id is dead at once, each operation ends once, the event of the close is the last
// that has to do with the resource, and its descriptor is not used again while anything may still work on it.
//
// close [rounds = 2000]

#include "harness.h"

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/stat.h>
#endif

static void with_much_under_way(sl_loop loop)
{
    enum { EACH = 20 };
    static uint8_t out[4 << 20], in[EACH][10];
    sl_stream here, there;
    sl_op closing = 0, op = 0;
    sl_descriptor descriptor;
    int ended = 0, closed = 0;
    connect_pair(loop, &here, &there);
    CHECK_IS(sl_stream_set(here, SL_STREAM_SEND_BUFFER, 4096), SL_OK);
    for (int i = 0; i < EACH; i++) {
        CHECK_IS(sl_stream_receive(here, in[i], 10, SL_EXACT, NULL, NULL), SL_OK);
        CHECK_IS(sl_stream_send(here, out, sizeof out, 0, NULL, NULL), SL_OK);
    }
    CHECK_IS(sl_stream_shutdown(here, NULL, NULL), SL_OK);
    CHECK_IS(sl_close(here, NULL, &closing), SL_OK);
    CHECK_IS(sl_stream_receive(here, NULL, 0, 0, NULL, &op), SL_ERR_STALE);
    CHECK_IS(sl_stream_send(here, out, 1, 0, NULL, &op), SL_ERR_STALE);
    CHECK_IS(sl_stream_set(here, SL_STREAM_NO_DELAY, 1), SL_ERR_STALE);
    CHECK_IS(sl_descriptor_of(here, &descriptor), SL_ERR_STALE);
    CHECK_IS(sl_close(here, NULL, &op), SL_ERR_STALE);
    CHECK_IS(op, 0);
    while (!closed) {
        sl_event event = next_event(loop);
        if (event.op == closing) {
            CHECK_IS(event.kind, SL_CLOSE);
            CHECK_IS(event.result, 0);
            closed = 1;
        } else {
            CHECK_IS(event.result, SL_ERR_CANCELLED);
            CHECK(!(event.flags & SL_EVENT_PARTIAL) || event.detail < sizeof out);
            ended++;
        }
    }
    CHECK_IS(ended, 2 * EACH + 1);
    // The other side sees the end, after what was sent.
    int64_t got;
    do {
        CHECK_IS(sl_stream_receive(there, out, sizeof out, 0, NULL, &op), SL_OK);
        got = result_of(loop, op);
    } while (got > 0);
    CHECK(got == 0 || got == SL_ERR_CONNECTION_RESET);
    close_resource(loop, there);
}

static void listener_with_accepts(sl_loop loop)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 0, &address);
    sl_op ops[4], closing, op;
    for (int i = 0; i < 4; i++) {
        CHECK_IS(sl_tcp_accept(listener, i == 3 ? SL_MULTISHOT : 0, NULL, &ops[i]), SL_OK);
    }
    CHECK_IS(sl_close(listener, NULL, &closing), SL_OK);
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_ERR_STALE);
    for (int i = 0; i < 4; i++) {
        sl_event event = next_event(loop);
        CHECK_IS(event.result, SL_ERR_CANCELLED);
        CHECK_IS(event.kind, SL_TCP_ACCEPT);
    }
    CHECK_IS(result_of(loop, closing), 0);
    CHECK_IS(sl_tcp_connect(loop, &address, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_CONNECTION_REFUSED);
}

// A receive is under way on a stream that is closed; the next socket gets the same descriptor, and bytes. They are not the
// old receive's.
static void bytes_of_others(sl_loop loop, size_t rounds)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 0, &address);
    size_t reused = 0;
    for (size_t i = 0; i < rounds; i++) {
        uint8_t old_bytes[16] = {0}, new_bytes[16];
        sl_op receiving, closing, op;
        sl_descriptor before, after;
        CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_OK);
        raw_socket old_peer = raw_connect(&address);
        sl_stream old_stream = (sl_stream)result_of(loop, op);
        CHECK_IS(sl_stream_receive(old_stream, old_bytes, sizeof old_bytes, i % 2 ? SL_EXACT : 0, NULL, &receiving), SL_OK);
        CHECK_IS(sl_descriptor_of(old_stream, &before), SL_OK);
        sl_options handle = by_handle();
        CHECK_IS(sl_close(old_stream, &handle, &closing), SL_OK);
        // At once, while the loop may still be at the closing.
        CHECK_IS(sl_tcp_accept(listener, 0, &handle, &op), SL_OK);
        raw_socket new_peer = raw_connect(&address);
        sl_event event;
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        sl_stream new_stream = (sl_stream)event.result;
        CHECK_IS(sl_descriptor_of(new_stream, &after), SL_OK);
        reused += before == after;
        CHECK_IS(send(new_peer, "newnewnewnewnewn", 16, 0), 16);
        CHECK_IS(sl_stream_receive(new_stream, new_bytes, 16, SL_EXACT, &handle, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        CHECK_IS(event.result, 16);
        CHECK(memcmp(new_bytes, "newnewnewnewnewn", 16) == 0);
        CHECK_IS(result_of(loop, receiving), SL_ERR_CANCELLED);
        CHECK_IS(sl_op_wait(closing, PATIENCE, &event), 1);
        CHECK_IS(event.result, 0);
        for (int k = 0; k < 16; k++) {
            CHECK_IS(old_bytes[k], 0);
        }
        close_resource(loop, new_stream);
        close_socket(old_peer);
        close_socket(new_peer);
    }
    close_resource(loop, listener);
    printf("%zu of %zu descriptors were used again\n", reused, rounds);
}

#if !defined(_WIN32)
// A read that the system will not give back: of a named pipe that nobody writes to, on a thread for files. Until it is
// over, its event waits and the descriptor stays taken.
static void descriptor_under_way(sl_loop loop)
{
    sl_options handle = by_handle();
    sl_descriptor descriptor;
    sl_op reading, closing;
    sl_event event;
    char byte = 0;
    CHECK_IS(mkfifo("close.tmp", 0600), 0);
    sl_file file = open_file(loop, "close.tmp", SL_OPEN_READ | SL_OPEN_WRITE);
    int other = open("close.tmp", O_RDWR | O_CLOEXEC);
    CHECK(other >= 0);
    CHECK_IS(sl_descriptor_of(file, &descriptor), SL_OK);
    CHECK_IS(sl_file_read(file, &byte, 1, SL_OFFSET_CURRENT, 0, &handle, &reading), SL_OK);
    CHECK_IS(sl_close(file, &handle, &closing), SL_OK);
    CHECK_IS(sl_file_read(file, &byte, 1, SL_OFFSET_CURRENT, 0, &handle, NULL), SL_ERR_STALE);
    for (int i = 0; i < 200; i++) {
        int fresh = open("/dev/null", O_RDONLY | O_CLOEXEC);
        // Which one comes first must be asked in this order: the read may end (cancelled) at any moment.
        int taken = fresh == (int)descriptor;
        sl_status read_ended = sl_op_status(reading);
        CHECK(!taken || read_ended == 1);
        CHECK(sl_op_status(closing) == 0 || sl_op_status(reading) == 1);
        close(fresh);
        sched_yield();
    }
    CHECK_IS(write(other, "x", 1), 1);
    CHECK_IS(sl_op_wait(reading, PATIENCE, &event), 1);
    CHECK((event.result == 1 && byte == 'x') || (event.result == SL_ERR_CANCELLED && byte == 0));
    CHECK_IS(sl_op_wait(closing, PATIENCE, &event), 1);
    CHECK_IS(event.result, 0);
    CHECK(fcntl((int)descriptor, F_GETFD) < 0);
    close(other);
    CHECK_IS(remove("close.tmp"), 0);
}
#endif

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    with_much_under_way(loop);
    listener_with_accepts(loop);
    bytes_of_others(loop, argument(argc, argv, 1, 2000));
#if !defined(_WIN32)
    descriptor_under_way(loop);
#endif
    CHECK_IS(counters_of(loop).resources, 0);
    close_loop(loop);
    check_returned(before);
    return 0;
}
