// Defects that were found once, each with the shortest program that showed it.
//
// regressions

#include "harness.h"

// A lent buffer that can never fit was waited for while any other was out.
static void what_never_fits_is_refused_at_once(void)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_lent_bytes = 65536;
    sl_loop loop = open_loop(&options);
    sl_op op;
    CHECK_IS(sl_path_write(loop, "small.tmp", "small", 5, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 5);
    size_t large = 200000;
    char *bytes = calloc(1, large);
    CHECK(bytes);
    CHECK_IS(sl_path_write(loop, "large.tmp", bytes, large, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), large);
    CHECK_IS(sl_path_read(loop, "small.tmp", NULL, &op), SL_OK);
    sl_event held = next_event(loop);
    CHECK_IS(held.result, 5);
    CHECK_IS(sl_path_read(loop, "large.tmp", NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_NO_BUFFERS);
    CHECK_IS(sl_buffer_release(held.detail), SL_OK);
    free(bytes);
    close_loop(loop);
    remove("small.tmp");
    remove("large.tmp");
}

static void keep_busy(sl_loop loop, const sl_event *event)
{
    (void)loop;
    for (uint64_t until_then = now_ns() + event->user_data; now_ns() < until_then;) {
    }
}

// A timer due before its deadline ended as timed out where the loop looked after both.
static void a_timer_due_before_its_deadline_fires(void)
{
    sl_loop loop = open_loop(NULL);
    for (int round = 0; round < 5; round++) {
        sl_options busy = delivered(SL_DELIVER_THREAD, 30 * MILLISECOND, keep_busy);
        sl_options limited = until(10 * MILLISECOND);
        sl_op op;
        CHECK_IS(sl_timer(loop, 5 * MILLISECOND, 0, &limited, &op), SL_OK);
        CHECK_IS(sl_nop(loop, &busy, NULL), SL_OK);
        CHECK_IS(result_of(loop, op), 1);
    }
    // The last callback may be still to come.
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), 0);
}

static _Atomic uint64_t ticks;

static void count_tick(sl_loop loop, const sl_event *event)
{
    (void)loop;
    (void)event;
    ticks++;
}

// Timers that fire faster than the loop can go round kept it from everything else, and ate memory.
static void timers_on_the_loops_thread_leave_room_for_others(void)
{
    sl_loop loop = open_loop(NULL);
    sl_options options = delivered(SL_DELIVER_THREAD, 0, count_tick);
    sl_op timers[64];
    for (int i = 0; i < 64; i++)
        CHECK_IS(sl_timer(loop, 0, 1000, &options, &timers[i]), SL_OK);
    for (int i = 0; i < 20; i++) {
        sl_op op;
        CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), 0);
    }
    CHECK(ticks > 0);
    for (int i = 0; i < 64; i++)
        CHECK_IS(sl_op_cancel(timers[i]), SL_OK);
    CHECK_IS(sl_loop_shutdown(loop), SL_OK);
    sl_event event;
    CHECK_IS(sl_wait(loop, &event, 1, PATIENCE), SL_ERR_SHUT_DOWN);
    close_loop(loop);
}

