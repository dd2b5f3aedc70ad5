// What the programs of this folder share: checks that say where and why, a deterministic random sequence, position-encoded
// bytes, and the few things that POSIX and Windows spell differently.
//
// Every program takes its sizes as arguments, so that one program runs at full size, smaller from `cargo test`, and
// smaller still under valgrind. It exits 0 when all held, 1 at the first check that failed, and 77 where the platform
// cannot have what it is about (after a line that begins with "skipped: "). It leaves its working directory as it was.

#ifndef HARNESS_H
#define HARNESS_H

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif

#include <sideloop.h>

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(_WIN32)
#include <winsock2.h>
#include <windows.h>
#include <psapi.h>
typedef SOCKET raw_socket;
#define close_socket closesocket
#define NO_SIGNAL 0
#else
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
typedef int raw_socket;
#define close_socket close
#if defined(MSG_NOSIGNAL)
#define NO_SIGNAL MSG_NOSIGNAL
#else
#define NO_SIGNAL 0
#endif
#endif

#define MILLISECOND UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

// How long a program waits for what must come: it only ends a hang, and says where, before the watchdog ends the program. So
// it grows with the watchdog's time (`start`): under wine one turn of a loop with a thousand connections may take a minute.
static uint64_t harness_patience = 90 * SECOND;
#define PATIENCE harness_patience

// ---------------------------------------------------------------------------------------------------------------------
// Checks

static inline const char *harness_name(int64_t value)
{
    return value < 0 && value >= INT32_MIN ? sl_status_name((sl_status)value) : "";
}

static inline void check_that(int holds, const char *file, int line, const char *expression)
{
    if (!holds) {
        fflush(stdout);
        fprintf(stderr, "%s:%d: does not hold: %s\n  sl_last_error: %s\n", file, line, expression, sl_last_error());
        fflush(stderr);
        _Exit(1);
    }
}

static inline void check_is(int64_t actual, int64_t expected, const char *file, int line, const char *expression)
{
    if (actual != expected) {
        fflush(stdout);
        fprintf(stderr, "%s:%d: %s is %" PRId64 " %s, not %" PRId64 " %s\n  sl_last_error: %s\n", file, line, expression,
                actual, harness_name(actual), expected, harness_name(expected), sl_last_error());
        fflush(stderr);
        _Exit(1);
    }
}

#define CHECK(expression) check_that(!!(expression), __FILE__, __LINE__, #expression)

// Both sides are numbers; the failure shows them, and their names where they are a status.
#define CHECK_IS(actual, expected) check_is((int64_t)(actual), (int64_t)(expected), __FILE__, __LINE__, #actual)

static inline int skip(const char *reason)
{
    printf("skipped: %s\n", reason);
    return 77;
}

// ---------------------------------------------------------------------------------------------------------------------
// Start, watchdog and arguments

#if defined(_WIN32)
static inline DWORD WINAPI harness_watchdog(void *seconds)
{
    Sleep((DWORD)(uintptr_t)seconds * 1000);
    fprintf(stderr, "hangs: the watchdog ended the program\n");
    ExitProcess(3);
}
#else
#include <signal.h>

static inline void harness_watchdog(int signal_number)
{
    static const char text[] = "hangs: the watchdog ended the program\n";
    (void)signal_number;
    if (write(2, text, sizeof text - 1) < 0) {
        _exit(4);
    }
    _exit(3);
}
#endif

// Ends the program loudly where it still runs after `seconds`.
static inline void watchdog(unsigned seconds)
{
#if defined(_WIN32)
    CloseHandle(CreateThread(NULL, 0, harness_watchdog, (void *)(uintptr_t)seconds, 0, NULL));
#else
    signal(SIGALRM, harness_watchdog);
    alarm(seconds);
#endif
}

