// The kinds of operations that are raced: how a request of each is completed, what has it end by itself, and what a success is.

#ifndef RACES_KINDS_H
#define RACES_KINDS_H

#include "races.h"

// What files hold and sends carry: position-encoded.
static uint8_t contents[FILE_LENGTH];

// --- Files

static void describe_open(slot *s, uint64_t *random)
{
    s->request.buffer = "races.tmp";
    s->request.flags = SL_OPEN_READ | (random_below(random, 2) ? SL_OPEN_WRITE : 0);
}

static void judge_opened(const slot *s, const sl_event *event)
{
    (void)s;
    CHECK(event->result > 0);
}

// Where: mostly anywhere, sometimes at the current position, where the operations are in order.
static size_t describe_span(slot *s, uint64_t *random)
{
    size_t length = 1 + random_below(random, BYTES);
    s->request.offset = random_below(random, 4) ? (int64_t)random_below(random, FILE_LENGTH - BYTES) : SL_OFFSET_CURRENT;
    s->request.length = length;
    return length;
}

static void describe_read(slot *s, uint64_t *random)
{
    describe_span(s, random);
    if (random_below(random, 4)) {
        s->request.buffer = s->memory.bytes;
        s->request.flags = random_below(random, 2) ? SL_EXACT : 0;
    }
}

static void describe_vector(slot *s, uint64_t *random, uint8_t *bytes)
{
    size_t length = describe_span(s, random), first = random_below(random, length + 1);
    s->slices[0] = (sl_slice){bytes, first};
    s->slices[1] = (sl_slice){bytes + first, length - first};
    s->request.buffer = s->slices;
    s->request.length = 2;
}

static void describe_readv(slot *s, uint64_t *random)
{
    describe_vector(s, random, s->memory.bytes);
}

// Files hold at each place what belongs there, also while they are written.
static uint8_t *contents_for(slot *s, size_t length)
{
    size_t offset = s->request.offset < 0 ? 0 : (size_t)s->request.offset;
    CHECK(offset + length <= FILE_LENGTH);
    return contents + offset;
}

static void describe_write(slot *s, uint64_t *random)
{
    s->request.buffer = contents_for(s, describe_span(s, random));
}

static void describe_writev(slot *s, uint64_t *random)
{
    describe_vector(s, random, contents);
    size_t first = s->slices[0].length;
    s->slices[0].data = contents_for(s, first + s->slices[1].length);
    s->slices[1].data = (uint8_t *)s->slices[0].data + first;
}

static size_t length_of(const slot *s)
{
    int vector = s->request.kind == SL_FILE_READV || s->request.kind == SL_FILE_WRITEV || s->request.kind == SL_STREAM_SENDV;
    return vector ? s->slices[0].length + s->slices[1].length : (size_t)s->request.length;
}

static void judge_read(const slot *s, const sl_event *event)
{
    CHECK(event->result <= (int64_t)length_of(s));
    if (s->request.offset >= 0) {
        CHECK(event->result > 0);
        CHECK(memcmp(s->seen, contents + s->request.offset, (size_t)event->result) == 0);
    }
}

static void judge_whole(const slot *s, const sl_event *event)
{
    CHECK_IS(event->result, length_of(s));
}

static void describe_sync(slot *s, uint64_t *random)
{
    s->request.flags = random_below(random, 2) ? SL_DATA_ONLY : 0;
}

static void judge_zero(const slot *s, const sl_event *event)
{
    (void)s;
    CHECK_IS(event->result, 0);
}

static void describe_truncate(slot *s, uint64_t *random)
{
    s->request.length = random_below(random, FILE_LENGTH);
}

static void describe_stat(slot *s, uint64_t *random)
{
    (void)random;
    s->memory.stat.size = sizeof(sl_stat);
    s->request.buffer = &s->memory.stat;
}

static void describe_path_stat(slot *s, uint64_t *random)
{
    describe_stat(s, random);
    s->request.offset = (int64_t)(intptr_t)s->request.buffer;
    s->request.buffer = "races.tmp";
}

