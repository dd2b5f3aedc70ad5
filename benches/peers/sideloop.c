// sideloop: files, timers, posts and no-ops by its queue (delivery=thread: timers by callbacks), and what it holds and
// weighs. Its servers are in sideloop_net.c.

#include "sideloop_common.h"

// --- Reads of one file.

static size_t next_read(reads *r, sl_file file, size_t slot, sl_request *request)
{
    uint64_t offset;
    if (!reads_next(r, slot, &offset)) {
        return 0;
    }
    *request = (sl_request){.size = sizeof *request,
                            .kind = SL_FILE_READ,
                            .target = file,
                            .buffer = reads_buffer(r, slot),
                            .length = r->block,
                            .offset = (int64_t)offset,
                            .user_data = slot};
    return 1;
}

static void read_one_by_one(reads *r, sl_loop loop, sl_file file)
{
    uint64_t offset;
    while (reads_next(r, 0, &offset)) {
        sl_event event;
        CHECK(sl_file_read(file, r->memory, r->block, (int64_t)offset, 0, NULL, NULL) == SL_OK);
        CHECK(sl_wait(loop, &event, 1, SL_FOREVER) == 1);
        reads_done(r, 0, event.result);
    }
}

static void read_in_batches(reads *r, sl_loop loop, sl_file file)
{
    size_t in_flight = 0;
    for (size_t slot = 0; slot < r->depth; slot++) {
        in_flight += next_read(r, file, slot, requests + in_flight);
    }
    submit(loop, in_flight);
    while (in_flight > 0) {
        int count = take(loop);
        size_t more = 0;
        for (int i = 0; i < count; i++) {
            reads_done(r, events[i].user_data, events[i].result);
            more += next_read(r, file, events[i].user_data, requests + more);
        }
        submit(loop, more);
        in_flight += more - (size_t)count;
    }
}

static void read_blocks(void)
{
    sl_loop loop = loop_open(0);
    reads r = reads_open();
    sl_file file;
    CHECK(sl_file_adopt(loop, r.fd, &file) == SL_OK);
    reads_begin(&r);
    (r.depth == 1 ? read_one_by_one : read_in_batches)(&r, loop, file);
    reads_report(&r);
    sl_loop_close(loop, SL_FOREVER);
}

// --- Whole files, in memory that the library lends.

static size_t next_file(files *f, sl_loop loop, sl_request *request)
{
    size_t number;
    if (!files_next(f, &number)) {
        return 0;
    }
    *request = (sl_request){.size = sizeof *request,
                            .kind = SL_PATH_READ,
                            .target = loop,
                            .buffer = (void *)(uintptr_t)files_path(f, number),
                            .user_data = number};
    return 1;
}

static void read_files(void)
{
    sl_loop loop = loop_open(0);
    files f = files_open();
    size_t in_flight = 0;
    while (in_flight < f.depth) {
        in_flight += next_file(&f, loop, requests + in_flight);
    }
    submit(loop, in_flight);
    while (in_flight > 0) {
        int count = take(loop);
        size_t more = 0;
        for (int i = 0; i < count; i++) {
            files_done(&f, events[i].user_data, events[i].data, events[i].result);
            CHECK(sl_buffer_release(events[i].detail) == SL_OK);
            more += next_file(&f, loop, requests + more);
        }
        submit(loop, more);
        in_flight += more - (size_t)count;
    }
    files_report(&f);
    sl_loop_close(loop, SL_FOREVER);
}

// --- Writes made safe: a write's event is followed by a sync, a sync's by the next write.

static size_t next_write(syncs *s, const sl_file *opened, size_t slot, sl_request *request)
{
    if (!syncs_next(s)) {
        return 0;
    }
    *request = (sl_request){.size = sizeof *request,
                            .kind = SL_FILE_WRITE,
                            .target = opened[slot],
                            .buffer = s->data,
                            .length = SYNC_LENGTH,
                            .user_data = slot};
    return 1;
}

