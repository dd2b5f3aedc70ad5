// Threads that submit and are gone before anything has ended: what they began goes on, and others take its events. A thread may
// even call the library from the destructor of its last key, when its own storage in the library is gone.
//
// callers [threads = 2000] [at a time = 8]

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("ends threads in the ways of POSIX");
}

#else

#include <stdatomic.h>

enum { LENGTH = 30000, KINDS = 8 };

// What one thread leaves behind: memory that outlives it.
typedef struct legacy {
    uint8_t sent[LENGTH], received[LENGTH], written[LENGTH];
    sl_stream here, there;
    char path[32];
    int answer, ended;
} legacy;

enum { SEND, RECEIVE, WRITE, CONNECT, TIMER, WORK, NOP, LATE };

static sl_loop loop;
static sl_address address;
static legacy *legacies;
static pthread_key_t key;
static atomic_int dispatched, called;

static int64_t answer_of(void *argument)
{
    return *(int *)argument;
}

static void on_dispatch(sl_loop which, const sl_event *event)
{
    (void)which;
    CHECK_IS(event->result, 0);
    atomic_fetch_add(&dispatched, 1);
}

static void on_thread(sl_loop which, const sl_event *event)
{
    (void)which;
    CHECK_IS(event->result, 0);
    atomic_fetch_add(&called, 1);
}

// The other end of the connections: closes each as it comes.
static void on_accept(sl_loop elsewhere, const sl_event *event)
{
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_accept);
    (void)elsewhere;
    if (event->kind == SL_TCP_ACCEPT && event->result > 0) {
        CHECK_IS(sl_close((sl_stream)event->result, &options, NULL), SL_OK);
    }
}

static sl_options tag(size_t number, int kind)
{
    return tagged(number * KINDS + (size_t)kind);
}

// The very last that a thread does: a call that fails, which keeps its error for the thread, and one that is accepted.
static void at_the_end(void *argument_of_thread)
{
    size_t number = (size_t)(uintptr_t)argument_of_thread - 1;
    sl_options options = tag(number, LATE);
    CHECK_IS(sl_op_status(0), SL_ERR_BAD_ID);
    (void)sl_last_error();
    CHECK_IS(sl_post(loop, (int64_t)number, &options, NULL), SL_OK);
}

static void *submit_and_go(void *argument_of_thread)
{
    size_t number = (size_t)(uintptr_t)argument_of_thread - 1;
    legacy *l = &legacies[number];
    sl_options options = tag(number, SEND);
    // Also what makes the library keep something for this thread.
    CHECK_IS(sl_op_status(0), SL_ERR_BAD_ID);
    CHECK_IS(pthread_setspecific(key, argument_of_thread), 0);
    CHECK_IS(sl_stream_send(l->here, l->sent, LENGTH, 0, &options, NULL), SL_OK);
    options = tag(number, RECEIVE);
    CHECK_IS(sl_stream_receive(l->there, l->received, LENGTH, SL_EXACT, &options, NULL), SL_OK);
    options = tag(number, WRITE);
    CHECK_IS(sl_path_write(loop, l->path, l->written, LENGTH, 0, 0644, &options, NULL), SL_OK);
    options = tag(number, CONNECT);
    CHECK_IS(sl_tcp_connect(loop, &address, &options, NULL), SL_OK);
    options = tag(number, TIMER);
    CHECK_IS(sl_timer(loop, 1000, 0, &options, NULL), SL_OK);
    options = tag(number, WORK);
    CHECK_IS(sl_work(loop, answer_of, &l->answer, &options, NULL), SL_OK);
    options = delivered(SL_DELIVER_DISPATCH, 0, on_dispatch);
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    options = delivered(SL_DELIVER_THREAD, 0, on_thread);
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    // Copied before it is gone with the stack that it is on.
    options = tag(number, NOP);
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    memset(&options, 0xa5, sizeof options);
    if (number % 3 == 0) {
        pthread_exit(NULL);
    }
    return NULL;
}