// The loop's own opening could take the last place between an adopt's check and its end; the descriptor was then closed.
static void a_loop_without_places_opens_nothing(void)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_resources = 1;
    sl_loop loop = open_loop(&options);
    sl_op op;
    CHECK_IS(sl_path_write(loop, "kept.tmp", "kept", 4, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    sl_file file = open_file(loop, "kept.tmp", SL_OPEN_READ);
    // Refused before it can do harm: the file keeps its contents.
    CHECK_IS(sl_file_open(loop, "kept.tmp", SL_OPEN_WRITE | SL_OPEN_TRUNCATE, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_AGAIN);
    char bytes[8];
    CHECK_IS(sl_file_read(file, bytes, sizeof bytes, 0, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    sl_address address;
    CHECK_IS(sl_address_parse("127.0.0.1:0", &address), SL_OK);
    sl_listener listener = 0;
    CHECK_IS(sl_tcp_listen(loop, &address, NULL, &listener), SL_ERR_AGAIN);
    CHECK_IS(listener, 0);
    close_resource(loop, file);
    CHECK_IS(sl_tcp_listen(loop, &address, NULL, &listener), SL_OK);
    close_resource(loop, listener);
    close_loop(loop);
    remove("kept.tmp");
}

#ifndef _WIN32
#include <sys/wait.h>

static void *wait_in_parent(void *loop)
{
    sl_event event;
    CHECK_IS(sl_wait(*(sl_loop *)loop, &event, 1, SL_FOREVER), 1);
    return NULL;
}

static void *wait_in_child(void *loop)
{
    for (int i = 0; i < 200; i++) {
        sl_options options = by_handle();
        sl_event event;
        sl_op op;
        CHECK_IS(sl_nop(*(sl_loop *)loop, &options, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    }
    return NULL;
}

// A thread that waited in the parent broke the waits of the child: its place in a table was on a stack that others then had.
static void a_childs_waits_know_nothing_of_its_parents_threads(void)
{
    sl_loop loop = open_loop(NULL);
    pthread_t waiter = spawn(wait_in_parent, &loop);
    for (int round = 0; round < 4; round++) {
        fflush(NULL);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            watchdog(60);
            CHECK_IS(sl_nop(loop, NULL, NULL), SL_ERR_FORKED);
            sl_loop own = open_loop(NULL);
            pthread_t threads[4];
            for (int i = 0; i < 4; i++)
                threads[i] = spawn(wait_in_child, &own);
            for (int i = 0; i < 4; i++)
                CHECK_IS(pthread_join(threads[i], NULL), 0);
            close_loop(own);
            _exit(0);
        }
        int status;
        CHECK_IS(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    CHECK_IS(sl_post(loop, 1, NULL, NULL), SL_OK);
    CHECK_IS(pthread_join(waiter, NULL), 0);
    close_loop(loop);
}

// A file read exactly, or with many pieces, reported less than there was as the end of the file.
static void every_piece_is_read(void)
{
    sl_loop loop = open_loop(NULL);
    char bytes[1000], read_back[1000];
    fill(bytes, sizeof bytes, 3, 0);
    sl_op op;
    CHECK_IS(sl_path_write(loop, "pieces.tmp", bytes, sizeof bytes, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), sizeof bytes);
    sl_slice slices[1000];
    for (int i = 0; i < 1000; i++)
        slices[i] = (sl_slice){read_back + i, 1};
    sl_file file = open_file(loop, "pieces.tmp", SL_OPEN_READ);
    CHECK_IS(sl_file_readv(file, slices, 1000, 0, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), sizeof bytes);
    CHECK(matches(read_back, sizeof read_back, 3, 0));
    close_resource(loop, file);
    close_loop(loop);
    remove("pieces.tmp");
}

// A linger time on an adopted socket held up everything else while it was closed.
static void a_lingering_close_holds_nothing_up(void)
{
    sl_loop loop = open_loop(NULL);
    sl_stream stream, silent;
    connect_pair(loop, &stream, &silent);
    sl_descriptor descriptor;
    CHECK_IS(sl_descriptor_of(stream, &descriptor), SL_OK);
    struct linger time = {1, 1};
    CHECK_IS(setsockopt((int)descriptor, SOL_SOCKET, SO_LINGER, &time, sizeof time), 0);
    size_t length = 64 << 20;
    char *bytes = calloc(1, length);
    CHECK(bytes);
    sl_op sending, closing, op;
    CHECK_IS(sl_stream_send(stream, bytes, length, 0, NULL, &sending), SL_OK);
    CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_close(stream, NULL, &closing), SL_OK);
    CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
    // The nop comes before the close ends: it did not wait for it.
    sl_event events[3];
    int sent = 0, answered = 0, closed = 0;
    while (!closed) {
        sl_event event = events[0] = next_event(loop);
        sent |= event.op == sending;
        answered |= event.op == op;
        closed = event.op == closing;
        CHECK(!closed || answered);
    }
    CHECK(sent);
    free(bytes);
    close_resource(loop, silent);
    close_loop(loop);
}
#endif

// A send that had just got somewhere when its stream was closed still held it: the event of the close came before that of the send.
static void a_closes_event_comes_last(void)
{
    enum { LENGTH = 1 << 20 };
    uint8_t *bytes = calloc(2, LENGTH);
    CHECK(bytes);
    for (uint64_t seed = 1; seed <= 50; seed++) {
        sl_loop_options options = {0};
        options.size = sizeof options;
        options.driver = SL_DRIVER_SIM;
        options.seed = seed;
        sl_loop loop;
        CHECK_IS(sl_loop_open(&options, &loop), SL_OK);
        sl_stream stream, peer;
        connect_pair(loop, &stream, &peer);
        sl_op sending, closing, receiving;
        CHECK_IS(sl_stream_receive(peer, bytes + LENGTH, LENGTH, SL_EXACT, NULL, &receiving), SL_OK);
        CHECK_IS(sl_stream_send(stream, bytes, LENGTH, 0, NULL, &sending), SL_OK);
        sl_event event;
        int sent = sl_poll(loop, &event, 1) == 1 && event.op == sending;
        CHECK_IS(sl_close(stream, NULL, &closing), SL_OK);
        while ((event = next_event(loop)).op != closing) {
            sent |= event.op == sending;
        }
        CHECK(sent);
        CHECK(sl_loop_close(loop, SL_FOREVER) >= 0);
    }
    free(bytes);
}

int main(void)
{
    start();
    holdings before = holdings_now();
    what_never_fits_is_refused_at_once();
    a_timer_due_before_its_deadline_fires();
    timers_on_the_loops_thread_leave_room_for_others();
    a_loop_without_places_opens_nothing();
    a_closes_event_comes_last();
#ifndef _WIN32
    every_piece_is_read();
    a_lingering_close_holds_nothing_up();
    a_childs_waits_know_nothing_of_its_parents_threads();
#endif
    check_returned(before);
    return 0;
}
