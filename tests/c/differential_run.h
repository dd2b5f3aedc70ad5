// Operations of differential.c on their way through the library: which may be under way together, how they are submitted and
// delivered, and the comparison of what they gave with what the oracle gave.
//
// All of it runs on the program's own thread, but `record`, which callbacks call on the loop's thread as well.

#ifndef DIFFERENTIAL_RUN_H
#define DIFFERENTIAL_RUN_H

#include "differential_oracle.h"

enum {
    MOST_ACTIVE = 24, // operations that are not compared yet
    MOST_RECORDS = 32,
    MOST_ACCEPTED = 16,
    SOURCE = 1 << 20, // bytes from which all that is written comes
    GUARD = 16,       // bytes behind memory to read into that nobody may touch
};

// What an operation has to do with. Two that could change each other's results are never under way together.
typedef struct touched {
    uint64_t names_read, names_written; // names in the tree, one bit each
    uint64_t slots_read, slots_written; // files, streams and the like, one bit each
    uint64_t node;                      // the file's inode in the oracle's tree, or 0
    int writes;
    uint64_t from, to; // the bytes that are written, or those whose contents or absence is seen
    uint64_t length;   // of the file before a write: what lies between it and `from` becomes zeros
    int lane;          // operations at the same current position are in order: 1 and more, or 0
} touched;

#define EVERYWHERE UINT64_MAX

// How the event's result is compared.
typedef enum comparison {
    SAME,     // it is the oracle's
    AN_ID,    // likewise where that is an error, else it is an id
    STANDING, // multishot: whoever started it compares
} comparison;

struct operation;
typedef void (*afterwards)(struct operation *op);

typedef struct operation {
    int active, submitted, ended;
    int held;              // nobody waits for it meanwhile: it is being made, or its end needs something still to be done
    uint64_t number;        // of the step,
    uint64_t serial;        // and of all operations of this program
    sl_request request;     // without its target, where that is not known yet
    const uint64_t *target; // where the target's id is once it is known, or NULL
    touched touches;
    sl_status refused; // what the call itself is to return, or SL_OK
    int alone;         // it must not be part of a batch
    comparison how;
    outcome wanted;
    uint64_t *opened;         // AN_ID: where the id goes
    afterwards finish;        // what else there is to do with the event, or NULL
    uint8_t *memory;          // the caller's memory to read into, `room` bytes and the guard
    size_t room;
    uint8_t *wanted_bytes;    // what the oracle has read: as many bytes as its result
    sl_slice *slices;         // copied by the library when it is submitted
    char *path;               // likewise,
    char *shown;              // and for whoever reads about it later
    sl_stat stat;
    struct stat wanted_stat;
    size_t link, end;         // streams: which one
    sl_op id;
    sl_event event;           // the last
    size_t more;              // events before it,
    uint64_t accepted[MOST_ACCEPTED];
    uint8_t *bytes;           // and what they brought
    size_t length;
} operation;

static sl_loop loop;
static sl_descriptor wake_descriptor;
static uint64_t dice, luck, seed, step, serial, accepted_count, refused_count;
static int talkative;
static int running_on; // the driver of this program's loop
static operation records[MOST_RECORDS];
static operation *pending[MOST_ACTIVE];
static size_t pending_count;
static size_t active_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static uint8_t *source; // SOURCE bytes that can only be read

// What the program is made from: drawn in the same order however fast the system is.
static uint64_t below(uint64_t limit)
{
    return random_below(&dice, limit);
}

// For what depends on what has ended already.
static uint64_t lucky_below(uint64_t limit)
{
    return random_below(&luck, limit);
}

static int one_in(uint64_t count)
{
    return below(count) == 0;
}

// --- What is said of an operation

