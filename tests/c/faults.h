// What the tests of fault plans share: loops with a plan, and a file whose every byte is known.

#ifndef FAULTS_H
#define FAULTS_H

#include "harness.h"

enum { LENGTH = 10000 };

static const char *const PATH = "data.tmp";
static uint8_t bytes[LENGTH];

// --- Loops with plans

static inline sl_loop open_with(const char *faults, uint64_t seed)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.faults = faults;
    options.seed = seed;
    return open_loop(&options);
}

static inline void make_file(void)
{
    FILE *file = fopen(PATH, "wb");
    CHECK(file);
    fill(bytes, LENGTH, 1, 0);
    CHECK_IS(fwrite(bytes, 1, LENGTH, file), LENGTH);
    CHECK_IS(fclose(file), 0);
}

// Checks that the file has these bytes and no others.
static inline void check_file(const void *expected, size_t length)
{
    static uint8_t found[2 * LENGTH];
    FILE *file = fopen(PATH, "rb");
    CHECK(file);
    CHECK_IS(fread(found, 1, sizeof found, file), length);
    CHECK(memcmp(found, expected, length) == 0);
    fclose(file);
}

// Takes the next event, which must be the last one of `op`.
static inline sl_event event_of(sl_loop loop, sl_op op)
{
    sl_event event = next_event(loop);
    CHECK_IS(event.op, op);
    CHECK_IS(event.flags & SL_EVENT_MORE, 0);
    return event;
}

#endif
