// Operations of every kind, submitted and then cancelled or closed at random moments by several threads: each that was
// accepted has exactly one last event, nothing comes after it, and no descriptor is left.
//
// chaos [operations = 100000] [threads = 4]

#include "harness.h"

#include <stdatomic.h>

enum { SLOTS = 64, RECENT = 64, BLOCK = 4096, MEMORY = 256 };

// Per operation, by its user data.
enum { LAST = 1, REFUSED = 128 };

static sl_loop loop;
static size_t total; // closings are numbered beyond it, so that the table has three times as many
static atomic_uchar *state;
static atomic_size_t next_number;
static atomic_ullong streams[SLOTS], files[SLOTS], listeners[2], recent[RECENT];
static sl_address addresses[2];
static atomic_ullong more_events, lent_events, cancelled_events;
static uint8_t memory[MEMORY][BLOCK];

// A resource that arrived takes a slot; the one that was there is closed.
static void put(atomic_ullong *slots, size_t slot, uint64_t resource)
{
    uint64_t old = atomic_exchange(&slots[slot], resource);
    if (old) {
        size_t number = atomic_fetch_add(&next_number, 1);
        sl_options options = tagged(number);
        CHECK(number < total * 3);
        if (sl_close(old, &options, NULL) < 0) {
            atomic_store(&state[number], REFUSED);
        }
    }
}

static void check_event(const sl_event *event, uint64_t *random)
{
    CHECK(event->user_data < total * 3);
    CHECK_IS(atomic_load(&state[event->user_data]), 0);
    CHECK(event->result >= 0 || strcmp(harness_name(event->result), "SL_ERR_?") != 0);
    CHECK(event->result != SL_ERR_INTERNAL);
    if (event->flags & SL_EVENT_MORE) {
        atomic_fetch_add(&more_events, 1);
    } else {
        atomic_store(&state[event->user_data], LAST);
    }
    if (event->flags & SL_EVENT_LENT) {
        CHECK(event->result > 0 && event->data);
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
        atomic_fetch_add(&lent_events, 1);
    }
    if (event->result == SL_ERR_CANCELLED) {
        atomic_fetch_add(&cancelled_events, 1);
    }
    if (event->result > 0 && (event->kind == SL_TCP_ACCEPT || event->kind == SL_TCP_CONNECT)) {
        put(streams, random_below(random, SLOTS), (uint64_t)event->result);
    } else if (event->result > 0 && event->kind == SL_FILE_OPEN) {
        put(files, random_below(random, SLOTS), (uint64_t)event->result);
    }
}

static void *reap(void *unused)
{
    uint64_t random = 7;
    (void)unused;
    for (;;) {
        sl_event events[64];
        sl_status got = sl_wait(loop, events, 64, PATIENCE);
        if (got == SL_ERR_SHUT_DOWN) {
            return NULL;
        }
        CHECK(got > 0);
        for (sl_status i = 0; i < got; i++) {
            check_event(&events[i], &random);
        }
    }
}

static int64_t some_work(void *argument_of_work)
{
    return (int64_t)(uintptr_t)argument_of_work;
}

static uint64_t one_of(atomic_ullong *slots, uint64_t *random)
{
    return atomic_load(&slots[random_below(random, SLOTS)]);
}

static sl_status submit_stream(uint64_t *random, const sl_options *options, sl_op *op)
{
    uint64_t stream = one_of(streams, random), way = random_below(random, 8);
    size_t length = random_below(random, BLOCK);
    void *block = memory[random_below(random, MEMORY)];
    uint64_t which = random_below(random, 2);
    switch (way) {
    case 0:
        return sl_tcp_connect(loop, &addresses[which], options, op);
    case 1:
        return sl_tcp_accept(atomic_load(&listeners[which]), 0, options, op);
    case 2:
        return sl_tcp_accept(atomic_load(&listeners[which]), SL_MULTISHOT, options, op);
    case 3:
        return sl_stream_receive(stream, block, length, random_below(random, 2) ? SL_EXACT : 0, options, op);
    case 4:
        return sl_stream_receive(stream, NULL, 0, SL_MULTISHOT, options, op);
    case 5:
        return sl_stream_receive(stream, NULL, length, 0, options, op);
    case 6:
        return sl_stream_send(stream, block, length, 0, options, op);
    default:
        return random_below(random, 4) ? sl_stream_send(stream, block, length, 0, options, op)
                                       : sl_stream_shutdown(stream, options, op);
    }
}

static sl_status submit_file(uint64_t *random, const sl_options *options, sl_op *op)
{
    uint64_t file = one_of(files, random);
    size_t length = random_below(random, BLOCK);
    void *block = memory[random_below(random, MEMORY)];
    int64_t offset = (int64_t)random_below(random, 10000) - 1;
    switch (random_below(random, 6)) {
    case 0:
    case 1:
        return sl_file_open(loop, "chaos.tmp", SL_OPEN_READ | SL_OPEN_WRITE, 0, options, op);
    case 2:
        return sl_file_read(file, block, length, offset, 0, options, op);
    case 3:
        return sl_file_read(file, NULL, length + 1, offset, 0, options, op);
    case 4:
        return sl_file_write(file, block, length, offset, 0, options, op);
    default:
        return sl_path_read(loop, "chaos.tmp", options, op);
    }
}

