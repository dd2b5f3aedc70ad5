// The same random programs of operations on files and streams, carried out by the library and by plain blocking calls, each in
// a tree and on streams of its own: every result, error, byte, and what is left behind are the same.
//
// A program is made from a seed. The oracle carries out each of its operations in turn; the library is given them in batches
// and one by one, with every way of delivery, as many at a time as cannot change each other's results.
//
// differential [operations = 5000000] [first seed = 1] [1: say every step]
//     [MiB that one read is given at most = 3072: more than a system call takes, and than 31 bits hold]
//
// differential_oracle.h has the blocking calls, differential_operation.h and differential_run.h the library's side and the
// comparison, differential_trees.h and differential_links.h what both sides work on, differential_files.h,
// differential_names.h and differential_streams.h what a program may do.

#include "harness.h"

#if !defined(__linux__)

int main(void)
{
    return skip("knows which results depend on nothing but the order of calls for Linux only");
}

#else

#include "differential_names.h"
#include "differential_streams.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static unsigned patience;
static char hang_text[200];

// --- Refused at once

static uint64_t some_stale(operation *op)
{
    uint64_t any = mix(step) | 1;
    switch (below(4)) {
    case 0:
        op->refused = SL_ERR_WRONG_KIND;
        return listener;
    case 1:
        op->refused = SL_ERR_BAD_ID;
        return one_in(2) ? 0 : any | UINT64_C(1) << 63;
    default:
        op->refused = stale_file ? SL_ERR_STALE : SL_ERR_BAD_ID;
        return stale_file;
    }
}

// Something good otherwise, for an id that is not, or is not a file's.
static void refuse_file(void)
{
    static const uint32_t kinds[] = {SL_FILE_READ, SL_FILE_WRITE, SL_FILE_STAT, SL_FILE_SYNC, SL_FILE_TRUNCATE};
    operation *op = begin(kinds[below(5)]);
    op->alone = 1;
    op->request.target = some_stale(op);
    op->request.length = op->request.kind == SL_FILE_SYNC || op->request.kind == SL_FILE_STAT ? 0 : 10;
    op->request.buffer = op->request.kind == SL_FILE_TRUNCATE || op->request.kind == SL_FILE_SYNC ? NULL : (void *)&op->stat;
    op->stat.size = sizeof op->stat;
    issue(op);
}

static void refuse_stream(void)
{
    static const uint32_t kinds[] = {SL_STREAM_RECEIVE, SL_STREAM_SEND, SL_STREAM_SHUTDOWN, SL_CLOSE};
    operation *op = begin(kinds[below(4)]);
    op->alone = 1;
    op->request.target = stale_stream;
    op->refused = stale_stream ? SL_ERR_STALE : SL_ERR_BAD_ID;
    op->request.buffer = op->request.kind < SL_STREAM_SHUTDOWN && op->request.kind != SL_CLOSE ? source : NULL;
    op->request.length = op->request.buffer ? 10 : 0;
    issue(op);
}

// A good file, and arguments that are not.
static void refuse_arguments(void)
{
    static const struct {
        uint32_t kind;
        int has_memory;
        uint64_t length;
        int64_t offset;
        uint32_t flags;
        sl_status refused;
    } bad[] = {
        {SL_FILE_READ, 1, 10, -2, 0, SL_ERR_INVALID},
        {SL_FILE_READ, 1, 10, INT64_MIN, SL_EXACT, SL_ERR_INVALID},
        {SL_FILE_READ, 1, UINT64_C(1) << 63, 0, 0, SL_ERR_INVALID},
        {SL_FILE_READ, 0, 10, 0, SL_EXACT, SL_ERR_INVALID},
        {SL_FILE_READ, 1, 10, 0, SL_MULTISHOT, SL_ERR_INVALID},
        {SL_FILE_READ, 0, UINT64_MAX, 0, 0, SL_ERR_INVALID},
        {SL_FILE_WRITE, 1, 10, -3, 0, SL_ERR_INVALID},
        {SL_FILE_WRITE, 1, 10, 0, SL_EXACT, SL_ERR_INVALID},
        {SL_FILE_WRITE, 0, 10, 0, 0, SL_ERR_NULL},
        {SL_FILE_READV, 1, 1025, 0, 0, SL_ERR_INVALID},
        {SL_FILE_WRITEV, 0, 3, 0, 0, SL_ERR_NULL},
        {SL_FILE_SYNC, 0, 0, 0, 1, SL_ERR_INVALID},
        {SL_FILE_STAT, 0, 0, 0, 0, SL_ERR_NULL},
        {SL_FILE_TRUNCATE, 0, UINT64_C(1) << 63, 0, 0, SL_ERR_INVALID},
    };
    size_t chosen = below(sizeof bad / sizeof *bad);
    file *on = any_file();
    if (on) {
        operation *op = begin(bad[chosen].kind);
        works_on(op, on);
        op->request.buffer = bad[chosen].has_memory ? source : NULL;
        op->request.length = bad[chosen].length;
        op->request.offset = bad[chosen].offset;
        op->request.flags = bad[chosen].flags;
        op->refused = bad[chosen].refused;
        issue(op);
    }
}

