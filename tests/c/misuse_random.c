// Random calls over the whole interface from several threads, with garbage ids, sizes, flags and requests: no crash, no
// hang, and every refusal is an error with a name. Pointers are NULL or point to enough memory: wild ones are outside of
// the contract. At the end everything accepted has ended.
//
// misuse_random [calls = 10000000] [threads = 8]

#include "harness.h"

#include <sys/stat.h>

#include <stdatomic.h>

#if defined(_WIN32)
#include <ws2tcpip.h>
#endif

enum { LOOPS = 4, POOL = 1024, AREA = 65536, EVENTS = 64 };

// Each thread has its own memory for what the library reads and writes during a call; what operations read and write
// later is shared, static and outlives all.
typedef struct caller {
    uint64_t random;
    size_t calls;
    sl_event events[EVENTS];
    sl_request requests[8];
    sl_op ops[8];
    char text[4096];
} caller;

static atomic_ullong loops[LOOPS], pool[POOL];
static atomic_ullong refused_calls, accepted_calls, reopened;
static uint8_t area[AREA];
static sl_stat stats[16];
static uint16_t port;

// --- Garbage

static uint64_t pick(caller *c, uint64_t limit)
{
    return random_below(&c->random, limit);
}

static sl_loop some_loop(caller *c)
{
    return atomic_load(&loops[pick(c, LOOPS)]);
}

static void keep(caller *c, uint64_t id)
{
    atomic_store(&pool[pick(c, POOL)], id);
}

// 0, noise, an id of any kind and age, the same with one bit changed; most often a good loop where one is wanted.
static uint64_t any_id(caller *c, int loop_wanted)
{
    switch (pick(c, 16)) {
    case 0:
        return 0;
    case 1:
        return random_next(&c->random);
    case 2:
        return atomic_load(&pool[pick(c, POOL)]) ^ (UINT64_C(1) << pick(c, 64));
    case 3:
        return some_loop(c) ^ (UINT64_C(1) << pick(c, 64));
    case 4:
        return some_loop(c);
    case 5:
        return random_next(&c->random) & 0xffff;
    default:
        return loop_wanted ? some_loop(c) : atomic_load(&pool[pick(c, POOL)]);
    }
}

// A length for memory of AREA bytes: within it, or beyond what any memory can have.
static size_t any_length(caller *c)
{
    static const uint64_t edges[] = {0, 1, AREA, (uint64_t)SIZE_MAX, (uint64_t)SIZE_MAX / 2 + 1, (uint64_t)SIZE_MAX - 1};
    return (size_t)(pick(c, 3) ? pick(c, AREA) : edges[pick(c, 6)]);
}

static void *any_memory(caller *c)
{
    return pick(c, 4) ? area : NULL;
}

// An edge, a small number or noise.
static uint64_t any_number(caller *c)
{
    static const uint64_t edges[] = {0, 1, 999, 1000, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX, UINT32_MAX};
    switch (pick(c, 3)) {
    case 0:
        return edges[pick(c, 8)];
    case 1:
        return pick(c, 100000);
    default:
        return random_next(&c->random);
    }
}

static uint32_t any_flags(caller *c)
{
    return (uint32_t)(pick(c, 4) ? pick(c, 4) : random_next(&c->random) & (pick(c, 2) ? 0xff : UINT32_MAX));
}

// Offsets near the start, so that no file becomes large, or so far away that the system refuses them.
static int64_t any_offset(caller *c)
{
    static const int64_t edges[] = {-1, -2, INT64_MIN, INT64_MAX, INT64_MAX - 10};
    return pick(c, 3) ? (int64_t)pick(c, AREA) : edges[pick(c, 5)];
}

static const char *any_path(caller *c)
{
    static const char *const paths[] = {"a.tmp", "b.tmp", "", ".", "missing/x", "a.tmp/x", "\xff\xfe.tmp", "/", NULL};
    return paths[pick(c, 9)];
}

// What a link leads to: nothing that could let the other paths lead out of here.
static const char *any_source(caller *c)
{
    static const char *const paths[] = {"b.tmp", "missing/x", "", NULL};
    return paths[pick(c, 4)];
}

