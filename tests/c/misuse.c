// Misuse with a known answer: NULL, sizes, stale, forged, foreign and wrong-kind ids, double close, names of errors. A
// refused call leaves no trace and writes no output.

#include "harness.h"

#define UNTOUCHED UINT64_C(0x5555555555555555)

static sl_loop loop;
static sl_file file;
static sl_stream stream, peer;

static void check_table(void)
{
    static const char *const names[] = {
        "SL_OK", "SL_ERR_INVALID", "SL_ERR_NULL", "SL_ERR_BAD_ID", "SL_ERR_STALE", "SL_ERR_WRONG_KIND", "SL_ERR_AGAIN",
        "SL_ERR_NO_MEMORY", "SL_ERR_CANCELLED", "SL_ERR_TIMED_OUT", "SL_ERR_SHUT_DOWN", "SL_ERR_DEADLOCK",
        "SL_ERR_FORKED", "SL_ERR_UNSUPPORTED", "SL_ERR_INTERNAL", "SL_ERR_ENDED", "SL_ERR_NO_BUFFERS",
        "SL_ERR_STRUCT_SIZE", "SL_ERR_DELIVERY"};
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
        CHECK(strcmp(sl_status_name(-i), names[i]) == 0);
        CHECK(strcmp(sl_status_message(-i), "unknown status") != 0);
    }
    CHECK(strcmp(sl_status_name(SL_ERR_BROKEN_PIPE), "SL_ERR_BROKEN_PIPE") == 0);
    CHECK(strcmp(sl_status_name(SL_ERR_OS), "SL_ERR_OS") == 0);
    CHECK(strcmp(sl_status_name(-1000), "SL_ERR_?") == 0);
    CHECK(strcmp(sl_status_name(INT32_MIN), "SL_ERR_?") == 0);
    CHECK(strcmp(sl_status_message(-1000), "unknown status") == 0);
    CHECK(sl_abi_version() >= SL_ABI_VERSION);
    CHECK(sl_version()[0]);
}

