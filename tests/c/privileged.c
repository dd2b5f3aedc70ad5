// A program with more rights than whoever started it does not let that one steer it: the environment variables of the library,
// which could have all its I/O fail, are not read, and io_uring is not used. The harness makes the program such a one.

#include "harness.h"

#if !defined(__linux__)

int main(void)
{
    return skip("is set-user-ID on Linux");
}

#else

#include <sys/auxv.h>

int main(void)
{
    start();
    if (!getauxval(AT_SECURE)) {
        return skip("the system does not honour the set-user-ID bit here");
    }
    // Each of them is refused where it is read.
    CHECK_IS(setenv("SIDELOOP_DRIVER", "nonsense", 1), 0);
    CHECK_IS(setenv("SIDELOOP_FAULTS", "nonsense", 1), 0);
    CHECK_IS(setenv("SIDELOOP_SEED", "nonsense", 1), 0);
    sl_loop loop = 0;
    char reason[512] = "";
    CHECK_IS(sl_loop_open(NULL, &loop), SL_OK);
    CHECK_IS(sl_loop_driver(loop, reason, sizeof reason), SL_DRIVER_POLL);
    CHECK(!strstr(reason, "faults"));
    // Asked for by the program itself, it is refused as well.
    sl_loop_options options = {.size = sizeof options, .driver = SL_DRIVER_URING};
    sl_loop other = 0;
    CHECK_IS(sl_loop_open(&options, &other), SL_OK);
    CHECK_IS(sl_loop_driver(other, reason, sizeof reason), SL_DRIVER_POLL);
    CHECK(strstr(reason, "set-user-ID"));
    sl_op op;
    CHECK_IS(sl_post(loop, 7, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 7);
    close_loop(loop);
    close_loop(other);
    printf("the environment is not read, io_uring is not used\n");
    return 0;
}

#endif
