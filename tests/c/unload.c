// The library loaded by dlopen: used, closed and loaded again, also with a loop left open, whose threads must not lose the
// code that they run. Whoever loads it later can close that loop; at the end no descriptor and no thread is left. This program
// is not linked to the library.
//
// unload [rounds = 10000]

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif

#include <sideloop.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)

int main(void)
{
    puts("skipped: loads the library by dlopen");
    return 77;
}

#else

#include <dirent.h>
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#define CHECK(expression)                                                                                              \
    do {                                                                                                               \
        if (!(expression)) {                                                                                           \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #expression);                            \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

typedef sl_status open_function(const sl_loop_options *options, sl_loop *loop);
typedef sl_status close_function(sl_loop loop, uint64_t timeout_ns);
typedef sl_status wait_function(sl_loop loop, sl_event *events, size_t capacity, uint64_t timeout_ns);
typedef sl_status timer_function(sl_loop loop, uint64_t delay, uint64_t period, const sl_options *options, sl_op *op);

#if defined(__APPLE__)
static const char library_name[] = "libsideloop.0.dylib";
#else
static const char library_name[] = "libsideloop.so.0";
#endif

// ISO C has no conversion from an object pointer to a function pointer; copying the bytes is what POSIX means.
static void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    CHECK(found);
    memcpy(function, &found, sizeof found);
}

// How many entries a folder of /proc has; 0 where there is none, which then proves nothing.
static int entries(const char *folder)
{
    int count = 0;
    DIR *open = opendir(folder);
    while (open && readdir(open)) {
        count++;
    }
    if (open) {
        closedir(open);
    }
    return count;
}

// Loads the library, closes `left_open` unless it is 0, and uses a loop of its own; answers its id where it is left open.
static sl_loop round_trip(int leave_open, sl_loop left_open)
{
    void *library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
    open_function *open_loop;
    close_function *close_loop;
    wait_function *wait_events;
    timer_function *timer;
    sl_loop loop;
    sl_event event;
    CHECK(library);
    find(library, "sl_loop_open", &open_loop);
    find(library, "sl_loop_close", &close_loop);
    find(library, "sl_wait", &wait_events);
    find(library, "sl_timer", &timer);
    if (left_open) {
        // Its timer has gone on.
        CHECK(wait_events(left_open, &event, 1, UINT64_C(60000000000)) == 1);
        CHECK(close_loop(left_open, SL_FOREVER) >= 0);
    }
    CHECK(open_loop(NULL, &loop) == SL_OK);
    CHECK(timer(loop, 1000, leave_open ? 100000 : 0, NULL, NULL) == SL_OK);
    CHECK(wait_events(loop, &event, 1, UINT64_C(60000000000)) == 1);
    CHECK(event.result >= 1 && event.kind == SL_TIMER);
    if (!leave_open) {
        CHECK(close_loop(loop, SL_FOREVER) == 0);
    }
    CHECK(dlclose(library) == 0);
    return leave_open ? loop : 0;
}

int main(int argc, char **argv)
{
    enum { OPEN = 7 };
    int rounds = argc > 1 ? atoi(argv[1]) : 10000, kept = 0;
    sl_loop left_open[OPEN] = {0};
    alarm(argc > 1 ? 120 : 600);
    // What the first loading leaves for good is not counted.
    round_trip(0, 0);
    int descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    for (int i = 0; i < rounds; i++) {
        // Every other one stays behind for some rounds, with a timer that fires all the time.
        int place = i % OPEN;
        left_open[place] = round_trip(i % 2, left_open[place]);
        kept += left_open[place] != 0;
        sched_yield();
    }
    for (int i = 0; i < OPEN; i++) {
        round_trip(0, left_open[i]);
    }
    // A thread that was joined stays listed for a moment; the alarm ends what does not come true.
    while (entries("/proc/self/task") > threads || entries("/proc/self/fd") > descriptors) {
        sched_yield();
    }
    CHECK(entries("/proc/self/task") == threads && entries("/proc/self/fd") == descriptors);
    printf("%d times loaded and unloaded, %d of them with a loop that went on\n", rounds, kept);
    return 0;
}

#endif
