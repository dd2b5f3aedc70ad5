// The end of the process with everything under way: return from main, exit from a thread, exit in the middle of a callback.
// No crash, no hang, no waiting for a function that runs.
//
// exit_busy [rounds = 1000]

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("ends its copies made by fork, which Windows does not have");
}

#else

#include <stdatomic.h>
#include <sys/wait.h>

static gate never = GATE_CLOSED;
static uint8_t bytes[1 << 16];

static int64_t blocked(void *unused)
{
    (void)unused;
    gate_pass(&never);
    return 0;
}

// Always another one behind it.
static void on_tick(sl_loop loop, const sl_event *event)
{
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_tick);
    if (event->kind == SL_NOP) {
        sl_nop(loop, &options, NULL);
    }
}

static void on_tick_exit(sl_loop loop, const sl_event *event)
{
    (void)loop;
    if (event->user_data == 0) {
        exit(0);
    }
    sl_options options = delivered(SL_DELIVER_THREAD, event->user_data - 1, on_tick_exit);
    sl_nop(loop, &options, NULL);
}

static void *exit_here(void *unused)
{
    (void)unused;
    exit(0);
}

static void *wait_here(void *loop)
{
    sl_event event;
    while (sl_wait(*(sl_loop *)loop, &event, 1, SL_FOREVER) >= 0) {
    }
    return NULL;
}

// Starts all sorts of things and then ends the process in one of four ways; returns for the first.
static void child(uint64_t way)
{
    static sl_loop loop;
    sl_stream here, there;
    sl_descriptor wake;
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_tick);
    watchdog(30);
    loop = open_loop(NULL);
    connect_pair(loop, &here, &there);
    CHECK_IS(sl_loop_wake_descriptor(loop, &wake), SL_OK);
    for (int i = 0; i < 4; i++) {
        CHECK_IS(sl_work(loop, blocked, NULL, NULL, NULL), SL_OK);
        CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
        CHECK_IS(sl_timer(loop, 1000, 50000, &options, NULL), SL_OK);
        CHECK_IS(sl_stream_receive(here, NULL, 0, 0, NULL, NULL), SL_OK);
        CHECK_IS(sl_stream_send(here, bytes, sizeof bytes, 0, NULL, NULL), SL_OK);
        CHECK_IS(sl_path_write(loop, "exit_busy.tmp", bytes, sizeof bytes, 0, 0644, NULL, NULL), SL_OK);
    }
    spawn(wait_here, &loop);
    if (way == 1) {
        exit(0);
    } else if (way == 2) {
        spawn(exit_here, NULL);
        for (;;) {
            pause();
        }
    } else if (way == 3) {
        options = delivered(SL_DELIVER_THREAD, 100, on_tick_exit);
        CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
        for (;;) {
            pause();
        }
    }
}

int main(int argc, char **argv)
{
    start();
    size_t rounds = argument(argc, argv, 1, 1000);
    for (size_t i = 0; i < rounds; i++) {
        pid_t pid = fork();
        int status;
        CHECK(pid >= 0);
        if (pid == 0) {
            child(i % 4);
            return 0;
        }
        CHECK_IS(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "way %zu of round %zu: wait status %#x\n", i % 4, i, (unsigned)status);
            return 1;
        }
    }
    CHECK_IS(remove("exit_busy.tmp"), 0);
    return 0;
}

#endif
