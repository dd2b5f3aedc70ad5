// Slow clients by the hundred, each of which sends its request a byte at a time, cost the healthy ones of the same server little:
// those go on, and every slow request is answered when it is whole. Prints the 99th percentile of the healthy ones' round trips
// without and with the slow ones.
//
// slow_peers [slow connections = 500] [round trips at a time = 2000] [times = 9]

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("its sockets of the system's own are POSIX's");
}

#else

#include <errno.h>
#include <stdatomic.h>

enum { REQUEST = 64, HEALTHY = 4, SLOW_REQUEST = 32 };

static atomic_int stop;
// How many turns the slow clients have had, one after the other: at each, one sends a byte or looks for its answer.
static atomic_ullong turns;

// --- The server: reads a request of the length that its first byte says, sends it back, and reads the next.

typedef struct connection {
    sl_stream stream;
    uint8_t request[REQUEST];
} connection;

static void on_event(sl_loop loop, const sl_event *event);

static void next_request(connection *c)
{
    sl_options options = delivered(SL_DELIVER_THREAD, (uintptr_t)c, on_event);
    CHECK_IS(sl_stream_receive(c->stream, c->request, 1, SL_EXACT, &options, NULL), SL_OK);
}

static void on_event(sl_loop loop, const sl_event *event)
{
    connection *c = (connection *)(uintptr_t)event->user_data;
    sl_options options = delivered(SL_DELIVER_THREAD, event->user_data, on_event);
    (void)loop;
    if (event->kind == SL_TCP_ACCEPT) {
        if (event->result > 0) {
            c = calloc(1, sizeof *c);
            CHECK(c);
            c->stream = (sl_stream)event->result;
            next_request(c);
        }
    } else if (event->kind == SL_CLOSE) {
        free(c);
    } else if (event->result <= 0) {
        CHECK_IS(sl_close(c->stream, &options, NULL), SL_OK);
    } else if (event->kind == SL_STREAM_SEND) {
        next_request(c);
    } else if (event->result == 1) {
        CHECK(c->request[0] > 2 && c->request[0] <= REQUEST);
        CHECK_IS(sl_stream_receive(c->stream, c->request + 1, c->request[0] - 1u, SL_EXACT, &options, NULL), SL_OK);
    } else {
        CHECK_IS(event->result, c->request[0] - 1);
        CHECK_IS(sl_stream_send(c->stream, c->request, c->request[0], 0, &options, NULL), SL_OK);
    }
}

// --- The clients

typedef struct slow_one {
    raw_socket socket;
    // How many bytes it has sent of its request, and received of the answer.
    size_t sent, received;
    uint8_t answer[SLOW_REQUEST];
} slow_one;

typedef struct slow_ones {
    slow_one *clients;
    size_t count;
} slow_ones;

static void slow_request(uint8_t *request, size_t number)
{
    fill(request, SLOW_REQUEST, number, 0);
    request[0] = SLOW_REQUEST;
}

static void receive_whole(raw_socket from, uint8_t *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = recv(from, bytes + done, length - done, 0);
        CHECK(got > 0);
        done += (size_t)got;
    }
}

// Sends a byte of the request, or looks for the answer to a whole one; waits for neither.
static void take_turn(slow_one *one, size_t number)
{
    uint8_t request[SLOW_REQUEST];
    slow_request(request, number);
    if (one->sent < SLOW_REQUEST) {
        CHECK_IS(send(one->socket, request + one->sent, 1, NO_SIGNAL), 1);
        one->sent++;
        return;
    }
    ssize_t got = recv(one->socket, one->answer + one->received, SLOW_REQUEST - one->received, MSG_DONTWAIT);
    CHECK(got > 0 || (got < 0 && errno == EAGAIN));
    one->received += got > 0 ? (size_t)got : 0;
    if (one->received == SLOW_REQUEST) {
        CHECK(memcmp(one->answer, request, SLOW_REQUEST) == 0);
        one->sent = one->received = 0;
    }
}

