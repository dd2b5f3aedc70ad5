// One operation of each kind and each function of the interface, one after the other, for a run in which system calls fail: whatever
// error an operation ends with is fine, but each ends, what it says it has done it has done, and no descriptor is left. What the
// program itself calls is tried again. scripts/check-syscall-faults.sh runs it with a fault at each system call.
//
// faulted

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("it counts the descriptors of Unix");
}

#else

// Beyond this, whatever an operation waits for does not come: the fault has taken it away.
#define ENOUGH (300 * MILLISECOND)

#define AGAIN_UNTIL_DONE(result, call)                                                                                             \
    do {                                                                                                                           \
        for (int tries = 0; tries < 4 && ((result) = (call)) < 0; tries++) {                                                       \
        }                                                                                                                          \
        CHECK((result) >= 0);                                                                                                      \
    } while (0)

static sl_loop loop;
static uint32_t inline_flag;
static int successes, failures, called;

static int open_descriptors(void)
{
    enum { MOST = 64 };
    struct pollfd entries[MOST];
    int count = 0, done;
    for (int i = 0; i < MOST; i++) {
        entries[i] = (struct pollfd){i, 0, 0};
    }
    AGAIN_UNTIL_DONE(done, poll(entries, MOST, 0));
    for (int i = 0; i < MOST; i++) {
        count += !(entries[i].revents & POLLNVAL);
    }
    return count;
}

static void say_what_is_open(void)
{
    char link[64], target[200];
    for (int i = 0; i < 64; i++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", i);
        ssize_t length = readlink(link, target, sizeof target);
        if (length > 0) {
            fprintf(stderr, "%d: %.*s\n", i, (int)length, target);
        }
    }
}

static sl_options bounded(void)
{
    sl_options options = tagged(0);
    options.timeout_ns = ENOUGH;
    options.flags = inline_flag;
    return options;
}

static sl_options bounded_handle(void)
{
    sl_options options = bounded();
    options.delivery = SL_DELIVER_HANDLE;
    return options;
}

// Counts an end; whether it is a success.
static int good(int64_t result)
{
    CHECK(result >= 0 || strcmp(harness_name(result), "SL_ERR_?") != 0);
    *(result >= 0 ? &successes : &failures) += 1;
    return result >= 0;
}

// Waits for the last event of an operation that was accepted: it has a deadline, so there is one.
static sl_event end_of(sl_status accepted, sl_op op)
{
    sl_event event = {0};
    event.result = accepted;
    if (good(accepted)) {
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        CHECK_IS(event.op, op);
        good(event.result);
    }
    return event;
}

#define END_OF(call) (options = bounded_handle(), status = (call), end_of(status, op))
#define LOCALS                                                                                                                     \
    sl_options options;                                                                                                            \
    sl_status status;                                                                                                              \
    sl_op op = 0;                                                                                                                  \
    sl_event event

static void close_id(uint64_t id)
{
    LOCALS;
    event = END_OF(sl_close(id, &options, &op));
    CHECK_IS(event.kind, status < 0 ? 0 : SL_CLOSE);
}