static sl_address *any_address(caller *c, sl_address *address)
{
    memset(address, 0, sizeof *address);
    // Only this machine is ever called.
    address->family = pick(c, 8) ? SL_IPV4 : (uint32_t)any_number(c);
    address->port = pick(c, 2) ? port : (uint16_t)(pick(c, 2) ? 0 : 1);
    address->reserved = pick(c, 16) ? 0 : 1;
    address->bytes[0] = address->family == SL_IPV4 ? 127 : 0;
    address->bytes[3] = address->bytes[15] = 1;
    return pick(c, 16) ? address : NULL;
}

static void on_event(sl_loop loop, const sl_event *event)
{
    // A callback takes part in the misuse.
    sl_op_cancel(event->op);
    sl_poll(loop, NULL, 1);
    CHECK(event->result >= 0 || strcmp(harness_name(event->result), "SL_ERR_?") != 0);
    if (event->flags & SL_EVENT_LENT) {
        sl_buffer_release(event->detail);
    }
}

static int64_t work_function(void *argument_of_work)
{
    return (int64_t)((uintptr_t)argument_of_work & 0xff);
}

static sl_options *any_options(caller *c, sl_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = pick(c, 16) ? (uint32_t)sizeof *options : (uint32_t)pick(c, 64);
    // Never the handle here: nobody would take those events, and they would fill the loop for good.
    static const uint32_t deliveries[] = {SL_DELIVER_QUEUE, SL_DELIVER_QUEUE, SL_DELIVER_DISPATCH, SL_DELIVER_THREAD, 9};
    options->delivery = deliveries[pick(c, 5)];
    options->user_data = random_next(&c->random);
    options->timeout_ns = pick(c, 2) ? pick(c, 1000000) : pick(c, 2) ? 0 : any_number(c);
    options->callback = options->delivery == SL_DELIVER_QUEUE ? NULL : pick(c, 16) ? on_event : NULL;
    return pick(c, 4) ? options : NULL;
}

static sl_slice *any_slices(caller *c, sl_slice *slices, size_t *count)
{
    static const size_t counts[] = {0, 1, 2, 4, 1025, SIZE_MAX};
    for (int i = 0; i < 4; i++) {
        slices[i].data = any_memory(c);
        slices[i].length = any_length(c);
    }
    *count = counts[pick(c, 6)];
    return pick(c, 8) ? slices : NULL;
}

static sl_stat *any_stat(caller *c)
{
    // One size for each, written once: it is the operation's while it is under way.
    return pick(c, 8) ? &stats[pick(c, 16)] : NULL;
}

// --- Calls

static sl_status call_loop(caller *c)
{
    sl_loop loop = any_id(c, 1);
    sl_counters counters;
    sl_descriptor descriptor;
    size_t room = pick(c, EVENTS);
    switch (pick(c, 9)) {
    case 0:
        return sl_loop_driver(loop, pick(c, 4) ? c->text : NULL, pick(c, sizeof c->text));
    case 1:
        counters.size = pick(c, 8) ? (uint32_t)sizeof counters : (uint32_t)pick(c, sizeof counters);
        return sl_loop_counters(loop, pick(c, 8) ? &counters : NULL);
    case 2:
        return sl_loop_wake_descriptor(loop, pick(c, 8) ? &descriptor : NULL);
    case 3:
        return sl_dispatch(loop, pick(c, 4), pick(c, 2) ? 0 : pick(c, 1000));
    case 4:
        return sl_wait(loop, pick(c, 16) ? c->events : NULL, room, pick(c, 2) ? 0 : pick(c, 1000));
    case 5:
        CHECK(sl_last_error() && sl_status_message((sl_status)any_number(c))[0]);
        return sl_last_os_error() ? SL_OK : 1;
    default:
        break;
    }
    // What was taken may carry buffers to give back, and ids worth keeping.
    sl_status got = sl_poll(loop, c->events, EVENTS);
    for (sl_status i = 0; i < got; i++) {
        const sl_event *event = &c->events[i];
        CHECK(event->result >= 0 || strcmp(harness_name(event->result), "SL_ERR_?") != 0);
        CHECK(event->result != SL_ERR_INTERNAL);
        if (event->flags & SL_EVENT_LENT) {
            sl_buffer_release(event->detail);
            keep(c, event->detail);
        }
        if (event->result > INT32_MAX) {
            keep(c, (uint64_t)event->result);
        }
    }
    return got;
}

