// Short of memory and threads: no memory may be locked, no thread may be started, the address space is nearly full. Opening a
// loop succeeds or says what is missing; operations are refused, fail or succeed; every one that was accepted ends once; nothing
// crashes, and no descriptor, thread or memory is left behind.
//
// starved [MiB of address space beyond what is used = 128; then half of it, down to 64] [rounds = 6]

#include "harness.h"

#if !defined(__linux__)

int main(void)
{
    return skip("limits of the resources of a process are Linux's here");
}

#else

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

// A user that nobody else is, so that its threads are those of this program.
enum { NOBODY_ELSE = 47110815, TOLD = 400 };

// What a child has to say at its end, on the way to its parent.
static char *told;

static void limit(int which, rlim_t most)
{
    struct rlimit value = {most, most};
    CHECK_IS(setrlimit(which, &value), 0);
}

// Runs `body` in a child of its own.
static void in_a_child(const char *name, void (*body)(size_t), size_t argument_of_body)
{
    told[0] = 0;
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        watchdog(300);
        body(argument_of_body);
        _exit(0);
    }
    int status;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "%s %zu: wait status %#x\n", name, argument_of_body, (unsigned)status);
        exit(1);
    }
    printf("%s %zu: %s\n", name, argument_of_body, told);
}

static int64_t answer(void *unused)
{
    (void)unused;
    return 42;
}

// How operations ended.
typedef struct tally {
    size_t well, no_thread, no_memory, refused;
} tally;

static void count(tally *t, const sl_event *event)
{
    if (event->result >= 0) {
        t->well++;
    } else if (event->result == SL_ERR_NO_MEMORY) {
        t->no_memory++;
    } else {
        // Nothing else, and above all not as cancelled, which nobody asked for.
        CHECK_IS(event->result, SL_ERR_OS);
        CHECK_IS(event->os_error, EAGAIN);
        t->no_thread++;
    }
    if (event->flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
    }
}

static void count_next(tally *t, sl_loop loop, sl_status status, sl_op op)
{
    CHECK_IS(status, SL_OK);
    sl_event event = next_event(loop);
    CHECK_IS(event.op, op);
    count(t, &event);
}

