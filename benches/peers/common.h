// What the peers share: arguments, figures, clocks, and the loads themselves (which block, file or connection comes
// next, and whether what came back is right), so that a peer holds nothing but its own way of doing the work.
//
// Every program is called as `peer WORK KEY=VALUE...` and prints its figures as one line of JSON.

#ifndef COMMON_H
#define COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Each peer uses some of this header only.
#pragma GCC diagnostic ignored "-Wunused-function"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s does not hold (errno: %s)\n", __FILE__, __LINE__, #condition, strerror(errno)); \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

// --- Clocks.

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

// What all threads of this process have used.
static uint64_t cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

// A span of wall time and of processor time.
typedef struct span {
    uint64_t wall, cpu;
} span;

static span span_begin(void) { return (span){.cpu = cpu_ns(), .wall = now_ns()}; }

static span span_end(span begun) { return (span){.wall = now_ns() - begun.wall, .cpu = cpu_ns() - begun.cpu}; }

// --- Arguments: KEY=VALUE.

static char **arguments;

static const char *text_argument(const char *key, const char *otherwise)
{
    size_t length = strlen(key);
    for (char **argument = arguments; *argument; argument++) {
        if (strncmp(*argument, key, length) == 0 && (*argument)[length] == '=') {
            return *argument + length + 1;
        }
    }
    return otherwise;
}

static uint64_t number_argument(const char *key, uint64_t otherwise)
{
    const char *text = text_argument(key, NULL);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static bool argument_is(const char *key, const char *value) { return strcmp(text_argument(key, ""), value) == 0; }

// --- Figures: one line of JSON.

static bool any_figure;

static void figure(const char *key, double value)
{
    printf("%s\"%s\":%.3f", any_figure ? "," : "{", key, value);
    any_figure = true;
}

// What a span costs for each of `count` operations.
static void figures_each(span took, uint64_t count)
{
    CHECK(count > 0);
    figure("ns", (double)took.wall / (double)count);
    figure("cpu_ns", (double)took.cpu / (double)count);
}

// --- A program: its works by name.

typedef struct work {
    const char *name;
    void (*run)(void);
} work;

// How long a run may take before it counts as hung: the alarm then ends it.
enum { PATIENCE_S = 60 };

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static int run_work(int argc, char **argv, const work *works, size_t count)
{
    CHECK(argc >= 2);
    arguments = argv + 2;
    raise_descriptor_limit();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    alarm(PATIENCE_S);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(works[i].name, argv[1]) == 0) {
            works[i].run();
            puts(any_figure ? "}" : "{}");
            return 0;
        }
    }
    fprintf(stderr, "%s does not do %s\n", argv[0], argv[1]);
    return 2;
}

#define MAIN(...)                                                                                                      \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        static const work works[] = {__VA_ARGS__};                                                                     \
        return run_work(argc, argv, works, sizeof works / sizeof *works);                                              \
    }

// --- Random numbers: xorshift, as cheap as they come.

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

// --- A time limit that asks the clock now and then only.

typedef struct limit {
    uint64_t end;
    unsigned asked;
} limit;

static limit limit_begin(void) { return (limit){.end = now_ns() + number_argument("ms", 300) * 1000000}; }

static bool limit_reached(limit *l, unsigned every)
{
    if (l->asked % every == 0 && now_ns() >= l->end) {
        return true;
    }
    l->asked++;
    return false;
}

// --- Reads of one cached file, `depth` slots in flight: random blocks until the time is over, or all blocks in order.
// Every 4 KiB of the file begin with their own offset.

typedef struct reads {
    int fd;
    size_t depth, block;
    uint64_t blocks, next, random, done;
    bool in_order;
    uint8_t *memory;
    uint64_t *offsets; // what each slot reads
    limit limit;
    span begun;
} reads;

static bool is_cached(int fd, size_t length)
{
    size_t pages = (length + 4095) / 4096, cached = 0;
    unsigned char *resident = malloc(pages);
    void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(resident && map != MAP_FAILED && mincore(map, length, resident) == 0);
    for (size_t i = 0; i < pages; i++) {
        cached += resident[i] & 1;
    }
    munmap(map, length);
    free(resident);
    return cached == pages;
}

