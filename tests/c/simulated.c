// Simulated loops: a seed brings everything back, and another one brings something else; time is simulated; cancels win and lose;
// a loop gets a thread where two wait or the wake descriptor is asked for, and nothing is lost then; closing ends everything;
// callbacks run on the thread that waits, and may not wait themselves.
//
// simulated [seeds = 200] [rounds = 100]

#include "harness.h"

#if defined(_WIN32)
int main(void)
{
    return skip("pairs of sockets are for Unix");
}
#else

#define HOUR (3600 * SECOND)

static sl_loop open_simulated(uint64_t seed)
{
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.driver = SL_DRIVER_SIM;
    options.seed = seed;
    options.faults = "";
    return open_loop(&options);
}

// Adopts one end of a pair of sockets, and answers the other.
static raw_socket adopt_end(sl_loop loop, sl_stream *stream)
{
    raw_socket pair[2];
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_IS(sl_stream_adopt(loop, pair[0], stream), SL_OK);
    return pair[1];
}

// --- The same seed, the same events

enum { OPERATIONS = 120, PIECE = 4096 };

typedef struct storm {
    sl_loop loop;
    uint64_t random, hash, order;
    sl_file file;
    sl_stream streams[2];
    sl_op ops[OPERATIONS];
    size_t taken;
    uint8_t rooms[OPERATIONS][PIECE];
    sl_stat stats[OPERATIONS];
} storm;

static storm *current;

static void note(uint64_t number)
{
    current->hash = mix(current->hash ^ number);
}

// Everything that an event says but for ids and addresses, in the order in which events come.
static void note_event(const sl_event *event)
{
    int is_id = event->result > INT32_MAX;
    note(event->user_data);
    note(is_id ? 1 : (uint64_t)event->result);
    note(((uint64_t)event->kind << 32) | event->flags);
    note((uint64_t)event->os_error);
    note(event->flags & SL_EVENT_PARTIAL ? event->detail : 0);
    current->order = mix(current->order ^ event->user_data);
    if (event->flags & SL_EVENT_LENT) {
        for (int64_t i = 0; i < event->result; i++) {
            note(((const uint8_t *)event->data)[i]);
        }
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
    }
    current->taken += !(event->flags & SL_EVENT_MORE);
}

static void on_event(sl_loop loop, const sl_event *event)
{
    (void)loop;
    note_event(event);
}

static int64_t work(void *number)
{
    note((uintptr_t)number);
    return (int64_t)(intptr_t)number;
}

static sl_request request_at(storm *s, size_t i)
{
    static const uint32_t kinds[] = {SL_NOP,       SL_POST,       SL_TIMER,          SL_WORK,        SL_FILE_READ,
                                     SL_FILE_READ, SL_FILE_WRITE, SL_FILE_STAT,      SL_FILE_SYNC,   SL_PATH_READ,
                                     SL_PATH_STAT, SL_NOP,        SL_STREAM_RECEIVE, SL_STREAM_SEND, SL_STREAM_SEND};
    uint32_t kind = kinds[random_below(&s->random, sizeof kinds / sizeof *kinds)];
    uint64_t target = s->loop;
    if (kind == SL_STREAM_RECEIVE || kind == SL_STREAM_SEND) {
        target = s->streams[random_below(&s->random, 2)];
    } else if (kind >= SL_FILE_READ && kind < SL_PATH_STAT) {
        target = s->file;
    }
    sl_request request = request_of(kind, target);
    request.user_data = i + 1;
    request.delivery = (uint32_t[]){SL_DELIVER_QUEUE, SL_DELIVER_DISPATCH, SL_DELIVER_THREAD}[random_below(&s->random, 3)];
    request.callback = request.delivery == SL_DELIVER_QUEUE ? NULL : on_event;
    request.timeout_ns = random_below(&s->random, 3) ? 0 : random_below(&s->random, 20 * MILLISECOND) + 1;
    request.buffer = kind == SL_WORK ? (void *)(uintptr_t)i : s->rooms[i];
    request.length = 1 + random_below(&s->random, PIECE);
    request.work = kind == SL_WORK ? work : NULL;
    if (kind == SL_FILE_STAT || kind == SL_PATH_STAT) {
        s->stats[i].size = sizeof s->stats[i];
        request.buffer = &s->stats[i];
    }
    if (kind == SL_PATH_STAT || kind == SL_PATH_READ) {
        request.target = s->loop;
        request.buffer = (void *)(uintptr_t)"storm.tmp";
        request.offset = kind == SL_PATH_STAT ? (int64_t)(intptr_t)&s->stats[i] : 0;
    } else if (kind == SL_FILE_READ || kind == SL_FILE_WRITE) {
        request.offset = (int64_t)random_below(&s->random, PIECE);
    }
    return request;
}