static const char *kind_name(uint32_t kind)
{
    static const struct {
        uint32_t kind;
        const char *name;
    } names[] = {
        {SL_NOP, "nop"},
        {SL_CLOSE, "close"},
        {SL_FILE_OPEN, "file_open"},
        {SL_FILE_READ, "file_read"},
        {SL_FILE_WRITE, "file_write"},
        {SL_FILE_READV, "file_readv"},
        {SL_FILE_WRITEV, "file_writev"},
        {SL_FILE_SYNC, "file_sync"},
        {SL_FILE_STAT, "file_stat"},
        {SL_FILE_TRUNCATE, "file_truncate"},
        {SL_PATH_STAT, "path_stat"},
        {SL_PATH_READ, "path_read"},
        {SL_PATH_WRITE, "path_write"},
        {SL_TCP_ACCEPT, "tcp_accept"},
        {SL_TCP_CONNECT, "tcp_connect"},
        {SL_STREAM_RECEIVE, "stream_receive"},
        {SL_STREAM_SEND, "stream_send"},
        {SL_STREAM_SENDV, "stream_sendv"},
        {SL_STREAM_SHUTDOWN, "stream_shutdown"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].kind == kind) {
            return names[i].name;
        }
    }
    return "?";
}

static const char *delivery_name(uint32_t delivery)
{
    static const char *const names[] = {"queue", "handle", "dispatch", "thread"};
    return delivery < 4 ? names[delivery] : "?";
}

static void describe(FILE *out, const operation *op)
{
    const sl_request *request = &op->request;
    fprintf(out, "step %" PRIu64 ": %s", op->number, kind_name(request->kind));
    if (op->shown) {
        fprintf(out, " \"%.60s\"%s", op->shown, strlen(op->shown) > 60 ? "..." : "");
    }
    fprintf(out, " target %#" PRIx64 " length %" PRIu64, op->target ? *op->target : request->target, request->length);
    if (request->kind != SL_PATH_STAT && request->kind != SL_PATH_WRITE) {
        fprintf(out, " offset %" PRId64, request->offset);
    }
    fprintf(out, " flags %#x mode %#o, into %s, delivered by %s\n", request->flags, request->mode,
            op->memory ? "the caller's memory" : "lent or no memory", delivery_name(request->delivery));
}

// Ends the program with everything that is needed to see the difference again.
static void differs(const operation *op, const char *what, int64_t here, int64_t oracle)
{
    fflush(stdout);
    fprintf(stderr, "differs: %s\n", what);
    if (op) {
        fprintf(stderr, "  ");
        describe(stderr, op);
        fprintf(stderr, "  the event: result %" PRId64 " %s, os_error %d, flags %#x, detail %" PRIu64 "\n",
                op->event.result, harness_name(op->event.result), op->event.os_error, op->event.flags, op->event.detail);
        fprintf(stderr, "  blocking calls: result %" PRId64 " %s, errno %d, %" PRIu64 " bytes before it\n",
                op->wanted.result, harness_name(op->wanted.result), op->wanted.os_error, op->wanted.partial);
    } else {
        fprintf(stderr, "  step %" PRIu64 "\n", step);
    }
    const char *driver = running_on == SL_DRIVER_URING ? "uring" : "poll";
    fprintf(stderr, "  sideloop: %" PRId64 " %s; blocking calls: %" PRId64 " %s\n  seed %" PRIu64 " on %s\n", here,
            harness_name(here), oracle, harness_name(oracle), seed, driver);
    fprintf(stderr, "  once more, in an empty folder: SIDELOOP_DRIVER=%s differential 1 %" PRIu64 " 1\n",
            driver, seed);
    fprintf(stderr, "  sl_last_error: %s\n", sl_last_error());
    fflush(stderr);
    _Exit(1);
}

static void must_be(const operation *op, const char *what, int64_t here, int64_t oracle)
{
    if (here != oracle) {
        differs(op, what, here, oracle);
    }
}

// --- What may be under way together

static int ranges_meet(const touched *a, const touched *b)
{
    uint64_t a_from = a->from, b_from = b->from;
    // A write behind the end also makes what lies between; another write there is not disturbed by it, a read is.
    if (a->writes != b->writes) {
        a_from = a->writes && a->length < a_from ? a->length : a_from;
        b_from = b->writes && b->length < b_from ? b->length : b_from;
    }
    return a_from < b->to && b_from < a->to;
}

static int conflict(const touched *a, const touched *b)
{
    if ((a->names_written & (b->names_read | b->names_written)) | (b->names_written & a->names_read)) {
        return 1;
    }
    if ((a->slots_written & (b->slots_read | b->slots_written)) | (b->slots_written & a->slots_read)) {
        return 1;
    }
    if (!a->node || a->node != b->node || !(a->writes | b->writes) || (a->lane && a->lane == b->lane)) {
        return 0;
    }
    return ranges_meet(a, b);
}

