/* Style (e): sideloop with callbacks on the loop's own thread. Each read's callback submits the next read, so that nothing
 * goes through the main thread, which only waits for the end.
 *
 * See what it does to the program: it has no line that says "read all files". What happens next is wherever the last
 * callback left it. */

#include "tour.h"

#include <stdatomic.h>

/* All of this belongs to the loop's thread, except the two counters, which the main thread reads to report progress. */
static tour_list list;
static tour_sum sum;
static size_t next, in_flight;
static atomic_uint_fast64_t files, bytes;

static void read_more(sl_loop loop);

static void on_read(sl_loop loop, const sl_event *event)
{
    tour_take(&list, &sum, event);
    atomic_store_explicit(&files, sum.files, memory_order_relaxed);
    atomic_store_explicit(&bytes, sum.bytes, memory_order_relaxed);
    in_flight--;
    read_more(loop);
}

static void read_more(sl_loop loop)
{
    while (in_flight < TOUR_WINDOW && next < list.count) {
        sl_options options = {
            .size = sizeof options, .delivery = SL_DELIVER_THREAD, .user_data = next, .callback = on_read};
        sl_op op;
        sl_status status = sl_path_read(loop, list.paths[next], &options, &op);
        if (status == SL_ERR_AGAIN && in_flight > 0)
            return; /* Full: the next callback tries again. */
        if (status < 0)
            list.failed[next] = status;
        else
            in_flight++;
        next++;
    }
    if (in_flight == 0 && sl_post(loop, 0, NULL, &(sl_op){0}) < 0) /* Tells the main thread that all is done. */
        tour_stop("sl_post", sl_last_error());
}

static void on_start(sl_loop loop, const sl_event *event)
{
    (void)event;
    read_more(loop);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        tour_stop("callbacks", "the list of files is missing");
    list = tour_list_read(argv[1]);
    tour_meter meter = tour_meter_start(0);
    sl_loop loop;
    if (sl_loop_open(NULL, &loop) < 0)
        tour_stop("sl_loop_open", sl_last_error());
    meter.loop = loop;

    /* The first step is taken on the loop's thread too, so that the state above needs no lock. */
    sl_options start = {.size = sizeof start, .delivery = SL_DELIVER_THREAD, .callback = on_start};
    sl_op op;
    if (sl_nop(loop, &start, &op) < 0)
        tour_stop("sl_nop", sl_last_error());
    tour_tick(&meter, 0, 0);

    sl_event done;
    sl_status count;
    while ((count = sl_wait(loop, &done, 1, TOUR_WAIT_NS)) == 0)
        tour_waited(&meter, atomic_load_explicit(&files, memory_order_relaxed),
                    atomic_load_explicit(&bytes, memory_order_relaxed));
    if (count < 0)
        tour_stop("sl_wait", sl_last_error());
    tour_waited(&meter, sum.files, sum.bytes);
    tour_finish(&meter, &list, &sum);
    return sl_loop_close(loop, SL_FOREVER) < 0;
}
