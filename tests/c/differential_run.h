// Operations of differential.c on their way through the library: how they are submitted and delivered, and the comparison of what
// they gave with what the oracle gave.
//
// All of it runs on the program's own thread, but `record`, which callbacks call on the loop's thread as well.

#ifndef DIFFERENTIAL_RUN_H
#define DIFFERENTIAL_RUN_H

#include "differential_operation.h"

static sl_descriptor wake_descriptor;
static operation records[MOST_RECORDS];
static operation *pending[MOST_ACTIVE];
static size_t pending_count;
static size_t active_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;

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
    case SL_PATH_REMOVE:
        return sl_path_remove(r->target, r->buffer, r->flags, options, op);
    case SL_PATH_RENAME:
        return sl_path_rename(r->target, r->buffer, (char *)(intptr_t)r->offset, r->flags, options, op);
    case SL_PATH_MAKE_DIRECTORY:
        return sl_path_make_directory(r->target, r->buffer, r->mode, options, op);
    case SL_PATH_LINK:
        return sl_path_link(r->target, r->buffer, (char *)(intptr_t)r->offset, r->flags, options, op);
    case SL_PATH_READ_LINK:
        return sl_path_read_link(r->target, r->buffer, options, op);
    case SL_PATH_LIST:
        return sl_path_list(r->target, r->buffer, options, op);
    case SL_PATH_COPY:
        return sl_path_copy(r->target, r->buffer, (char *)(intptr_t)r->offset, r->flags, r->mode, options, op);
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
    free(op->other);
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
    if (op->other) {
        memset(op->other, '#', strlen(op->other));
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
    int lends = op->wanted.result > 0 && (op->request.kind == SL_PATH_READ || op->request.kind == SL_PATH_LIST ||
                                          op->request.kind == SL_PATH_READ_LINK ||
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
    if (op->may_be_short && op->event.result > 0 && op->event.result < op->wanted.result) {
        op->wanted.result = op->event.result;
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
    // Never reached, but in a simulation, where time goes on while something is waited for.
    op->request.timeout_ns = one_in(16) && running_on != SL_DRIVER_SIM ? 600 * SECOND : 0;
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