static void check_null(void)
{
    sl_op op = UNTOUCHED;
    sl_event event;
    sl_slice hole = {NULL, 8};
    CHECK_IS(sl_loop_open(NULL, NULL), SL_ERR_NULL);
    CHECK_IS(sl_poll(loop, NULL, 1), SL_ERR_NULL);
    CHECK_IS(sl_wait(loop, NULL, 1, 0), SL_ERR_NULL);
    CHECK_IS(sl_loop_counters(loop, NULL), SL_ERR_NULL);
    CHECK_IS(sl_loop_wake_descriptor(loop, NULL), SL_ERR_NULL);
    CHECK_IS(sl_loop_driver(loop, NULL, 1), SL_ERR_NULL);
    CHECK(sl_loop_driver(loop, NULL, 0) > 0);
    CHECK_IS(sl_submit(loop, NULL, 1, &op), SL_ERR_NULL);
    CHECK_IS(sl_file_open(loop, NULL, SL_OPEN_READ, 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_read(loop, NULL, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_write(loop, "x", NULL, 1, 0, 0644, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_stat(loop, "x", 0, NULL, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_file_write(file, NULL, 8, 0, 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_file_readv(file, NULL, 1, 0, 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_file_writev(file, &hole, 1, 0, 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_file_stat(file, NULL, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_file_adopt(loop, 0, NULL), SL_ERR_NULL);
    CHECK_IS(sl_stream_send(stream, NULL, 1, 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_stream_sendv(stream, NULL, 1, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_tcp_connect(loop, NULL, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_tcp_listen(loop, NULL, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_local_address(stream, NULL), SL_ERR_NULL);
    CHECK_IS(sl_stream_get(stream, SL_STREAM_NO_DELAY, NULL), SL_ERR_NULL);
    CHECK_IS(sl_descriptor_of(stream, NULL), SL_ERR_NULL);
    CHECK_IS(sl_work(loop, NULL, NULL, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_address_parse(NULL, NULL), SL_ERR_NULL);
    CHECK_IS(sl_address_format(NULL, NULL, 0), SL_ERR_NULL);
    CHECK_IS(op, UNTOUCHED);
    CHECK_IS(sl_poll(loop, &event, 1), 0);
}

static void check_sizes(void)
{
    static const uint32_t wrong[] = {0, 1, 3, 7, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sl_loop_options loop_options = {0};
        sl_listen_options listen_options = {0};
        sl_options options = tagged(0);
        sl_request request = request_of(SL_NOP, loop);
        sl_counters counters = {0};
        sl_stat stat = {0};
        sl_address address;
        uint64_t id = UNTOUCHED;
        CHECK_IS(sl_address_parse("127.0.0.1:0", &address), SL_OK);
        loop_options.size = listen_options.size = options.size = request.size = counters.size = stat.size = wrong[i];
        CHECK_IS(sl_loop_open(&loop_options, &id), SL_ERR_STRUCT_SIZE);
        CHECK_IS(sl_tcp_listen(loop, &address, &listen_options, &id), SL_ERR_STRUCT_SIZE);
        CHECK_IS(sl_nop(loop, &options, &id), SL_ERR_STRUCT_SIZE);
        CHECK_IS(sl_submit(loop, &request, 1, &id), SL_ERR_STRUCT_SIZE);
        CHECK_IS(sl_loop_counters(loop, &counters), SL_ERR_STRUCT_SIZE);
        CHECK_IS(sl_file_stat(file, &stat, NULL, &id), SL_ERR_STRUCT_SIZE);
        CHECK_IS(id, UNTOUCHED);
    }
}

static void check_ranges(void)
{
    char byte = 0;
    sl_slice halves[2] = {{&byte, SIZE_MAX / 2}, {&byte, SIZE_MAX / 2}};
    sl_op op = UNTOUCHED;
    sl_options options = delivered(9, 0, NULL);
    CHECK_IS(sl_nop(loop, &options, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_read(file, &byte, SIZE_MAX, 0, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_read(file, &byte, 1, -2, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_read(file, &byte, 1, 0, 0x80, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_write(file, &byte, SIZE_MAX / 2 + 1, 0, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_readv(file, halves, 1025, 0, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_readv(file, halves, SIZE_MAX, 0, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_readv(file, halves, 2, 0, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_truncate(file, UINT64_MAX, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_open(loop, "x", 0, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_file_open(loop, "x", 1u << 30, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_stream_receive(stream, &byte, 1, SL_MULTISHOT, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_stream_receive(stream, NULL, SIZE_MAX, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_stream_send(stream, &byte, SIZE_MAX, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_stream_set(stream, 99, 1), SL_ERR_INVALID);
    CHECK_IS(sl_timer(loop, UINT64_MAX, 0, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_timer(loop, 1, 999, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_post(loop, -1, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(op, UNTOUCHED);
    sl_request request = request_of(SL_NOP, loop);
    CHECK_IS(sl_submit(loop, &request, SIZE_MAX, &op), SL_ERR_INVALID);
    request.kind = 1000;
    CHECK_IS(sl_submit(loop, &request, 1, &op), SL_ERR_INVALID);
    request = request_of(SL_NOP, loop);
    request.options = 2;
    CHECK_IS(sl_submit(loop, &request, 1, &op), SL_ERR_INVALID);
    sl_loop_options loop_options = {0};
    loop_options.size = sizeof loop_options;
    loop_options.max_operations = UINT32_MAX;
    CHECK_IS(sl_loop_open(&loop_options, &op), SL_ERR_INVALID);
    CHECK(strstr(sl_last_error(), "max_operations"));
    CHECK_IS(op, UNTOUCHED);
}

// An id of the kind `what`, used for everything that it is not.
static void check_wrong_kind(void)
{
    sl_event event;
    sl_op op, ended = UNTOUCHED;
    sl_address address;
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, NULL, &op), SL_OK);
    CHECK_IS(sl_poll(file, &event, 1), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_loop_close(op, 0), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_loop_shutdown(stream), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_op_poll(loop, &event), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_op_cancel(file), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_op_status(stream), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_buffer_release(loop), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_buffer_release(file), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_close(loop, NULL, &ended), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_close(op, NULL, &ended), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_nop(file, NULL, &ended), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_file_read(stream, NULL, 1, 0, 0, NULL, &ended), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_file_read(loop, NULL, 1, 0, 0, NULL, &ended), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_stream_receive(file, NULL, 1, 0, NULL, &ended), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_tcp_accept(stream, 0, NULL, &ended), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_stream_set(file, SL_STREAM_NO_DELAY, 1), SL_ERR_WRONG_KIND);
    CHECK_IS(sl_peer_address(op, &address), SL_ERR_WRONG_KIND);
    CHECK_IS(ended, UNTOUCHED);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_CANCELLED);
}

// Forged ids: nothing that was never issued is taken for something that was.
static void check_forged(void)
{
    uint64_t state = 1;
    sl_event event;
    CHECK_IS(sl_poll(0, &event, 1), SL_ERR_BAD_ID);
    CHECK_IS(sl_op_cancel(0), SL_ERR_BAD_ID);
    CHECK_IS(sl_close(0, NULL, NULL), SL_ERR_BAD_ID);
    CHECK_IS(sl_buffer_release(0), SL_ERR_BAD_ID);
    CHECK_IS(sl_loop_close(UINT64_MAX, 0), SL_ERR_BAD_ID);
    for (int i = 0; i < 10000; i++) {
        uint64_t id = random_next(&state);
        sl_status got[] = {sl_poll(id, &event, 1), sl_op_cancel(id), sl_close(id, NULL, NULL), sl_buffer_release(id)};
        for (int k = 0; k < 4; k++) {
            CHECK(got[k] == SL_ERR_BAD_ID || got[k] == SL_ERR_STALE || got[k] == SL_ERR_WRONG_KIND);
        }
    }
    // Every other generation of a living id.
    for (int bit = 0; bit < 64; bit++) {
        uint64_t id = file ^ (UINT64_C(1) << bit);
        if (id == stream || id == peer) {
            continue;
        }
        sl_status got = sl_file_sync(id, 0, NULL, NULL);
        CHECK(got == SL_ERR_BAD_ID || got == SL_ERR_STALE || got == SL_ERR_WRONG_KIND);
    }
}

static void check_foreign(void)
{
    sl_loop other = open_loop(NULL);
    sl_op op = UNTOUCHED;
    sl_request requests[2] = {request_of(SL_NOP, loop), request_of(SL_NOP, other)};
    CHECK_IS(sl_submit(loop, requests + 1, 1, &op), SL_ERR_WRONG_KIND);
    requests[1] = request_of(SL_FILE_SYNC, file);
    CHECK_IS(sl_submit(other, requests + 1, 1, &op), SL_ERR_WRONG_KIND);
    CHECK_IS(op, UNTOUCHED);
    close_loop(other);
    CHECK_IS(sl_nop(other, NULL, &op), SL_ERR_STALE);
    CHECK_IS(sl_loop_close(other, SL_FOREVER), SL_ERR_STALE);
    CHECK_IS(sl_loop_shutdown(other), SL_ERR_STALE);
    // Ids of a closed loop stay dead in the loop that takes its place.
    sl_loop reborn = open_loop(NULL);
    CHECK(reborn != other);
    CHECK_IS(sl_nop(other, NULL, &op), SL_ERR_STALE);
    close_loop(reborn);
}

static void check_stale(void)
{
    sl_event event;
    sl_op op, again = UNTOUCHED;
    char byte;
    CHECK_IS(sl_path_read(loop, "misuse.tmp", NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK_IS(event.result, 5);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    CHECK_IS(sl_buffer_release(event.detail), SL_ERR_STALE);
    CHECK_IS(sl_op_cancel(op), SL_ERR_STALE);
    CHECK_IS(sl_op_status(op), SL_ERR_STALE);
    CHECK_IS(sl_close(file, NULL, &op), SL_OK);
    CHECK_IS(sl_close(file, NULL, &again), SL_ERR_STALE);
    CHECK_IS(sl_file_read(file, &byte, 1, 0, 0, NULL, &again), SL_ERR_STALE);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_close(file, NULL, &again), SL_ERR_STALE);
    CHECK_IS(again, UNTOUCHED);
}

int main(void)
{
    start();
    holdings before = holdings_now();
    sl_op op;
    loop = open_loop(NULL);
    check_table();
    CHECK_IS(sl_path_write(loop, "misuse.tmp", "12345", 5, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 5);
    file = open_file(loop, "misuse.tmp", SL_OPEN_READ | SL_OPEN_WRITE);
    connect_pair(loop, &stream, &peer);

    uint64_t accepted = counters_of(loop).accepted;
    check_null();
    check_sizes();
    check_ranges();
    check_forged();
    CHECK_IS(counters_of(loop).accepted, accepted);
    check_wrong_kind();
    check_foreign();
    CHECK_IS(counters_of(loop).accepted, accepted + 1);
    check_stale();
    close_resource(loop, stream);
    close_resource(loop, peer);
    close_loop(loop);
    CHECK_IS(remove("misuse.tmp"), 0);
    check_returned(before);
    return 0;
}
