// The library loaded by dlopen: used, closed and loaded again, also with a loop left open, whose threads must not lose the
// code that they run. This program is not linked to the library.
//
// unload [rounds = 100]

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

static void round_trip(int leave_open)
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
    CHECK(open_loop(NULL, &loop) == SL_OK);
    CHECK(timer(loop, 1000, leave_open ? 100000 : 0, NULL, NULL) == SL_OK);
    CHECK(wait_events(loop, &event, 1, UINT64_C(60000000000)) == 1);
    CHECK(event.result >= 1 && event.kind == SL_TIMER);
    if (!leave_open) {
        CHECK(close_loop(loop, SL_FOREVER) == 0);
    }
    CHECK(dlclose(library) == 0);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 100;
    alarm(120);
    for (int i = 0; i < rounds; i++) {
        // A few stay behind, with a timer that fires all the time.
        round_trip(i % 20 == 10);
        sched_yield();
    }
    return 0;
}

#endif
