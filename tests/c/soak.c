// One loop that is used for as long as one likes, with faults: files and connections whose every byte is known, timers, work, cancels.
// What it holds when it rests is the same from the first minute to the last: descriptors, lent buffers, resident memory.
//
// soak [seconds = 5] [seed = 1] [fault plan]

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("reads resident memory from /proc");
}

#else

enum { BLOCK = 16384, FILE_LENGTH = 1 << 20, IN_FLIGHT = 32, LINKS = 8, MOST_SAMPLES = 1 << 17 };

static sl_loop loop;
static uint64_t random_state;
static uint64_t rounds, events_taken, errors, bytes_moved, cancelled;

static uint64_t below(uint64_t limit)
{
    return random_below(&random_state, limit);
}

// --- Files: one, and what is in it

static uint8_t *content, *scratch;
static sl_file file;

static void take(sl_op op, sl_event *event)
{
    await_end(op);
    *event = next_event(loop);
    CHECK_IS(event->op, op);
    events_taken++;
    errors += event->result < 0;
}

static void open_it(void)
{
    while (!file) {
        sl_op op;
        sl_event event;
        CHECK_IS(sl_file_open(loop, "soak.tmp", SL_OPEN_READ | SL_OPEN_WRITE, 0, NULL, &op), SL_OK);
        take(op, &event);
        file = event.result > 0 ? (sl_file)event.result : 0;
    }
}

static void close_it(uint64_t *id)
{
    sl_op op;
    sl_event event;
    if (*id) {
        CHECK_IS(sl_close(*id, NULL, &op), SL_OK);
        take(op, &event);
        *id = 0;
    }
}

static void write_some(void)
{
    sl_op op;
    sl_event event;
    size_t length = 1 + (size_t)below(BLOCK), offset = (size_t)below(FILE_LENGTH - length);
    fill(scratch, length, rounds, offset);
    CHECK_IS(sl_file_write(file, scratch, length, (int64_t)offset, 0, NULL, &op), SL_OK);
    if (below(8) == 0) {
        sl_op_cancel(op);
    }
    take(op, &event);
    size_t done = event.result >= 0 ? (size_t)event.result : event.flags & SL_EVENT_PARTIAL ? (size_t)event.detail : 0;
    CHECK(event.result < 0 || done == length);
    memcpy(content + offset, scratch, done);
    bytes_moved += done;
}

static void read_some(void)
{
    sl_op op;
    sl_event event;
    size_t length = 1 + (size_t)below(BLOCK), offset = (size_t)below(FILE_LENGTH - length);
    int lent = below(2) == 0;
    CHECK_IS(sl_file_read(file, lent ? NULL : scratch, length, (int64_t)offset, 0, NULL, &op), SL_OK);
    take(op, &event);
    if (event.result > 0) {
        CHECK(memcmp(lent ? event.data : scratch, content + offset, (size_t)event.result) == 0);
        bytes_moved += (uint64_t)event.result;
    }
    if (event.flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
}

static void read_whole(void)
{
    sl_op op;
    sl_event event;
    CHECK_IS(sl_path_read(loop, "soak.tmp", NULL, &op), SL_OK);
    take(op, &event);
    if (event.result >= 0) {
        CHECK_IS(event.result, FILE_LENGTH);
        CHECK(memcmp(event.data, content, FILE_LENGTH) == 0);
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
}

// --- Links: what is sent at one end comes out at the other

typedef struct link_pair {
    sl_stream here, there;
    uint64_t sent, received;
} link_pair;

static link_pair links[LINKS];

static void end_link(link_pair *on)
{
    close_it(&on->here);
    close_it(&on->there);
    on->sent = on->received = 0;
}

static void make_link(link_pair *on)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 0, &address);
    sl_op accept, connect;
    sl_event event;
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &accept), SL_OK);
    CHECK_IS(sl_tcp_connect(loop, &address, NULL, &connect), SL_OK);
    for (int ended = 0; ended < 2; ended++) {
        event = next_event(loop);
        events_taken++;
        errors += event.result < 0;
        *(event.op == accept ? &on->there : &on->here) = event.result > 0 ? (sl_stream)event.result : 0;
        if (event.op == connect && event.result < 0) {
            sl_op_cancel(accept);
        }
    }
    close_it(&listener);
    if (!on->here || !on->there) {
        end_link(on);
    }
}