static sl_status call_op(caller *c)
{
    uint64_t id = any_id(c, 0);
    sl_event *event = pick(c, 8) ? c->events : NULL;
    switch (pick(c, 6)) {
    case 0:
        return sl_op_poll(id, event);
    case 1:
        return sl_op_wait(id, pick(c, 1000), event);
    case 2:
        return sl_op_status(id);
    case 3:
        return sl_buffer_release(id);
    default:
        return sl_op_cancel(id);
    }
}

static sl_status call_file(caller *c, sl_op *op)
{
    sl_options storage, *options = any_options(c, &storage);
    sl_slice slices[4];
    size_t count, length = any_length(c);
    uint64_t file = any_id(c, 0);
    sl_loop loop = any_id(c, 1);
    sl_slice *given = any_slices(c, slices, &count);
    void *memory = any_memory(c);
    switch (pick(c, 11)) {
    case 0:
        return sl_file_read(file, memory, length, any_offset(c), any_flags(c), options, op);
    case 1:
        return sl_file_write(file, memory, length, any_offset(c), any_flags(c), options, op);
    case 2:
        return sl_file_readv(file, given, count, any_offset(c), any_flags(c), options, op);
    case 3:
        return sl_file_writev(file, given, count, any_offset(c), any_flags(c), options, op);
    case 4:
        return sl_file_sync(file, any_flags(c), options, op);
    case 5:
        return sl_file_stat(file, any_stat(c), options, op);
    case 6:
        return sl_file_truncate(file, pick(c, 2) ? pick(c, AREA) : UINT64_MAX - pick(c, AREA), options, op);
    case 7:
        return sl_file_open(loop, any_path(c), any_flags(c), (uint32_t)pick(c, 2) ? 0644 : any_flags(c), options, op);
    case 8:
        return sl_path_stat(loop, any_path(c), any_flags(c), any_stat(c), options, op);
    case 9:
        return sl_path_write(loop, any_path(c), memory, length, any_flags(c), 0644, options, op);
    default:
        return sl_path_read(loop, any_path(c), options, op);
    }
}

static sl_status call_path(caller *c, sl_op *op)
{
    sl_options storage, *options = any_options(c, &storage);
    sl_loop loop = any_id(c, 1);
    switch (pick(c, 7)) {
    case 0:
        return sl_path_remove(loop, any_path(c), any_flags(c), options, op);
    case 1:
        return sl_path_rename(loop, any_path(c), any_path(c), any_flags(c), options, op);
    case 2:
        return sl_path_make_directory(loop, any_path(c), pick(c, 4) ? 0700 : any_flags(c) | 0700, options, op);
    case 3:
        return sl_path_link(loop, any_source(c), any_path(c), pick(c, 2) ? SL_SYMBOLIC : any_flags(c), options, op);
    case 4:
        return sl_path_read_link(loop, any_path(c), options, op);
    case 5:
        return sl_path_list(loop, any_path(c), options, op);
    default:
        return sl_path_copy(loop, any_path(c), any_path(c), any_flags(c), 0600, options, op);
    }
}