// Submits operations, cancels some, and takes events in between by all ways there are.
static void rage(storm *s)
{
    sl_event events[16];
    for (size_t i = 0; i < OPERATIONS; i++) {
        sl_request request = request_at(s, i);
        CHECK_IS(sl_submit(s->loop, &request, 1, &s->ops[i]), 1);
        if (random_below(&s->random, 4) == 0) {
            note((uint64_t)sl_op_cancel(s->ops[random_below(&s->random, i + 1)]));
        }
        sl_status got = 0;
        switch (random_below(&s->random, 6)) {
        case 0:
            got = sl_poll(s->loop, events, 1 + random_below(&s->random, 16));
            break;
        case 1:
            got = sl_wait(s->loop, events, 1 + random_below(&s->random, 16), random_below(&s->random, 5 * MILLISECOND));
            break;
        case 2:
            note((uint64_t)sl_dispatch(s->loop, 0, random_below(&s->random, 2) * MILLISECOND));
            break;
        case 3:
            note((uint64_t)sl_op_status(s->ops[i]));
            break;
        default:
            break;
        }
        CHECK(got >= 0);
        for (sl_status j = 0; j < got; j++) {
            note_event(&events[j]);
        }
    }
}

// A whole life of a loop. The program's own choices are the same every time; only the loop's depend on the seed.
static void live(storm *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->random = 5;
    current = s;
    s->loop = open_simulated(seed);
    s->file = open_file(s->loop, "storm.tmp", SL_OPEN_READ | SL_OPEN_WRITE | SL_OPEN_CREATE | SL_OPEN_TRUNCATE);
    raw_socket other = adopt_end(s->loop, &s->streams[0]);
    CHECK_IS(sl_stream_adopt(s->loop, other, &s->streams[1]), SL_OK);
    rage(s);
    for (int i = 0; i < 2; i++) {
        sl_options options = tagged(1000 + (uint64_t)i);
        CHECK_IS(sl_close(s->streams[i], &options, NULL), SL_OK);
    }
    while (s->taken < OPERATIONS + 2) {
        sl_event event;
        sl_status got = sl_wait(s->loop, &event, 1, 50 * MILLISECOND);
        CHECK(got >= 0);
        if (got == 1) {
            note_event(&event);
        }
        CHECK(sl_dispatch(s->loop, 0, 0) >= 0);
    }
    sl_counters counters = counters_of(s->loop);
    CHECK_IS(counters.threads, 0);
    CHECK_IS(counters.accepted, OPERATIONS + 3);
    CHECK_IS(counters.resources, 1);
    note(counters.cancelled);
    note(counters.timed_out);
    note(counters.turns);
    CHECK_IS(sl_loop_close(s->loop, SL_FOREVER), 0);
    CHECK_IS(remove("storm.tmp"), 0);
}

static int compare(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return a < b ? -1 : a > b;
}

static void seeds_bring_everything_back(size_t seeds)
{
    storm *s = malloc(sizeof *s);
    uint64_t *orders = calloc(seeds, sizeof *orders);
    CHECK(s && orders);
    for (size_t i = 0; i < seeds; i++) {
        live(s, i + 1);
        uint64_t hash = s->hash;
        orders[i] = s->order;
        live(s, i + 1);
        CHECK_IS(s->order, orders[i]);
        CHECK_IS(s->hash, hash);
    }
    qsort(orders, seeds, sizeof *orders, compare);
    for (size_t i = 1; i < seeds; i++) {
        CHECK(orders[i] != orders[i - 1]);
    }
    free(orders);
    free(s);
}

// --- Time

