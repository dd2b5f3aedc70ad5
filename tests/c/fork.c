// fork: in the child every call on the parent's loops says so and none hangs, although other threads of the parent were in
// the middle of calls; the child's own loop works; the parent's loops, which carry bytes all the while, go on as if nothing had
// been.
//
// fork [forks = 100] [busy threads = 4]

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("Windows has no fork");
}

#else

#include <stdatomic.h>
#include <sys/wait.h>

static sl_loop loop;
static sl_file file;
static sl_stream stream, peer;
static sl_op waiting;
static atomic_int stop, rounds_of_parent;

// Every kind of call on what the parent has.
static void check_forked(void)
{
    sl_event event;
    sl_op op = 0;
    sl_counters counters;
    sl_descriptor descriptor;
    char byte;
    counters.size = sizeof counters;
    CHECK_IS(sl_poll(loop, &event, 1), SL_ERR_FORKED);
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), SL_ERR_FORKED);
    CHECK_IS(sl_dispatch(loop, 0, SL_FOREVER), SL_ERR_FORKED);
    CHECK_IS(sl_nop(loop, NULL, &op), SL_ERR_FORKED);
    CHECK_IS(sl_file_read(file, &byte, 1, 0, 0, NULL, &op), SL_ERR_FORKED);
    CHECK_IS(sl_stream_send(stream, "x", 1, 0, NULL, &op), SL_ERR_FORKED);
    CHECK_IS(sl_close(stream, NULL, &op), SL_ERR_FORKED);
    CHECK_IS(sl_op_cancel(waiting), SL_ERR_FORKED);
    CHECK_IS(sl_op_status(waiting), SL_ERR_FORKED);
    CHECK_IS(sl_op_wait(waiting, SL_FOREVER, &event), SL_ERR_FORKED);
    CHECK_IS(sl_loop_counters(loop, &counters), SL_ERR_FORKED);
    CHECK_IS(sl_loop_wake_descriptor(loop, &descriptor), SL_ERR_FORKED);
    CHECK_IS(sl_descriptor_of(file, &descriptor), SL_ERR_FORKED);
    CHECK_IS(sl_loop_shutdown(loop), SL_ERR_FORKED);
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), SL_ERR_FORKED);
    CHECK_IS(op, 0);
}