static void refuse_open(void)
{
    static const uint32_t bad[] = {0,
                                   SL_OPEN_CREATE,
                                   SL_OPEN_READ | SL_OPEN_CREATE,
                                   SL_OPEN_READ | SL_OPEN_TRUNCATE,
                                   SL_OPEN_WRITE | SL_OPEN_EXCLUSIVE,
                                   SL_OPEN_READ | UINT32_C(1) << 20};
    operation *op = begin(SL_FILE_OPEN);
    choose_path(op, 2);
    op->request.flags = bad[below(6)];
    op->refused = SL_ERR_INVALID;
    if (one_in(4)) {
        op->request.flags = SL_OPEN_READ;
        op->request.mode = 010000;
    }
    issue(op);
}

static void refused_step(void)
{
    switch (below(4)) {
    case 0:
        refuse_file();
        break;
    case 1:
        refuse_stream();
        break;
    case 2:
        refuse_arguments();
        break;
    default:
        refuse_open();
    }
}

// --- A program

// Sizes of lent memory from plenty to so little that what is larger cannot be read into it.
static void choose_sizes(sl_loop_options *options)
{
    static const struct {
        size_t receive, lent;
    } sizes[] = {{16384, 256 << 20}, {16384, 256 << 20}, {512, 256 << 20}, {4096, 40000}, {16384, 8192}, {3000, 3000}};
    size_t chosen = below(sizeof sizes / sizeof *sizes);
    receive_size = sizes[chosen].receive;
    most_lent = sizes[chosen].lent;
    lent_slots = most_lent < 1 << 20 ? UINT64_C(1) << LENT_SLOT : 0;
    options->receive_buffer_size = (uint32_t)receive_size;
    options->max_lent_bytes = most_lent;
    options->max_file_threads = 1 + (uint32_t)below(4);
}

static void open_sockets(void)
{
    struct sockaddr_in any = {0};
    socklen_t length = sizeof any;
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = listen_here(loop, 8, &here);
    oracle_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_IS(bind(oracle_listener, (struct sockaddr *)&any, sizeof any), 0);
    CHECK_IS(listen(oracle_listener, 8), 0);
    CHECK_IS(getsockname(oracle_listener, (struct sockaddr *)&oracle_here, &length), 0);
    // Bound, so that nobody else listens there, and not listening.
    nobody_bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_IS(bind(nobody_bound, (struct sockaddr *)&any, sizeof any), 0);
    CHECK_IS(getsockname(nobody_bound, (struct sockaddr *)&any, &length), 0);
    nobody = here;
    nobody.port = ntohs(any.sin_port);
    if (one_in(3)) {
        standing_accept = begin(SL_TCP_ACCEPT);
        standing_accept->request.target = listener;
        standing_accept->request.flags = SL_MULTISHOT;
        standing_accept->request.delivery = one_in(2) ? SL_DELIVER_QUEUE : SL_DELIVER_THREAD;
        standing_accept->how = STANDING;
        issue_held(standing_accept);
        flush();
    }
}

static void close_sockets(void)
{
    for (size_t i = 0; i < LINKS; i++) {
        for (int e = 0; e < 2; e++) {
            if (links[i].live && links[i].ends[e].open) {
                close_end(&links[i], e);
            }
        }
    }
    if (standing_accept) {
        must_be(standing_accept, "cancel", sl_op_cancel(standing_accept->id), SL_OK);
        await_end_of(standing_accept);
        must_be(standing_accept, "multishot: connections nobody made", (int64_t)standing_accept->more, 0);
        must_be(standing_accept, "multishot: its end", standing_accept->event.result, SL_ERR_CANCELLED);
        compare(standing_accept);
        standing_accept = NULL;
    }
    CHECK_IS(close(oracle_listener), 0);
    CHECK_IS(close(nobody_bound), 0);
}

