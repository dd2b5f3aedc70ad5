// Broken on purpose: frees what an operation is to write to before its last event, so that the library writes to freed memory.
// Whoever looks for such errors must report this one.

#include "../harness.h"

static gate held = GATE_CLOSED;

static void hold(sl_loop loop, const sl_event *event)
{
    (void)loop;
    (void)event;
    gate_pass(&held);
}

int main(void)
{
    start();
    sl_loop loop = open_loop(NULL);
    sl_options holding = delivered(SL_DELIVER_THREAD, 0, hold), options = tagged(0);
    sl_stat *stat = calloc(1, sizeof *stat);
    CHECK(stat);
    stat->size = sizeof *stat;
    options.flags = SL_OPTION_NO_INLINE;
    // The loop cannot come to it before it is freed.
    CHECK_IS(sl_nop(loop, &holding, NULL), SL_OK);
    CHECK_IS(sl_path_stat(loop, ".", 0, stat, &options, NULL), SL_OK);
    free(stat);
    gate_open(&held);
    CHECK_IS(next_event(loop).result, 0);
    close_loop(loop);
    return 0;
}