static void time_is_simulated(void)
{
    sl_loop loop = open_simulated(1);
    sl_event event;
    sl_op op, first, second, late;
    sl_stream stream;
    uint8_t byte;
    // Nothing to wait for: it passes all the same.
    CHECK_IS(sl_wait(loop, &event, 1, 1000 * HOUR), 0);
    CHECK_IS(sl_dispatch(loop, 0, 1000 * HOUR), 0);
    CHECK_IS(sl_timer(loop, HOUR, 0, NULL, &op), SL_OK);
    for (int i = 0; i < 5; i++) {
        CHECK_IS(sl_wait(loop, &event, 1, HOUR / 6), 0);
        CHECK_IS(sl_op_status(op), 0);
    }
    CHECK_IS(sl_wait(loop, &event, 1, HOUR / 5), 1);
    CHECK_IS(event.op, op);
    // A deadline comes in its order among timers.
    sl_options an_hour = until(HOUR);
    raw_socket other = adopt_end(loop, &stream);
    CHECK_IS(sl_stream_receive(stream, &byte, 1, 0, &an_hour, &late), SL_OK);
    CHECK_IS(sl_timer(loop, 2 * HOUR, 0, NULL, &second), SL_OK);
    CHECK_IS(sl_timer(loop, HOUR / 2, 0, NULL, &first), SL_OK);
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), 1);
    CHECK_IS(event.op, first);
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), 1);
    CHECK_IS(event.op, late);
    CHECK_IS(event.result, SL_ERR_TIMED_OUT);
    CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), 1);
    CHECK_IS(event.op, second);
    // Ticks are counted while nobody takes them.
    sl_options handle = by_handle();
    CHECK_IS(sl_timer(loop, HOUR, HOUR, NULL, &op), SL_OK);
    CHECK_IS(sl_timer(loop, 10 * HOUR + HOUR / 2, 0, &handle, &first), SL_OK);
    CHECK_IS(sl_op_wait(first, SL_FOREVER, &event), 1);
    int64_t ticks = 0;
    while (sl_poll(loop, &event, 1) == 1) {
        ticks += event.result;
    }
    CHECK_IS(ticks, 10);
    CHECK_IS(sl_op_cancel(op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_CANCELLED);
    close_resource(loop, stream);
    close_socket(other);
    close_loop(loop);
}

// Looking is enough: whoever only ever polls gets everything, too.
static void polling_carries_on(void)
{
    sl_loop loop = open_simulated(3);
    sl_options handle = by_handle();
    sl_event event;
    sl_op op;
    for (int i = 0; i < 3; i++) {
        CHECK_IS(sl_timer(loop, SECOND, 0, i ? &handle : NULL, &op), SL_OK);
        if (i == 0) {
            while (sl_poll(loop, &event, 1) == 0) {
            }
        } else if (i == 1) {
            while (sl_op_poll(op, &event) == 0) {
            }
        } else {
            while (sl_op_status(op) == 0) {
            }
            CHECK_IS(sl_op_poll(op, &event), 1);
        }
        CHECK_IS(event.op, op);
    }
    close_loop(loop);
}

// --- Cancels

static void cancels_win_and_lose(size_t seeds)
{
    size_t won = 0, lost = 0;
    // Both come by chance: on until both have.
    for (size_t i = 0; i < seeds || (i < 1000 && (won == 0 || lost == 0)); i++) {
        sl_loop loop = open_simulated(i + 1);
        sl_stat stat = {0};
        sl_op op;
        stat.size = sizeof stat;
        CHECK_IS(sl_path_stat(loop, ".", 0, &stat, NULL, &op), SL_OK);
        (void)sl_op_status(op);
        sl_status asked = sl_op_cancel(op);
        CHECK(asked == SL_OK || asked == SL_ERR_ENDED);
        int64_t result = result_of(loop, op);
        CHECK(result == 0 || result == SL_ERR_CANCELLED);
        CHECK_IS(stat.type, result == 0 ? SL_TYPE_DIRECTORY : 0);
        won += result != 0;
        lost += result == 0 && asked == SL_OK;
        close_loop(loop);
    }
    CHECK(won > 0 && lost > 0);
}

// --- Callbacks

static pthread_t waiting;
static int calls;

// Is on the thread that waits, and may do anything but wait.
static void check_inside(sl_loop loop)
{
    sl_event event;
    sl_options handle = by_handle();
    sl_op op;
    CHECK(pthread_equal(pthread_self(), waiting));
    CHECK_IS(sl_nop(loop, &handle, &op), SL_OK);
    CHECK_IS(sl_wait(loop, &event, 1, SECOND), SL_ERR_DEADLOCK);
    CHECK_IS(sl_dispatch(loop, 0, SECOND), SL_ERR_DEADLOCK);
    CHECK_IS(sl_op_wait(op, SECOND, &event), SL_ERR_DEADLOCK);
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), SL_ERR_DEADLOCK);
    CHECK_IS(sl_poll(loop, &event, 1), 0);
    CHECK_IS(sl_op_poll(op, &event), 0);
    CHECK_IS(sl_op_status(op), 0);
    calls++;
}