static sl_status submit_one(uint64_t *random, const sl_options *options, sl_op *op)
{
    switch (random_below(random, 8)) {
    case 0:
        return sl_nop(loop, options, op);
    case 1:
        return sl_timer(loop, random_below(random, 2) ? random_below(random, 3000000) : INT64_MAX, 0, options, op);
    case 2:
        return sl_timer(loop, random_below(random, 100000), 500000 + random_below(random, 1000000), options, op);
    case 3:
        return sl_work(loop, some_work, (void *)(uintptr_t)random_below(random, 1000), options, op);
    case 4:
    case 5:
        return submit_file(random, options, op);
    default:
        return submit_stream(random, options, op);
    }
}

// Cancels something that was submitted a moment ago, by this thread or another, or closes what it may work on.
static void disturb(uint64_t *random)
{
    uint64_t op = one_of(recent, random);
    switch (random_below(random, 8)) {
    case 0:
        put(streams, random_below(random, SLOTS), 0);
        break;
    case 1:
        put(files, random_below(random, SLOTS), 0);
        break;
    case 2:
        if (random_below(random, 50) == 0) {
            sl_address fresh;
            CHECK_IS(sl_address_parse("127.0.0.1:0", &fresh), SL_OK);
            sl_listener made;
            if (sl_tcp_listen(loop, &fresh, NULL, &made) == SL_OK) {
                put(listeners, 1, made);
            }
        }
        break;
    default:
        if (op) {
            sl_status status = sl_op_cancel(op);
            CHECK(status == SL_OK || status == SL_ERR_STALE || status == SL_ERR_ENDED);
        }
    }
}

static void *play(void *number)
{
    uint64_t random = (uint64_t)(uintptr_t)number + 100;
    for (;;) {
        size_t index = atomic_fetch_add(&next_number, 1);
        if (index >= total) {
            CHECK(index < total * 3);
            atomic_store(&state[index], REFUSED);
            return NULL;
        }
        sl_options options = tagged(index);
        options.timeout_ns = random_below(&random, 4) ? 0 : random_below(&random, 2000000);
        sl_op op = 0;
        sl_status status = submit_one(&random, &options, &op);
        if (status < 0) {
            CHECK(status == SL_ERR_BAD_ID || status == SL_ERR_STALE || status == SL_ERR_AGAIN);
            atomic_store(&state[index], REFUSED);
        } else {
            atomic_store(&recent[random_below(&random, RECENT)], op);
        }
        disturb(&random);
    }
}

// After the end: exactly one last event for all that were accepted.
static void check_all(void)
{
    size_t numbers = atomic_load(&next_number), accepted = 0;
    for (size_t i = 0; i < numbers; i++) {
        unsigned char is = atomic_load(&state[i]);
        CHECK(is == LAST || is == REFUSED);
        accepted += is == LAST;
    }
    sl_counters counters = counters_of(loop);
    CHECK_IS(counters.accepted, accepted);
    CHECK_IS(counters.ended, accepted);
    CHECK_IS(counters.more, atomic_load(&more_events));
    CHECK_IS(counters.cancelled, atomic_load(&cancelled_events));
    CHECK_IS(counters.resources, 0);
    printf("%zu accepted, %zu refused, %llu cancelled, %llu timed out, %llu more\n", accepted, numbers - accepted,
           (unsigned long long)counters.cancelled, (unsigned long long)counters.timed_out,
           (unsigned long long)counters.more);
}

int main(int argc, char **argv)
{
    start();
    total = argument(argc, argv, 1, 100000);
    size_t count = argument(argc, argv, 2, 4);
    pthread_t threads[64], reaper;
    CHECK(count <= 64);
    raise_descriptor_limit(4096);
    FILE *made = fopen("chaos.tmp", "wb");
    CHECK(made && fwrite(memory, 1, 10000, made) == 10000 && fclose(made) == 0);
    state = calloc(total * 3, sizeof *state);
    CHECK(state);
    holdings before = holdings_now();
    loop = open_loop(NULL);
    for (int i = 0; i < 2; i++) {
        atomic_store(&listeners[i], listen_here(loop, 0, &addresses[i]));
    }
    reaper = spawn(reap, NULL);
    for (size_t i = 0; i < count; i++) {
        threads[i] = spawn(play, (void *)(uintptr_t)i);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_IS(sl_loop_shutdown(loop), SL_OK);
    pthread_join(reaper, NULL);
    check_all();
    close_loop(loop);
    check_returned(before);
    free(state);
    CHECK_IS(remove("chaos.tmp"), 0);
    return 0;
}
