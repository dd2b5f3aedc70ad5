/* Style (d): sideloop polled from a program that has a loop of its own. The main thread hands over many reads in one call,
 * does its own work, and takes the events when it suits it; when it has nothing to do it waits for the wake descriptor, as
 * it would for its sockets and its display. */

#include "tour.h"

/* So many events are taken at a time. */
#define BATCH 32

/* Brings the reads in flight up to the window, in one call. Returns how many were handed over. */
static size_t submit(sl_loop loop, tour_list *list, size_t next, size_t in_flight)
{
    sl_request requests[TOUR_WINDOW];
    size_t count = 0;
    while (in_flight + count < TOUR_WINDOW && next + count < list->count) {
        requests[count] = (sl_request){
            .size = sizeof(sl_request),
            .kind = SL_PATH_READ,
            .target = loop,
            .buffer = list->paths[next + count],
            .user_data = next + count,
        };
        count++;
    }
    if (count == 0)
        return 0;
    sl_status accepted = sl_submit(loop, requests, count, NULL);
    if (accepted == SL_ERR_AGAIN)
        return 0; /* Full: there is room again when events have been taken. */
    if (accepted < 0)
        tour_stop("sl_submit", sl_last_error());
    return (size_t)accepted;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        tour_stop("polled", "the list of files is missing");
    tour_list list = tour_list_read(argv[1]);
    tour_sum sum = {0};
    sl_loop loop;
    sl_descriptor wake;
    tour_meter meter = tour_meter_start(0);
    if (sl_loop_open(NULL, &loop) < 0)
        tour_stop("sl_loop_open", sl_last_error());
    if (sl_loop_wake_descriptor(loop, &wake) < 0)
        tour_stop("sl_loop_wake_descriptor", sl_last_error());
    meter.loop = loop;

    size_t submitted = 0, taken = 0;
    while (taken < list.count) {
        size_t accepted = submit(loop, &list, submitted, submitted - taken);
        submitted += accepted;
        tour_tick(&meter, sum.files, sum.bytes);

        sl_event events[BATCH];
        sl_status count = sl_poll(loop, events, BATCH);
        if (count < 0)
            tour_stop("sl_poll", sl_last_error());
        for (sl_status i = 0; i < count; i++) {
            tour_take(&list, &sum, &events[i]);
            tour_tick(&meter, sum.files, sum.bytes); /* Here a program would do its own work. */
        }
        taken += (size_t)count;
        if (count == 0) {
            tour_wait_readable(wake);
            tour_waited(&meter, sum.files, sum.bytes);
        }
    }
    tour_finish(&meter, &list, &sum);
    return sl_loop_close(loop, SL_FOREVER) < 0;
}