static void judge_stat(const slot *s, const sl_event *event)
{
    sl_stat stat;
    memcpy(&stat, s->seen, sizeof stat);
    CHECK_IS(event->result, 0);
    CHECK_IS(stat.type, SL_TYPE_FILE);
    CHECK_IS(stat.length, FILE_LENGTH);
}

static void describe_path_read(slot *s, uint64_t *random)
{
    (void)random;
    s->request.buffer = "races.tmp";
}

static void judge_path_read(const slot *s, const sl_event *event)
{
    (void)s;
    CHECK_IS(event->result, FILE_LENGTH);
    CHECK(event->data && memcmp(event->data, contents, FILE_LENGTH) == 0);
}

static void describe_path_write(slot *s, uint64_t *random)
{
    s->request.buffer = "races-written.tmp";
    s->request.length = random_below(random, FILE_LENGTH);
    s->request.offset = (int64_t)(intptr_t)contents;
    s->request.mode = 0644;
}

static void describe_path_replace(slot *s, uint64_t *random)
{
    describe_path_write(s, random);
    s->request.flags = SL_WRITE_REPLACE;
}

static void describe_path_copy(slot *s, uint64_t *random)
{
    s->request.buffer = "races.tmp";
    s->request.offset = (int64_t)(intptr_t)"races-written.tmp";
    s->request.length = FILE_LENGTH;
    s->request.mode = 0644;
    (void)random;
}

// To its own name, so that it stays there.
static void describe_path_rename(slot *s, uint64_t *random)
{
    s->request.buffer = "races.tmp";
    s->request.offset = (int64_t)(intptr_t)"races.tmp";
    (void)random;
}

static void describe_path_list(slot *s, uint64_t *random)
{
    (void)random;
    s->request.buffer = ".";
}

static void judge_path_list(const slot *s, const sl_event *event)
{
    (void)s;
    CHECK(event->result > 0 && event->data && ((const sl_entry *)event->data)->length <= event->result);
}

// --- Connections

static void no_more(slot *s, uint64_t *random)
{
    (void)s;
    (void)random;
}

static void feed_accept(resource *r, uint64_t *random)
{
    struct sockaddr_in target;
    memset(&target, 0, sizeof target);
    target.sin_family = AF_INET;
    target.sin_port = htons(r->address.port);
    memcpy(&target.sin_addr, r->address.bytes, 4);
    (void)random;
    int made = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(made >= 0);
    // Where the listener is closed or its queue is full, so be it.
    (void)!connect(made, (struct sockaddr *)&target, sizeof target);
    close_with_reset(made);
}

static void describe_connect(slot *s, uint64_t *random)
{
    (void)random;
    s->request.buffer = &connect_to;
}