// Gives each a turn, one after the other, some five thousand a second.
static void *trickle(void *given)
{
    slow_ones *slow = given;
    struct timespec pause = {0, 2000000};
    for (size_t i = 0; !atomic_load(&stop); i = (i + 1) % slow->count) {
        take_turn(&slow->clients[i], i);
        atomic_fetch_add(&turns, 1);
        if (i % 10 == 9) {
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

// 99th percentiles of round trips of the healthy clients.
typedef struct round_trip {
    uint64_t nanoseconds;
    // How many turns the slow ones have had meanwhile.
    uint64_t turns;
} round_trip;

static round_trip round_trips(raw_socket *healthy, size_t count)
{
    uint64_t *took = calloc(count, sizeof *took), *meanwhile = calloc(count, sizeof *meanwhile);
    uint8_t request[REQUEST], answer[REQUEST];
    CHECK(took && meanwhile);
    for (size_t i = 0; i < count; i++) {
        fill(request, REQUEST, i, 0);
        request[0] = REQUEST;
        uint64_t begun = now_ns(), turn = atomic_load(&turns);
        CHECK_IS(send(healthy[i % HEALTHY], request, REQUEST, NO_SIGNAL), REQUEST);
        receive_whole(healthy[i % HEALTHY], answer, REQUEST);
        took[i] = now_ns() - begun;
        meanwhile[i] = atomic_load(&turns) - turn;
        CHECK(memcmp(answer, request, REQUEST) == 0);
    }
    round_trip result = {percentile(took, count, 99), percentile(meanwhile, count, 99)};
    free(took);
    free(meanwhile);
    return result;
}

// The middle ones of several percentiles: what else the machine does falls on a few of them.
static round_trip middle_of(raw_socket *healthy, size_t count, size_t times)
{
    uint64_t took[99], meanwhile[99];
    CHECK(times > 0 && times <= 99);
    for (size_t i = 0; i < times; i++) {
        round_trip percentiles = round_trips(healthy, count);
        took[i] = percentiles.nanoseconds;
        meanwhile[i] = percentiles.turns;
    }
    return (round_trip){percentile(took, times, 50), percentile(meanwhile, times, 50)};
}

int main(int argc, char **argv)
{
    start();
    size_t slow = argument(argc, argv, 1, 500), count = argument(argc, argv, 2, 2000), times = argument(argc, argv, 3, 9);
    holdings before = holdings_now();
    raise_descriptor_limit(2 * slow + 100);
    sl_loop loop = open_loop(NULL);
    sl_address address;
    sl_listener listener = listen_here(loop, 0, &address);
    sl_options options = delivered(SL_DELIVER_THREAD, 0, on_event);
    raw_socket healthy[HEALTHY];
    CHECK_IS(sl_tcp_accept(listener, SL_MULTISHOT, &options, NULL), SL_OK);
    for (size_t i = 0; i < HEALTHY; i++) {
        healthy[i] = raw_connect(&address);
    }
    round_trips(healthy, count);
    round_trip alone = middle_of(healthy, count, times);

    slow_ones all = {calloc(slow, sizeof(slow_one)), slow};
    CHECK(slow > 0 && all.clients);
    for (size_t i = 0; i < slow; i++) {
        all.clients[i].socket = raw_connect(&address);
    }
    pthread_t trickler = spawn(trickle, &all);
    // Every one of them has begun its request.
    while (atomic_load(&turns) < slow) {
        round_trips(healthy, HEALTHY);
    }
    unsigned long long turns_before = atomic_load(&turns);
    round_trip beside = middle_of(healthy, count, times);
    // They went on meanwhile, as the healthy ones did.
    CHECK(atomic_load(&turns) > turns_before);
    // No healthy one waits until every slow one has had another turn; far less than until a slow request is whole.
    CHECK(beside.turns < slow);
    atomic_store(&stop, 1);
    pthread_join(trickler, NULL);
    printf("99 of 100 round trips take %.0f us, beside %zu slow connections (%llu turns meanwhile) %.0f us: %.2f times\n",
           (double)alone.nanoseconds / 1e3, slow, atomic_load(&turns) - turns_before, (double)beside.nanoseconds / 1e3,
           (double)beside.nanoseconds / (double)alone.nanoseconds);

    // What was begun slowly is answered when it is whole.
    for (size_t i = 0; i < slow; i++) {
        slow_one *one = &all.clients[i];
        uint8_t request[SLOW_REQUEST];
        size_t left = SLOW_REQUEST - one->sent;
        slow_request(request, i);
        CHECK_IS(send(one->socket, request + one->sent, left, NO_SIGNAL), left);
        receive_whole(one->socket, one->answer + one->received, SLOW_REQUEST - one->received);
        CHECK(memcmp(one->answer, request, SLOW_REQUEST) == 0);
        close_socket(one->socket);
    }
    for (size_t i = 0; i < HEALTHY; i++) {
        close_socket(healthy[i]);
    }
    free(all.clients);
    // The server hears of every end, and closes its own.
    sl_options handle = by_handle();
    sl_event event;
    sl_op op;
    while (counters_of(loop).resources > 1) {
        CHECK_IS(sl_nop(loop, &handle, &op), SL_OK);
        CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    }
    CHECK_IS(sl_loop_shutdown(loop), SL_OK);
    CHECK_IS(sl_wait(loop, &event, 1, PATIENCE), SL_ERR_SHUT_DOWN);
    close_loop(loop);
    check_returned(before);
    return 0;
}

#endif
