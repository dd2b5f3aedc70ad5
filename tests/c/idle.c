// An idle loop costs nothing: over some seconds no processor time and no wake-up of any of its threads, although it holds
// listeners, streams, timers far away, workers that have nothing to do, and a wake descriptor.
//
// idle [seconds = 5]
//
// Writes "idle begins" and "idle ends" to standard error, so that a trace of system calls can be cut there.

#include "harness.h"

#if !defined(__linux__)

int main(void)
{
    return skip("needs the switch counters of /proc/self/task");
}

#else

static int64_t nothing(void *unused)
{
    (void)unused;
    return 0;
}

// A thread that the kernel has added to the process for an io_uring: it leaves some seconds after its last work.
static int is_of_the_kernel(const char *task)
{
    char path[300], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task);
    FILE *comm = fopen(path, "r");
    if (comm) {
        name[fread(name, 1, sizeof name - 1, comm)] = 0;
        fclose(comm);
    }
    return !comm || strncmp(name, "iou-", 4) == 0;
}

// How often the threads of this process, but for the calling one, gave up a processor or lost it.
static uint64_t switches_of_others(void)
{
    uint64_t total = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    for (struct dirent *task = readdir(tasks); task; task = readdir(tasks)) {
        char path[300], line[256];
        if (task->d_name[0] == '.' || atoi(task->d_name) == (int)getpid() || is_of_the_kernel(task->d_name)) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(path, "r");
        CHECK(status);
        while (fgets(line, sizeof line, status)) {
            char *colon = strstr(line, "ctxt_switches:");
            total += colon ? strtoull(colon + 14, NULL, 10) : 0;
        }
        fclose(status);
    }
    closedir(tasks);
    return total;
}

static uint64_t processor_ns(void)
{
    struct rusage usage;
    CHECK_IS(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

// Waits until no thread does anything any more: a loop that goes to sleep after its last work does so quickly.
static void settle(void)
{
    uint64_t before, after = switches_of_others(), limit = now_ns() + 30 * SECOND;
    do {
        struct timespec pause = {0, 200000000};
        CHECK(now_ns() < limit);
        before = after;
        nanosleep(&pause, NULL);
        after = switches_of_others();
    } while (before != after);
}

int main(int argc, char **argv)
{
    start();
    uint64_t seconds = argument(argc, argv, 1, 5);
    sl_loop loop = open_loop(NULL);
    sl_stream here, there;
    sl_address address;
    sl_descriptor wake;
    sl_op op;
    connect_pair(loop, &here, &there);
    sl_listener listener = listen_here(loop, 0, &address);
    CHECK_IS(sl_loop_wake_descriptor(loop, &wake), SL_OK);
    // Starts the workers, which then have nothing to do.
    CHECK_IS(sl_work(loop, nothing, NULL, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_path_read(loop, "/proc/self/comm", NULL, &op), SL_OK);
    sl_event event = next_event(loop);
    CHECK(event.result > 0);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    sl_options deadline = until(3600 * SECOND);
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, NULL, NULL), SL_OK);
    CHECK_IS(sl_stream_receive(here, NULL, 0, SL_MULTISHOT, NULL, NULL), SL_OK);
    CHECK_IS(sl_stream_receive(there, NULL, 10, 0, &deadline, NULL), SL_OK);
    CHECK_IS(sl_timer(loop, 3600 * SECOND, 1000, NULL, NULL), SL_OK);
    settle();

    uint64_t switches = switches_of_others(), turns = counters_of(loop).turns;
    fprintf(stderr, "idle begins\n");
    uint64_t used = processor_ns();
    struct timespec rest = {(time_t)seconds, 0};
    CHECK_IS(nanosleep(&rest, NULL), 0);
    used = processor_ns() - used;
    fprintf(stderr, "idle ends\n");
    CHECK_IS(switches_of_others(), switches);
    CHECK_IS(counters_of(loop).turns, turns);
    CHECK(used <= 10 * MILLISECOND);
    printf("%" PRIu64 " s idle: %.3f ms of processor time, no wake-up\n", seconds, (double)used / 1e6);
    // Still alive after its rest.
    CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), 4);
    return 0;
}

#endif