// A read that had to wait for the disk would measure the disk: brings in what the system has put away meanwhile.
static void cache(int fd, size_t length)
{
    static uint8_t room[1 << 20];
    for (off_t offset = 0; !is_cached(fd, length); offset = 0) {
        for (ssize_t count; (count = pread(fd, room, sizeof room, offset)) > 0; offset += count) {
        }
    }
}

static reads reads_open(void)
{
    reads r = {.depth = number_argument("depth", 1), .block = number_argument("block", 4096), .random = 88172645463325252};
    struct stat stat;
    r.fd = open(text_argument("file", ""), O_RDONLY | O_CLOEXEC);
    CHECK(r.fd >= 0 && fstat(r.fd, &stat) == 0);
    r.blocks = (uint64_t)stat.st_size / r.block;
    r.in_order = number_argument("in_order", 0);
    r.memory = aligned_alloc(4096, r.depth * r.block);
    r.offsets = calloc(r.depth, sizeof *r.offsets);
    CHECK(r.memory && r.offsets && r.blocks > r.depth);
    memset(r.memory, 1, r.depth * r.block);
    cache(r.fd, (size_t)stat.st_size);
    return r;
}

static void reads_begin(reads *r)
{
    r->limit = limit_begin();
    r->begun = span_begin();
}

static uint8_t *reads_buffer(const reads *r, size_t slot) { return r->memory + slot * r->block; }

// What a slot shall read next; false: nothing more.
static bool reads_next(reads *r, size_t slot, uint64_t *offset)
{
    if (r->in_order ? r->next == r->blocks : limit_reached(&r->limit, 64)) {
        return false;
    }
    *offset = (r->in_order ? r->next++ : random_next(&r->random) % r->blocks) * r->block;
    r->offsets[slot] = *offset;
    return true;
}

static void reads_done(reads *r, size_t slot, int64_t result)
{
    uint64_t first;
    memcpy(&first, reads_buffer(r, slot), sizeof first);
    CHECK(result == (int64_t)r->block && first == r->offsets[slot]);
    r->done++;
}

static void reads_report(const reads *r)
{
    figures_each(span_end(r->begun), r->done);
}

// --- Whole files, each once in every pass: FOLDER/00000, FOLDER/00001, .... Each begins with its own number.

enum { PATH_ROOM = 256, WHOLE_ROOM = 65536, WHOLE_LENGTH = 4096 };

typedef struct files {
    size_t depth, count, next, total, done;
    char (*paths)[PATH_ROOM];
    span begun;
} files;

static files files_open(void)
{
    files f = {.depth = number_argument("depth", 64), .count = number_argument("count", 10000)};
    f.total = f.count * number_argument("passes", 1);
    f.paths = malloc(f.count * sizeof *f.paths);
    CHECK(f.paths);
    for (size_t i = 0; i < f.count; i++) {
        snprintf(f.paths[i], PATH_ROOM, "%s/%05zu", text_argument("folder", "."), i);
    }
    f.begun = span_begin();
    return f;
}

// The number of the next file, for files_path and files_done; false: nothing more.
static bool files_next(files *f, size_t *number)
{
    if (f->next == f->total) {
        return false;
    }
    *number = f->next++ % f->count;
    return true;
}

static const char *files_path(const files *f, size_t number) { return f->paths[number]; }

static void files_done(files *f, size_t number, const void *data, int64_t length)
{
    uint64_t first;
    CHECK(length == WHOLE_LENGTH);
    memcpy(&first, data, sizeof first);
    CHECK(first == number);
    f->done++;
}

static void files_report(const files *f)
{
    CHECK(f->done == f->total);
    figures_each(span_end(f->begun), f->done);
}

// --- Writes of 4 KiB, each made safe with fsync, to `depth` files of their own until the time is over.

enum { SYNC_FILES = 16, SYNC_LENGTH = 4096 };

typedef struct syncs {
    int fds[SYNC_FILES];
    uint8_t data[SYNC_LENGTH];
    uint64_t done;
    limit limit;
    span begun;
} syncs;

