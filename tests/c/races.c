// Every kind of operation, raced against a cancel, a close of what it works on, and a short deadline, from the thread that submits and
// from another one: each ends once, nothing is heard of it afterwards and nothing written to its memory, what a cancelled operation
// has opened is closed, lent memory is back, and no byte of a stream is lost or doubled. One line per kind says how often which side
// has won.
//
// races [rounds per kind = 400000] [seed = 1] [kind = all]

#if !defined(__linux__)

#include "harness.h"

int main(void)
{
    return skip("its other ends are made as on Linux");
}

#else

#include "races_kinds.h"

enum { DELIVERIES = 4 };

static const kind *subject;
static uint64_t random_here;
static int simulated;

// The batch that is under way; the other thread follows how far it is submitted.
static atomic_ullong batch;
static atomic_size_t submitted;
static atomic_ullong followed; // the batch that the other thread is through with
static atomic_size_t closings; // slots behind the batch that are in use
static atomic_size_t expected[DELIVERIES], arrived[DELIVERIES];

// What was opened and is to be closed.
static atomic_ullong opened[CLOSINGS];
static atomic_size_t opened_count;

static atomic_ullong really, cancelled, timed_out, failed, more_events;

// ---------------------------------------------------------------------------------------------------------------------
// Events, on whichever thread

static uint64_t tag_of(const slot *s)
{
    return atomic_load(&batch) << 16 | (uint64_t)(s - slots);
}

// Keeps what an operation has read, and leaves its memory as nobody may change it from now on.
static void take_memory(slot *s, const sl_event *event)
{
    if (event->flags & SL_EVENT_LENT) {
        if (s->request.kind != SL_PATH_READ && s->request.kind != SL_PATH_LIST) {
            CHECK(event->result <= BYTES);
            memcpy(s->seen, event->data, (size_t)event->result);
        }
        return;
    }
    memcpy(s->seen, s->memory.bytes, BYTES);
    memset(s->memory.bytes, UNTOUCHED, BYTES);
}

// An error that a kind may end with though nobody disturbs it.
static int allowed(const slot *s, const sl_event *event)
{
    // A connection that is taken and reset at once may be reset before its maker has it; see also `judge_shutdown`.
    return s->request.kind == SL_TCP_CONNECT ? event->result == SL_ERR_CONNECTION_RESET
                                             : subject->kind == SL_STREAM_SHUTDOWN && event->result == SL_ERR_BROKEN_PIPE;
}

static void count_end(const slot *s, const sl_event *event)
{
    int is_subject = s < slots + BATCH && s->request.kind == subject->kind;
    if (event->result >= 0) {
        atomic_fetch_add(&really, is_subject);
    } else if (event->result == SL_ERR_CANCELLED) {
        atomic_fetch_add(&cancelled, is_subject);
    } else if (event->result == SL_ERR_TIMED_OUT) {
        CHECK_IS(s->plan, DEADLINE);
        atomic_fetch_add(&timed_out, is_subject);
    } else {
        if (!allowed(s, event)) {
            CHECK_IS(event->result, SL_ERR_CANCELLED);
        }
        atomic_fetch_add(&failed, is_subject);
    }
}

static void keep_opened(const sl_event *event)
{
    int opens = event->kind == SL_FILE_OPEN || event->kind == SL_TCP_ACCEPT || event->kind == SL_TCP_CONNECT;
    if (opens && event->result > 0) {
        size_t place = atomic_fetch_add(&opened_count, 1);
        CHECK(place < CLOSINGS);
        atomic_store(&opened[place], (uint64_t)event->result);
    }
}

static void on_event(sl_loop of, const sl_event *event)
{
    size_t index = event->user_data & 0xffff;
    CHECK_IS(of, loop);
    // Not of an earlier batch, which has ended, and not of nobody.
    CHECK_IS(event->user_data >> 16, atomic_load(&batch));
    CHECK(index < SLOTS);
    slot *s = &slots[index];
    CHECK_IS(atomic_load(&s->ended), 0);
    CHECK_IS(event->kind, s->request.kind);
    take_memory(s, event);
    if (event->result >= 0) {
        (index < BATCH ? subject->judge : judge_zero)(s, event);
    }
    CHECK(event->flags & SL_EVENT_PARTIAL ? event->result < 0 : event->flags & SL_EVENT_LENT || event->detail == 0);
    s->moved += event->result < 0 ? (event->flags & SL_EVENT_PARTIAL ? event->detail : 0) : (uint64_t)event->result;
    if (event->flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
    }
    keep_opened(event);
    if (event->flags & SL_EVENT_MORE) {
        CHECK(event->result >= 0);
        atomic_fetch_add(&more_events, 1);
        return;
    }
    count_end(s, event);
    atomic_store(&s->ended, 1);
    atomic_fetch_add(&arrived[s->request.delivery], 1);
}