// Everything accepted has ended and is taken, and nothing is open but what the program has left open.
static void close_program(uint64_t accepted_before)
{
    size_t open_files = 0;
    finish_all();
    close_sockets();
    finish_all();
    for (size_t i = 0; i < FILES; i++) {
        open_files += files[i].live != 0;
    }
    sl_counters counters = counters_of(loop);
    must_be(NULL, "counters: accepted", (int64_t)(counters.accepted - accepted_before), (int64_t)accepted_count);
    must_be(NULL, "counters: refused", (int64_t)counters.refused, (int64_t)refused_count);
    must_be(NULL, "counters: ended", (int64_t)counters.ended, (int64_t)counters.accepted);
    must_be(NULL, "counters: taken", (int64_t)counters.taken, (int64_t)(counters.ended + counters.more));
    // The listener is left open, too.
    must_be(NULL, "counters: resources", (int64_t)counters.resources, (int64_t)open_files + 1);
    must_be(NULL, "operations not compared", (int64_t)active_count, 0);
    compare_trees();
    close_loop(loop);
    for (size_t i = 0; i < FILES; i++) {
        if (files[i].live) {
            CHECK_IS(close(files[i].fd), 0);
            files[i].live = 0;
        }
    }
    fell(0);
    fell(1);
}

// Runs the program of a seed; how many operations it had.
static uint64_t run_program(void)
{
    sl_loop_options options = {0};
    int descriptors = harness_entries("/proc/self/fd");
    snprintf(hang_text, sizeof hang_text,
             "hangs: seed %" PRIu64 "; once more, in an empty folder: differential 1 %" PRIu64 " 1\n", seed, seed);
    alarm(patience);
    dice = mix(seed);
    luck = mix(~seed);
    step = serial = accepted_count = refused_count = stale_file = stale_stream = 0;
    memset(links, 0, sizeof links);
    options.size = sizeof options;
    choose_sizes(&options);
    uint64_t random = random_next(&dice);
    loop = open_loop(&options);
    plant(0, random);
    plant(1, random);
    CHECK_IS(sl_loop_wake_descriptor(loop, &wake_descriptor), SL_OK);
    running_on = sl_loop_driver(loop, NULL, 0);
    uint64_t accepted_before = counters_of(loop).accepted, steps = 500 + below(500), streams = below(80);
    open_sockets();
    while (step < steps) {
        if (one_in(40)) {
            refused_step();
        } else if (below(100) < streams) {
            stream_step();
        } else if (one_in(8)) {
            name_step();
        } else {
            file_step();
        }
    }
    close_program(accepted_before);
    must_be(NULL, "descriptors", harness_entries("/proc/self/fd"), descriptors);
    return step;
}

// --- The process

static void on_alarm(int signal_number)
{
    (void)signal_number;
    if (write(2, hang_text, strlen(hang_text)) < 0) {
        _exit(4);
    }
    // Not for a signal handler; but nothing is lost any more.
    for (size_t i = 0; i < MOST_RECORDS; i++) {
        if (records[i].active) {
            fprintf(stderr, "  %s: ", records[i].ended ? "ended" : records[i].submitted ? "under way" : "not submitted");
            describe(stderr, &records[i]);
        }
    }
    fflush(stderr);
    _exit(3);
}

// Root, too, is to be denied what the permissions deny: for this thread, and all that it starts.
static void obey_permissions(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    CHECK_IS(syscall(SYS_capget, &header, data), 0);
    data[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
    CHECK_IS(syscall(SYS_capset, &header, data), 0);
}

static void *mapped(size_t length, int flags)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void prepare(void)
{
    struct rlimit limit;
    const char *seconds = getenv("SIDELOOP_WATCHDOG");
    // For each program, not for all of them.
    patience = seconds ? (unsigned)atoi(seconds) : 120;
    signal(SIGALRM, on_alarm);
    // What the limit on the size of files sends beside its error.
    signal(SIGXFSZ, SIG_IGN);
    CHECK_IS(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = MOST_LENGTH;
    CHECK_IS(setrlimit(RLIMIT_FSIZE, &limit), 0);
    umask(022);
    obey_permissions();
    source = mapped(SOURCE, 0);
    fill(source, SOURCE, 77, 0);
    CHECK_IS(mprotect(source, SOURCE, PROT_READ), 0);
    endless = mapped(endless_length, MAP_NORESERVE);
}

int main(int argc, char **argv)
{
    start();
    uint64_t operations = argument(argc, argv, 1, 5000000), done = 0, programs = 0;
    seed = argument(argc, argv, 2, 1);
    talkative = (int)argument(argc, argv, 3, 0);
    endless_length = argument(argc, argv, 4, 3072) << 20;
    prepare();
    holdings before = holdings_now();
    for (; done < operations; seed++, programs++) {
        done += run_program();
    }
    check_returned(before);
    CHECK_IS(munmap(source, SOURCE), 0);
    CHECK_IS(munmap(endless, endless_length), 0);
    printf("%" PRIu64 " operations of %" PRIu64 " programs\n", done, programs);
    return 0;
}

#endif