// The first call of every program.
static inline void start(void)
{
    const char *seconds = getenv("SIDELOOP_WATCHDOG");
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
#if defined(_WIN32)
    WSADATA data;
    CHECK_IS(WSAStartup(MAKEWORD(2, 2), &data), 0);
#endif
    unsigned limit = seconds ? (unsigned)atoi(seconds) : 120;
    harness_patience = limit * SECOND / 4 * 3;
    watchdog(limit);
}

// The size given as argument number `index`, or `otherwise`.
static inline size_t argument(int argc, char **argv, int index, size_t otherwise)
{
    return index < argc ? (size_t)strtoull(argv[index], NULL, 10) : otherwise;
}

// ---------------------------------------------------------------------------------------------------------------------
// Time, random numbers, position-encoded bytes

static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static inline int harness_by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

// The value that so many of a hundred do not exceed (50: the middle one, 100: the largest); 0 of none. Sorts them.
static inline uint64_t percentile(uint64_t *all, size_t count, unsigned hundredths)
{
    size_t place = count * hundredths / 100;
    qsort(all, count, sizeof *all, harness_by_size);
    return count == 0 ? 0 : all[place < count ? place : count - 1];
}

static inline uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

// The next number of a sequence that is the same in every run.
static inline uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(*state);
}

// 0 to limit - 1.
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_next(state) % limit;
}

// The byte at `position` of the endless stream number `seed`: a lost, doubled, swapped or foreign byte shows.
static inline uint8_t pattern(uint64_t seed, uint64_t position)
{
    return (uint8_t)(mix(seed * UINT64_C(0x100000001b3) + (position >> 3)) >> (8 * (position & 7)));
}

static inline void fill(void *memory, size_t length, uint64_t seed, uint64_t position)
{
    uint8_t *bytes = (uint8_t *)memory;
    for (size_t i = 0; i < length; i++) {
        bytes[i] = pattern(seed, position + i);
    }
}

static inline int matches(const void *memory, size_t length, uint64_t seed, uint64_t position)
{
    const uint8_t *bytes = (const uint8_t *)memory;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != pattern(seed, position + i)) {
            fprintf(stderr, "byte %" PRIu64 " of stream %" PRIu64 " is wrong\n", position + i, seed);
            return 0;
        }
    }
    return 1;
}

// ---------------------------------------------------------------------------------------------------------------------
// What the process holds

typedef struct holdings {
    int descriptors;
    int threads;
} holdings;

static inline int harness_entries(const char *directory)
{
#if defined(_WIN32)
    (void)directory;
    return 0;
#else
    int count = 0;
    DIR *open = opendir(directory);
    if (!open) {
        return 0; // No /proc here: equal counts then prove nothing, and fail nothing.
    }
    while (readdir(open)) {
        count++;
    }
    closedir(open);
    return count;
#endif
}

static inline holdings holdings_now(void)
{
    holdings now = {harness_entries("/proc/self/fd"), harness_entries("/proc/self/task")};
    return now;
}

// Checks that descriptors and threads are back to what they were. A thread that was joined stays listed for a moment.
static inline void check_returned(holdings before)
{
    uint64_t limit = now_ns() + 10 * SECOND;
    holdings now = holdings_now();
    while ((now.threads > before.threads || now.descriptors > before.descriptors) && now_ns() < limit) {
        sched_yield();
        now = holdings_now();
    }
    CHECK_IS(now.descriptors, before.descriptors);
    CHECK_IS(now.threads, before.threads);
}