static size_t after_write(syncs *s, const sl_file *opened, const sl_event *event, sl_request *request)
{
    CHECK(event->result == (event->kind == SL_FILE_WRITE ? SYNC_LENGTH : 0));
    if (event->kind == SL_FILE_SYNC) {
        s->done++;
        return next_write(s, opened, event->user_data, request);
    }
    *request = (sl_request){.size = sizeof *request,
                            .kind = SL_FILE_SYNC,
                            .target = opened[event->user_data],
                            .user_data = event->user_data};
    return 1;
}

static void sync_files(void)
{
    sl_loop loop = loop_open(0);
    sl_file opened[SYNC_FILES];
    syncs s;
    size_t in_flight = 0;
    syncs_open(&s);
    for (size_t slot = 0; slot < SYNC_FILES; slot++) {
        CHECK(sl_file_adopt(loop, s.fds[slot], &opened[slot]) == SL_OK);
        in_flight += next_write(&s, opened, slot, requests + in_flight);
    }
    submit(loop, in_flight);
    while (in_flight > 0) {
        int count = take(loop);
        size_t more = 0;
        for (int i = 0; i < count; i++) {
            more += after_write(&s, opened, &events[i], requests + more);
        }
        submit(loop, more);
        in_flight += more - (size_t)count;
    }
    syncs_report(&s);
    sl_loop_close(loop, SL_FOREVER);
}

// --- No-ops.

static void nop(void)
{
    sl_loop loop = loop_open(0);
    size_t batch = number_argument("batch", 1);
    uint64_t done = 0;
    for (size_t i = 0; i < batch; i++) {
        requests[i] = (sl_request){.size = sizeof *requests, .kind = SL_NOP, .target = loop};
    }
    limit time = limit_begin();
    span begun = span_begin();
    while (!limit_reached(&time, 16)) {
        if (batch == 1) {
            CHECK(sl_nop(loop, NULL, NULL) == SL_OK);
        } else {
            submit(loop, batch);
        }
        for (size_t left = batch; left > 0; left -= (size_t)take(loop)) {
        }
        done += batch;
    }
    figures_each(span_end(begun), done);
    sl_loop_close(loop, SL_FOREVER);
}

// --- Timers.

enum { MANY = 1 << 20 };

static timers clockwork;
static atomic_bool all_fired;

static void on_fired(sl_loop loop, const sl_event *event)
{
    (void)loop;
    CHECK(event->result == 1);
    timers_fired(&clockwork, event->user_data, now_ns(), 0);
    if (clockwork.fired == clockwork.count) {
        atomic_store(&all_fired, true);
        CHECK(sl_post(loop, 0, NULL, NULL) == SL_OK);
    }
}

static void start_timers(sl_loop loop, bool thread)
{
    for (uint64_t number = 0; number < clockwork.count;) {
        size_t count = 0;
        for (; count < TIMER_BATCH && number < clockwork.count; number++) {
            requests[count++] = (sl_request){.size = sizeof *requests,
                                             .kind = SL_TIMER,
                                             .target = loop,
                                             .length = timers_delay(&clockwork, number),
                                             .delivery = thread ? SL_DELIVER_THREAD : SL_DELIVER_QUEUE,
                                             .user_data = number,
                                             .callback = thread ? on_fired : NULL};
        }
        submit(loop, count);
    }
}

static void run_timers(void)
{
    // One more than the timers: the post that tells of the end.
    sl_loop loop = loop_open(2 * MANY);
    bool thread = argument_is("delivery", "thread");
    clockwork = timers_open();
    start_timers(loop, thread);
    if (thread) {
        CHECK(take(loop) == 1 && atomic_load(&all_fired));
    } else {
        while (clockwork.fired < clockwork.count) {
            int count = take(loop);
            uint64_t now = now_ns();
            for (int i = 0; i < count; i++) {
                timers_fired(&clockwork, events[i].user_data, now, 0);
            }
        }
    }
    timers_report(&clockwork);
    sl_loop_close(loop, SL_FOREVER);
}