static void talk(link_pair *on)
{
    sl_op op;
    sl_event event;
    size_t length = 1 + (size_t)below(BLOCK);
    fill(scratch, length, 7, on->sent);
    CHECK_IS(sl_stream_send(on->here, scratch, length, 0, NULL, &op), SL_OK);
    take(op, &event);
    on->sent += event.result >= 0 ? (uint64_t)event.result : event.flags & SL_EVENT_PARTIAL ? event.detail : 0;
    while (on->received < on->sent) {
        CHECK_IS(sl_stream_receive(on->there, NULL, 0, 0, NULL, &op), SL_OK);
        take(op, &event);
        if (event.result <= 0) {
            end_link(on);
            return;
        }
        CHECK(matches(event.data, (size_t)event.result, 7, on->received));
        on->received += (uint64_t)event.result;
        bytes_moved += (uint64_t)event.result;
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    if (below(100) == 0) {
        end_link(on);
    }
}

// --- Many at a time, some of them cancelled

static int64_t some_work(void *argument_of_work)
{
    return (int64_t)(uintptr_t)argument_of_work;
}

static void many(void)
{
    sl_op ops[IN_FLIGHT];
    for (int i = 0; i < IN_FLIGHT; i++) {
        switch (below(4)) {
        case 0:
            CHECK_IS(sl_timer(loop, below(200000), 0, NULL, &ops[i]), SL_OK);
            break;
        case 1:
            CHECK_IS(sl_work(loop, some_work, NULL, NULL, &ops[i]), SL_OK);
            break;
        case 2:
            CHECK_IS(sl_post(loop, i, NULL, &ops[i]), SL_OK);
            break;
        default:
            CHECK_IS(sl_nop(loop, NULL, &ops[i]), SL_OK);
        }
    }
    for (int i = 0; i < IN_FLIGHT; i += 3) {
        sl_op_cancel(ops[i]);
    }
    for (int i = 0; i < IN_FLIGHT; i++) {
        sl_event event = next_event(loop);
        events_taken++;
        cancelled += event.result == SL_ERR_CANCELLED;
        errors += event.result < 0;
    }
}

static void one_round(void)
{
    rounds++;
    open_it();
    write_some();
    read_some();
    if (below(64) == 0) {
        read_whole();
        close_it(&file);
    }
    link_pair *on = &links[below(LINKS)];
    if (!on->here) {
        make_link(on);
    } else {
        talk(on);
    }
    many();
}

// --- What it holds

static size_t resident(void)
{
    size_t pages = 0;
    FILE *from = fopen("/proc/self/statm", "r");
    CHECK(from && fscanf(from, "%*s %zu", &pages) == 1 && fclose(from) == 0);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

// Closes everything, and compares with the beginning.
static size_t rest(holdings before)
{
    close_it(&file);
    for (int i = 0; i < LINKS; i++) {
        end_link(&links[i]);
    }
    sl_counters counters = counters_of(loop);
    CHECK_IS(counters.accepted, counters.ended);
    CHECK_IS(counters.ended, counters.taken);
    CHECK_IS(counters.resources, 0);
    CHECK_IS(counters.lent_buffers, 0);
    CHECK_IS(holdings_now().descriptors, before.descriptors);
    return resident();
}

// How much grows in an hour, by least squares over the samples from `from` on.
static double slope(const size_t *samples, size_t from, size_t count, double seconds)
{
    double n = (double)(count - from), sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (size_t i = from; i < count; i++) {
        double x = (double)i, y = (double)samples[i];
        sx += x, sy += y, sxx += x * x, sxy += x * y;
    }
    double per_sample = n > 1 ? (n * sxy - sx * sy) / (n * sxx - sx * sx) : 0;
    return per_sample * (double)count / seconds * 3600;
}

int main(int argc, char **argv)
{
    start();
    uint64_t seconds = argument(argc, argv, 1, 5);
    watchdog((unsigned)seconds + 120);
    random_state = argument(argc, argv, 2, 1);
    content = calloc(1, FILE_LENGTH);
    scratch = malloc(BLOCK);
    static size_t samples[MOST_SAMPLES];
    size_t count = 0;
    FILE *made = fopen("soak.tmp", "wb");
    CHECK(content && scratch && made && fwrite(content, 1, FILE_LENGTH, made) == FILE_LENGTH && fclose(made) == 0);
    sl_loop_options options = {.size = sizeof options};
    options.seed = random_state;
    options.faults = argc > 3 ? argv[3] : "all: error@0.005 delay=1ms@0.02; read, write, receive, send: short@0.1";
    loop = open_loop(&options);
    one_round();
    close_it(&file);
    end_link(&links[0]);
    for (int i = 1; i < LINKS; i++) {
        end_link(&links[i]);
    }
    holdings before = holdings_now();
    uint64_t begun = now_ns(), end = begun + seconds * SECOND, next = begun;
    while (now_ns() < end) {
        one_round();
        if (now_ns() >= next && count < MOST_SAMPLES) {
            samples[count++] = rest(before);
            next += seconds * SECOND / 1000 + SECOND / 100;
        }
    }
    rest(before);
    double elapsed = (double)(now_ns() - begun) / SECOND;
    size_t warm = count / 5;
    sl_counters counters = counters_of(loop);
    printf("%.0f s: %llu rounds, %llu operations, %llu MiB, %llu errors, %llu faults; resident %zu KiB after a fifth, %zu KiB at the "
           "end, %+.1f KiB an hour\n",
           elapsed, (unsigned long long)rounds, (unsigned long long)counters.accepted, (unsigned long long)(bytes_moved >> 20),
           (unsigned long long)errors, (unsigned long long)counters.faults, samples[warm], samples[count - 1],
           slope(samples, warm, count, elapsed));
    close_loop(loop);
    free(content);
    free(scratch);
    CHECK_IS(remove("soak.tmp"), 0);
    return 0;
}

#endif