static sl_status call_stream(caller *c, sl_op *op)
{
    sl_options storage, *options = any_options(c, &storage);
    sl_slice slices[4];
    sl_address address;
    size_t count, length = any_length(c);
    uint64_t stream = any_id(c, 0);
    int64_t value;
    sl_slice *given = any_slices(c, slices, &count);
    void *memory = any_memory(c);
    switch (pick(c, 11)) {
    case 0:
        return sl_stream_receive(stream, memory, length, any_flags(c), options, op);
    case 1:
        return sl_stream_send(stream, memory, length, any_flags(c), options, op);
    case 2:
        return sl_stream_sendv(stream, given, count, options, op);
    case 3:
        return sl_stream_shutdown(stream, options, op);
    case 4:
        return sl_stream_set(stream, (uint32_t)pick(c, 8), (int64_t)any_number(c));
    case 5:
        return sl_stream_get(stream, (uint32_t)pick(c, 8), pick(c, 8) ? &value : NULL);
    case 6:
        return sl_local_address(stream, pick(c, 8) ? &address : NULL);
    case 7:
        return sl_peer_address(stream, pick(c, 8) ? &address : NULL);
    case 8:
        return sl_tcp_accept(stream, any_flags(c), options, op);
    case 9:
        return sl_tcp_connect(any_id(c, 1), any_address(c, &address), options, op);
    default:
        return pick(c, 2) ? sl_address_format(any_address(c, &address), memory, length)
                          : sl_address_parse(any_path(c), &address);
    }
}

static sl_status call_task(caller *c, sl_op *op)
{
    sl_options storage, *options = any_options(c, &storage);
    sl_loop loop = any_id(c, 1);
    uint64_t period = pick(c, 2) ? 0 : any_number(c);
    switch (pick(c, 6)) {
    case 0:
        // Refused or slow: thousands of timers that fire all the time would leave no processor for the calls.
        return sl_timer(loop, any_number(c), period < 1000 ? period : period | SECOND, options, op);
    case 1:
        return sl_post(loop, (int64_t)any_number(c), options, op);
    case 2:
        return sl_work(loop, pick(c, 8) ? work_function : NULL, c, options, op);
    case 3:
        return sl_nop(loop, options, op);
    default:
        return sl_close(any_id(c, 0), options, op);
    }
}

static sl_status call_resource(caller *c, uint64_t *made)
{
    sl_listen_options listening = {pick(c, 8) ? (uint32_t)sizeof listening : 3, any_flags(c), (uint32_t)pick(c, 9), 0};
    sl_address address;
    sl_descriptor descriptor;
    sl_loop loop = any_id(c, 1);
    // Descriptors that are open belong to somebody: only those that cannot be are given away here.
    sl_descriptor nobodys = (sl_descriptor)(pick(c, 2) ? -1 - (int64_t)pick(c, 1000) : 1000000 + (int64_t)pick(c, 1 << 30));
    switch (pick(c, 5)) {
    case 0:
        return sl_descriptor_of(any_id(c, 0), pick(c, 8) ? &descriptor : NULL);
    case 1:
        return sl_file_adopt(loop, nobodys, made);
    case 2:
        return sl_stream_adopt(loop, nobodys, made);
    case 3:
        return sl_listener_adopt(loop, nobodys, made);
    default:
        any_address(c, &address);
        address.port = 0;
        return sl_tcp_listen(loop, &address, pick(c, 2) ? &listening : NULL, made);
    }
}

static sl_status call_submit(caller *c)
{
    static const size_t counts[] = {0, 1, 2, 8, SIZE_MAX, SIZE_MAX / 2 + 2};
    size_t count = counts[pick(c, 6)];
    sl_loop loop = any_id(c, 1);
    sl_address address;
    for (int i = 0; i < 8; i++) {
        sl_request *r = &c->requests[i];
        sl_options options, *given = any_options(c, &options);
        *r = request_of((uint32_t)pick(c, 52), pick(c, 2) ? loop : any_id(c, 0));
        r->size = pick(c, 32) ? r->size : (uint32_t)pick(c, 256);
        r->flags = any_flags(c);
        r->mode = pick(c, 8) ? 0 : any_flags(c);
        r->options = pick(c, 32) ? pick(c, 2) : 2;
        r->work = pick(c, 4) ? work_function : NULL;
        r->buffer = any_memory(c);
        r->length = any_length(c);
        r->offset = any_offset(c);
        if (given) {
            r->delivery = given->delivery;
            r->callback = given->callback;
            r->timeout_ns = given->timeout_ns;
        }
        // Kinds whose addresses must be of the right type.
        if (r->kind == SL_PATH_RENAME || r->kind == SL_PATH_LINK || r->kind == SL_PATH_COPY) {
            r->buffer = (void *)(uintptr_t)(r->kind == SL_PATH_LINK ? any_source(c) : any_path(c));
            r->offset = (int64_t)(intptr_t)any_path(c);
        } else if (r->kind == SL_FILE_OPEN || r->kind == SL_PATH_READ || r->kind == SL_PATH_LIST ||
                   (r->kind >= SL_PATH_REMOVE && r->kind <= SL_PATH_READ_LINK)) {
            r->buffer = (void *)(uintptr_t)any_path(c);
        } else if (r->kind == SL_PATH_WRITE || r->kind == SL_PATH_STAT) {
            r->buffer = (void *)(uintptr_t)any_path(c);
            r->offset = (int64_t)(intptr_t)(r->kind == SL_PATH_WRITE ? any_memory(c) : (void *)any_stat(c));
        } else if (r->kind == SL_FILE_STAT) {
            r->buffer = any_stat(c);
        } else if (r->kind == SL_TCP_CONNECT) {
            r->buffer = any_address(c, &address);
        } else if (r->kind == SL_FILE_READV || r->kind == SL_FILE_WRITEV || r->kind == SL_STREAM_SENDV) {
            r->buffer = NULL;
        } else if (r->kind == SL_FILE_TRUNCATE && r->length > AREA) {
            r->length = UINT64_MAX;
        }
    }
    sl_status got = sl_submit(loop, c->requests, count, pick(c, 2) ? c->ops : NULL);
    CHECK(got < 0 || got <= 8);
    return got;
}