static void take_lent(const sl_event *event, uint64_t seed, uint64_t position)
{
    if (event->flags & SL_EVENT_LENT) {
        CHECK(event->result > 0);
        CHECK(matches(event->data, (size_t)event->result, seed, position));
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Files

enum { LENGTH = 3000 };

static uint8_t out[LENGTH], in[LENGTH];

// What was written is there; what an error says was written before it, too.
static int written(const sl_event *event)
{
    CHECK(event->result < 0 || event->result == LENGTH);
    CHECK(!(event->flags & SL_EVENT_PARTIAL) || event->detail <= LENGTH);
    return event->result == LENGTH;
}

static void read_back(sl_file file)
{
    LOCALS;
    sl_slice halves[2] = {{in, 1000}, {in + 1000, LENGTH - 1000}};
    event = END_OF(sl_file_read(file, in, LENGTH, 0, SL_EXACT, &options, &op));
    CHECK(event.result < 0 || (event.result == LENGTH && matches(in, LENGTH, 3, 0)));
    event = END_OF(sl_file_readv(file, halves, 2, 0, 0, &options, &op));
    CHECK(event.result < 0 || (event.result > 0 && matches(in, (size_t)event.result, 3, 0)));
    event = END_OF(sl_file_read(file, NULL, 500, 100, 0, &options, &op));
    CHECK(event.result < 0 || event.flags & SL_EVENT_LENT);
    take_lent(&event, 3, 100);
    // Where the position is after the write that came before depends on how that went; its error is enough here.
    event = END_OF(sl_file_read(file, in, 10, SL_OFFSET_CURRENT, 0, &options, &op));
    CHECK(event.result <= 10);
}

static void change(sl_file file)
{
    LOCALS;
    sl_stat stat = {0};
    sl_slice halves[2] = {{out, 1000}, {out + 1000, LENGTH - 1000}};
    event = END_OF(sl_file_write(file, out, LENGTH, 0, 0, &options, &op));
    int whole = written(&event);
    event = END_OF(sl_file_writev(file, halves, 2, 0, 0, &options, &op));
    if (written(&event) || whole) {
        read_back(file);
        stat.size = sizeof stat;
        event = END_OF(sl_file_stat(file, &stat, &options, &op));
        CHECK(event.result < 0 || (stat.length == LENGTH && stat.type == SL_TYPE_FILE));
    }
    END_OF(sl_file_write(file, out, 10, SL_OFFSET_CURRENT, 0, &options, &op));
    END_OF(sl_file_sync(file, 0, &options, &op));
    END_OF(sl_file_sync(file, SL_DATA_ONLY, &options, &op));
    event = END_OF(sl_file_truncate(file, 100, &options, &op));
    if (event.result == 0) {
        event = END_OF(sl_file_stat(file, &stat, &options, &op));
        CHECK(event.result < 0 || stat.length == 100);
    }
}

static void paths(void)
{
    LOCALS;
    sl_stat stat = {0};
    stat.size = sizeof stat;
    event = END_OF(sl_path_write(loop, "faulted.tmp", out, LENGTH, 0, 0644, &options, &op));
    if (written(&event)) {
        event = END_OF(sl_path_stat(loop, "faulted.tmp", 0, &stat, &options, &op));
        CHECK(event.result < 0 || stat.length == LENGTH);
        event = END_OF(sl_path_read(loop, "faulted.tmp", &options, &op));
        CHECK(event.result < 0 || event.result == LENGTH);
        take_lent(&event, 3, 0);
    }
    event = END_OF(sl_path_read(loop, "no-such-file.tmp", &options, &op));
    CHECK(event.result < 0);
}

// Whatever fails, a file that is replaced is as it was, which is empty, or has all that it was to have.
static void check_whole(const char *path)
{
    LOCALS;
    event = END_OF(sl_path_read(loop, path, &options, &op));
    CHECK(event.result <= 0 || event.result == LENGTH);
    take_lent(&event, 3, 0);
}

static void release(const sl_event *event)
{
    if (event->flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
    }
}

static void names(void)
{
    LOCALS;
    char name[] = "names.tmp/?";
    END_OF(sl_path_make_directory(loop, "names.tmp", 0755, &options, &op));
    END_OF(sl_path_write(loop, "names.tmp/a", out, 0, 0, 0644, &options, &op));
    event = END_OF(sl_path_write(loop, "names.tmp/a", out, LENGTH, SL_WRITE_REPLACE | SL_WRITE_SYNC, 0644, &options, &op));
    CHECK(event.result < 0 || written(&event));
    check_whole("names.tmp/a");
    event = END_OF(sl_path_copy(loop, "names.tmp/a", "names.tmp/b", 0, 0644, &options, &op));
    check_whole("names.tmp/b");
    END_OF(sl_path_rename(loop, "names.tmp/b", "names.tmp/c", 0, &options, &op));
    END_OF(sl_path_rename(loop, "names.tmp/c", "names.tmp/d", SL_NO_REPLACE, &options, &op));
    END_OF(sl_path_link(loop, "names.tmp/a", "names.tmp/e", 0, &options, &op));
    END_OF(sl_path_link(loop, "a", "names.tmp/f", SL_SYMBOLIC, &options, &op));
    event = END_OF(sl_path_read_link(loop, "names.tmp/f", &options, &op));
    CHECK(event.result < 0 || (event.result == 1 && memcmp(event.data, "a", 1) == 0));
    release(&event);
    event = END_OF(sl_path_list(loop, "names.tmp", &options, &op));
    release(&event);
    for (const char *one = "adef"; *one; one++) {
        name[sizeof name - 2] = *one;
        END_OF(sl_path_remove(loop, name, 0, &options, &op));
    }
    END_OF(sl_path_remove(loop, "names.tmp", SL_DIRECTORY, &options, &op));
}

static void files(void)
{
    LOCALS;
    const uint32_t flags = SL_OPEN_READ | SL_OPEN_WRITE | SL_OPEN_CREATE | SL_OPEN_TRUNCATE;
    event = END_OF(sl_file_open(loop, "faulted.tmp", flags, 0644, &options, &op));
    if (event.result > 0) {
        change((sl_file)event.result);
        close_id((uint64_t)event.result);
    }
    paths();
    names();
}

// ---------------------------------------------------------------------------------------------------------------------
// Streams

static void ask(sl_stream stream)
{
    int64_t value = 0;
    sl_descriptor descriptor = -1;
    sl_address address;
    if (good(sl_stream_set(stream, SL_STREAM_NO_DELAY, 0)) && good(sl_stream_get(stream, SL_STREAM_NO_DELAY, &value))) {
        CHECK_IS(value, 0);
    }
    if (good(sl_local_address(stream, &address))) {
        CHECK_IS(address.bytes[0], 127);
    }
    if (good(sl_peer_address(stream, &address))) {
        CHECK_IS(address.bytes[0], 127);
    }
    CHECK(!good(sl_descriptor_of(stream, &descriptor)) || descriptor >= 0);
}

// Receives what was sent, all of it unless there is an error.
static void receive_all(sl_stream stream, int64_t length, int lent)
{
    LOCALS;
    for (int64_t position = 0; position < length; position += event.result) {
        event = END_OF(sl_stream_receive(stream, lent ? NULL : in, lent ? 700 : (size_t)(length - position), lent ? 0 : SL_EXACT,
                                         &options, &op));
        if (event.result <= 0) {
            return;
        }
        CHECK(lent ? event.flags & SL_EVENT_LENT : event.result == length - position);
        take_lent(&event, 3, (uint64_t)position);
        CHECK(lent || matches(in, (size_t)event.result, 3, (uint64_t)position));
    }
}

// A receive waits until something is sent.
static void late_send(sl_stream from, sl_stream to)
{
    LOCALS;
    sl_op receiving;
    options = bounded_handle();
    sl_status waiting = sl_stream_receive(to, in, LENGTH, SL_EXACT, &options, &receiving);
    event = END_OF(sl_stream_send(from, out, LENGTH, 0, &options, &op));
    int whole = written(&event);
    event = end_of(waiting, receiving);
    CHECK(event.result < 0 || !whole || (event.result == LENGTH && matches(in, LENGTH, 3, 0)));
}

// Pieces as they come, up to the end of the stream.
static void multishot(sl_stream from, sl_stream to)
{
    LOCALS;
    uint64_t position = 0;
    options = bounded();
    sl_status waiting = sl_stream_receive(to, NULL, 0, SL_MULTISHOT, &options, NULL);
    event = END_OF(sl_stream_send(from, out, LENGTH, 0, &options, &op));
    int whole = written(&event);
    END_OF(sl_stream_shutdown(from, &options, &op));
    while (good(waiting)) {
        CHECK_IS(sl_wait(loop, &event, 1, PATIENCE), 1);
        take_lent(&event, 3, position);
        position += event.result > 0 ? (uint64_t)event.result : 0;
        if (!(event.flags & SL_EVENT_MORE)) {
            CHECK(event.result != 0 || !whole || position == LENGTH);
            good(event.result);
            break;
        }
    }
}

static void talk(sl_stream here, sl_stream there)
{
    LOCALS;
    sl_slice halves[2] = {{out, 1000}, {out + 1000, LENGTH - 1000}};
    int before = failures;
    ask(here);
    event = END_OF(sl_stream_send(here, out, LENGTH, 0, &options, &op));
    if (!written(&event)) {
        return;
    }
    receive_all(there, LENGTH, 0);
    // What an error has left of that would come first.
    if (failures == before) {
        event = END_OF(sl_stream_sendv(there, halves, 2, &options, &op));
        receive_all(here, written(&event) ? LENGTH : 0, 1);
    }
    if (failures == before) {
        late_send(here, there);
    }
    if (failures == before) {
        multishot(here, there);
    }
}

static void connection(void)
{
    LOCALS;
    sl_listener listener;
    sl_address address;
    sl_listen_options listening = {sizeof listening, 0, 4, 0};
    sl_op accepting;
    CHECK_IS(sl_address_parse("127.0.0.1:0", &address), SL_OK);
    if (!good(sl_tcp_listen(loop, &address, &listening, &listener))) {
        return;
    }
    if (good(sl_local_address(listener, &address))) {
        options = bounded_handle();
        sl_status waiting = sl_tcp_accept(listener, 0, &options, &accepting);
        event = END_OF(sl_tcp_connect(loop, &address, &options, &op));
        sl_event accepted = end_of(waiting, accepting);
        if (event.result > 0 && accepted.result > 0) {
            talk((sl_stream)event.result, (sl_stream)accepted.result);
        }
        if (event.result > 0) {
            close_id((uint64_t)event.result);
        }
        if (accepted.result > 0) {
            close_id((uint64_t)accepted.result);
        }
    }
    close_id(listener);
}

// One connection, and then a cancel.
static void multishot_accept(void)
{
    LOCALS;
    sl_listener listener;
    sl_address address;
    sl_op accepting;
    CHECK_IS(sl_address_parse("127.0.0.1:0", &address), SL_OK);
    if (!good(sl_tcp_listen(loop, &address, NULL, &listener))) {
        return;
    }
    if (good(sl_local_address(listener, &address))) {
        options = bounded();
        sl_status waiting = sl_tcp_accept(listener, SL_MULTISHOT, &options, &accepting);
        event = END_OF(sl_tcp_connect(loop, &address, &options, &op));
        if (event.result > 0) {
            close_id((uint64_t)event.result);
        }
        while (good(waiting)) {
            CHECK_IS(sl_wait(loop, &event, 1, PATIENCE), 1);
            if (event.result > 0) {
                close_id((uint64_t)event.result);
            }
            if (!(event.flags & SL_EVENT_MORE)) {
                break;
            }
            sl_op_cancel(accepting);
        }
    }
    close_id(listener);
}

static void pipes(void)
{
    int ends[2], done;
    sl_stream stream;
    AGAIN_UNTIL_DONE(done, pipe(ends));
    if (good(sl_stream_adopt(loop, ends[0], &stream))) {
        AGAIN_UNTIL_DONE(done, (int)write(ends[1], out, 8));
        receive_all(stream, 8, 1);
        close_id(stream);
    } else {
        close(ends[0]);
    }
    close(ends[1]);
}

// ---------------------------------------------------------------------------------------------------------------------
// The rest

static int64_t some_work(void *unused)
{
    (void)unused;
    return 9;
}

static void on_event(sl_loop of, const sl_event *event)
{
    (void)of;
    good(event->result);
    called++;
}

static void loop_itself(void)
{
    LOCALS;
    sl_descriptor wake;
    event = END_OF(sl_nop(loop, &options, &op));
    event = END_OF(sl_post(loop, 7, &options, &op));
    CHECK(event.result < 0 || event.result == 7);
    event = END_OF(sl_work(loop, some_work, NULL, &options, &op));
    CHECK(event.result < 0 || event.result == 9);
    event = END_OF(sl_timer(loop, MILLISECOND, 0, &options, &op));
    CHECK(event.result < 0 || event.result == 1);
    options = bounded_handle();
    status = sl_timer(loop, INT64_MAX, 0, &options, &op);
    if (good(status)) {
        CHECK_IS(sl_op_cancel(op), SL_OK);
        event = end_of(status, op);
        CHECK(event.result < 0);
        failures--; // It is meant to.
    }
    options = bounded();
    options.delivery = SL_DELIVER_DISPATCH;
    options.callback = on_event;
    int before = called;
    if (good(sl_nop(loop, &options, &op))) {
        CHECK_IS(sl_dispatch(loop, 0, PATIENCE), 1);
        CHECK_IS(called, before + 1);
    }
    if (good(sl_loop_wake_descriptor(loop, &wake))) {
        struct pollfd entry = {(int)wake, POLLIN, 0};
        int ready = 0;
        options = bounded();
        if (good(sl_post(loop, 7, &options, &op))) {
            AGAIN_UNTIL_DONE(ready, poll(&entry, 1, 10000));
            CHECK_IS(ready, 1);
            CHECK_IS(sl_poll(loop, &event, 1), 1);
            CHECK_IS(event.op, op);
        }
    }
}

int main(void)
{
    watchdog(20);
    fill(out, sizeof out, 3, 0);
    int before = open_descriptors();
    if (good(sl_loop_open(NULL, &loop))) {
        for (int i = 0; i < 2; i++) {
            inline_flag = i == 0 ? 0 : SL_OPTION_NO_INLINE;
            loop_itself();
            files();
            connection();
            multishot_accept();
            pipes();
        }
        close_loop(loop);
    }
    // A system call for closing that is made to fail has closed nothing.
    const char *leaks = getenv("FAULTED_LEAKS");
    int left = open_descriptors() - before;
    if (left != 0 && !(leaks && left > 0 && left <= atoi(leaks))) {
        say_what_is_open();
        CHECK_IS(left, 0);
    }
    int done;
    char said[100];
    int length = snprintf(said, sizeof said, "%d good, %d failed\n", successes, failures);
    AGAIN_UNTIL_DONE(done, (int)write(1, said, (size_t)length));
    remove("faulted.tmp");
    return 0;
}

#endif