static void prepare(size_t number)
{
    legacy *l = &legacies[number];
    memset(l, 0, sizeof *l);
    fill(l->sent, LENGTH, number, 0);
    fill(l->written, LENGTH, ~(uint64_t)number, 0);
    snprintf(l->path, sizeof l->path, "callers%zu.tmp", number);
    l->answer = (int)number + 5;
    connect_pair(loop, &l->here, &l->there);
}

static void check_event(const sl_event *event)
{
    size_t number = event->user_data / KINDS;
    int kind = (int)(event->user_data % KINDS);
    legacy *l = &legacies[number];
    int64_t expected[KINDS] = {LENGTH, LENGTH, LENGTH, 0, 1, l->answer, 0, (int64_t)number};
    CHECK(!(l->ended & 1 << kind));
    l->ended |= 1 << kind;
    if (kind == CONNECT) {
        CHECK(event->result > 0);
        CHECK_IS(sl_close((sl_stream)event->result, NULL, NULL), SL_OK);
    } else {
        CHECK_IS(event->result, expected[kind]);
    }
}

static void check_legacy(size_t number)
{
    legacy *l = &legacies[number];
    sl_op op;
    CHECK_IS(l->ended, (1 << KINDS) - 1);
    CHECK(matches(l->received, LENGTH, number, 0));
    CHECK_IS(sl_path_read(loop, l->path, NULL, &op), SL_OK);
    sl_event event = next_event(loop);
    CHECK(event.op == op && event.result == LENGTH);
    CHECK(matches(event.data, LENGTH, ~(uint64_t)number, 0));
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    CHECK_IS(remove(l->path), 0);
    close_resource(loop, l->here);
    close_resource(loop, l->there);
}

static void together(size_t count, int detached)
{
    pthread_t threads[64];
    pthread_attr_t attributes;
    CHECK(count <= 64);
    CHECK_IS(pthread_attr_init(&attributes), 0);
    CHECK_IS(pthread_attr_setdetachstate(&attributes, detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE), 0);
    for (size_t i = 0; i < count; i++) {
        prepare(i);
    }
    for (size_t i = 0; i < count; i++) {
        CHECK_IS(pthread_create(&threads[i], &attributes, submit_and_go, (void *)(uintptr_t)(i + 1)), 0);
    }
    pthread_attr_destroy(&attributes);
    // Half of the time nothing is taken before the threads are gone for certain.
    for (size_t i = 0; !detached && i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    // Connections that were made are closed by operations without a number.
    size_t left = count * (KINDS + 1);
    while (left > 0) {
        sl_event event = next_event(loop);
        if (event.kind == SL_CLOSE) {
            CHECK_IS(event.result, 0);
        } else {
            check_event(&event);
        }
        left--;
    }
    for (size_t i = 0; i < count; i++) {
        check_legacy(i);
    }
}

int main(int argc, char **argv)
{
    start();
    size_t threads = argument(argc, argv, 1, 2000), at_a_time = argument(argc, argv, 2, 8), gone = 0;
    holdings before = holdings_now();
    legacies = calloc(at_a_time, sizeof *legacies);
    CHECK(legacies);
    CHECK_IS(pthread_key_create(&key, at_the_end), 0);
    loop = open_loop(NULL);
    sl_loop elsewhere = open_loop(NULL);
    sl_options accepts = delivered(SL_DELIVER_THREAD, 0, on_accept);
    sl_listener listener = listen_here(elsewhere, 0, &address);
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, &accepts, NULL), SL_OK);
    for (size_t round = 0; gone < threads; round++, gone += at_a_time) {
        together(at_a_time, round % 2);
    }
    while (atomic_load(&dispatched) < (int)gone) {
        CHECK(sl_dispatch(loop, 0, PATIENCE) > 0);
    }
    CHECK_IS(atomic_load(&called), gone);
    printf("%zu threads are gone, and all that they began has ended\n", gone);
    close_loop(loop);
    CHECK(sl_loop_close(elsewhere, SL_FOREVER) >= 0);
    CHECK_IS(pthread_key_delete(key), 0);
    free(legacies);
    check_returned(before);
    return 0;
}

#endif