// --- Events

// Takes note of an event, by whichever way and on whichever thread it came.
static void record(const sl_event *event)
{
    pthread_mutex_lock(&lock);
    operation *op = &records[event->user_data % MOST_RECORDS];
    if (!op->active || !op->submitted || op->ended || event->user_data / MOST_RECORDS != op->serial) {
        differs(op, "an event of no operation that is under way", (int64_t)event->user_data, 0);
    }
    if (!(event->flags & SL_EVENT_MORE)) {
        op->event = *event;
        op->ended = 1;
    } else if (op->how != STANDING || event->result <= 0) {
        differs(op, "an event of several, with this result", event->result, 0);
    } else if (event->kind == SL_TCP_ACCEPT) {
        CHECK(op->more < MOST_ACCEPTED);
        op->accepted[op->more++] = (uint64_t)event->result;
    } else {
        if (event->flags != (SL_EVENT_MORE | SL_EVENT_LENT)) {
            differs(op, "flags of a piece received", event->flags, SL_EVENT_MORE | SL_EVENT_LENT);
        }
        op->bytes = realloc(op->bytes, op->length + (size_t)event->result);
        CHECK(op->bytes);
        memcpy(op->bytes + op->length, event->data, (size_t)event->result);
        op->length += (size_t)event->result;
        op->more++;
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
    }
    pthread_cond_broadcast(&arrived);
    pthread_mutex_unlock(&lock);
}

static void on_event(sl_loop of, const sl_event *event)
{
    (void)of;
    record(event);
}

static int has_ended(operation *op)
{
    pthread_mutex_lock(&lock);
    int is = op->ended;
    pthread_mutex_unlock(&lock);
    return is;
}

static void collect_queue(void)
{
    sl_event events[8];
    sl_status count;
    if (lucky_below(4) == 0) {
        CHECK(readable(wake_descriptor, (int)(PATIENCE / MILLISECOND)));
        // Callbacks make it readable as well.
        CHECK(sl_dispatch(loop, 0, 0) >= 0);
        count = sl_poll(loop, events, 1 + lucky_below(8));
        CHECK(count >= 0);
    } else {
        count = sl_wait(loop, events, 1 + lucky_below(8), PATIENCE);
        CHECK(count > 0);
    }
    for (sl_status i = 0; i < count; i++) {
        record(&events[i]);
    }
}

// Waits for something to come by the way that an operation is delivered by; on the loop's thread it may have come already: it
// is the end, or (not NULL) another than the first `seen` events.
static void collect(operation *op, const size_t *seen)
{
    sl_event event;
    switch (op->request.delivery) {
    case SL_DELIVER_QUEUE:
        collect_queue();
        break;
    case SL_DELIVER_DISPATCH:
        CHECK(sl_dispatch(loop, lucky_below(3), PATIENCE) > 0);
        break;
    case SL_DELIVER_HANDLE:
        if (lucky_below(4) == 0 && sl_op_poll(op->id, &event) == 1) {
            record(&event);
            break;
        }
        CHECK_IS(sl_op_wait(op->id, PATIENCE, &event), 1);
        record(&event);
        break;
    default:
        pthread_mutex_lock(&lock);
        while (!op->ended && (!seen || op->more == *seen)) {
            pthread_cond_wait(&arrived, &lock);
        }
        pthread_mutex_unlock(&lock);
    }
}

static void await_end_of(operation *op)
{
    while (!has_ended(op)) {
        collect(op, NULL);
    }
}

// --- Submitting