// ---------------------------------------------------------------------------------------------------------------------
// Disturbing, on both threads

static void spin(uint16_t turns)
{
    for (volatile uint16_t i = 0; i < turns; i++) {
    }
}

static void cancel_it(sl_op op)
{
    sl_status status = sl_op_cancel(op);
    CHECK(status == SL_OK || status == SL_ERR_ENDED || status == SL_ERR_STALE);
}

// Closes something, with an operation of its own whose event comes by the queue.
static sl_status close_it(uint64_t id)
{
    size_t index = BATCH + atomic_fetch_add(&closings, 1);
    CHECK(index < SLOTS);
    slot *s = &slots[index];
    sl_options options = tagged(tag_of(s));
    s->request = request_of(SL_CLOSE, id);
    s->plan = NOTHING;
    atomic_store(&s->ended, 0);
    atomic_fetch_add(&expected[SL_DELIVER_QUEUE], 1);
    sl_status status = sl_close(id, &options, NULL);
    if (status < 0) {
        CHECK_IS(status, SL_ERR_STALE);
        atomic_fetch_sub(&expected[SL_DELIVER_QUEUE], 1);
    }
    return status;
}

static void close_resource_of(slot *s)
{
    if (subject->kind == SL_CLOSE) {
        // A second close of the same: one of both is refused, or this one is the close.
        CHECK_IS(close_it(s->request.target), SL_ERR_STALE);
    } else if (subject->target != ON_LOOP) {
        resource *r = &resources[s->resource];
        atomic_store(&r->closed, 1);
        close_it(atomic_load(&r->id));
    }
}

static void disturb(slot *s, int there)
{
    if (!s->accepted) {
        return;
    }
    spin(s->spins);
    switch (s->plan) {
    case CANCEL_HERE:
    case CANCEL_THERE:
        if ((s->plan == CANCEL_THERE) == there) {
            cancel_it(s->op);
        }
        break;
    case CANCEL_BOTH:
        cancel_it(s->op);
        break;
    case CLOSE_HERE:
    case CLOSE_THERE:
        if ((s->plan == CLOSE_THERE) == there) {
            close_resource_of(s);
        }
        break;
    default:
        break;
    }
}

