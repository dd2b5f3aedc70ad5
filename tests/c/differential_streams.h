// Streams of differential.c: random operations on links, on both sides alike.

#ifndef DIFFERENTIAL_STREAMS_H
#define DIFFERENTIAL_STREAMS_H

#include "differential_links.h"

// --- Sending

static void send_some(link_pair *on, int e, size_t length)
{
    towards *to = &on->to[!e];
    int peer_open = on->ends[!e].open, vectored = one_in(3);
    int careful = on->broken || on->ends[e].shut || !peer_open;
    // Where the peer is gone, the first piece brings about the error of the second: one byte is not cut.
    length = running_on == SL_DRIVER_SIM && careful && length > 1 ? 1 : length;
    if (to->standing && (to->unread + length > MOST_UNREAD || to->sends >= MOST_SENDS)) {
        drain_standing(on, !e);
    }
    if (!careful && (to->unread + length > MOST_UNREAD || to->sends >= MOST_SENDS)) {
        return;
    }
    if (careful) {
        finish_slots(end_bit(on, e));
    }
    operation *op = begin(vectored ? SL_STREAM_SENDV : SL_STREAM_SEND);
    works_on_end(op, on, e);
    uint8_t *data = source + below(SOURCE / 2);
    if (vectored) {
        struct iovec pieces[1024];
        length = cut(op, data, data, length, pieces) ? length : 0;
    } else {
        op->request.buffer = data;
        op->request.length = length;
    }
    op->wanted = oracle_send(on->ends[e].fd, on->kind == PIPE, data, length);
    int sent = op->wanted.result > 0;
    issue(op);
    if (sent && peer_open) {
        to->unread += length;
        to->sends++;
    }
    if (careful) {
        finish(op);
    }
    if (sent && !peer_open && on->kind == TCP) {
        // The system takes it, and the other side answers with a reset.
        settle_gone(on, e, POLLHUP);
        on->broken = 1;
    }
}

static void shut(link_pair *on, int e)
{
    end *of = &on->ends[e];
    // With both directions ended, how far the system has come decides what a second call says.
    if (on->kind == TCP && !on->broken && of->shut && (on->to[e].ended || !on->ends[!e].open)) {
        return;
    }
    if (on->to[!e].standing) {
        drain_standing(on, !e);
    }
    operation *op = begin(SL_STREAM_SHUTDOWN);
    works_on_end(op, on, e);
    if (on->kind == PIPE) {
        op->wanted = failed_with(SL_ERR_UNSUPPORTED);
    } else {
        op->wanted = shutdown(of->fd, SHUT_WR) < 0 ? failed_after(0) : succeeded(0);
    }
    int done = op->wanted.result == 0, careful = on->broken || of->shut;
    issue(op);
    if (careful) {
        // The end of the other direction, which may follow, would change it.
        finish(op);
    }
    if (done) {
        of->shut = 1;
        on->to[!e].ended = 1;
        flush();
        if (on->to[!e].standing) {
            end_standing(on, !e);
        }
    }
}

// --- Receiving

static void received(link_pair *on, int e, size_t count)
{
    on->to[e].unread -= count;
    if (on->to[e].unread == 0) {
        on->to[e].sends = 0;
    }
}

// How many of `there` bytes one receive can give.
static size_t most_of(const operation *op, size_t there)
{
    size_t wanted = op->room || op->request.length ? op->request.length : receive_size;
    wanted = op->room || wanted < receive_size ? wanted : receive_size;
    return wanted < there ? wanted : there;
}

// Which bytes a receive gave, if not how many, is up to the oracle: it receives as many.
static void finish_receive(operation *op)
{
    link_pair *on = &links[op->link];
    int e = (int)op->end;
    size_t most = most_of(op, on->to[e].unread);
    if (op->event.result > (int64_t)most) {
        differs(op, "a receive gives more than there is, or was asked for", op->event.result, (int64_t)most);
    }
    // Where nothing was given, the oracle says whether that is right: there must be an end, or an error.
    size_t count = op->event.result > 0 ? (size_t)op->event.result : most > 0 ? most : 1;
    op->wanted = oracle_receive(on->ends[e].fd, on->kind == PIPE, op->wanted_bytes, count);
    received(on, e, op->wanted.result > 0 ? (size_t)op->wanted.result : op->wanted.partial);
}

