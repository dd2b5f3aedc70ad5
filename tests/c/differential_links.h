// Links of differential.c: two ends each (TCP, socket pairs, pipes), one of the library's and one of the oracle's, and the receives
// that stand on them.
//
// How a stream is cut into pieces is not compared where the system is free in that: the oracle then receives as many bytes as
// the library did, and the bytes are compared. What travels through the system (an end, a reset) is waited for before an
// operation whose result depends on it.

#ifndef DIFFERENTIAL_LINKS_H
#define DIFFERENTIAL_LINKS_H

#include "differential_files.h"

#include <netinet/tcp.h>
#include <sys/ioctl.h>

enum {
    LINKS = 4,
    FIRST_END_SLOT = FILES,
    // What may be sent and not received yet: so little that every system takes it at once, and no blocking call waits.
    MOST_UNREAD = 8000,
    MOST_SENDS = 12,
};

typedef enum link_kind { TCP, PAIR, PIPE } link_kind; // a pipe is read at end 0 and written at end 1

typedef struct end {
    uint64_t id; // the library's
    int fd;      // the oracle's
    int open;
    int shut; // its sending is ended
} end;

// What is on its way to an end.
typedef struct towards {
    size_t unread, sends;
    int ended;           // nothing more comes
    operation *standing; // a multishot receive
} towards;

typedef struct link_pair {
    int live;
    link_kind kind;
    end ends[2];
    towards to[2];
    int broken;  // reset, or its other side is gone: errors are reported once, so that the order of calls matters
    int limited; // what is left depends on how fast the system was: only to be closed
} link_pair;

static link_pair links[LINKS];
static sl_listener listener;
static operation *standing_accept;
static sl_address here, nobody; // where both listen in turn; where nobody does
static struct sockaddr_in oracle_here;
static int oracle_listener, nobody_bound;
static uint64_t stale_stream;

static uint64_t end_bit(const link_pair *on, int e)
{
    return UINT64_C(1) << (FIRST_END_SLOT + 2 * (size_t)(on - links) + (size_t)e);
}

static void works_on_end(operation *op, link_pair *on, int e)
{
    op->target = &on->ends[e].id;
    op->touches.slots_read = end_bit(on, e);
}

static int own_descriptor(const link_pair *on, int e)
{
    sl_descriptor descriptor;
    CHECK_IS(sl_descriptor_of(on->ends[e].id, &descriptor), SL_OK);
    return (int)descriptor;
}

// --- Waiting for the system

static void await_unread(int fd, size_t count)
{
    int unread = -1;
    for (uint64_t limit = now_ns() + PATIENCE; unread != (int)count; sched_yield()) {
        CHECK(now_ns() < limit);
        CHECK_IS(ioctl(fd, FIONREAD, &unread), 0);
    }
}

// All that was sent to an end has arrived there, on both sides.
static void settle_unread(const link_pair *on, int e)
{
    if (on->kind == TCP && on->ends[e].open && on->ends[!e].open && !on->broken) {
        await_unread(own_descriptor(on, e), on->to[e].unread);
        await_unread(on->ends[e].fd, on->to[e].unread);
    }
}

// An end knows that its other side is gone.
static void settle_gone(const link_pair *on, int e, short events)
{
    int fds[2] = {own_descriptor(on, e), on->ends[e].fd};
    for (int side = 0; on->kind == TCP && side < 2; side++) {
        struct pollfd entry = {fds[side], events, 0};
        CHECK_IS(poll(&entry, 1, (int)(PATIENCE / MILLISECOND)), 1);
    }
}

// --- Multishot receives

static void compare_standing(operation *op, link_pair *on, int e, size_t count)
{
    uint8_t *bytes = malloc(count + 1);
    CHECK(bytes);
    op->wanted = oracle_receive(on->ends[e].fd, on->kind == PIPE, bytes, count);
    must_be(op, "multishot: bytes received", (int64_t)count, op->wanted.result);
    must_be(op, "multishot: the bytes", count > 0 && memcmp(op->bytes, bytes, count) != 0, 0);
    free(bytes);
    on->to[e].unread -= count;
}