static void feed_connect(resource *r, uint64_t *random)
{
    (void)r;
    // Not at once: a connection that is reset before its maker has it is none.
    if (random_below(random, 16) != 0) {
        return;
    }
    for (int made; (made = accept4(accepting, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        close_with_reset(made);
    }
}

// --- Streams

static void describe_receive(slot *s, uint64_t *random)
{
    s->request.buffer = s->memory.bytes;
    s->request.length = 1 + random_below(random, s->request.flags & SL_EXACT || random_below(random, 2) ? 3 : BYTES);
}

static void describe_lent(slot *s, uint64_t *random)
{
    s->request.length = 1 + random_below(random, random_below(random, 2) ? 3 : BYTES);
}

static void judge_receive(const slot *s, const sl_event *event)
{
    if (s->request.flags & SL_EXACT) {
        CHECK_IS(event->result, s->request.length);
    } else if (!(s->request.flags & SL_MULTISHOT)) {
        CHECK(event->result > 0 && event->result <= (int64_t)s->request.length);
    }
}

static void feed_receive(resource *r, uint64_t *random)
{
    uint8_t bytes[6];
    size_t length = random_below(random, 4) ? 1 : 1 + random_below(random, sizeof bytes);
    fill(bytes, length, 1, r->fed);
    ssize_t sent = send(r->peer, bytes, length, MSG_DONTWAIT | NO_SIGNAL);
    r->fed += sent > 0 ? (uint64_t)sent : 0;
}

static void describe_send(slot *s, uint64_t *random)
{
    s->request.buffer = contents;
    s->request.length = 1 + random_below(random, FILE_LENGTH);
}

static void describe_sendv(slot *s, uint64_t *random)
{
    size_t length = 1 + random_below(random, FILE_LENGTH), first = random_below(random, length + 1);
    s->slices[0] = (sl_slice){contents, first};
    s->slices[1] = (sl_slice){contents + first, length - first};
    s->request.buffer = s->slices;
    s->request.length = 2;
}

static void feed_send(resource *r, uint64_t *random)
{
    uint8_t bytes[8192];
    ssize_t got = recv(r->peer, bytes, 1 + random_below(random, sizeof bytes), MSG_DONTWAIT);
    r->fed += got > 0 ? (uint64_t)got : 0;
}

// Behind a send that may wait for room: every fourth ends the sending, which is in order with the sends before it.
static void describe_shutdown(slot *s, uint64_t *random)
{
    if (random_below(random, 4)) {
        s->request.kind = SL_STREAM_SEND;
        describe_send(s, random);
    }
}

// What is sent behind an end of sending fails with a broken pipe; see `allowed`.
static void judge_shutdown(const slot *s, const sl_event *event)
{
    CHECK_IS(event->result, s->request.kind == SL_STREAM_SEND ? (int64_t)s->request.length : 0);
}

// --- Loops

static void describe_timer(slot *s, uint64_t *random)
{
    s->request.length = random_below(random, 60000);
}

static void describe_periodic(slot *s, uint64_t *random)
{
    s->request.length = random_below(random, 60000);
    s->request.offset = 1000 + (int64_t)random_below(random, 100000);
}

static void judge_timer(const slot *s, const sl_event *event)
{
    CHECK(event->result >= 1);
    CHECK_IS(!!(event->flags & SL_EVENT_MORE), s->request.offset != 0);
}

static void describe_post(slot *s, uint64_t *random)
{
    s->request.offset = (int64_t)(random_next(random) >> 1);
}

static void judge_post(const slot *s, const sl_event *event)
{
    CHECK_IS(event->result, s->request.offset);
}

static int64_t work_body(void *argument_of_work)
{
    slot *s = argument_of_work;
    uint64_t x = 0;
    for (uint64_t i = 0; i < s->request.length; i++) {
        x = mix(x);
    }
    s->memory.bytes[0] = (uint8_t)x;
    return s - slots;
}

static void describe_work(slot *s, uint64_t *random)
{
    s->request.buffer = s;
    s->request.work = work_body;
    (void)random;
}

static void judge_work(const slot *s, const sl_event *event)
{
    CHECK_IS(event->result, s - slots);
}

// A file of its own for each closing.
static void describe_close(slot *s, uint64_t *random)
{
    sl_file file;
    int descriptor = fcntl(resources[0].peer, F_DUPFD_CLOEXEC, 0);
    (void)random;
    CHECK(descriptor >= 0);
    CHECK_IS(sl_file_adopt(loop, descriptor, &file), SL_OK);
    s->request.target = file;
}

#define ON(name, kind, flags, target, waits, dear) name, kind, flags, target, waits, dear

const kind kinds[] = {
    {ON("open", SL_FILE_OPEN, 0, ON_LOOP, 0, 1), describe_open, NULL, judge_opened},
    {ON("read", SL_FILE_READ, 0, ON_FILE, 0, 1), describe_read, NULL, judge_read},
    {ON("readv", SL_FILE_READV, 0, ON_FILE, 0, 1), describe_readv, NULL, judge_read},
    {ON("write", SL_FILE_WRITE, 0, ON_FILE, 0, 1), describe_write, NULL, judge_whole},
    {ON("writev", SL_FILE_WRITEV, 0, ON_FILE, 0, 1), describe_writev, NULL, judge_whole},
    {ON("sync", SL_FILE_SYNC, 0, ON_FILE, 0, 4), describe_sync, NULL, judge_zero},
    {ON("truncate", SL_FILE_TRUNCATE, 0, ON_FILE, 0, 1), describe_truncate, NULL, judge_zero},
    {ON("stat", SL_FILE_STAT, 0, ON_FILE, 0, 1), describe_stat, NULL, judge_stat},
    {ON("path stat", SL_PATH_STAT, 0, ON_LOOP, 0, 1), describe_path_stat, NULL, judge_stat},
    {ON("path read", SL_PATH_READ, 0, ON_LOOP, 0, 1), describe_path_read, NULL, judge_path_read},
    {ON("path write", SL_PATH_WRITE, 0, ON_LOOP, 0, 4), describe_path_write, NULL, judge_whole},
    {ON("path replace", SL_PATH_WRITE, 0, ON_LOOP, 0, 8), describe_path_replace, NULL, judge_whole},
    {ON("path copy", SL_PATH_COPY, 0, ON_LOOP, 0, 8), describe_path_copy, NULL, judge_whole},
    {ON("path rename", SL_PATH_RENAME, 0, ON_LOOP, 0, 4), describe_path_rename, NULL, judge_zero},
    {ON("path list", SL_PATH_LIST, 0, ON_LOOP, 0, 4), describe_path_list, NULL, judge_path_list},
    {ON("accept", SL_TCP_ACCEPT, 0, ON_LISTENER, 1, 4), no_more, feed_accept, judge_opened},
    {ON("accept multishot", SL_TCP_ACCEPT, SL_MULTISHOT, ON_LISTENER, 1, 4), no_more, feed_accept, judge_opened},
    {ON("connect", SL_TCP_CONNECT, 0, ON_LOOP, 1, 4), describe_connect, feed_connect, judge_opened},
    {ON("receive", SL_STREAM_RECEIVE, 0, ON_STREAM, 1, 1), describe_receive, feed_receive, judge_receive},
    {ON("receive exact", SL_STREAM_RECEIVE, SL_EXACT, ON_STREAM, 1, 1), describe_receive, feed_receive, judge_receive},
    {ON("receive lent", SL_STREAM_RECEIVE, 0, ON_STREAM, 1, 1), describe_lent, feed_receive, judge_receive},
    {ON("receive multishot", SL_STREAM_RECEIVE, SL_MULTISHOT, ON_STREAM, 1, 1), describe_lent, feed_receive, judge_receive},
    {ON("send", SL_STREAM_SEND, 0, ON_STREAM, 1, 1), describe_send, feed_send, judge_whole},
    {ON("sendv", SL_STREAM_SENDV, 0, ON_STREAM, 1, 1), describe_sendv, feed_send, judge_whole},
    {ON("shutdown", SL_STREAM_SHUTDOWN, 0, ON_STREAM, 1, 1), describe_shutdown, feed_send, judge_shutdown},
    {ON("timer", SL_TIMER, 0, ON_LOOP, 0, 1), describe_timer, NULL, judge_timer},
    {ON("timer periodic", SL_TIMER, 0, ON_LOOP, 1, 1), describe_periodic, NULL, judge_timer},
    {ON("post", SL_POST, 0, ON_LOOP, 0, 1), describe_post, NULL, judge_post},
    {ON("nop", SL_NOP, 0, ON_LOOP, 0, 1), no_more, NULL, judge_zero},
    {ON("work", SL_WORK, 0, ON_LOOP, 0, 1), describe_work, NULL, judge_work},
    {ON("close", SL_CLOSE, 0, ON_LOOP, 0, 1), describe_close, NULL, judge_zero},
};

const size_t kind_count = sizeof kinds / sizeof *kinds;

#endif