// A receive into the caller's memory or a lent buffer.
static operation *begin_receive(link_pair *on, int e, size_t length, int exact)
{
    int lent = !exact && one_in(2);
    operation *op = begin(SL_STREAM_RECEIVE);
    works_on_end(op, on, e);
    op->link = (size_t)(on - links);
    op->end = (size_t)e;
    op->request.flags = exact ? SL_EXACT : 0;
    op->request.length = lent && one_in(4) ? 0 : length;
    if (lent && most_lent < receive_size) {
        op->request.length = 1 + below(length < most_lent ? length : most_lent);
    }
    op->request.buffer = lent ? NULL : give_memory(op, length);
    op->touches.slots_written = lent ? lent_slots : 0;
    size_t most = length > receive_size ? length : receive_size;
    op->wanted_bytes = malloc(most + MOST_UNREAD);
    CHECK(op->wanted_bytes);
    return op;
}

static void receive_exact(link_pair *on, int e)
{
    towards *to = &on->to[e];
    int careful = on->broken || (on->kind == PIPE && e == 1);
    size_t most = careful || to->ended ? to->unread + 100 : to->unread;
    size_t length = (size_t)below(most + 1);
    if (careful) {
        finish_slots(end_bit(on, e));
    }
    operation *op = begin_receive(on, e, length, 1);
    op->wanted = oracle_receive(on->ends[e].fd, on->kind == PIPE, op->wanted_bytes, length);
    received(on, e, op->wanted.result >= 0 ? (size_t)op->wanted.result : op->wanted.partial);
    issue(op);
    if (careful) {
        finish(op);
    }
}

// What there is; at least a byte, or the end, is there or on its way.
static void receive_what_is(link_pair *on, int e)
{
    size_t before = on->to[e].unread, length = 1 + (size_t)below(2 * before + 100);
    int all_there = on->kind != TCP && running_on != SL_DRIVER_SIM && one_in(2);
    if (all_there) {
        finish_slots(end_bit(on, 0) | end_bit(on, 1));
    }
    operation *op = begin_receive(on, e, length, 0);
    size_t most = most_of(op, before);
    op->finish = finish_receive;
    issue_held(op);
    flush();
    await_end_of(op);
    if (all_there && before > 0 && op->event.result >= 0) {
        must_be(op, "a receive of what is there", op->event.result, (int64_t)most);
    }
    finish(op);
    size_t taken = before - on->to[e].unread;
    if (!on->broken && taken < most) {
        receive_rest(on, e, most - taken);
    }
}

// Begins to receive before anything is sent.
static void receive_first(link_pair *on, int e)
{
    finish_slots(end_bit(on, e));
    int exact = one_in(2);
    size_t sent = 1 + (size_t)below(2000), there = on->to[e].unread;
    if (there + sent > MOST_UNREAD || on->to[e].sends >= MOST_SENDS) {
        return;
    }
    operation *op = begin_receive(on, e, exact ? there + 1 + (size_t)below(sent) : 1 + (size_t)below(2500), exact);
    issue_held(op);
    flush();
    size_t length = op->room;
    while (on->to[e].unread == there) {
        send_some(on, !e, sent); // none where it has no pieces
    }
    flush();
    if (exact) {
        op->wanted = oracle_receive(on->ends[e].fd, on->kind == PIPE, op->wanted_bytes, length);
        received(on, e, (size_t)op->wanted.result);
    } else {
        op->finish = finish_receive;
    }
    size_t before = on->to[e].unread, most = exact ? 0 : most_of(op, before);
    finish(op);
    size_t taken = before - on->to[e].unread;
    receive_rest(on, e, taken < most ? most - taken : 0);
}

// A receive that has taken all there is and wants more is cancelled.
static void receive_cancelled(link_pair *on, int e)
{
    finish_slots(end_bit(on, 0) | end_bit(on, 1));
    size_t there = on->to[e].unread;
    operation *op = begin_receive(on, e, there + 1 + (size_t)below(3000), there > 0 || one_in(2));
    issue_held(op);
    flush();
    if (there > 0) {
        await_unread(own_descriptor(on, e), 0);
    }
    must_be(op, "cancel", sl_op_cancel(op->id), SL_OK);
    CHECK_IS(oracle_receive(on->ends[e].fd, on->kind == PIPE, op->wanted_bytes, there).result, there);
    received(on, e, there);
    op->wanted = failed_with(SL_ERR_CANCELLED);
    op->wanted.partial = there;
    finish(op);
}