static void wait_for_everything(sl_loop loop, int wanted)
{
    sl_event event;
    while (calls < wanted) {
        CHECK(sl_wait(loop, &event, 1, SECOND) >= 0);
    }
}

static void callback(sl_loop loop, const sl_event *event)
{
    CHECK(event->result >= 0);
    check_inside(loop);
}

static int64_t worked(void *loop)
{
    check_inside(*(sl_loop *)loop);
    return 0;
}

// Another loop may be waited for, but not by way of that the one whose callback this is.
static void callback_outside(sl_loop inner, const sl_event *event)
{
    sl_loop outer = event->user_data;
    sl_event unused;
    CHECK(inner != outer);
    CHECK_IS(sl_wait(outer, &unused, 1, SL_FOREVER), SL_ERR_DEADLOCK);
    CHECK_IS(sl_loop_close(outer, SL_FOREVER), SL_ERR_DEADLOCK);
    calls++;
}

static void callback_with_another_loop(sl_loop loop, const sl_event *event)
{
    sl_loop inner = open_simulated(event->user_data);
    sl_options options = delivered(SL_DELIVER_THREAD, loop, callback_outside);
    CHECK_IS(sl_nop(inner, &options, NULL), SL_OK);
    wait_for_everything(inner, calls + 1);
    close_loop(inner);
}

static void callbacks_run_where_it_waits(void)
{
    sl_loop loop = open_simulated(1);
    sl_options options = delivered(SL_DELIVER_THREAD, 7, callback);
    sl_event event;
    waiting = pthread_self();
    calls = 0;
    for (int i = 0; i < 10; i++) {
        CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
        CHECK_IS(sl_work(loop, worked, &loop, NULL, NULL), SL_OK);
    }
    wait_for_everything(loop, 20);
    options.callback = callback_with_another_loop;
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    wait_for_everything(loop, 21);
    CHECK_IS(counters_of(loop).threads, 0);
    while (sl_wait(loop, &event, 1, SECOND) > 0) {
    }
    // The operations of check_inside, whose events nobody takes.
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), 20);
}

static void callback_descriptor(sl_loop loop, const sl_event *event)
{
    CHECK_IS(sl_loop_wake_descriptor(loop, (sl_descriptor *)(uintptr_t)event->user_data), SL_OK);
}

// --- A thread of its own

enum { POSTS = 400, WAITERS = 16 };

typedef struct waiter {
    sl_loop loop;
    size_t taken;
    uint8_t seen[POSTS];
} waiter;

static void *wait_for_some(void *argument_of_thread)
{
    waiter *w = argument_of_thread;
    for (;;) {
        sl_event event;
        sl_status got = sl_wait(w->loop, &event, 1, SL_FOREVER);
        if (got == SL_ERR_SHUT_DOWN) {
            return NULL;
        }
        CHECK_IS(got, 1);
        w->seen[event.user_data]++;
        w->taken++;
    }
}

// Who waits without end never comes back with nothing, whoever else takes what has come.
static void many_wait_at_once(size_t rounds)
{
    for (size_t round = 0; round < rounds; round++) {
        waiter waiters[WAITERS] = {{0}};
        pthread_t threads[WAITERS];
        sl_loop loop = open_simulated(round + 1);
        for (int i = 0; i < WAITERS; i++) {
            waiters[i].loop = loop;
            threads[i] = spawn(wait_for_some, &waiters[i]);
        }
        for (size_t i = 0; i < POSTS; i++) {
            sl_options options = tagged(i);
            CHECK_IS(i % 2 ? sl_nop(loop, &options, NULL) : sl_timer(loop, i * MILLISECOND, 0, &options, NULL), SL_OK);
        }
        uint64_t limit = now_ns() + PATIENCE;
        while (counters_of(loop).taken < POSTS) {
            CHECK(now_ns() < limit);
            sched_yield();
        }
        CHECK_IS(sl_loop_shutdown(loop), SL_OK);
        for (int i = 0; i < WAITERS; i++) {
            pthread_join(threads[i], NULL);
        }
        for (size_t i = 0; i < POSTS; i++) {
            int seen = 0;
            for (int j = 0; j < WAITERS; j++) {
                seen += waiters[j].seen[i];
            }
            CHECK_IS(seen, 1);
        }
        close_loop(loop);
    }
}

