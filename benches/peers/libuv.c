// libuv: everything on the loop's thread; files go to its pool of four threads, as it has it.

#include "common.h"

#include <uv.h>

static uv_loop_t loop;

static void loop_open(void) { CHECK(uv_loop_init(&loop) == 0); }

static void run(void) { CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0); }

// --- Reads of one file.

static reads blocks;

static void read_next(uv_fs_t *request);

static void on_read(uv_fs_t *request)
{
    reads_done(&blocks, (size_t)(uintptr_t)request->data, request->result);
    uv_fs_req_cleanup(request);
    read_next(request);
}

static void read_next(uv_fs_t *request)
{
    size_t slot = (size_t)(uintptr_t)request->data;
    uint64_t offset;
    if (reads_next(&blocks, slot, &offset)) {
        uv_buf_t buffer = uv_buf_init((char *)reads_buffer(&blocks, slot), (unsigned)blocks.block);
        CHECK(uv_fs_read(&loop, request, blocks.fd, &buffer, 1, (int64_t)offset, on_read) == 0);
    }
}

static void read_blocks(void)
{
    loop_open();
    blocks = reads_open();
    uv_fs_t *slots = calloc(blocks.depth, sizeof *slots);
    CHECK(slots);
    reads_begin(&blocks);
    for (size_t slot = 0; slot < blocks.depth; slot++) {
        slots[slot].data = (void *)(uintptr_t)slot;
        read_next(&slots[slot]);
    }
    run();
    reads_report(&blocks);
}

// --- Whole files: open, read, close, each when the one before it has ended.

typedef struct whole {
    uv_fs_t request;
    uv_file file;
    size_t number;
    char room[WHOLE_ROOM];
} whole;

static files all_files;

static void whole_next(whole *w);

static void on_whole_closed(uv_fs_t *request)
{
    uv_fs_req_cleanup(request);
    whole_next((whole *)request);
}

static void on_whole_read(uv_fs_t *request)
{
    whole *w = (whole *)request;
    files_done(&all_files, w->number, w->room, request->result);
    uv_fs_req_cleanup(request);
    CHECK(uv_fs_close(&loop, request, w->file, on_whole_closed) == 0);
}

static void on_whole_opened(uv_fs_t *request)
{
    whole *w = (whole *)request;
    uv_buf_t buffer = uv_buf_init(w->room, sizeof w->room);
    CHECK(request->result >= 0);
    w->file = (uv_file)request->result;
    uv_fs_req_cleanup(request);
    CHECK(uv_fs_read(&loop, request, w->file, &buffer, 1, 0, on_whole_read) == 0);
}

static void whole_next(whole *w)
{
    if (files_next(&all_files, &w->number)) {
        CHECK(uv_fs_open(&loop, &w->request, files_path(&all_files, w->number), O_RDONLY, 0, on_whole_opened) == 0);
    }
}

static void read_files(void)
{
    loop_open();
    all_files = files_open();
    whole *slots = calloc(all_files.depth, sizeof *slots);
    CHECK(slots);
    for (size_t slot = 0; slot < all_files.depth; slot++) {
        whole_next(&slots[slot]);
    }
    run();
    files_report(&all_files);
}

// --- Writes made safe.

static syncs synced;

static void write_next(uv_fs_t *request);

static void on_synced(uv_fs_t *request)
{
    CHECK(request->result == 0);
    uv_fs_req_cleanup(request);
    synced.done++;
    write_next(request);
}

static void on_written(uv_fs_t *request)
{
    size_t slot = (size_t)(uintptr_t)request->data;
    CHECK(request->result == SYNC_LENGTH);
    uv_fs_req_cleanup(request);
    CHECK(uv_fs_fsync(&loop, request, synced.fds[slot], on_synced) == 0);
}

static void write_next(uv_fs_t *request)
{
    size_t slot = (size_t)(uintptr_t)request->data;
    uv_buf_t buffer = uv_buf_init((char *)synced.data, SYNC_LENGTH);
    if (syncs_next(&synced)) {
        CHECK(uv_fs_write(&loop, request, synced.fds[slot], &buffer, 1, 0, on_written) == 0);
    }
}

static void sync_files(void)
{
    static uv_fs_t slots[SYNC_FILES];
    loop_open();
    syncs_open(&synced);
    for (size_t slot = 0; slot < SYNC_FILES; slot++) {
        slots[slot].data = (void *)(uintptr_t)slot;
        write_next(&slots[slot]);
    }
    run();
    syncs_report(&synced);
}

// --- Servers. Pieces are received into one buffer that all connections share, and answered from it at once; only what
// the system does not take goes into memory of its own.

static void on_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    static char piece[PIECE];
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(piece, sizeof piece);
}

static void on_connection_closed(uv_handle_t *handle) { free(handle); }