static void receive_some(link_pair *on, int e)
{
    towards *to = &on->to[e];
    int wrong_way = on->kind == PIPE && e == 1;
    int waits = !to->ended && !on->broken && !wrong_way;
    if (to->standing) {
        if (one_in(3)) {
            cancel_standing(on, e);
        } else {
            drain_standing(on, e);
        }
    } else if (waits && one_in(12)) {
        receive_cancelled(on, e);
    } else if (waits && one_in(6)) {
        receive_first(on, e);
    } else if (!lent_slots && !wrong_way && one_in(16) && waits) {
        start_standing(on, e);
    } else if (to->unread > 0 && one_in(2)) {
        receive_exact(on, e);
    } else if (wrong_way || (waits && to->unread == 0)) {
        // Nothing, or nothing but an error, is there: nothing is asked for.
        if (wrong_way || one_in(8)) {
            receive_exact(on, e);
        }
    } else {
        receive_what_is(on, e);
    }
}

// Far more than the system holds, while the other side receives.
static void transfer(link_pair *on, int e)
{
    enum { CHUNK = 4000 };
    size_t length = 100000 + (size_t)below(400000), done = 0;
    towards *to = &on->to[!e];
    if (to->unread > 0 || to->ended || to->standing || on->broken || on->ends[e].shut || !on->ends[!e].open ||
        (on->kind == PIPE && e == 0)) {
        return;
    }
    operation *in = begin_receive(on, !e, length, 1), *out = begin(SL_STREAM_SEND);
    works_on_end(out, on, e);
    out->request.buffer = source + below(SOURCE / 2);
    out->request.length = length;
    for (size_t chunk; done < length; done += chunk) {
        chunk = length - done < CHUNK ? length - done : CHUNK;
        CHECK_IS(oracle_send(on->ends[e].fd, on->kind == PIPE, (uint8_t *)out->request.buffer + done, chunk).result, chunk);
        CHECK_IS(oracle_receive(on->ends[!e].fd, on->kind == PIPE, in->wanted_bytes + done, chunk).result, chunk);
    }
    in->wanted = out->wanted = succeeded((int64_t)length);
    operation *first = one_in(2) ? in : out;
    issue_held(first);
    issue(first == in ? out : in);
    first->held = 0;
}

// --- Beginning and end

static void no_delay(int fd)
{
    int yes = 1;
    CHECK_IS(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), 0);
}

static void connect_link(link_pair *on)
{
    operation *in = NULL, *out = begin(SL_TCP_CONNECT);
    out->request.buffer = &here;
    out->how = AN_ID;
    out->opened = &on->ends[0].id;
    int out_first = one_in(2);
    if (out_first) {
        issue_held(out);
    }
    if (!standing_accept) {
        in = begin(SL_TCP_ACCEPT);
        in->request.target = listener;
        in->how = AN_ID;
        in->opened = &on->ends[1].id;
        in->wanted = succeeded(1);
        issue_held(in);
    }
    on->ends[0].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(on->ends[0].fd >= 0);
    CHECK_IS(connect(on->ends[0].fd, (struct sockaddr *)&oracle_here, sizeof oracle_here), 0);
    on->ends[1].fd = accept4(oracle_listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(on->ends[1].fd >= 0);
    no_delay(on->ends[0].fd);
    no_delay(on->ends[1].fd);
    out->wanted = succeeded(1);
    if (!out_first) {
        issue_held(out);
    }
    finish(out);
    if (in) {
        finish(in);
        return;
    }
    for (size_t more = 0; more == 0;) {
        pthread_mutex_lock(&lock);
        more = standing_accept->more;
        on->ends[1].id = standing_accept->accepted[0];
        standing_accept->more = 0;
        pthread_mutex_unlock(&lock);
        if (more == 0) {
            collect(standing_accept, &more);
        }
    }
}

static void adopt_link(link_pair *on)
{
    int fds[2][2];
    for (int side = 0; side < 2; side++) {
        int status = on->kind == PIPE ? pipe2(fds[side], O_CLOEXEC)
                                      : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds[side]);
        CHECK_IS(status, 0);
    }
    for (int e = 0; e < 2; e++) {
        CHECK_IS(sl_stream_adopt(loop, fds[0][e], &on->ends[e].id), SL_OK);
        on->ends[e].fd = fds[1][e];
    }
}

