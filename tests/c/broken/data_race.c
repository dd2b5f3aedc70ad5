// Broken on purpose: reads what an operation has written without having taken its event, which alone says that it may. Whoever looks
// for races must report this one, though it is over when it is read.

#include "../harness.h"

#include <stdatomic.h>

static atomic_int ended;

static void on_event(sl_loop loop, const sl_event *event)
{
    (void)loop;
    CHECK_IS(event->result, 0);
    // Orders nothing.
    atomic_store_explicit(&ended, 1, memory_order_relaxed);
}

int main(void)
{
    start();
    sl_loop loop = open_loop(NULL);
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_event);
    static sl_stat stat;
    stat.size = sizeof stat;
    options.flags = SL_OPTION_NO_INLINE;
    CHECK_IS(sl_path_stat(loop, ".", 0, &stat, &options, NULL), SL_OK);
    while (!atomic_load_explicit(&ended, memory_order_relaxed)) {
        sched_yield();
    }
    printf("type %u\n", stat.type);
    CHECK(sl_loop_close(loop, SL_FOREVER) >= 0);
    return 0;
}