static void own_loop(void)
{
    sl_loop own = open_loop(NULL);
    sl_stream a, b;
    sl_op op;
    connect_pair(own, &a, &b);
    CHECK_IS(sl_stream_send(a, "child", 5, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(own, op), 5);
    char bytes[5];
    CHECK_IS(sl_stream_receive(b, bytes, 5, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(own, op), 5);
    CHECK(memcmp(bytes, "child", 5) == 0);
    CHECK_IS(sl_path_read(own, "/proc/self/stat", NULL, &op), SL_OK);
    sl_event event = next_event(own);
    CHECK(event.result > 0 || event.result == SL_ERR_NOT_FOUND);
    if (event.flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    close_resource(own, a);
    close_resource(own, b);
    close_loop(own);
}

static void check_child(pid_t child)
{
    int status;
    CHECK(child > 0);
    CHECK_IS(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_IS(WEXITSTATUS(status), 0);
}

// Sends what the other end receives, in pieces of its own memory and of lent memory: no byte of it is lost or changed.
static void carry(sl_loop own, sl_stream here, sl_stream there, uint64_t round)
{
    enum { LENGTH = 50000 };
    static _Thread_local uint8_t sent[LENGTH], received[LENGTH];
    sl_op op;
    size_t done = LENGTH / 2;
    fill(sent, LENGTH, round, 0);
    CHECK_IS(sl_stream_send(here, sent, LENGTH, 0, NULL, &op), SL_OK);
    CHECK_IS(sl_stream_receive(there, received, done, SL_EXACT, NULL, &op), SL_OK);
    for (int i = 0; i < 2; i++) {
        sl_event event = next_event(own);
        CHECK_IS(event.result, event.op == op ? done : LENGTH);
    }
    CHECK(matches(received, done, round, 0));
    while (done < LENGTH) {
        CHECK_IS(sl_stream_receive(there, NULL, 0, 0, NULL, &op), SL_OK);
        sl_event event = next_event(own);
        CHECK(event.op == op && event.result > 0);
        CHECK(matches(event.data, (size_t)event.result, round, done));
        done += (size_t)event.result;
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
}

// Keeps the library's locks and a loop of its own busy while the process is copied.
static void *keep_busy(void *unused)
{
    (void)unused;
    sl_options options = by_handle();
    sl_loop own = open_loop(NULL);
    sl_stream here, there;
    connect_pair(own, &here, &there);
    for (uint64_t round = 0; !atomic_load(&stop); round++) {
        carry(own, here, there, round);
        sl_event event;
        sl_op op;
        CHECK_IS(sl_nop(loop, &options, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
        sl_loop passing = open_loop(NULL);
        CHECK_IS(sl_loop_close(passing, SL_FOREVER), 0);
        atomic_fetch_add(&rounds_of_parent, 1);
    }
    close_resource(own, here);
    close_resource(own, there);
    close_loop(own);
    return NULL;
}

static void child_of_child(void)
{
    pid_t grandchild = fork();
    if (grandchild == 0) {
        watchdog(60);
        check_forked();
        own_loop();
        _exit(0);
    }
    check_child(grandchild);
}

static void fork_while_busy(size_t forks, size_t busy)
{
    pthread_t threads[64];
    CHECK(busy <= 64);
    for (size_t i = 0; i < busy; i++) {
        threads[i] = spawn(keep_busy, NULL);
    }
    for (size_t i = 0; i < forks; i++) {
        pid_t child = fork();
        if (child == 0) {
            // A call that waits for a lock of a thread that is not here would wait for ever.
            watchdog(60);
            check_forked();
            if (i % 4 == 0) {
                own_loop();
            }
            _exit(0);
        }
        check_child(child);
    }
    atomic_store(&stop, 1);
    for (size_t i = 0; i < busy; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%zu forks, during which the parent went %d rounds\n", forks, atomic_load(&rounds_of_parent));
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    sl_event event;
    sl_op op;
    sl_options options = by_handle();
    char bytes[8];
    loop = open_loop(NULL);
    CHECK_IS(sl_path_write(loop, "fork.tmp", "parent", 6, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 6);
    file = open_file(loop, "fork.tmp", SL_OPEN_READ);
    connect_pair(loop, &stream, &peer);
    CHECK_IS(sl_timer(loop, INT64_MAX, 0, &options, &waiting), SL_OK);
    CHECK_IS(sl_stream_receive(peer, bytes, 6, SL_EXACT, &options, &op), SL_OK);

    pid_t child = fork();
    if (child == 0) {
        watchdog(60);
        check_forked();
        own_loop();
        child_of_child();
        check_forked();
        // Not _exit: what runs at a normal exit must not trip over the parent's loop either.
        exit(0);
    }
    check_child(child);
    fork_while_busy(argument(argc, argv, 1, 100), argument(argc, argv, 2, 4));

    // What was under way in the parent is still.
    CHECK_IS(sl_op_poll(op, &event), 0);
    CHECK_IS(sl_stream_send(stream, "parent", 6, 0, NULL, NULL), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK_IS(event.result, 6);
    CHECK(memcmp(bytes, "parent", 6) == 0);
    CHECK_IS(next_event(loop).result, 6);
    CHECK_IS(sl_op_cancel(waiting), SL_OK);
    CHECK_IS(sl_op_wait(waiting, PATIENCE, &event), 1);
    close_resource(loop, file);
    close_resource(loop, stream);
    close_resource(loop, peer);
    close_loop(loop);
    CHECK_IS(remove("fork.tmp"), 0);
    check_returned(before);
    return 0;
}

#endif