static void make_link(link_pair *on)
{
    memset(on, 0, sizeof *on);
    on->kind = (link_kind)below(3);
    // Of a pipe that ends here, nothing is under way any more.
    finish_slots(end_bit(on, 0) | end_bit(on, 1));
    if (on->kind == TCP) {
        connect_link(on);
    } else {
        adopt_link(on);
    }
    on->live = on->ends[0].open = on->ends[1].open = 1;
    // What cannot be is like what is over: nothing comes to the end that writes.
    on->to[1].ended = on->kind == PIPE;
}

// Closes an end, perhaps with a receive that waits at it.
static void close_end(link_pair *on, int e)
{
    end *of = &on->ends[e], *peer = &on->ends[!e];
    operation *waiting = NULL;
    if (on->to[e].standing) {
        cancel_standing(on, e);
    }
    if (on->to[!e].standing) {
        drain_standing(on, !e);
    }
    finish_slots(end_bit(on, e) | end_bit(on, !e));
    if (!on->limited && on->to[e].unread == 0 && !on->to[e].ended && !on->broken && one_in(2)) {
        waiting = begin_receive(on, e, 1 + (size_t)below(100), one_in(2));
        waiting->wanted = failed_with(SL_ERR_CANCELLED);
        issue_held(waiting);
        flush();
    }
    settle_unread(on, e);
    settle_unread(on, !e);
    int resets = on->to[e].unread > 0 && on->kind != PIPE;
    operation *op = begin(SL_CLOSE);
    op->target = &of->id;
    op->touches.slots_written = end_bit(on, e);
    op->wanted = close(of->fd) < 0 ? failed_after(0) : succeeded(0);
    issue(op);
    finish(op);
    if (waiting) {
        finish(waiting);
    }
    stale_stream = of->id;
    of->open = 0;
    on->live = peer->open;
    if (!peer->open) {
        return;
    }
    on->limited = on->limited || (resets && on->kind == TCP && of->shut && peer->shut);
    on->broken = on->broken || resets;
    on->to[!e].ended = 1;
    if (!on->limited) {
        settle_gone(on, !e, resets ? POLLHUP : POLLRDHUP);
    }
    if (on->to[!e].standing) {
        end_standing(on, !e);
    }
}

static void connect_in_vain(void)
{
    struct sockaddr_in to = {0};
    static sl_address addresses[3];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    addresses[0] = addresses[1] = nobody;
    addresses[1].port = 0;
    CHECK_IS(sl_address_parse("255.255.255.255:9", &addresses[2]), SL_OK);
    sl_address *address = &addresses[below(3)];
    to.sin_family = AF_INET;
    to.sin_port = htons(address->port);
    memcpy(&to.sin_addr, address->bytes, 4);
    operation *op = begin(SL_TCP_CONNECT);
    op->request.buffer = address;
    op->wanted = connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ? failed_after(0) : succeeded(1);
    CHECK(op->wanted.result < 0);
    CHECK_IS(close(fd), 0);
    issue(op);
}

// An accept that waits ends with its listener.
static void close_listening(void)
{
    sl_address address;
    sl_listener fresh = listen_here(loop, 1, &address);
    operation *in = begin(SL_TCP_ACCEPT);
    in->request.target = fresh;
    in->request.flags = one_in(2) && in->request.delivery != SL_DELIVER_HANDLE ? SL_MULTISHOT : 0;
    in->wanted = failed_with(SL_ERR_CANCELLED);
    issue_held(in);
    flush();
    operation *op = begin(SL_CLOSE);
    op->request.target = fresh;
    issue(op);
    in->held = 0;
}

static void stream_step(void)
{
    link_pair *on = &links[below(LINKS)];
    int e = (int)below(2);
    uint64_t chance = below(100);
    if (!on->live) {
        make_link(on);
        return;
    }
    e = on->ends[e].open ? e : !e;
    if (on->limited || ((on->broken || !on->ends[!e].open) && one_in(4))) {
        close_end(on, e);
        return;
    }
    int writes = on->kind == PIPE && !one_in(10) ? e == 1 : one_in(2);
    if (chance < 92 && writes) {
        send_some(on, e, one_in(20) ? 0 : (size_t)below(2000));
    } else if (chance < 92) {
        receive_some(on, e);
    } else if (chance < 95) {
        shut(on, e);
    } else if (chance < 98) {
        close_end(on, e);
    } else if (one_in(4)) {
        transfer(on, e);
    } else if (one_in(2)) {
        connect_in_vain();
    } else {
        close_listening();
    }
}

#endif