// --- Loops come and go

static const sl_loop_options *small_loop(void)
{
    static sl_loop_options options;
    options.size = sizeof options;
    options.max_operations = 2048;
    options.max_resources = 256;
    options.max_unclaimed = 64;
    options.max_file_threads = 2;
    options.max_work_threads = 1;
    options.max_lent_bytes = 4 << 20;
    return &options;
}

// Takes all events of a loop that is shut down.
static void drain(sl_loop loop)
{
    sl_event events[EVENTS];
    for (;;) {
        sl_status got = sl_wait(loop, events, EVENTS, 0);
        if (got == 0) {
            got = sl_dispatch(loop, 0, 100000);
        }
        if (got < 0) {
            CHECK_IS(got, SL_ERR_SHUT_DOWN);
            break;
        }
        for (sl_status i = 0; i < got && i < EVENTS; i++) {
            (void)events[i];
        }
    }
    CHECK_IS(counters_of(loop).ended, counters_of(loop).accepted);
}

// Another loop takes the slot; the old one is closed with all that it holds.
static sl_status replace_loop(caller *c)
{
    sl_loop fresh;
    CHECK_IS(sl_loop_open(small_loop(), &fresh), SL_OK);
    sl_loop old = atomic_exchange(&loops[pick(c, LOOPS)], fresh);
    if (pick(c, 2)) {
        CHECK_IS(sl_loop_shutdown(old), SL_OK);
        CHECK_IS(sl_loop_shutdown(old), SL_OK);
    }
    sl_status got = sl_loop_close(old, pick(c, 2) ? SL_FOREVER : 0);
    while (got == SL_ERR_TIMED_OUT) {
        got = sl_loop_close(old, PATIENCE);
    }
    CHECK(got >= 0);
    CHECK_IS(sl_loop_close(old, SL_FOREVER), SL_ERR_STALE);
    keep(c, old);
    atomic_fetch_add(&reopened, 1);
    return got;
}

// Closing and shutting down need an id that names no living loop, or the others would run dry.
static sl_status call_end(caller *c)
{
    uint64_t id = atomic_load(&pool[pick(c, POOL)]);
    sl_loop_options options = {0};
    sl_loop fresh;
    switch (pick(c, 4)) {
    case 0:
        return sl_loop_shutdown(id);
    case 1:
        return sl_loop_close(id, 0);
    case 2:
        return sl_loop_open(NULL, NULL);
    default:
        options.size = (uint32_t)pick(c, 64);
        options.spin_us = 1000001;
        return sl_loop_open(&options, pick(c, 2) ? &fresh : NULL);
    }
}