// One of each. What needs a thread of the loop's or the kernel's may fail for want of one; all else works, and so does closing.
static tally one_of_each(sl_loop loop)
{
    tally t = {0};
    sl_stream here, there;
    sl_file file;
    sl_stat stat = {.size = sizeof stat};
    sl_op op;
    char bytes[4];
    connect_pair(loop, &here, &there);
    CHECK_IS(sl_stream_send(here, "abcd", 4, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    CHECK_IS(sl_stream_receive(there, bytes, 4, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 4);
    CHECK_IS(sl_timer(loop, 1000, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 1);
    int fd = memfd_create("starved", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_IS(sl_file_adopt(loop, fd, &file), SL_OK);
    sl_status status = sl_file_write(file, "efgh", 4, 0, 0, NULL, &op);
    count_next(&t, loop, status, op);
    status = sl_file_write(file, "ijkl", 4, SL_OFFSET_CURRENT, 0, NULL, &op);
    count_next(&t, loop, status, op);
    status = sl_file_sync(file, 0, NULL, &op);
    count_next(&t, loop, status, op);
    status = sl_file_stat(file, &stat, NULL, &op);
    count_next(&t, loop, status, op);
    status = sl_path_read(loop, "/proc/self/stat", NULL, &op);
    count_next(&t, loop, status, op);
    status = sl_work(loop, answer, NULL, NULL, &op);
    count_next(&t, loop, status, op);
    close_resource(loop, file);
    close_resource(loop, here);
    close_resource(loop, there);
    return t;
}

static void become_nobody(void)
{
    CHECK_IS(setgid(NOBODY_ELSE), 0);
    CHECK_IS(setuid(NOBODY_ELSE), 0);
}

static const char *driver_of(sl_loop loop)
{
    return sl_loop_driver(loop, NULL, 0) == SL_DRIVER_URING ? "uring" : "poll";
}

static void no_locked_memory(size_t unused)
{
    (void)unused;
    holdings before = holdings_now();
    limit(RLIMIT_MEMLOCK, 0);
    become_nobody();
    sl_loop loop = 0;
    CHECK_IS(sl_loop_open(NULL, &loop), SL_OK);
    tally t = one_of_each(loop);
    CHECK_IS(t.well, 6);
    snprintf(told, TOLD, "%s, %zu ended well", driver_of(loop), t.well);
    close_loop(loop);
    check_returned(before);
}

// This thread and `most` - 1 others.
static void few_threads(size_t most)
{
    holdings before = holdings_now();
    become_nobody();
    limit(RLIMIT_NPROC, most);
    sl_loop loop = 0;
    sl_status status = sl_loop_open(NULL, &loop);
    if (most == 1) {
        CHECK_IS(status, SL_ERR_OS);
        CHECK_IS(sl_last_os_error(), EAGAIN);
        CHECK(strstr(sl_last_error(), "thread"));
        CHECK_IS(loop, 0);
        snprintf(told, TOLD, "refused: %s", sl_last_error());
    } else {
        CHECK_IS(status, SL_OK);
        tally t = one_of_each(loop);
        CHECK_IS(t.no_memory, 0);
        // The loop's thread, one for files and one for work; the kernel may want two of its own instead of the first.
        CHECK(most < 5 || t.no_thread == 0);
        snprintf(told, TOLD, "%s, %zu ended well, %zu for want of a thread did not", driver_of(loop), t.well, t.no_thread);
        close_loop(loop);
    }
    check_returned(before);
}

// ---------------------------------------------------------------------------------------------------------------------
// Address space

enum { PIECE = 100000, HELD = 4096, UNCLAIMED = 8192, ENOUGH = 64 };

// Lets the process grow by so many bytes, and no further.
static void limit_growth(size_t bytes)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%lu", &pages) == 1);
    fclose(statm);
    limit(RLIMIT_AS, pages * (rlim_t)sysconf(_SC_PAGESIZE) + bytes);
}

// Lent buffers that nobody gives back, until there is no memory for more; then all go back.
static void hold_buffers(sl_loop loop, tally *t)
{
    static sl_buffer held[HELD];
    size_t count_held = 0, waiting = 0;
    int full = 0;
    while (!full || waiting > 0) {
        while (!full && waiting < 16) {
            sl_status status = sl_path_read(loop, "starved.tmp", NULL, NULL);
            full = status < 0;
            if (full) {
                CHECK(status == SL_ERR_NO_MEMORY);
                t->refused++;
            } else {
                waiting++;
            }
        }
        sl_event event = next_event(loop);
        waiting--;
        if (event.result < 0) {
            full = 1;
        } else {
            CHECK_IS(event.result, PIECE);
            CHECK(matches(event.data, PIECE, 1, 0));
            CHECK(count_held < HELD);
            held[count_held++] = event.detail;
            event.flags = 0;
        }
        count(t, &event);
        full |= count_held == HELD - 16;
    }
    while (count_held > 0) {
        CHECK_IS(sl_buffer_release(held[--count_held]), SL_OK);
    }
}

// Operations that do not end by themselves, until there is no memory for more; then all are cancelled.
static void hold_operations(sl_loop loop, tally *t)
{
    size_t accepted = 0;
    static sl_op ops[4 << 20];
    for (;;) {
        sl_status status = sl_timer(loop, INT64_MAX, 0, NULL, &ops[accepted]);
        if (status < 0) {
            CHECK(status == SL_ERR_NO_MEMORY || status == SL_ERR_AGAIN);
            t->refused++;
            break;
        }
        accepted++;
    }
    for (size_t i = 0; i < accepted; i++) {
        sl_status status = sl_op_cancel(ops[i]);
        // There is no memory to pass so many on at once: the loop takes what was passed on before.
        for (; status == SL_ERR_NO_MEMORY; status = sl_op_cancel(ops[i])) {
            t->refused++;
            sched_yield();
        }
        CHECK(status == SL_OK || status == SL_ERR_ENDED);
    }
    for (size_t i = 0; i < accepted; i++) {
        sl_event event = next_event(loop);
        CHECK(event.result == SL_ERR_CANCELLED || event.result == SL_ERR_NO_MEMORY);
        t->no_memory += event.result == SL_ERR_NO_MEMORY;
    }
}

// Pieces of a stream that nobody takes.
static void hold_pieces(sl_loop loop, tally *t)
{
    int ends[2];
    sl_stream stream = 0;
    static char bytes[1 << 16];
    sl_op op;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    CHECK_IS(sl_stream_adopt(loop, ends[0], &stream), SL_OK);
    CHECK_IS(sl_stream_receive(stream, NULL, 0, SL_MULTISHOT, NULL, &op), SL_OK);
    // It ends for want of memory, or pauses at the limit of what may wait: then nothing is taken for good, and the socket fills.
    while (sl_op_status(op) == 0) {
        if (send(ends[1], bytes, sizeof bytes, NO_SIGNAL | MSG_DONTWAIT) < 0) {
            CHECK_IS(errno, EAGAIN);
            if (counters_of(loop).unclaimed == UNCLAIMED) {
                break;
            }
            sched_yield();
        }
    }
    close_socket(ends[1]);
    sl_event event;
    int more;
    do {
        event = next_event(loop);
        CHECK_IS(event.op, op);
        more = event.flags & SL_EVENT_MORE;
        count(t, &event);
    } while (more);
    close_resource(loop, stream);
}

// Opens a loop, or says why not: its threads' stacks are the largest piece that it needs.
static sl_loop open_or_refuse(void)
{
    sl_loop_options options = {.size = sizeof options, .max_operations = 4 << 20, .max_unclaimed = UNCLAIMED};
    sl_loop loop = 0;
    sl_status status = sl_loop_open(&options, &loop);
    if (status < 0) {
        CHECK(status == SL_ERR_NO_MEMORY || (status == SL_ERR_OS && sl_last_os_error() == EAGAIN));
        snprintf(told, TOLD, "refused: %s", sl_last_error());
    }
    return loop;
}

static size_t rounds;

static void little_memory(size_t mib)
{
    static void (*const ways[])(sl_loop loop, tally * t) = {hold_buffers, hold_operations, hold_pieces};
    static uint8_t bytes[PIECE];
    holdings before = holdings_now();
    tally t = {0};
    fill(bytes, sizeof bytes, 1, 0);
    int fd = open("starved.tmp", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK_IS(write(fd, bytes, PIECE), PIECE);
    close(fd);
    limit_growth(mib << 20);
    for (size_t round = 0; round < rounds; round++) {
        sl_loop loop = open_or_refuse();
        if (!loop) {
            // What an earlier round had used up is there again, and there was enough for a loop at first.
            CHECK(round == 0 && mib < ENOUGH);
            break;
        }
        ways[round % 3](loop, &t);
        if (round % 3 != 1) {
            // Its buffers are back; a table of operations stays as large as it once was.
            sl_op op;
            CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
            CHECK_IS(result_of(loop, op), 0);
        }
        snprintf(told, TOLD, "%s, %zu ended well, %zu without memory, %zu refused", driver_of(loop), t.well, t.no_memory,
                 t.refused);
        close_loop(loop);
    }
    CHECK_IS(unlink("starved.tmp"), 0);
    check_returned(before);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    told = mmap(NULL, TOLD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(told != MAP_FAILED);
    if (geteuid() != 0) {
        printf("skipped: limits of locked memory and threads: only root may become somebody else\n");
    } else {
        in_a_child("locked memory", no_locked_memory, 0);
        for (size_t most = 1; most <= 5; most++) {
            in_a_child("threads", few_threads, most);
        }
    }
    size_t most = argument(argc, argv, 1, 2 * ENOUGH);
    rounds = argument(argc, argv, 2, 6);
    for (size_t mib = most; mib >= ENOUGH; mib /= 2) {
        in_a_child("MiB more", little_memory, mib);
    }
    in_a_child("MiB more", little_memory, 0);
    check_returned(before);
    return 0;
}

#endif
