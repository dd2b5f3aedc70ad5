// Broken on purpose: loses memory that an operation has worked on. Whoever looks for leaks must report it.

#include "../harness.h"

// Several times, for the last pointer may still lie about on a stack.
static void lose(sl_loop loop)
{
    for (int i = 0; i < 16; i++) {
        void *lost = calloc(1, 1000);
        CHECK(lost);
        CHECK_IS(sl_path_write(loop, "leak.tmp", lost, 1000, 0, 0600, NULL, NULL), SL_OK);
        CHECK_IS(next_event(loop).result, 1000);
    }
}

int main(void)
{
    start();
    sl_loop loop = open_loop(NULL);
    lose(loop);
    close_loop(loop);
    CHECK_IS(remove("leak.tmp"), 0);
    return 0;
}