// Waits until a multishot receive has all that was sent to it, so that the oracle can receive it as well.
static void drain_standing(link_pair *on, int e)
{
    operation *op = on->to[e].standing;
    finish_slots(end_bit(on, !e));
    for (;;) {
        pthread_mutex_lock(&lock);
        size_t length = op->length;
        size_t more = op->more;
        int ended = op->ended;
        pthread_mutex_unlock(&lock);
        must_be(op, "multishot: it has ended", ended, 0);
        if (length >= on->to[e].unread) {
            break;
        }
        collect(op, &more);
    }
    must_be(op, "multishot: bytes received", (int64_t)op->length, (int64_t)on->to[e].unread);
    compare_standing(op, on, e, op->length);
    // Nothing more was sent, so that nobody adds to it now.
    op->length = 0;
    on->to[e].sends = 0;
}

// Where a receive gave less than was there, takes the rest: so what comes next does not depend on how fast the system was.
static void receive_rest(link_pair *on, int e, size_t count)
{
    uint64_t saved_dice = dice, saved_step = step;
    if (count > 0) {
        operation *op = begin(SL_STREAM_RECEIVE);
        works_on_end(op, on, e);
        op->number = saved_step;
        op->request.flags = SL_EXACT;
        op->request.length = count;
        op->request.buffer = give_memory(op, count);
        op->wanted_bytes = malloc(count);
        CHECK(op->wanted_bytes);
        op->wanted = oracle_receive(on->ends[e].fd, on->kind == PIPE, op->wanted_bytes, count);
        on->to[e].unread -= count;
        issue(op);
        finish(op);
    }
    dice = saved_dice;
    step = saved_step;
}

static void start_standing(link_pair *on, int e)
{
    finish_slots(end_bit(on, e));
    operation *op = begin(SL_STREAM_RECEIVE);
    works_on_end(op, on, e);
    op->request.flags = SL_MULTISHOT;
    op->request.length = one_in(3) ? 1 + below(2000) : 0;
    if (op->request.delivery == SL_DELIVER_HANDLE) {
        op->request.delivery = SL_DELIVER_THREAD;
    }
    op->how = STANDING;
    on->to[e].standing = op;
    issue_held(op);
    flush();
}

static void cancel_standing(link_pair *on, int e)
{
    operation *op = on->to[e].standing;
    finish_slots(end_bit(on, !e));
    sl_status status = sl_op_cancel(op->id);
    must_be(op, "cancel", status, SL_OK);
    await_end_of(op);
    if (op->length > on->to[e].unread) {
        differs(op, "multishot: more than was sent", (int64_t)op->length, (int64_t)on->to[e].unread);
    }
    compare_standing(op, on, e, op->length);
    must_be(op, "multishot: its end after a cancel", op->event.result, SL_ERR_CANCELLED);
    on->to[e].standing = NULL;
    compare(op);
    receive_rest(on, e, on->to[e].unread);
    on->to[e].sends = 0;
}

// The other side has ended: so does the multishot receive, with all that was sent, and then as a receive would.
static void end_standing(link_pair *on, int e)
{
    operation *op = on->to[e].standing;
    uint8_t byte;
    await_end_of(op);
    must_be(op, "multishot: bytes received", (int64_t)op->length, (int64_t)on->to[e].unread);
    compare_standing(op, on, e, op->length);
    op->wanted = oracle_receive(on->ends[e].fd, on->kind == PIPE, &byte, 1);
    must_be(op, "multishot: its end", op->event.result, op->wanted.result);
    must_be(op, "multishot: its os_error", op->event.os_error, op->wanted.os_error);
    on->to[e].standing = NULL;
    compare(op);
}

#endif