static void on_written_later(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static void write_later(uv_stream_t *stream, const char *data, size_t length)
{
    uv_write_t *request = malloc(sizeof *request + length);
    CHECK(request);
    uv_buf_t buffer = uv_buf_init(memcpy(request + 1, data, length), (unsigned)length);
    CHECK(uv_write(request, stream, &buffer, 1, on_written_later) == 0);
}

static void on_received(uv_stream_t *stream, ssize_t count, const uv_buf_t *piece)
{
    if (count < 0) {
        uv_close((uv_handle_t *)stream, on_connection_closed);
    } else if (count > 0) {
        uv_buf_t buffer = uv_buf_init(piece->base, (unsigned)count);
        int sent = uv_try_write(stream, &buffer, 1);
        sent = sent < 0 ? 0 : sent;
        if (sent < count) {
            write_later(stream, piece->base + sent, (size_t)(count - sent));
        }
    }
}

static uv_stream_t *accepted(uv_stream_t *listener, int status)
{
    uv_tcp_t *connection = malloc(sizeof *connection);
    CHECK(status == 0 && connection && uv_tcp_init(&loop, connection) == 0);
    CHECK(uv_accept(listener, (uv_stream_t *)connection) == 0);
    return (uv_stream_t *)connection;
}

static void on_echo_connection(uv_stream_t *listener, int status)
{
    CHECK(uv_read_start(accepted(listener, status), on_buffer, on_received) == 0);
}

static void on_visitor(uv_stream_t *listener, int status)
{
    uv_close((uv_handle_t *)accepted(listener, status), on_connection_closed);
}

static void serve(uv_connection_cb on_connection)
{
    static uv_tcp_t listener;
    loop_open();
    CHECK(uv_tcp_init(&loop, &listener) == 0 && uv_tcp_open(&listener, listen_here()) == 0);
    CHECK(uv_listen((uv_stream_t *)&listener, 4096, on_connection) == 0);
    run();
}

static void serve_echo(void) { serve(on_echo_connection); }

static void serve_accept(void) { serve(on_visitor); }

// --- Timers. Their clock counts whole milliseconds.

enum { GRAIN_NS = 1000000 };

static timers clockwork;

static void on_fired(uv_timer_t *timer)
{
    timers_fired(&clockwork, (uint64_t)(uintptr_t)timer->data, now_ns(), GRAIN_NS);
}

static void run_timers(void)
{
    loop_open();
    clockwork = timers_open();
    uv_timer_t *all = malloc(clockwork.count * sizeof *all);
    CHECK(all);
    for (uint64_t number = 0; number < clockwork.count; number++) {
        if (number % TIMER_BATCH == 0) {
            uv_update_time(&loop);
        }
        CHECK(uv_timer_init(&loop, &all[number]) == 0);
        all[number].data = (void *)(uintptr_t)number;
        CHECK(uv_timer_start(&all[number], on_fired, timers_delay(&clockwork, number) / GRAIN_NS, 0) == 0);
    }
    run();
    timers_report(&clockwork);
}

// --- Posts: a vector behind a lock, and an async handle that wakes the loop.

static shared_vector shared = {.lock = PTHREAD_MUTEX_INITIALIZER};
static uv_async_t bell;
static uint64_t awaited;

static void *poster(void *unused)
{
    uint64_t each = number_argument("count", 250000), batch = number_argument("batch", 1), items[256] = {0};
    for (uint64_t i = 0; i < each; i += batch) {
        if (vector_add(&shared, items, batch < each - i ? batch : each - i)) {
            CHECK(uv_async_send(&bell) == 0);
        }
    }
    return unused;
}

static void on_posted(uv_async_t *async)
{
    static shared_vector taken;
    vector_swap(&shared, &taken);
    awaited -= taken.length;
    if (awaited == 0) {
        uv_close((uv_handle_t *)async, NULL);
    }
}

static void post(void)
{
    loop_open();
    CHECK(uv_async_init(&loop, &bell, on_posted) == 0);
    awaited = number_argument("count", 250000) * POST_THREADS;
    posts p = posts_begin(poster);
    run();
    posts_report(&p);
}

// --- What it holds. Its handles are the caller's memory, but memory all the same.

static void never(uv_timer_t *timer) { (void)timer; }

static void hold_timers(void)
{
    enum { FAR_MS = 3600000 };
    uint64_t count = number_argument("count", 100000);
    held before = held_now();
    for (uint64_t i = 0; i < count; i++) {
        uv_timer_t *timer = malloc(sizeof *timer);
        CHECK(timer && uv_timer_init(&loop, timer) == 0 && uv_timer_start(timer, never, FAR_MS + i, 0) == 0);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    held_report(before, count);
}

// One that reads is both the operation and the idle connection: there is no separate request.
static void hold_connections(void)
{
    int *ends;
    size_t count = connections_open(&ends);
    held before = held_now();
    for (size_t i = 0; i < count; i++) {
        uv_pipe_t *connection = malloc(sizeof *connection);
        CHECK(connection && uv_pipe_init(&loop, connection, 0) == 0 && uv_pipe_open(connection, ends[i]) == 0);
        CHECK(uv_read_start((uv_stream_t *)connection, on_buffer, on_received) == 0);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    held_report(before, count);
}

static void hold(void)
{
    loop_open();
    (argument_is("what", "timers") ? hold_timers : hold_connections)();
}

// --- Its size, and how long a loop takes to open and close.

static void size(void) { library_size((void *)(uintptr_t)uv_loop_init); }

static void loop_once(void)
{
    loop_open();
    CHECK(uv_loop_close(&loop) == 0);
}

static void open_loops(void) { open_and_close(loop_once); }

MAIN({"read", read_blocks}, {"bigread", read_blocks}, {"files", read_files}, {"fsync", sync_files}, {"echo", serve_echo},
     {"accept", serve_accept}, {"timers", run_timers}, {"post", post}, {"memory", hold}, {"size", size},
     {"open", open_loops})
