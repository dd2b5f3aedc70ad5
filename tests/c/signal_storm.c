// A storm of signals, some ten thousand a second, with handlers that interrupt system calls (no SA_RESTART), while files, sockets,
// connections, timers and work are under way, and threads submit and wait: everything is right, and nobody hears of EINTR. The
// handlers run on the program's threads only.
//
// signal_storm [rounds = 5000]

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("Windows has no signals");
}

#else

#include <errno.h>
#include <stdatomic.h>

enum { LENGTH = 20000, THREADS = 3 };

static atomic_int stop, handled[2], strays;
static pthread_t targets[THREADS];
// Whether a thread is one of the program's: set by each of them before there are signals.
static _Thread_local int ours;

static void on_signal(int number)
{
    int error = errno;
    atomic_fetch_add(&handled[number == SIGALRM], 1);
    if (!ours) {
        atomic_fetch_add(&strays, 1);
    }
    errno = error;
}

static void handle(int number)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    CHECK_IS(sigaction(number, &action, NULL), 0);
}

// To the process, which any thread may get that does not block it, and to each thread that waits and submits.
static void *storm(void *unused)
{
    struct timespec pause = {0, 40000};
    (void)unused;
    ours = 1;
    uint64_t limit = now_ns() + PATIENCE;
    for (int i = 0; !atomic_load(&stop); i++) {
        // The watchdog's signal is one of these.
        CHECK(now_ns() < limit);
        CHECK_IS(kill(getpid(), i & 1 ? SIGUSR1 : SIGALRM), 0);
        CHECK_IS(pthread_kill(targets[i % THREADS], i & 2 ? SIGUSR1 : SIGALRM), 0);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static int64_t slow_answer(void *argument)
{
    // Interrupted like any other call, were the signals not blocked here.
    struct timespec pause = {0, 200000};
    return nanosleep(&pause, NULL) == 0 ? *(int *)argument : -1;
}

// Everything once, in a loop of its own, by plain waits.
static void round_of(sl_loop loop, int number, size_t round)
{
    static _Thread_local uint8_t sent[LENGTH], received[LENGTH];
    char path[32];
    sl_stream here, there;
    sl_op op, sending, receiving;
    sl_event event;
    int answer = 7;
    uint64_t seed = (uint64_t)number << 32 | round;
    snprintf(path, sizeof path, "signals%d.tmp", number);
    fill(sent, LENGTH, seed, 0);

    CHECK_IS(sl_path_write(loop, path, sent, LENGTH, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), LENGTH);
    sl_file file = open_file(loop, path, SL_OPEN_READ | SL_OPEN_WRITE);
    memset(received, 0, LENGTH);
    CHECK_IS(sl_file_read(file, received, LENGTH, 0, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), LENGTH);
    CHECK(matches(received, LENGTH, seed, 0));
    CHECK_IS(sl_file_write(file, sent, LENGTH, SL_OFFSET_CURRENT, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), LENGTH);
    CHECK_IS(sl_file_sync(file, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    close_resource(loop, file);

    connect_pair(loop, &here, &there);
    CHECK_IS(sl_stream_receive(there, received, LENGTH, SL_EXACT, NULL, &receiving), SL_OK);
    CHECK_IS(sl_stream_send(here, sent, LENGTH, 0, NULL, &sending), SL_OK);
    for (int i = 0; i < 2; i++) {
        event = next_event(loop);
        CHECK(event.op == sending || event.op == receiving);
        CHECK_IS(event.result, LENGTH);
    }
    CHECK(matches(received, LENGTH, seed, 0));
    close_resource(loop, here);
    close_resource(loop, there);

    CHECK_IS(sl_work(loop, slow_answer, &answer, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 7);
    // A wait that is interrupted goes on to its end, neither sooner nor with an error.
    uint64_t begun = now_ns();
    CHECK_IS(sl_wait(loop, &event, 1, 2 * MILLISECOND), 0);
    CHECK(now_ns() - begun >= 2 * MILLISECOND);
    CHECK_IS(sl_dispatch(loop, 0, MILLISECOND), 0);
    sl_options options = by_handle();
    CHECK_IS(sl_timer(loop, 3 * MILLISECOND, 0, &options, &op), SL_OK);
    begun = now_ns();
    while (sl_op_wait(op, MILLISECOND, &event) == 0) {
    }
    CHECK_IS(event.result, 1);
}

typedef struct task {
    int number;
    size_t rounds;
    gate ready, begin, done, leave;
} task;

static void *work(void *argument_of_thread)
{
    task *t = argument_of_thread;
    ours = 1;
    sl_loop loop = open_loop(NULL);
    gate_open(&t->ready);
    gate_pass(&t->begin);
    for (size_t round = 0; round < t->rounds; round++) {
        round_of(loop, t->number, round);
        if (round % 50 == 49) {
            close_loop(loop);
            loop = open_loop(NULL);
        }
    }
    close_loop(loop);
    char path[32];
    snprintf(path, sizeof path, "signals%d.tmp", t->number);
    CHECK_IS(remove(path), 0);
    gate_open(&t->done);
    // A signal to this thread must find it.
    gate_pass(&t->leave);
    return NULL;
}

int main(int argc, char **argv)
{
    start();
    ours = 1;
    size_t rounds = argument(argc, argv, 1, 5000);
    holdings before = holdings_now();
    static task tasks[THREADS];
    handle(SIGUSR1);
    handle(SIGALRM);
    for (int i = 0; i < THREADS; i++) {
        tasks[i] = (task){i, rounds / THREADS, GATE_CLOSED, GATE_CLOSED, GATE_CLOSED, GATE_CLOSED};
        targets[i] = spawn(work, &tasks[i]);
        gate_pass(&tasks[i].ready);
    }
    uint64_t begun = now_ns();
    pthread_t storming = spawn(storm, NULL);
    // This thread would get most of what is sent to the process; now any other that does not block it gets it.
    sigset_t all;
    sigfillset(&all);
    CHECK_IS(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        gate_open(&tasks[i].begin);
    }
    for (int i = 0; i < THREADS; i++) {
        gate_pass(&tasks[i].done);
    }
    atomic_store(&stop, 1);
    pthread_join(storming, NULL);
    double seconds = (double)(now_ns() - begun) / 1e9;
    for (int i = 0; i < THREADS; i++) {
        gate_open(&tasks[i].leave);
        pthread_join(targets[i], NULL);
    }
    CHECK_IS(atomic_load(&strays), 0);
    CHECK(atomic_load(&handled[0]) > 0 && atomic_load(&handled[1]) > 0);
    printf("%zu rounds in %.1f s, %.0f signals a second\n", rounds, seconds,
           (atomic_load(&handled[0]) + atomic_load(&handled[1])) / seconds);
    check_returned(before);
    return 0;
}

#endif
