/* What the C programs of the tour share: the list of files, the hash, the meter of the main thread and the lines that
 * they write for the tour to read (see protocol.rs). Used by polled.c, callbacks.c and echo.c. */

#ifndef TOUR_H
#define TOUR_H

#include <sideloop.h>
#include <stddef.h>
#include <stdint.h>

/* How many reads the styles keep in flight. */
#define TOUR_WINDOW 64

/* How long a main thread with nothing to do waits before it looks again. */
#define TOUR_WAIT_NS UINT64_C(1000000)

/* The files to read, and what became of each. */
typedef struct {
    char **paths;
    size_t count;
    /* 0, or the error that the read ended with. */
    sl_status *failed;
} tour_list;

/* How much has been read, in a form that does not depend on the order of reading. */
typedef struct {
    uint64_t files;
    uint64_t bytes;
    uint64_t hash;
} tour_sum;

/* How long the main thread was not free, and how many threads there were. Lives on the main thread. */
typedef struct {
    sl_loop loop;
    uint64_t start_ns;
    uint64_t cpu_at_start_ns;
    uint64_t free_at_ns;
    uint64_t longest_ns;
    uint64_t reported_ns;
    uint64_t threads;
} tour_meter;

/* Reads the NUL-separated list. Ends the process with a `stop` line where that cannot be. */
tour_list tour_list_read(const char *file);

/* Adds the event of a read to `sum`, or notes in `list` that it failed, and gives the lent buffer back. */
void tour_take(tour_list *list, tour_sum *sum, const sl_event *event);

/* The monotonic clock. */
uint64_t tour_now_ns(void);

/* Waits until `descriptor` is readable, TOUR_WAIT_NS at most. */
void tour_wait_readable(sl_descriptor descriptor);

/* Begins to measure. The loop is asked for its threads where the system does not say. */
tour_meter tour_meter_start(sl_loop loop);

/* The main thread has a moment: notes how long it had none, and reports progress now and then. */
void tour_tick(tour_meter *meter, uint64_t files, uint64_t bytes);

/* The main thread comes back from a wait of at most TOUR_WAIT_NS that began at its last tick: that counts as free, and
 * only what the wait took longer as blocked. */
void tour_waited(tour_meter *meter, uint64_t files, uint64_t bytes);

/* The work is done: prints the failures and the result. */
void tour_finish(tour_meter *meter, const tour_list *list, const tour_sum *sum);

/* Peak of memory in bytes; 0 where the system does not say. */
uint64_t tour_peak_memory(void);

/* How many threads the process has; 0 where the system does not say. */
uint64_t tour_threads(void);

/* Prints a `stop` line and ends the process. */
void tour_stop(const char *what, const char *why);

#endif
