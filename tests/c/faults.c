// Fault plans: each kind of operation with each error. What the plan says goes wrong ends with that error and the system's own
// code, and is not carried out; a close that fails has closed all the same.
//
// faults

#include "faults.h"

#if defined(_WIN32)
int main(void)
{
    return skip("the system's errors have other numbers here");
}
#else

#include <errno.h>
#include <fcntl.h>

static uint8_t room[LENGTH];

// Sets a buffer to what no read gives; then whether it is still so.
static void soil(void)
{
    memset(room, 0xee, sizeof room);
}

static int is_soiled(void)
{
    for (size_t i = 0; i < sizeof room; i++) {
        if (room[i] != 0xee) {
            return 0;
        }
    }
    return 1;
}

// --- What there is to go wrong, one function a kind: does it once, checks that nothing was done, and answers the event. Only the
// first of the kind goes wrong, so that each can go on to see.

typedef sl_event (*attempt)(sl_loop loop);

static sl_event fail_open(sl_loop loop)
{
    sl_op op;
    CHECK_IS(remove(PATH), 0);
    CHECK_IS(sl_file_open(loop, PATH, SL_OPEN_WRITE | SL_OPEN_CREATE, 0644, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(access(PATH, F_OK), -1);
    CHECK_IS(counters_of(loop).resources, 0);
    make_file();
    return event;
}

static sl_event fail_whole_read(sl_loop loop)
{
    sl_op op;
    CHECK_IS(sl_path_read(loop, PATH, NULL, &op), SL_OK);
    return event_of(loop, op);
}

static sl_event fail_whole_open(sl_loop loop)
{
    sl_op op;
    CHECK_IS(sl_path_write(loop, PATH, "new", 3, 0, 0644, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    check_file(bytes, LENGTH);
    CHECK_IS(event.flags, 0);
    return event;
}

// Opened and cut it has been by then.
static sl_event fail_whole_write(sl_loop loop)
{
    sl_op op;
    CHECK_IS(sl_path_write(loop, PATH, "new", 3, 0, 0644, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    check_file("", 0);
    make_file();
    return event;
}

static sl_event fail_whole_close(sl_loop loop)
{
    sl_op op;
    CHECK_IS(sl_path_write(loop, PATH, "new", 3, 0, 0644, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    check_file("new", 3);
    CHECK_IS(event.flags, SL_EVENT_PARTIAL);
    CHECK_IS(event.detail, 3);
    make_file();
    return event;
}

static sl_event fail_read(sl_loop loop)
{
    sl_file file = open_file(loop, PATH, SL_OPEN_READ);
    sl_op op;
    soil();
    CHECK_IS(sl_file_read(file, room, LENGTH, SL_OFFSET_CURRENT, 0, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK(is_soiled());
    // The position has not moved.
    CHECK_IS(sl_file_read(file, room, LENGTH, SL_OFFSET_CURRENT, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), LENGTH);
    CHECK(matches(room, LENGTH, 1, 0));
    close_resource(loop, file);
    return event;
}

static sl_event fail_readv(sl_loop loop)
{
    sl_file file = open_file(loop, PATH, SL_OPEN_READ);
    sl_slice slices[2] = {{room, 100}, {room + 100, 100}};
    sl_op op;
    soil();
    CHECK_IS(sl_file_readv(file, slices, 2, 0, SL_EXACT, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK(is_soiled());
    close_resource(loop, file);
    return event;
}

static sl_event fail_write(sl_loop loop)
{
    sl_file file = open_file(loop, PATH, SL_OPEN_WRITE);
    sl_op op;
    CHECK_IS(sl_file_write(file, "new", 3, 0, 0, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    check_file(bytes, LENGTH);
    close_resource(loop, file);
    return event;
}

static sl_event fail_writev(sl_loop loop)
{
    sl_file file = open_file(loop, PATH, SL_OPEN_WRITE);
    sl_slice slices[2] = {{room, 100}, {room + 100, 100}};
    sl_op op;
    CHECK_IS(sl_file_writev(file, slices, 2, SL_OFFSET_CURRENT, 0, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    check_file(bytes, LENGTH);
    close_resource(loop, file);
    return event;
}

static sl_event fail_sync(sl_loop loop)
{
    sl_file file = open_file(loop, PATH, SL_OPEN_WRITE);
    sl_op op;
    CHECK_IS(sl_file_sync(file, SL_DATA_ONLY, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    close_resource(loop, file);
    return event;
}

static sl_event fail_stat(sl_loop loop)
{
    sl_file file = open_file(loop, PATH, SL_OPEN_READ);
    sl_stat stat = {0};
    sl_op op;
    stat.size = sizeof stat;
    CHECK_IS(sl_file_stat(file, &stat, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(stat.length, 0);
    close_resource(loop, file);
    return event;
}

static sl_event fail_path_stat(sl_loop loop)
{
    sl_stat stat = {0};
    sl_op op;
    stat.size = sizeof stat;
    CHECK_IS(sl_path_stat(loop, PATH, 0, &stat, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(stat.length, 0);
    return event;
}

static sl_event fail_truncate(sl_loop loop)
{
    sl_file file = open_file(loop, PATH, SL_OPEN_WRITE);
    sl_op op;
    CHECK_IS(sl_file_truncate(file, 5, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    check_file(bytes, LENGTH);
    close_resource(loop, file);
    return event;
}

// A close that fails has closed all the same.
static sl_event fail_close_of(sl_loop loop, uint64_t resource)
{
    sl_descriptor descriptor;
    sl_op op;
    CHECK_IS(sl_descriptor_of(resource, &descriptor), SL_OK);
    CHECK(fcntl((int)descriptor, F_GETFD) >= 0);
    CHECK_IS(sl_close(resource, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(fcntl((int)descriptor, F_GETFD), -1);
    CHECK_IS(errno, EBADF);
    CHECK_IS(sl_close(resource, NULL, &op), SL_ERR_STALE);
    CHECK_IS(counters_of(loop).resources, 0);
    return event;
}

static sl_event fail_close(sl_loop loop)
{
    return fail_close_of(loop, open_file(loop, PATH, SL_OPEN_WRITE));
}

static sl_event fail_close_listener(sl_loop loop)
{
    sl_address address;
    return fail_close_of(loop, listen_here(loop, 1, &address));
}

// Who has connected is still there to be accepted.
static sl_event fail_accept(sl_loop loop)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 1, &address);
    raw_socket other = raw_connect(&address);
    sl_op op;
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_OK);
    int64_t stream = result_of(loop, op);
    CHECK(stream > 0);
    close_resource(loop, (uint64_t)stream);
    close_resource(loop, listener);
    close_socket(other);
    return event;
}

static sl_event fail_connect(sl_loop loop)
{
    sl_address address;
    sl_descriptor descriptor;
    sl_listener listener = listen_here(loop, 1, &address);
    sl_op op;
    CHECK_IS(sl_tcp_connect(loop, &address, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(sl_descriptor_of(listener, &descriptor), SL_OK);
    CHECK(!readable(descriptor, 0));
    CHECK_IS(counters_of(loop).resources, 1);
    close_resource(loop, listener);
    return event;
}

// What was sent is still there to be received.
static sl_event fail_receive(sl_loop loop)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op op;
    CHECK_IS(send(other, "news", 4, NO_SIGNAL), 4);
    soil();
    CHECK_IS(sl_stream_receive(stream, room, 4, SL_EXACT, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK(is_soiled());
    CHECK_IS(sl_stream_receive(stream, room, 4, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    CHECK(memcmp(room, "news", 4) == 0);
    close_resource(loop, stream);
    close_socket(other);
    return event;
}

static sl_event fail_send(sl_loop loop)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op op;
    CHECK_IS(sl_stream_send(stream, "lost", 4, 0, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(sl_stream_send(stream, "news", 4, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    CHECK_IS(recv(other, (char *)room, 4, MSG_WAITALL), 4);
    CHECK(memcmp(room, "news", 4) == 0);
    close_resource(loop, stream);
    close_socket(other);
    return event;
}

static sl_event fail_shutdown(sl_loop loop)
{
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op op;
    CHECK_IS(sl_stream_shutdown(stream, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK(!readable((sl_descriptor)other, 0));
    close_resource(loop, stream);
    close_socket(other);
    return event;
}

static int called;

static int64_t call_once(void *unused)
{
    (void)unused;
    return ++called;
}

static sl_event fail_work(sl_loop loop)
{
    sl_op op;
    called = 0;
    CHECK_IS(sl_work(loop, call_once, NULL, NULL, &op), SL_OK);
    sl_event event = event_of(loop, op);
    CHECK_IS(called, 0);
    return event;
}

// --- Each kind with each error

static const struct {
    const char *name;
    int code;
    sl_status status;
} ERRORS[] = {
    {"EACCES", EACCES, SL_ERR_PERMISSION},
    {"EMFILE", EMFILE, SL_ERR_TOO_MANY_FILES},
    {"ENFILE", ENFILE, SL_ERR_TOO_MANY_FILES},
    {"ENOMEM", ENOMEM, SL_ERR_NO_MEMORY},
    {"ENOSPC", ENOSPC, SL_ERR_NO_SPACE},
    {"EROFS", EROFS, SL_ERR_READ_ONLY},
    {"EIO", EIO, SL_ERR_IO},
    {"EDQUOT", EDQUOT, SL_ERR_NO_SPACE},
    {"EFBIG", EFBIG, SL_ERR_FILE_TOO_LARGE},
    {"ENOBUFS", ENOBUFS, SL_ERR_NO_MEMORY},
    {"ECONNREFUSED", ECONNREFUSED, SL_ERR_CONNECTION_REFUSED},
    {"ETIMEDOUT", ETIMEDOUT, SL_ERR_TIMED_OUT},
    {"ENETUNREACH", ENETUNREACH, SL_ERR_NETWORK_UNREACHABLE},
    {"EHOSTUNREACH", EHOSTUNREACH, SL_ERR_HOST_UNREACHABLE},
    {"ECONNRESET", ECONNRESET, SL_ERR_CONNECTION_RESET},
    {"ECONNABORTED", ECONNABORTED, SL_ERR_CONNECTION_ABORTED},
    {"EPIPE", EPIPE, SL_ERR_BROKEN_PIPE},
    {"ENOTCONN", ENOTCONN, SL_ERR_NOT_CONNECTED},
    {"ENOENT", ENOENT, SL_ERR_NOT_FOUND},
    {"EPERM", EPERM, SL_ERR_PERMISSION},
};

enum { ERROR_COUNT = sizeof ERRORS / sizeof *ERRORS };

static const struct {
    const char *kind;
    // The errors that `error` may give.
    const char *own;
    attempt attempts[5];
} KINDS[] = {
    {"open", "EACCES EMFILE ENFILE ENOMEM ENOSPC EROFS EIO", {fail_open, fail_whole_read, fail_whole_open}},
    {"read", "EIO ENOMEM", {fail_read, fail_readv, fail_whole_read}},
    {"write", "EIO ENOSPC EDQUOT EFBIG", {fail_write, fail_writev, fail_whole_write}},
    {"sync", "EIO ENOSPC", {fail_sync}},
    {"stat", "EIO EACCES ENOMEM", {fail_stat, fail_path_stat}},
    {"truncate", "EIO EFBIG", {fail_truncate}},
    {"close", "EIO ENOSPC EDQUOT", {fail_close, fail_close_listener, fail_whole_close}},
    {"accept", "EMFILE ENFILE ENOBUFS ENOMEM", {fail_accept}},
    {"connect", "ECONNREFUSED ETIMEDOUT ENETUNREACH EHOSTUNREACH ENOBUFS", {fail_connect}},
    {"receive", "ECONNRESET ETIMEDOUT ENOBUFS", {fail_receive}},
    {"send", "EPIPE ECONNRESET ENOBUFS", {fail_send}},
    {"shutdown", "ENOTCONN", {fail_shutdown}},
    {"work", "", {fail_work}},
};

enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

static sl_event attempted(const char *kind, const char *error, attempt attempt_one, uint64_t seed)
{
    char plan[64];
    snprintf(plan, sizeof plan, "%s: %s#1", kind, error);
    sl_loop loop = open_with(plan, seed);
    sl_event event = attempt_one(loop);
    CHECK_IS(counters_of(loop).faults, 1);
    close_loop(loop);
    return event;
}

static void each_kind_with_each_error(void)
{
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        for (const attempt *next = KINDS[kind].attempts; *next; next++) {
            for (int error = 0; error < ERROR_COUNT; error++) {
                sl_event event = attempted(KINDS[kind].kind, ERRORS[error].name, *next, (uint64_t)(error + 1));
                CHECK_IS(event.result, ERRORS[error].status);
                CHECK_IS(event.os_error, ERRORS[error].code);
            }
        }
    }
}

// `error` is any of those that the kind may give, and comes to each of them.
static void any_error_of_each_kind(void)
{
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        uint32_t seen = 0, wanted = 0;
        for (int error = 0; error < ERROR_COUNT; error++) {
            wanted |= (uint32_t)(strstr(KINDS[kind].own, ERRORS[error].name) != NULL) << error;
        }
        for (uint64_t seed = 1; seen != wanted; seed++) {
            CHECK(seed < 2000);
            sl_event event = attempted(KINDS[kind].kind, "error", KINDS[kind].attempts[0], seed);
            for (int error = 0; error < ERROR_COUNT; error++) {
                seen |= (uint32_t)(event.os_error == ERRORS[error].code) << error;
            }
            CHECK_IS(seen & ~wanted, 0);
        }
    }
}

int main(void)
{
    start();
    holdings before = holdings_now();
    make_file();
    each_kind_with_each_error();
    any_error_of_each_kind();
    CHECK_IS(remove(PATH), 0);
    check_returned(before);
    printf("%d kinds, each with %d errors\n", KIND_COUNT, ERROR_COUNT);
    return 0;
}

#endif