// As many descriptors as the system allows this process.
static inline void raise_descriptor_limit(size_t needed)
{
#if !defined(_WIN32)
    struct rlimit limit;
    CHECK_IS(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < needed) {
        limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
        CHECK_IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    CHECK(limit.rlim_cur >= needed);
#else
    (void)needed;
#endif
}

// Whether a wake descriptor or a socket is readable at this moment.
static inline int readable(sl_descriptor descriptor, int timeout_ms)
{
#if defined(_WIN32)
    WSAPOLLFD entry = {(SOCKET)descriptor, POLLRDNORM, 0};
    int count = WSAPoll(&entry, 1, timeout_ms);
    CHECK(count >= 0);
    return count == 1;
#else
    struct pollfd entry = {(int)descriptor, POLLIN, 0};
    int count = poll(&entry, 1, timeout_ms);
    CHECK(count >= 0);
    CHECK_IS(entry.revents & ~POLLIN, 0);
    return count == 1;
#endif
}

// ---------------------------------------------------------------------------------------------------------------------
// Loops, options and events

// Opens a loop, and checks that it runs on the driver that SIDELOOP_DRIVER asks for.
static inline sl_loop open_loop(const sl_loop_options *options)
{
    const char *wanted = getenv("SIDELOOP_DRIVER");
    sl_loop loop = 0;
    char reason[512] = "";
    CHECK_IS(sl_loop_open(options, &loop), SL_OK);
    CHECK((int64_t)loop > 0);
    sl_status driver = sl_loop_driver(loop, reason, sizeof reason);
    CHECK(driver > 0 && reason[0]);
    if (wanted && strcmp(wanted, "poll") == 0) {
        CHECK_IS(driver, SL_DRIVER_POLL);
    } else if (wanted && strcmp(wanted, "uring") == 0 && driver != SL_DRIVER_URING) {
        printf("skipped: no io_uring: %s\n", reason);
        fflush(stdout);
        _Exit(77);
    }
    return loop;
}

static inline sl_counters counters_of(sl_loop loop)
{
    sl_counters counters = {0};
    counters.size = sizeof counters;
    CHECK_IS(sl_loop_counters(loop, &counters), SL_OK);
    return counters;
}

// Checks that everything accepted has ended and is taken.
static inline void check_at_rest(sl_loop loop)
{
    sl_counters counters = counters_of(loop);
    CHECK_IS(counters.ended, counters.accepted);
    CHECK_IS(counters.taken, counters.ended + counters.more);
    CHECK_IS(counters.in_flight, 0);
    CHECK_IS(counters.unclaimed, 0);
    CHECK_IS(counters.lent_buffers, 0);
    CHECK_IS(counters.lent_bytes, 0);
}

// Closes a loop whose events are all taken.
static inline void close_loop(sl_loop loop)
{
    check_at_rest(loop);
    CHECK_IS(sl_loop_close(loop, SL_FOREVER), 0);
}

static inline sl_options delivered(uint32_t delivery, uint64_t user_data, sl_callback callback)
{
    sl_options options = {0};
    options.size = sizeof options;
    options.delivery = delivery;
    options.user_data = user_data;
    options.callback = callback;
    return options;
}

// Delivered by the queue, with this user data.
static inline sl_options tagged(uint64_t user_data)
{
    return delivered(SL_DELIVER_QUEUE, user_data, NULL);
}

// Delivered by the queue, with a deadline.
static inline sl_options until(uint64_t timeout_ns)
{
    sl_options options = tagged(0);
    options.timeout_ns = timeout_ns;
    return options;
}

static inline sl_options by_handle(void)
{
    return delivered(SL_DELIVER_HANDLE, 0, NULL);
}

// A request of a kind for a target, the rest 0.
static inline sl_request request_of(uint32_t kind, uint64_t target)
{
    sl_request request;
    memset(&request, 0, sizeof request);
    request.size = sizeof request;
    request.kind = kind;
    request.target = target;
    return request;
}

static inline sl_event next_event(sl_loop loop)
{
    sl_event event;
    CHECK_IS(sl_wait(loop, &event, 1, PATIENCE), 1);
    return event;
}

// Takes the next event, which must be the last one of `op`; its result.
static inline int64_t result_of(sl_loop loop, sl_op op)
{
    sl_event event = next_event(loop);
    CHECK_IS(event.op, op);
    CHECK_IS(event.flags & SL_EVENT_MORE, 0);
    CHECK_IS(sl_op_status(op), SL_ERR_STALE);
    return event.result;
}

// Waits until an operation has ended, without taking its event and without sleeping.
static inline void await_end(sl_op op)
{
    uint64_t limit = now_ns() + PATIENCE;
    while (sl_op_status(op) == 0) {
        CHECK(now_ns() < limit);
        sched_yield();
    }
    CHECK_IS(sl_op_status(op), 1);
}

static inline void close_resource(sl_loop loop, uint64_t resource)
{
    sl_op op;
    CHECK_IS(sl_close(resource, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
}

// Opens a file; the id.
static inline sl_file open_file(sl_loop loop, const char *path, uint32_t flags)
{
    sl_op op;
    CHECK_IS(sl_file_open(loop, path, flags, flags & SL_OPEN_CREATE ? 0644 : 0, NULL, &op), SL_OK);
    int64_t file = result_of(loop, op);
    CHECK(file > 0);
    return (sl_file)file;
}

// ---------------------------------------------------------------------------------------------------------------------
// Sockets

// Listens on a free port of this machine; the port goes into `address`.
static inline sl_listener listen_here(sl_loop loop, uint32_t backlog, sl_address *address)
{
    sl_listen_options options = {sizeof options, 0, backlog, 0};
    sl_listener listener = 0;
    CHECK_IS(sl_address_parse("127.0.0.1:0", address), SL_OK);
    CHECK_IS(sl_tcp_listen(loop, address, &options, &listener), SL_OK);
    CHECK_IS(sl_local_address(listener, address), SL_OK);
    CHECK(address->port != 0);
    return listener;
}

// Two streams connected with each other. Nothing else may be under way in the loop's queue.
static inline void connect_pair(sl_loop loop, sl_stream *here, sl_stream *there)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 1, &address);
    sl_op accepting, connecting;
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &accepting), SL_OK);
    CHECK_IS(sl_tcp_connect(loop, &address, NULL, &connecting), SL_OK);
    for (int i = 0; i < 2; i++) {
        sl_event event = next_event(loop);
        CHECK(event.result > 0);
        CHECK(event.op == accepting || event.op == connecting);
        *(event.op == accepting ? there : here) = (sl_stream)event.result;
    }
    close_resource(loop, listener);
}