static sl_status submit_path_or_socket(const sl_request *r, const sl_options *options, sl_op *op)
{
    switch (r->kind) {
    case SL_FILE_OPEN:
        return sl_file_open(r->target, r->buffer, r->flags, r->mode, options, op);
    case SL_PATH_STAT:
        return sl_path_stat(r->target, r->buffer, r->flags, (sl_stat *)(intptr_t)r->offset, options, op);
    case SL_PATH_READ:
        return sl_path_read(r->target, r->buffer, options, op);
    case SL_PATH_WRITE:
        return sl_path_write(r->target, r->buffer, (void *)(intptr_t)r->offset, (size_t)r->length, r->flags, r->mode,
                             options, op);
    case SL_TCP_ACCEPT:
        return sl_tcp_accept(r->target, r->flags, options, op);
    case SL_TCP_CONNECT:
        return sl_tcp_connect(r->target, r->buffer, options, op);
    case SL_STREAM_RECEIVE:
        return sl_stream_receive(r->target, r->buffer, (size_t)r->length, r->flags, options, op);
    case SL_STREAM_SEND:
        return sl_stream_send(r->target, r->buffer, (size_t)r->length, r->flags, options, op);
    case SL_STREAM_SENDV:
        return sl_stream_sendv(r->target, r->buffer, (size_t)r->length, options, op);
    case SL_STREAM_SHUTDOWN:
        return sl_stream_shutdown(r->target, options, op);
    case SL_CLOSE:
        return sl_close(r->target, options, op);
    default:
        return sl_nop(r->target, options, op);
    }
}

static sl_status submit_single(const sl_request *r, sl_op *op)
{
    sl_options given = {sizeof given, r->delivery, r->user_data, r->timeout_ns, r->callback, r->options, 0};
    const sl_options *options = &given;
    size_t length = (size_t)r->length;
    switch (r->kind) {
    case SL_FILE_READ:
        return sl_file_read(r->target, r->buffer, length, r->offset, r->flags, options, op);
    case SL_FILE_WRITE:
        return sl_file_write(r->target, r->buffer, length, r->offset, r->flags, options, op);
    case SL_FILE_READV:
        return sl_file_readv(r->target, r->buffer, length, r->offset, r->flags, options, op);
    case SL_FILE_WRITEV:
        return sl_file_writev(r->target, r->buffer, length, r->offset, r->flags, options, op);
    case SL_FILE_SYNC:
        return sl_file_sync(r->target, r->flags, options, op);
    case SL_FILE_STAT:
        return sl_file_stat(r->target, r->buffer, options, op);
    case SL_FILE_TRUNCATE:
        return sl_file_truncate(r->target, r->length, options, op);
    default:
        return submit_path_or_socket(r, options, op);
    }
}

static void forget(operation *op)
{
    free(op->memory);
    free(op->wanted_bytes);
    free(op->bytes);
    free(op->slices);
    free(op->path);
    free(op->shown);
    pthread_mutex_lock(&lock);
    memset(op, 0, sizeof *op);
    pthread_mutex_unlock(&lock);
    active_count--;
}

// The call has returned: what it was to copy is copied, or is not the library's any more.
static void submitted(operation *op, sl_status status, sl_op id)
{
    must_be(op, "what the call returns", status, op->refused);
    if (op->path) {
        memset(op->path, '#', strlen(op->path));
    }
    if (op->slices) {
        memset(op->slices, 0xee, op->request.length * sizeof *op->slices);
    }
    free(op->path);
    free(op->slices);
    op->path = NULL;
    op->slices = NULL;
    if (status < 0) {
        // An id that was never issued is of no loop: nobody counts it.
        refused_count += status != SL_ERR_BAD_ID;
        forget(op);
    } else {
        accepted_count++;
        op->id = id;
    }
}

// Hands over what is pending, in order: one at a time, or many in one call.
static void flush(void)
{
    sl_request requests[MOST_ACTIVE];
    sl_op ids[MOST_ACTIVE];
    for (size_t i = 0; i < pending_count; i++) {
        operation *op = pending[i];
        if (op->target) {
            op->request.target = *op->target;
        }
        requests[i] = op->request;
        // Its event may come, on the loop's thread, before the call returns.
        pthread_mutex_lock(&lock);
        op->submitted = 1;
        pthread_mutex_unlock(&lock);
    }
    for (size_t at = 0; at < pending_count;) {
        if (pending[at]->alone || lucky_below(3) == 0) {
            sl_op id = 0;
            sl_status status = submit_single(&requests[at], &id);
            submitted(pending[at++], status, id);
            continue;
        }
        size_t count = 1;
        while (at + count < pending_count && !pending[at + count]->alone && lucky_below(8) > 0) {
            count++;
        }
        sl_status taken = sl_submit(loop, &requests[at], count, ids);
        if (taken < 0) {
            submitted(pending[at++], taken, 0);
            continue;
        }
        CHECK(taken > 0 && (size_t)taken <= count);
        // The next one was refused, which is counted; submitted again it says why.
        refused_count += (size_t)taken < count;
        for (sl_status i = 0; i < taken; i++) {
            submitted(pending[at++], SL_OK, ids[i]);
        }
    }
    pending_count = 0;
}