// One thread waits without end for a socket; what another brings about wakes it.
static void *send_from_outside(void *socket_of_thread)
{
    CHECK_IS(send(*(raw_socket *)socket_of_thread, "x", 1, NO_SIGNAL), 1);
    return NULL;
}

static void outside_wakes(size_t rounds)
{
    for (size_t round = 0; round < rounds; round++) {
        sl_loop loop = open_simulated(round + 1);
        sl_stream stream;
        sl_op op;
        uint8_t byte;
        raw_socket other = adopt_end(loop, &stream);
        CHECK_IS(sl_stream_receive(stream, &byte, 1, 0, NULL, &op), SL_OK);
        pthread_t thread = spawn(send_from_outside, &other);
        sl_event event;
        CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), 1);
        CHECK_IS(event.result, 1);
        pthread_join(thread, NULL);
        CHECK_IS(counters_of(loop).threads, 0);
        close_resource(loop, stream);
        close_socket(other);
        close_loop(loop);
    }
}

static void wake_descriptor(size_t rounds)
{
    for (size_t round = 0; round < rounds; round++) {
        sl_loop loop = open_simulated(round + 1);
        sl_descriptor descriptor = -1;
        size_t taken = 0;
        for (size_t i = 0; i < POSTS; i++) {
            sl_options options = tagged(i);
            CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
            sl_event event;
            taken += i < POSTS / 2 && sl_poll(loop, &event, 1) == 1;
        }
        if (round % 2) {
            sl_options options = delivered(SL_DELIVER_THREAD, (uintptr_t)&descriptor, callback_descriptor);
            CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
            while (descriptor < 0) {
                sl_event event;
                taken += sl_poll(loop, &event, 1) == 1;
            }
        } else {
            CHECK_IS(sl_loop_wake_descriptor(loop, &descriptor), SL_OK);
            CHECK_IS(counters_of(loop).threads, 1);
        }
        while (taken < POSTS) {
            sl_event events[7];
            CHECK(readable(descriptor, (int)(PATIENCE / MILLISECOND)));
            sl_status got = sl_poll(loop, events, 7);
            CHECK(got > 0);
            taken += (size_t)got;
        }
        CHECK_IS(sl_loop_close(loop, SL_FOREVER), 0);
    }
}

// --- Closing with everything under way

static int64_t count_call(void *count)
{
    return ++*(int *)count;
}

static void close_with_everything_under_way(size_t seeds)
{
    for (size_t i = 0; i < seeds; i++) {
        sl_loop loop = open_simulated(i + 1);
        sl_stream stream;
        sl_event event;
        uint8_t memory[64];
        int called = 0;
        raw_socket other = adopt_end(loop, &stream);
        CHECK_IS(sl_stream_receive(stream, memory, sizeof memory, 0, NULL, NULL), SL_OK);
        CHECK_IS(sl_timer(loop, HOUR, HOUR, NULL, NULL), SL_OK);
        for (int j = 0; j < 10; j++) {
            CHECK_IS(sl_file_open(loop, ".", SL_OPEN_READ, 0, NULL, NULL), SL_OK);
            CHECK_IS(sl_work(loop, count_call, &called, NULL, NULL), SL_OK);
        }
        int taken = sl_poll(loop, &event, 1);
        CHECK(taken >= 0);
        if (i % 2) {
            CHECK_IS(sl_loop_shutdown(loop), SL_OK);
            CHECK_IS(sl_nop(loop, NULL, NULL), SL_ERR_SHUT_DOWN);
        }
        CHECK_IS(sl_loop_close(loop, SL_FOREVER), 22 - taken);
        CHECK_IS(recv(other, (char *)memory, 1, 0), 0);
        CHECK_IS(sl_wait(loop, &event, 1, 0), SL_ERR_STALE);
        close_socket(other);
    }
}

int main(int argc, char **argv)
{
    start();
    size_t seeds = argument(argc, argv, 1, 200), rounds = argument(argc, argv, 2, 100);
    holdings before = holdings_now();
    seeds_bring_everything_back(seeds);
    time_is_simulated();
    polling_carries_on();
    cancels_win_and_lose(seeds);
    callbacks_run_where_it_waits();
    outside_wakes(rounds);
    many_wait_at_once(rounds);
    wake_descriptor(rounds);
    close_with_everything_under_way(seeds);
    check_returned(before);
    printf("%zu seeds, each the same twice, no two alike\n", seeds);
    return 0;
}

#endif