static void syncs_open(syncs *s)
{
    *s = (syncs){0};
    memset(s->data, 'x', sizeof s->data);
    for (size_t i = 0; i < SYNC_FILES; i++) {
        char path[PATH_ROOM];
        snprintf(path, sizeof path, "%s/sync-%zu", text_argument("folder", "."), i);
        s->fds[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        // What is allocated beforehand need not be allocated while the clock runs.
        CHECK(s->fds[i] >= 0 && pwrite(s->fds[i], s->data, sizeof s->data, 0) == SYNC_LENGTH && fsync(s->fds[i]) == 0);
    }
    s->limit = limit_begin();
    s->begun = span_begin();
}

static bool syncs_next(syncs *s) { return !limit_reached(&s->limit, 1); }

static void syncs_report(const syncs *s) { figures_each(span_end(s->begun), s->done); }

// --- Servers.

// Listens on a free port of this machine, which the first line of output tells. Connections take over TCP_NODELAY.
static int listen_here(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    CHECK(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0);
    CHECK(bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, 4096) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    printf("{\"port\":%d}\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

enum { PIECE = 65536 };

// A connection of a server that is told about readiness. `rest` are bytes that the system would not take yet.
typedef struct echo_connection {
    int fd;
    uint8_t *rest;
    size_t length, sent;
    void *of_peer;
} echo_connection;

typedef enum echo_state { ECHO_READ, ECHO_WRITE, ECHO_END } echo_state;

// The rest of an answer goes first.
static echo_state echo_flush(echo_connection *c)
{
    ssize_t count = send(c->fd, c->rest + c->sent, c->length - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) {
        return errno == EAGAIN ? ECHO_WRITE : ECHO_END;
    }
    c->sent += (size_t)count;
    if (c->sent < c->length) {
        return ECHO_WRITE;
    }
    free(c->rest);
    c->rest = NULL;
    return ECHO_READ;
}

// Answers what has come; says what the connection waits for then. One receive for each readiness: what is left makes it
// ready again, and a second call would find nothing nearly always.
static echo_state echo_step(echo_connection *c)
{
    static uint8_t piece[PIECE];
    if (c->rest) {
        return echo_flush(c);
    }
    ssize_t count = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (count <= 0) {
        return count < 0 && errno == EAGAIN ? ECHO_READ : ECHO_END;
    }
    ssize_t sent = send(c->fd, piece, (size_t)count, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == count) {
        return ECHO_READ;
    }
    if (sent < 0 && errno != EAGAIN) {
        return ECHO_END;
    }
    c->sent = 0;
    c->length = (size_t)(count - (sent < 0 ? 0 : sent));
    c->rest = malloc(c->length);
    CHECK(c->rest);
    memcpy(c->rest, piece + (count - (ssize_t)c->length), c->length);
    return ECHO_WRITE;
}

// --- Posts: THREADS threads hand over numbers, `batch` at a time, to one consumer.

enum { POST_THREADS = 4 };

typedef struct posts {
    uint64_t each, batch, total;
    pthread_t threads[POST_THREADS];
    span begun;
} posts;

static posts posts_begin(void *(*poster)(void *))
{
    posts p = {.each = number_argument("count", 250000), .batch = number_argument("batch", 1)};
    p.total = p.each * POST_THREADS;
    p.begun = span_begin();
    for (size_t i = 0; i < POST_THREADS; i++) {
        CHECK(pthread_create(&p.threads[i], NULL, poster, NULL) == 0);
    }
    return p;
}

static void posts_report(posts *p)
{
    span took = span_end(p->begun);
    for (size_t i = 0; i < POST_THREADS; i++) {
        pthread_join(p->threads[i], NULL);
    }
    figures_each(took, p->total);
}

// A vector behind a lock, which the consumer swaps for an empty one: what peers without a queue of their own use.
typedef struct shared_vector {
    pthread_mutex_t lock;
    uint64_t *items;
    size_t length, room;
} shared_vector;

// Adds; says whether it was empty before, so that only then somebody needs to be woken.
static bool vector_add(shared_vector *v, const uint64_t *items, size_t count)
{
    pthread_mutex_lock(&v->lock);
    bool was_empty = v->length == 0;
    if (v->length + count > v->room) {
        v->room = v->room ? 2 * v->room : 4096;
        v->items = realloc(v->items, v->room * sizeof *v->items);
        CHECK(v->items);
    }
    memcpy(v->items + v->length, items, count * sizeof *items);
    v->length += count;
    pthread_mutex_unlock(&v->lock);
    return was_empty;
}

static void vector_swap(shared_vector *v, shared_vector *empty)
{
    pthread_mutex_lock(&v->lock);
    uint64_t *items = v->items;
    size_t length = v->length, room = v->room;
    v->items = empty->items, v->length = 0, v->room = empty->room;
    pthread_mutex_unlock(&v->lock);
    empty->items = items, empty->length = length, empty->room = room;
}

// --- Timers: `count` of them, due within a second of their start.

typedef struct timers {
    uint64_t count, fired, random;
    uint64_t *due;
    uint64_t now; // as of the last batch of starts
    span begun;
} timers;

enum { TIMER_BATCH = 256 };

static timers timers_open(void)
{
    timers t = {.count = number_argument("count", 1000000), .random = 88172645463325252};
    t.due = malloc(t.count * sizeof *t.due);
    CHECK(t.due);
    memset(t.due, 1, t.count * sizeof *t.due);
    t.begun = span_begin();
    return t;
}

// The delay of the timer `number` in nanoseconds, whole milliseconds, as that is what some peers count in.
static uint64_t timers_delay(timers *t, uint64_t number)
{
    if (number % TIMER_BATCH == 0) {
        t->now = now_ns();
    }
    uint64_t delay = random_next(&t->random) % 1000 * 1000000;
    t->due[number] = t->now + delay;
    return delay;
}

// `grain` is what the peer's clock is rounded to: nobody promises more than that.
static void timers_fired(timers *t, uint64_t number, uint64_t now, uint64_t grain)
{
    CHECK(now + grain >= t->due[number] && "no timer fires early");
    t->fired++;
}

static void timers_report(timers *t)
{
    CHECK(t->fired == t->count);
    figures_each(span_end(t->begun), t->count);
}

// --- Memory that this process holds.

typedef struct held {
    uint64_t heap, resident;
} held;

static held held_now(void)
{
    struct mallinfo2 info = mallinfo2();
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%*u %lu", &pages) == 1);
    fclose(statm);
    return (held){.heap = info.uordblks + info.hblkhd, .resident = pages * 4096};
}

static void held_report(held before, uint64_t count)
{
    held now = held_now();
    figure("bytes", ((double)now.heap - (double)before.heap) / (double)count);
    figure("resident_bytes", ((double)now.resident - (double)before.resident) / (double)count);
    figure("count", (double)count);
}

// As many connections as asked for and allowed; the other end of each stays open and silent.
static size_t connections_open(int **ends)
{
    struct rlimit limit;
    size_t count = number_argument("count", 10000);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (count > (limit.rlim_cur - 200) / 2) {
        count = (limit.rlim_cur - 200) / 2;
    }
    *ends = malloc(count * sizeof **ends);
    CHECK(*ends);
    for (size_t i = 0; i < count; i++) {
        int pair[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
        (*ends)[i] = pair[0];
    }
    return count;
}

// --- How long something takes to open and close, over and over until the time is over.

static void open_and_close(void (*once)(void))
{
    uint64_t done = 0;
    limit time = limit_begin();
    span begun = span_begin();
    for (; !limit_reached(&time, 1); done++) {
        once();
    }
    figures_each(span_end(begun), done);
}

// --- The size of the library that a function comes from, without its symbols.

static void library_size(void *function)
{
    Dl_info info;
    struct stat stat_of;
    char copy[PATH_ROOM];
    CHECK(dladdr(function, &info) && info.dli_fname);
    snprintf(copy, sizeof copy, "%s/stripped-%d", text_argument("folder", "."), (int)getpid());
    pid_t child = fork();
    if (child == 0) {
        execlp("strip", "strip", "-o", copy, info.dli_fname, (char *)NULL);
        _exit(127);
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0 && stat(copy, &stat_of) == 0);
    unlink(copy);
    figure("bytes", (double)stat_of.st_size);
}

#endif