// A socket of the system's own, connected to `address`.
static inline raw_socket raw_connect(const sl_address *address)
{
    struct sockaddr_in target;
    memset(&target, 0, sizeof target);
    target.sin_family = AF_INET;
    target.sin_port = htons(address->port);
    memcpy(&target.sin_addr, address->bytes, 4);
    raw_socket made = socket(AF_INET, SOCK_STREAM, 0);
    CHECK((intptr_t)made >= 0);
    CHECK_IS(connect(made, (struct sockaddr *)&target, sizeof target), 0);
    return made;
}

// One end as a stream of the loop, the other as a socket of the system's own, in blocking mode.
static inline sl_stream stream_and_socket(sl_loop loop, raw_socket *other)
{
    sl_address address;
    sl_listener listener = listen_here(loop, 1, &address);
    sl_op op;
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_OK);
    *other = raw_connect(&address);
    int64_t stream = result_of(loop, op);
    CHECK(stream > 0);
    close_resource(loop, listener);
    return (sl_stream)stream;
}

static inline pthread_t spawn(void *(*body)(void *), void *argument_of_body)
{
    pthread_t thread;
    CHECK_IS(pthread_create(&thread, NULL, body, argument_of_body), 0);
    return thread;
}

// A gate: threads wait until it is opened.
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int open;
} gate;

#define GATE_CLOSED {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void gate_open(gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open = 1;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_pass(gate *g)
{
    pthread_mutex_lock(&g->lock);
    while (!g->open) {
        pthread_cond_wait(&g->changed, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
}

#endif