// --- Comparing

static uint32_t type_of(mode_t mode)
{
    return S_ISREG(mode)   ? SL_TYPE_FILE
           : S_ISDIR(mode) ? SL_TYPE_DIRECTORY
           : S_ISLNK(mode) ? SL_TYPE_LINK
                           : SL_TYPE_OTHER;
}

static int64_t nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * (int64_t)SECOND + time.tv_nsec;
}

// What differs between the two trees by nature (inode, times) is compared with what the system says of the library's own.
static void compare_stat(const operation *op, const struct stat *own)
{
    const struct stat *oracle = &op->wanted_stat;
    must_be(op, "stat: size", op->stat.size, sizeof op->stat);
    must_be(op, "stat: type", op->stat.type, type_of(oracle->st_mode));
    must_be(op, "stat: mode", op->stat.mode, oracle->st_mode & 07777);
    must_be(op, "stat: links", op->stat.links, (int64_t)oracle->st_nlink);
    must_be(op, "stat: user", op->stat.user, oracle->st_uid);
    must_be(op, "stat: group", op->stat.group, oracle->st_gid);
    must_be(op, "stat: device", (int64_t)op->stat.device, (int64_t)oracle->st_dev);
    must_be(op, "stat: inode", (int64_t)op->stat.inode, (int64_t)own->st_ino);
    if (S_ISREG(oracle->st_mode) && op->touches.node) {
        must_be(op, "stat: length", (int64_t)op->stat.length, oracle->st_size);
        must_be(op, "stat: modified", op->stat.modified_ns, nanoseconds(own->st_mtim));
        must_be(op, "stat: changed", op->stat.changed_ns, nanoseconds(own->st_ctim));
    }
}

static void compare_result(const operation *op)
{
    const sl_event *event = &op->event;
    must_be(op, "kind of event", event->kind, op->request.kind);
    must_be(op, "id in the event", (int64_t)event->op, (int64_t)op->id);
    if (op->how == AN_ID && op->wanted.result >= 0) {
        if (event->result <= 0) {
            differs(op, "result", event->result, op->wanted.result);
        }
        return;
    }
    must_be(op, "result", event->result, op->wanted.result);
    must_be(op, "os_error", event->os_error, op->wanted.os_error);
    int lends = op->wanted.result > 0 && (op->request.kind == SL_PATH_READ ||
                                          (!op->memory && !op->request.buffer &&
                                           (op->request.kind == SL_FILE_READ || op->request.kind == SL_STREAM_RECEIVE)));
    int partial = op->wanted.result < 0 && op->wanted.partial > 0;
    must_be(op, "flags", event->flags, lends ? SL_EVENT_LENT : partial ? SL_EVENT_PARTIAL : 0);
    if (!lends) {
        must_be(op, "detail", (int64_t)event->detail, (int64_t)op->wanted.partial);
        must_be(op, "data, which should be NULL", event->data != NULL, 0);
    }
}

static void compare_bytes(const operation *op)
{
    const uint8_t *got = op->event.flags & SL_EVENT_LENT ? op->event.data : op->memory ? op->memory : op->request.buffer;
    size_t count = op->wanted.result >= 0 ? (size_t)op->wanted.result : op->wanted.partial;
    if (op->wanted_bytes && count > 0 && memcmp(got, op->wanted_bytes, count) != 0) {
        size_t at = 0;
        while (got[at] == op->wanted_bytes[at]) {
            at++;
        }
        fprintf(stderr, "byte %zu of %zu:\n", at, count);
        differs(op, "bytes read", got[at], op->wanted_bytes[at]);
    }
    for (size_t i = 0; op->memory && i < GUARD; i++) {
        must_be(op, "a byte behind the memory to read into", op->memory[op->room + i], 0xab);
    }
}

