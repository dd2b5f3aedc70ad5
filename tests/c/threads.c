// Many threads submit while others reap: each event is taken once, by one thread, and none is lost.
//
// threads [operations = 1000000] [submitters = 8] [reapers = 4]

#include "harness.h"

#include <stdatomic.h>

enum { BATCH = 32 };

static sl_loop loop;
static size_t total, each;
static atomic_uchar *seen;
static atomic_size_t taken, refused;

static void *submit(void *number)
{
    size_t first = (size_t)(uintptr_t)number * each;
    uint64_t random = first + 1;
    for (size_t done = 0; done < each;) {
        sl_request requests[BATCH];
        size_t left = each - done, count = 1 + random_below(&random, BATCH);
        count = count < left ? count : left;
        for (size_t i = 0; i < count; i++) {
            requests[i] = request_of(random_below(&random, 2) ? SL_POST : SL_NOP, loop);
            requests[i].offset = requests[i].kind == SL_POST ? (int64_t)(first + done + i) : 0;
            requests[i].user_data = first + done + i;
        }
        sl_status got = sl_submit(loop, requests, count, NULL);
        if (got < 0) {
            CHECK_IS(got, SL_ERR_AGAIN);
            atomic_fetch_add(&refused, 1);
            sched_yield();
            continue;
        }
        done += (size_t)got;
    }
    return NULL;
}

static void *reap(void *number)
{
    uint64_t random = (uint64_t)(uintptr_t)number + 1000;
    sl_event events[128];
    for (;;) {
        sl_status got = sl_wait(loop, events, 1 + random_below(&random, 128), PATIENCE);
        if (got == SL_ERR_SHUT_DOWN) {
            return NULL;
        }
        CHECK(got > 0);
        for (sl_status i = 0; i < got; i++) {
            CHECK(events[i].user_data < total);
            CHECK_IS(events[i].flags, 0);
            CHECK_IS(events[i].result, events[i].kind == SL_POST ? events[i].user_data : 0);
            CHECK_IS(atomic_fetch_add(&seen[events[i].user_data], 1), 0);
        }
        // The reaper that takes the last one sends the others home.
        if (atomic_fetch_add(&taken, (size_t)got) + (size_t)got == total) {
            CHECK_IS(sl_loop_shutdown(loop), SL_OK);
        }
    }
}

int main(int argc, char **argv)
{
    start();
    size_t submitters = argument(argc, argv, 2, 8), reapers = argument(argc, argv, 3, 4);
    each = argument(argc, argv, 1, 1000000) / submitters;
    total = each * submitters;
    holdings before = holdings_now();
    // Small, so that the limit is met all the time.
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_operations = 1000;
    loop = open_loop(&options);
    seen = calloc(total, sizeof *seen);
    pthread_t *threads = calloc(submitters + reapers, sizeof *threads);
    CHECK(seen && threads);
    for (size_t i = 0; i < reapers + submitters; i++) {
        threads[i] = i < reapers ? spawn(reap, (void *)(uintptr_t)i) : spawn(submit, (void *)(uintptr_t)(i - reapers));
    }
    for (size_t i = 0; i < reapers + submitters; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < total; i++) {
        CHECK_IS(atomic_load(&seen[i]), 1);
    }
    CHECK_IS(counters_of(loop).accepted, total);
    close_loop(loop);
    free(seen);
    free(threads);
    check_returned(before);
    printf("%zu operations, %zu times full\n", total, atomic_load(&refused));
    return 0;
}