// The other thread: follows what is submitted, disturbs it, and feeds it.
static void *follow(void *seed)
{
    uint64_t random = (uint64_t)(uintptr_t)seed, now = 0;
    for (;;) {
        while (atomic_load(&batch) == now) {
            sched_yield();
        }
        now = atomic_load(&batch);
        if (now == UINT64_MAX) {
            return NULL;
        }
        for (size_t i = 0; i < BATCH; i++) {
            while (atomic_load(&submitted) <= i) {
                sched_yield();
            }
            disturb(&slots[i], 1);
            if (subject->feed && random_below(&random, 4) != 0) {
                subject->feed(&resources[slots[i].resource], &random);
            }
        }
        atomic_store(&followed, now);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Resources

static void socket_pair(resource *r, uint64_t *id)
{
    int pair[2], small = 4096;
    sl_stream stream;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_IS(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    CHECK_IS(sl_stream_adopt(loop, pair[0], &stream), SL_OK);
    r->peer = pair[1];
    *id = stream;
}

static void fresh_file(resource *r, uint64_t *id)
{
    char path[32];
    snprintf(path, sizeof path, "races-%d.tmp", (int)(r - resources));
    int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK_IS(pwrite(descriptor, contents, FILE_LENGTH, 0), FILE_LENGTH);
    CHECK_IS(sl_file_adopt(loop, descriptor, id), SL_OK);
}

static void make_resource(resource *r)
{
    uint64_t id = 0;
    r->fed = r->moved = 0;
    r->peer = -1;
    if (subject->target == ON_FILE) {
        fresh_file(r, &id);
    } else if (subject->target == ON_STREAM) {
        socket_pair(r, &id);
    } else if (subject->target == ON_LISTENER) {
        id = listen_here(loop, 128, &r->address);
    } else if (subject->kind == SL_CLOSE) {
        r->peer = open("races.tmp", O_RDONLY | O_CLOEXEC);
        CHECK(r->peer >= 0);
    }
    atomic_store(&r->id, id);
    atomic_store(&r->closed, 0);
}

static void unmake_resource(resource *r)
{
    if (!atomic_load(&r->closed) && atomic_load(&r->id)) {
        CHECK_IS(close_it(atomic_load(&r->id)), SL_OK);
    }
    if (r->peer >= 0) {
        close(r->peer);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// A batch

// Multishot operations come again and again, which no handle can hold.
static uint32_t some_delivery(void)
{
    int many = subject->flags & SL_MULTISHOT || strcmp(subject->name, "timer periodic") == 0;
    uint32_t delivery = (uint32_t)random_below(&random_here, DELIVERIES);
    return many && delivery == SL_DELIVER_HANDLE ? SL_DELIVER_QUEUE : delivery;
}

// What is to disturb an operation. A close ends the others of its resource as well, so there are few.
static uint8_t some_plan(void)
{
    static const uint8_t plans[] = {NOTHING, CANCEL_HERE, CANCEL_THERE, CANCEL_THERE, CANCEL_BOTH, DEADLINE, DEADLINE, NOTHING};
    if (random_below(&random_here, subject->kind == SL_CLOSE ? 8 : 128) == 0) {
        return random_below(&random_here, 2) ? CLOSE_HERE : CLOSE_THERE;
    }
    return plans[random_below(&random_here, sizeof plans)];
}

static void prepare(slot *s)
{
    static const uint16_t spins[] = {0, 0, 0, 30, 200, 1500};
    for (int i = 0; i < BYTES; i++) {
        CHECK_IS(s->memory.bytes[i], UNTOUCHED);
    }
    // Nothing of a batch before is in it any more.
    s->op = 0;
    s->accepted = 0;
    s->moved = 0;
    s->resource = (int)random_below(&random_here, RESOURCES);
    s->plan = some_plan();
    s->spins = (uint16_t)random_below(&random_here, 1 + spins[random_below(&random_here, 6)]);
    atomic_store(&s->ended, 0);
    s->request = request_of(subject->kind, subject->target == ON_LOOP ? loop : atomic_load(&resources[s->resource].id));
    s->request.flags = subject->flags;
    s->request.delivery = some_delivery();
    s->request.callback = s->request.delivery >= SL_DELIVER_DISPATCH ? on_event : NULL;
    s->request.options = random_below(&random_here, 2) ? SL_OPTION_NO_INLINE : 0;
    s->request.user_data = tag_of(s);
    s->request.timeout_ns = s->plan == DEADLINE ? 1 + random_below(&random_here, 50000) : 0;
    subject->describe(s, &random_here);
}

// Takes whatever has come, and waits for nothing.
static void take_some(void)
{
    sl_event events[BATCH];
    sl_status count = sl_poll(loop, events, BATCH);
    CHECK(count >= 0);
    for (sl_status i = 0; i < count; i++) {
        on_event(loop, &events[i]);
    }
    CHECK(sl_dispatch(loop, 0, 0) >= 0);
}

// Submits some of the batch in one call; what is refused, because its resource is closed already, is left out.
static void submit(size_t first, size_t count)
{
    sl_request requests[BATCH];
    sl_op ops[BATCH];
    for (size_t i = 0; i < count; i++) {
        requests[i] = slots[first + i].request;
        atomic_fetch_add(&expected[requests[i].delivery], 1);
    }
    for (size_t done = 0; done < count; done++) {
        sl_status accepted = sl_submit(loop, requests + done, count - done, ops);
        for (sl_status i = 0; i < accepted; i++, done++) {
            slots[first + done].op = ops[i];
            slots[first + done].accepted = 1;
        }
        if (done < count) {
            CHECK(accepted >= 0 || accepted == SL_ERR_STALE);
            atomic_fetch_sub(&expected[requests[done].delivery], 1);
            // Nobody has begun it, and nobody will.
            memset(slots[first + done].memory.bytes, UNTOUCHED, BYTES);
        }
    }
    atomic_store(&submitted, first + count);
}

// Waits for the last events that are still to come, each in the way it comes.
static void take_all(void)
{
    sl_event event;
    for (size_t i = 0; i < BATCH; i++) {
        slot *s = &slots[i];
        if (s->accepted && s->request.delivery == SL_DELIVER_HANDLE && !atomic_load(&s->ended)) {
            CHECK_IS(sl_op_wait(s->op, SL_FOREVER, &event), 1);
            CHECK_IS(event.op, s->op);
            on_event(loop, &event);
            CHECK_IS(sl_op_poll(s->op, &event), SL_ERR_STALE);
        }
    }
    while (atomic_load(&arrived[SL_DELIVER_DISPATCH]) < atomic_load(&expected[SL_DELIVER_DISPATCH])) {
        CHECK(sl_dispatch(loop, 0, SL_FOREVER) > 0);
    }
    while (atomic_load(&arrived[SL_DELIVER_QUEUE]) < atomic_load(&expected[SL_DELIVER_QUEUE])) {
        CHECK_IS(sl_wait(loop, &event, 1, SL_FOREVER), 1);
        on_event(loop, &event);
    }
    while (atomic_load(&arrived[SL_DELIVER_THREAD]) < atomic_load(&expected[SL_DELIVER_THREAD])) {
        // A simulated loop goes on while somebody waits, and its seconds take no time.
        if (simulated) {
            CHECK_IS(sl_wait(loop, &event, 1, SECOND), 0);
        } else {
            sched_yield();
        }
    }
}

// On a stream that is still open, what the operations have moved is what has come in at one end and out at the other; and each receive
// has the bytes of its place.
static void check_bytes(resource *r)
{
    int unread = 0, receives = subject->kind == SL_STREAM_RECEIVE;
    if (subject->target != ON_STREAM || atomic_load(&r->closed)) {
        return;
    }
    for (size_t i = 0; i < BATCH; i++) {
        const slot *s = &slots[i];
        if (!s->accepted || s->resource != r - resources || s->request.kind == SL_STREAM_SHUTDOWN) {
            continue;
        }
        if (receives && !(subject->flags & SL_MULTISHOT)) {
            CHECK(matches(s->seen, (size_t)s->moved, 1, r->moved));
        }
        r->moved += s->moved;
    }
    sl_descriptor here;
    CHECK_IS(sl_descriptor_of(atomic_load(&r->id), &here), SL_OK);
    CHECK_IS(ioctl(receives ? (int)here : r->peer, FIONREAD, &unread), 0);
    CHECK_IS(receives ? r->moved + (uint64_t)unread : r->fed + (uint64_t)unread, receives ? r->fed : r->moved);
}

// Closes what the batch has opened, and renews what is closed, and everything now and then.
static void renew(uint64_t number)
{
    int all = number % 64 == 0 || subject->kind == SL_STREAM_SHUTDOWN;
    for (size_t i = 0; i < atomic_load(&opened_count); i++) {
        CHECK_IS(close_it(atomic_load(&opened[i])), SL_OK);
    }
    atomic_store(&opened_count, 0);
    for (int i = 0; i < RESOURCES; i++) {
        check_bytes(&resources[i]);
        if (all || atomic_load(&resources[i].closed)) {
            unmake_resource(&resources[i]);
            make_resource(&resources[i]);
        }
    }
    take_all();
}

static void begin_batch(uint64_t number)
{
    atomic_store(&submitted, 0);
    atomic_store(&closings, 0);
    for (int i = 0; i < DELIVERIES; i++) {
        atomic_store(&expected[i], 0);
        atomic_store(&arrived[i], 0);
    }
    atomic_store(&batch, number);
}

static void run_batch(uint64_t number)
{
    begin_batch(number);
    for (size_t i = 0, count; i < BATCH; i += count) {
        count = 1 + random_below(&random_here, 16);
        count = count < BATCH - i ? count : BATCH - i;
        for (size_t k = i; k < i + count; k++) {
            prepare(&slots[k]);
        }
        submit(i, count);
        for (size_t k = i; k < i + count; k++) {
            disturb(&slots[k], 0);
        }
        take_some();
    }
    while (atomic_load(&followed) != number) {
        take_some();
        sched_yield();
    }
    for (size_t i = 0; subject->waits && i < BATCH; i++) {
        if (slots[i].accepted && !atomic_load(&slots[i].ended)) {
            cancel_it(slots[i].op);
        }
    }
    take_all();
    renew(number);
}

static void check_rest(uint64_t resources_left)
{
    sl_counters counters = counters_of(loop);
    // A callback on the loop's thread counts as taken when it has returned, which is after it has said so here.
    for (uint64_t limit = now_ns() + PATIENCE; counters.in_flight > 0 && now_ns() < limit; counters = counters_of(loop)) {
        sched_yield();
    }
    CHECK_IS(counters.in_flight, 0);
    CHECK_IS(counters.ended, counters.accepted);
    CHECK_IS(counters.unclaimed, 0);
    CHECK_IS(counters.lent_buffers, 0);
    CHECK_IS(counters.lent_bytes, 0);
    CHECK_IS(counters.resources, resources_left);
}

// ---------------------------------------------------------------------------------------------------------------------
// A kind

static void listen_for_connects(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    accepting = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(accepting >= 0);
    CHECK_IS(bind(accepting, (struct sockaddr *)&here, sizeof here), 0);
    CHECK_IS(listen(accepting, 16), 0);
    CHECK_IS(getsockname(accepting, (struct sockaddr *)&here, &length), 0);
    CHECK_IS(sl_address_parse("127.0.0.1:0", &connect_to), SL_OK);
    connect_to.port = ntohs(here.sin_port);
}

static void clear_counts(void)
{
    atomic_ullong *const counts[] = {&really, &cancelled, &timed_out, &failed, &more_events, &followed, &batch};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        atomic_store(counts[i], 0);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        memset(slots[i].memory.bytes, UNTOUCHED, BYTES);
    }
}

static uint64_t rounds_done(void)
{
    return atomic_load(&really) + atomic_load(&cancelled) + atomic_load(&timed_out) + atomic_load(&failed);
}

static void race(const kind *k, uint64_t rounds, uint64_t seed)
{
    holdings before = holdings_now();
    uint64_t number = 0, begun = now_ns(), held;
    subject = k;
    random_here = mix(seed + (uint64_t)(k - kinds));
    clear_counts();
    loop = open_loop(NULL);
    simulated = sl_loop_driver(loop, NULL, 0) == SL_DRIVER_SIM;
    listen_for_connects();
    for (int i = 0; i < RESOURCES; i++) {
        make_resource(&resources[i]);
    }
    held = counters_of(loop).resources;
    pthread_t other = spawn(follow, (void *)(uintptr_t)(random_here + 1));
    while (rounds_done() < rounds) {
        run_batch(++number);
        check_rest(held);
    }
    atomic_store(&batch, UINT64_MAX);
    pthread_join(other, NULL);
    begin_batch(number + 1);
    for (int i = 0; i < RESOURCES; i++) {
        unmake_resource(&resources[i]);
    }
    take_all();
    check_rest(0);
    close(accepting);
    close_loop(loop);
    check_returned(before);
    uint64_t taken = now_ns() - begun, done = rounds_done();
    printf("%-18s %9" PRIu64 " rounds: %9llu really, %9llu cancelled, %8llu timed out, %6llu failed, %8llu more; %7" PRIu64 "/s\n",
           k->name, done, really, cancelled, timed_out, failed, more_events, done * SECOND / (taken + 1));
}

int main(int argc, char **argv)
{
    start();
    uint64_t rounds = argument(argc, argv, 1, 400000), seed = argument(argc, argv, 2, 1), all = 0;
    raise_descriptor_limit(4096);
    fill(contents, sizeof contents, 2, 0);
    FILE *made = fopen("races.tmp", "wb");
    CHECK(made && fwrite(contents, 1, FILE_LENGTH, made) == FILE_LENGTH && fclose(made) == 0);
    for (size_t i = 0; i < kind_count; i++) {
        if (argc <= 3 || strcmp(argv[3], kinds[i].name) == 0) {
            race(&kinds[i], rounds / (uint64_t)kinds[i].dear, seed);
            all += rounds_done();
        }
    }
    CHECK(all > 0);
    printf("%" PRIu64 " in all\n", all);
    for (int i = 0; i < RESOURCES; i++) {
        char path[32];
        snprintf(path, sizeof path, "races-%d.tmp", i);
        remove(path);
    }
    remove("races-written.tmp");
    CHECK_IS(remove("races.tmp"), 0);
    return 0;
}

#endif