// Compares an operation that has ended with what the oracle gave, and forgets it.
static void compare(operation *op)
{
    if (op->finish) {
        op->finish(op);
    }
    if (op->how != STANDING) {
        compare_result(op);
        compare_bytes(op);
    }
    if (op->event.flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(op->event.detail), SL_OK);
    }
    if (op->opened && op->event.result > 0) {
        *op->opened = (uint64_t)op->event.result;
    }
    if (talkative) {
        printf("  ended: step %" PRIu64 " with %" PRId64 " %s\n", op->number, op->how == AN_ID ? 0 : op->event.result,
               harness_name(op->event.result));
    }
    forget(op);
}

// --- Waiting

// Waits for the end of an operation, and compares it.
static void finish(operation *op)
{
    flush();
    await_end_of(op);
    compare(op);
}

// Compares what has ended meanwhile.
static void sweep(void)
{
    for (size_t i = 0; i < MOST_RECORDS; i++) {
        if (records[i].active && !records[i].held && has_ended(&records[i])) {
            compare(&records[i]);
        }
    }
}

// Waits for all that could change the result of something that touches this (NULL: for all). What is held is not meant.
static void finish_conflicting(const touched *touches)
{
    for (size_t i = 0; i < MOST_RECORDS; i++) {
        operation *op = &records[i];
        if (op->active && !op->held && (!touches || conflict(&op->touches, touches))) {
            flush();
            // Handing over has forgotten it where it was refused.
            if (op->active) {
                finish(op);
            }
        }
    }
}

static void finish_slots(uint64_t slots)
{
    touched touches = {0};
    touches.slots_written = slots;
    finish_conflicting(&touches);
}

static void finish_all(void)
{
    finish_conflicting(NULL);
    flush();
}

// --- Making

static uint32_t any_delivery(void)
{
    return (uint32_t)below(4);
}

// A new operation, with room among those that are active.
static operation *begin(uint32_t kind)
{
    size_t at = lucky_below(MOST_RECORDS);
    if (active_count >= MOST_ACTIVE) {
        sweep();
    }
    while (active_count >= MOST_ACTIVE) {
        at = (at + 1) % MOST_RECORDS;
        if (records[at].active && !records[at].held) {
            flush();
            if (records[at].active) {
                finish(&records[at]);
            }
        }
    }
    while (records[at].active) {
        at = (at + 1) % MOST_RECORDS;
    }
    operation *op = &records[at];
    pthread_mutex_lock(&lock);
    op->active = op->held = 1;
    op->number = ++step;
    op->serial = ++serial;
    pthread_mutex_unlock(&lock);
    active_count++;
    op->request = request_of(kind, loop);
    op->request.user_data = op->serial * MOST_RECORDS + at;
    op->request.delivery = any_delivery();
    // One in three is kept from being carried out on this thread.
    op->request.options = one_in(3) ? SL_OPTION_NO_INLINE : 0;
    // A deadline that never comes is one more way to go.
    op->request.timeout_ns = one_in(16) ? 600 * SECOND : 0;
    // What kind of stream it was is nobody's before it is said.
    op->link = op->end = SIZE_MAX;
    return op;
}

// Memory of the caller's to read into.
static uint8_t *give_memory(operation *op, size_t room)
{
    op->room = room;
    op->memory = malloc(room + GUARD);
    CHECK(op->memory);
    memset(op->memory, 0xcd, room);
    memset(op->memory + room, 0xab, GUARD);
    return op->memory;
}

// Submits an operation, at once or together with those that follow, when nothing is under way that it could conflict with.
static void issue_and(operation *op, int held)
{
    op->request.callback = op->request.delivery >= SL_DELIVER_DISPATCH ? on_event : NULL;
    finish_conflicting(&op->touches);
    if (talkative) {
        describe(stdout, op);
    }
    op->held = held;
    pending[pending_count++] = op;
    if (op->alone || pending_count >= MOST_ACTIVE || one_in(4)) {
        flush();
    }
}

static void issue(operation *op)
{
    issue_and(op, 0);
}

static void issue_held(operation *op)
{
    issue_and(op, 1);
}

#endif
