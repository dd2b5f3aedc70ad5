// Out of descriptors: what needs one says so and leaves nothing behind; a multishot accept rests, tries again less than 20
// times a second, and goes on when descriptors are free, until every connection that was made has arrived.
//
// descriptors [connections = 200] [milliseconds during which nothing is freed = 2000]

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("Windows has no limit of descriptors");
}

#else

#include <errno.h>
#include <sys/wait.h>

#ifdef __linux__
#include <stdatomic.h>
#include <sys/syscall.h>

static atomic_int fruitless_accepts;

// The library gets this instead of the system's accept4: calls that find no descriptor are counted. (io_uring makes no calls.)
// Named by the assembler, for the system's headers declare it in more than one way.
int counting_accept4(int listener, void *address, void *length, int flags) __asm__("accept4");

int counting_accept4(int listener, void *address, void *length, int flags)
{
    int accepted = (int)syscall(SYS_accept4, listener, address, length, flags);
    if (accepted < 0 && errno == EMFILE) {
        atomic_fetch_add(&fruitless_accepts, 1);
    }
    return accepted;
}
#endif

enum { FREE = 16 };

static struct rlimit usual;

static void limit_descriptors(rlim_t below)
{
    struct rlimit limit = usual;
    limit.rlim_cur = below;
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void lift_limit(void)
{
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

// Lets `count` more descriptors be had, and no further one.
static void leave_free(int count)
{
    int taken[FREE + 1];
    CHECK(count <= FREE);
    // The lowest free number comes first, so the last of these is the first that is not to be had.
    for (int i = 0; i <= count; i++) {
        taken[i] = dup(0);
        CHECK(taken[i] >= 0);
    }
    for (int i = 0; i <= count; i++) {
        close(taken[i]);
    }
    limit_descriptors((rlim_t)taken[count]);
}

// A loop opens, or says what it lacks, however many descriptors are left.
static void opening(void)
{
    int opened = 0;
    for (int count = 0; count <= FREE; count++) {
        holdings before = holdings_now();
        sl_loop loop = 0;
        leave_free(count);
        sl_status status = sl_loop_open(NULL, &loop);
        int os_error = sl_last_os_error();
        if (status == SL_OK) {
            sl_op op;
            CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
            CHECK_IS(result_of(loop, op), 0);
            close_loop(loop);
            opened++;
        } else {
            CHECK_IS(status, SL_ERR_TOO_MANY_FILES);
            CHECK_IS(os_error, EMFILE);
            CHECK_IS(loop, 0);
            // Whoever had enough has enough with one more.
            CHECK_IS(opened, 0);
        }
        lift_limit();
        check_returned(before);
    }
    CHECK(opened > 0 && opened <= FREE);
}

static void check_too_many(sl_loop loop, sl_status status, sl_op op)
{
    CHECK_IS(status, SL_OK);
    sl_event event = next_event(loop);
    CHECK_IS(event.op, op);
    CHECK_IS(event.result, SL_ERR_TOO_MANY_FILES);
    CHECK_IS(event.os_error, EMFILE);
    CHECK_IS(event.flags, 0);
}

// Everything that opens something, with nothing left; what needs no descriptor works.
static void operations(void)
{
    sl_loop loop = open_loop(NULL);
    sl_address address, free_port;
    sl_listener listener = listen_here(loop, 0, &address), more = 0;
    raw_socket client = raw_connect(&address);
    sl_stream here, there;
    sl_descriptor wake = -1;
    sl_op op;
    connect_pair(loop, &here, &there);
    CHECK_IS(sl_address_parse("127.0.0.1:0", &free_port), SL_OK);
    // The workers' threads and the first use of everything else are behind us.
    CHECK_IS(sl_path_write(loop, "descriptors.tmp", "kept", 4, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    leave_free(0);
    sl_status status = sl_path_read(loop, "descriptors.tmp", NULL, &op);
    check_too_many(loop, status, op);
    status = sl_path_write(loop, "descriptors.tmp", "lost", 4, 0, 0644, NULL, &op);
    check_too_many(loop, status, op);
    status = sl_file_open(loop, "descriptors.tmp", SL_OPEN_READ, 0, NULL, &op);
    check_too_many(loop, status, op);
    status = sl_tcp_accept(listener, 0, NULL, &op);
    check_too_many(loop, status, op);
    status = sl_tcp_connect(loop, &address, NULL, &op);
    check_too_many(loop, status, op);
    CHECK_IS(sl_tcp_listen(loop, &free_port, NULL, &more), SL_ERR_TOO_MANY_FILES);
    CHECK_IS(sl_loop_wake_descriptor(loop, &wake), SL_ERR_TOO_MANY_FILES);
    CHECK(more == 0 && wake == -1);
    CHECK_IS(sl_stream_send(here, "x", 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 1);
    char byte;
    CHECK_IS(sl_stream_receive(there, &byte, 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 1);
    lift_limit();
    // What failed took nothing away: the connection still waits, and the file is whole.
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_OK);
    int64_t accepted = result_of(loop, op);
    CHECK(accepted > 0);
    CHECK_IS(sl_path_read(loop, "descriptors.tmp", NULL, &op), SL_OK);
    sl_event event = next_event(loop);
    CHECK_IS(event.result, 4);
    CHECK(memcmp(event.data, "kept", 4) == 0);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    CHECK_IS(sl_loop_wake_descriptor(loop, &wake), SL_OK);
    close_resource(loop, (sl_stream)accepted);
    close_resource(loop, here);
    close_resource(loop, there);
    close_resource(loop, listener);
    close_loop(loop);
    close_socket(client);
    CHECK_IS(remove("descriptors.tmp"), 0);
}

// Makes the connections, each of which says its number, and waits until each is closed. In a process of its own, for it needs
// descriptors. `made_all` becomes readable when all are made.
static pid_t connect_elsewhere(const sl_address *address, size_t connections, int *made_all)
{
    int ends[2];
    CHECK_IS(pipe(ends), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child > 0) {
        close(ends[1]);
        *made_all = ends[0];
        return child;
    }
    watchdog(120);
    raw_socket *made = calloc(connections, sizeof *made);
    CHECK(made);
    for (size_t i = 0; i < connections; i++) {
        uint32_t number = (uint32_t)i;
        made[i] = raw_connect(address);
        CHECK_IS(send(made[i], &number, sizeof number, NO_SIGNAL), sizeof number);
    }
    CHECK_IS(write(ends[1], "", 1), 1);
    for (size_t i = 0; i < connections; i++) {
        char byte;
        CHECK_IS(recv(made[i], &byte, 1, 0), 0);
    }
    _exit(0);
}

static void multishot(size_t connections, uint64_t stall_ns)
{
    sl_loop loop = open_loop(NULL);
    sl_address address;
    sl_listener listener = listen_here(loop, (uint32_t)connections, &address);
    char *seen = calloc(connections, 1);
    sl_op accepting, op;
    sl_stream open[FREE];
    size_t arrived = 0, held = 0;
    CHECK(seen);
    int made_all;
    char byte;
    pid_t child = connect_elsewhere(&address, connections, &made_all);
    leave_free(FREE);
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, NULL, &accepting), SL_OK);
    while (held < FREE) {
        sl_event event = next_event(loop);
        CHECK(event.op == accepting && event.flags == SL_EVENT_MORE && event.result > 0);
        open[held++] = (sl_stream)event.result;
    }

    // Nothing is left: the accept neither ends nor spins. Each try takes a turn of the loop to begin and another to end; so does
    // hearing of a new connection, and there are none any more.
    sl_event event;
    CHECK_IS(read(made_all, &byte, 1), 1);
    sl_counters before = counters_of(loop);
#ifdef __linux__
    int fruitless = atomic_load(&fruitless_accepts);
#endif
    uint64_t begun = now_ns();
    CHECK_IS(sl_wait(loop, &event, 1, stall_ns), 0);
    double seconds = (double)(now_ns() - begun) / 1e9;
    double turns = (double)(counters_of(loop).turns - before.turns);
    CHECK_IS(sl_op_status(accepting), 0);
    CHECK(turns / 2 < 20 * seconds);
#ifdef __linux__
    fruitless = atomic_load(&fruitless_accepts) - fruitless;
    CHECK(fruitless < 20 * seconds);
    // Elsewhere than here nobody can count.
    CHECK((fruitless > 0) == (sl_loop_driver(loop, NULL, 0) == SL_DRIVER_POLL));
    printf("%d failed accept4 and %.0f turns in %.1f s, ", fruitless, turns, seconds);
#endif
    CHECK(turns > 0);

    // All that are open are closed, then as many come.
    sl_options handle = by_handle();
    while (arrived < connections) {
        uint32_t number = UINT32_MAX;
        sl_stream stream = open[arrived % FREE];
        CHECK_IS(sl_stream_receive(stream, &number, sizeof number, SL_EXACT, &handle, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        CHECK_IS(event.result, sizeof number);
        CHECK(number < connections && !seen[number]);
        seen[number] = 1;
        CHECK_IS(sl_close(stream, &handle, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        CHECK_IS(event.result, 0);
        arrived++;
        while (held < connections && held < arrived + FREE && arrived % FREE == 0) {
            event = next_event(loop);
            CHECK(event.op == accepting && event.flags == SL_EVENT_MORE && event.result > 0);
            open[held++ % FREE] = (sl_stream)event.result;
        }
    }
    lift_limit();
    CHECK_IS(sl_op_cancel(accepting), SL_OK);
    CHECK_IS(result_of(loop, accepting), SL_ERR_CANCELLED);
    CHECK_IS(counters_of(loop).more, connections);
    int status;
    CHECK_IS(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    printf("%zu connections through %d descriptors\n", arrived, FREE);
    free(seen);
    close(made_all);
    close_resource(loop, listener);
    close_loop(loop);
}

int main(int argc, char **argv)
{
    start();
    CHECK_IS(getrlimit(RLIMIT_NOFILE, &usual), 0);
    holdings before = holdings_now();
    opening();
    operations();
    multishot(argument(argc, argv, 1, 200), argument(argc, argv, 2, 2000) * MILLISECOND);
    check_returned(before);
    return 0;
}

#endif