static sl_status call_any(caller *c)
{
    uint64_t made = 0;
    sl_op *op = pick(c, 8) ? &made : NULL;
    sl_status status;
    switch (pick(c, 10)) {
    case 0:
    case 1:
    case 2:
        return call_loop(c);
    case 3:
        return call_op(c);
    case 4:
        status = pick(c, 4) ? call_file(c, op) : call_path(c, op);
        break;
    case 5:
        status = call_stream(c, op);
        break;
    case 6:
        status = call_task(c, op);
        break;
    case 7:
        status = call_resource(c, &made);
        break;
    case 8:
        return call_submit(c);
    default:
        return pick(c, 5000) == 0 ? replace_loop(c) : call_end(c);
    }
    CHECK(status >= 0 || made == 0);
    if (made) {
        keep(c, made);
    }
    return status;
}

static void *run(void *argument_of_thread)
{
    caller *c = argument_of_thread;
    for (size_t i = 0; i < c->calls; i++) {
        sl_status status = call_any(c);
        if (status < 0) {
            CHECK(strcmp(sl_status_name(status), "SL_ERR_?") != 0);
            CHECK(status != SL_ERR_INTERNAL);
            CHECK(sl_last_error()[0]);
            atomic_fetch_add(&refused_calls, 1);
        } else {
            atomic_fetch_add(&accepted_calls, 1);
        }
    }
    return NULL;
}

// Somebody to connect to who is no part of the misuse.
static raw_socket listen_aside(void)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    raw_socket listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_IS(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_IS(listen(listener, 128), 0);
    CHECK_IS(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    port = ntohs(address.sin_port);
    return listener;
}

// Removes what there is, with all that is in it.
static void clear(sl_loop loop, const char *path)
{
    char inside[1000];
    sl_op op;
    // Some are made read-only, and such a file cannot be removed on Windows.
    chmod(path, 0700);
    // Not every name is one on Windows.
    if (sl_path_remove(loop, path, 0, NULL, &op) < 0 || result_of(loop, op) == 0) {
        return;
    }
    CHECK_IS(sl_path_list(loop, path, NULL, &op), SL_OK);
    sl_event event = next_event(loop);
    for (int64_t at = 0; at < event.result;) {
        const sl_entry *entry = (const sl_entry *)((const char *)event.data + at);
        snprintf(inside, sizeof inside, "%s/%s", path, (const char *)(entry + 1));
        clear(loop, inside);
        at += entry->length;
    }
    if (event.flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    CHECK_IS(sl_path_remove(loop, path, SL_DIRECTORY, NULL, &op), SL_OK);
    result_of(loop, op);
}

int main(int argc, char **argv)
{
    start();
    size_t calls = argument(argc, argv, 1, 10000000), count = argument(argc, argv, 2, 8);
    raise_descriptor_limit(4096);
    holdings before = holdings_now();
    raw_socket listener = listen_aside();
    for (int i = 0; i < LOOPS; i++) {
        atomic_store(&loops[i], open_loop(small_loop()));
    }
    for (int i = 0; i < 16; i++) {
        stats[i].size = i < 14 ? (uint32_t)sizeof stats[i] : (uint32_t)i;
    }
    caller *callers = calloc(count, sizeof *callers);
    pthread_t *threads = calloc(count, sizeof *threads);
    CHECK(callers && threads);
    for (size_t i = 0; i < count; i++) {
        callers[i].random = i + 1;
        callers[i].calls = calls / count;
        threads[i] = spawn(run, &callers[i]);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < LOOPS; i++) {
        sl_loop loop = atomic_load(&loops[i]);
        CHECK_IS(sl_loop_shutdown(loop), SL_OK);
        drain(loop);
        CHECK(sl_loop_close(loop, SL_FOREVER) >= 0);
    }
    close_socket(listener);
    free(callers);
    free(threads);
    static const char *const made[] = {"a.tmp", "b.tmp", "\xff\xfe.tmp"};
    sl_loop last = open_loop(NULL);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        clear(last, made[i]);
    }
    close_loop(last);
    check_returned(before);
    printf("%zu calls: %llu fine, %llu refused, %llu loops replaced\n", calls, (unsigned long long)accepted_calls,
           (unsigned long long)refused_calls, (unsigned long long)reopened);
    return 0;
}