// --- Posts.

static sl_loop post_loop;

static void *poster(void *unused)
{
    uint64_t each = number_argument("count", 250000), batch = number_argument("batch", 1);
    sl_request posted[256];
    for (size_t i = 0; i < batch; i++) {
        posted[i] = (sl_request){.size = sizeof *posted, .kind = SL_POST, .target = post_loop};
    }
    for (uint64_t i = 0; i < each; i += batch) {
        size_t count = batch < each - i ? batch : each - i;
        if (batch == 1) {
            CHECK(sl_post(post_loop, 0, NULL, NULL) == SL_OK);
        } else {
            CHECK(sl_submit(post_loop, posted, count, NULL) == (sl_status)count);
        }
    }
    return unused;
}

static void post(void)
{
    post_loop = loop_open(MANY);
    posts p = posts_begin(poster);
    for (uint64_t got = 0; got < p.total; got += (uint64_t)take(post_loop)) {
    }
    posts_report(&p);
    sl_loop_close(post_loop, SL_FOREVER);
}

// --- What it holds: for each operation in flight, and for each idle connection with a multishot receive.

static void hold_timers(sl_loop loop)
{
    enum { FAR = 3600 };
    uint64_t count = number_argument("count", 100000);
    held before = held_now();
    for (uint64_t i = 0; i < count; i++) {
        CHECK(sl_timer(loop, FAR * UINT64_C(1000000000) + i, 0, NULL, NULL) == SL_OK);
    }
    // Behind all of them: when this has come, they have been begun.
    CHECK(sl_nop(loop, NULL, NULL) == SL_OK && take(loop) == 1);
    held_report(before, count);
}

// The receives alone (idle=0: into memory of this program), or the connections with them (idle=1: lent, multishot).
static void hold_connections(sl_loop loop)
{
    static uint8_t byte;
    bool idle = number_argument("idle", 0);
    int *ends;
    size_t count = connections_open(&ends);
    sl_stream *streams = calloc(count, sizeof *streams);
    CHECK(streams);
    held before = held_now();
    for (size_t i = 0; i < count; i++) {
        CHECK(sl_stream_adopt(loop, ends[i], &streams[i]) == SL_OK);
    }
    if (!idle) {
        // What the loop keeps of a connection from its first operation on is the connection's, not the receive's.
        for (size_t i = 0; i < count; i++) {
            sl_options handed = {.size = sizeof handed, .flags = SL_OPTION_NO_INLINE};
            CHECK(sl_stream_receive(streams[i], &byte, 0, 0, &handed, NULL) == SL_OK && take(loop) == 1);
        }
        before = held_now();
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(sl_stream_receive(streams[i], idle ? NULL : &byte, !idle, idle ? SL_MULTISHOT : 0, NULL, NULL) == SL_OK);
    }
    CHECK(sl_nop(loop, NULL, NULL) == SL_OK && take(loop) == 1);
    held_report(before, count);
}

static void hold(void)
{
    sl_loop loop = loop_open(2 * MANY);
    // What the first use of everything allocates is no operation's.
    CHECK(sl_nop(loop, NULL, NULL) == SL_OK && take(loop) == 1);
    (argument_is("what", "timers") ? hold_timers : hold_connections)(loop);
    sl_loop_close(loop, SL_FOREVER);
}

// --- Its size, and how long a loop takes to open and close.

static void size(void) { library_size((void *)(uintptr_t)sl_loop_open); }

static void loop_once(void) { CHECK(sl_loop_close(loop_open(0), SL_FOREVER) >= 0); }

static void open_loops(void) { open_and_close(loop_once); }

MAIN({"read", read_blocks}, {"bigread", read_blocks}, {"files", read_files}, {"fsync", sync_files}, {"nop", nop},
     {"timers", run_timers}, {"post", post}, {"memory", hold}, {"size", size}, {"open", open_loops})
