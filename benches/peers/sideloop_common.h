// What the programs on sideloop share: opening a loop as the arguments say, and taking events.

#ifndef SIDELOOP_COMMON_H
#define SIDELOOP_COMMON_H

#include "common.h"

#include <sideloop.h>

enum { BATCH = 512 };

static sl_event events[BATCH];
static sl_request requests[2 * BATCH];

// A loop on the driver that was asked for, and no other. `operations`: how many may be in flight; 0: the default.
static sl_loop loop_open(uint32_t operations)
{
    sl_loop_options options = {.size = sizeof options, .max_operations = operations};
    options.driver = argument_is("driver", "poll") ? SL_DRIVER_POLL : SL_DRIVER_URING;
    sl_loop loop;
    char reason[256] = "";
    CHECK(sl_loop_open(&options, &loop) == SL_OK);
    if (sl_loop_driver(loop, reason, sizeof reason) != (sl_status)options.driver) {
        fprintf(stderr, "sideloop runs on another driver: %s\n", reason);
        exit(1);
    }
    return loop;
}

static int take(sl_loop loop)
{
    int count = sl_wait(loop, events, BATCH, SL_FOREVER);
    CHECK(count > 0);
    return count;
}

static void submit(sl_loop loop, size_t count)
{
    CHECK(count == 0 || sl_submit(loop, requests, count, NULL) == (sl_status)count);
}

#endif
