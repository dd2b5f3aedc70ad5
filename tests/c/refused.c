// io_uring is forbidden: from the start, or while everything is under way. Either way the program is carried out as if nothing
// had happened, by the other driver, and the loop says why.
//
// Linux only: a filter of system calls (seccomp(2)) refuses io_uring's with each of several errors.

#ifdef __linux__
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "harness.h"

#ifdef __linux__
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BIG = 3 << 20, TICKS = 5, CONNECTIONS = 20 };

// io_uring_setup, io_uring_enter and io_uring_register have these numbers on every architecture.
enum { FIRST = 425, LAST = 427 };

// From now on io_uring's calls fail with `error`, on every thread of the process.
static void forbid(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    CHECK_IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_IS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program), 0);
}

static uint8_t sent[BIG], received[BIG];

static int64_t sum(void *argument)
{
    return *(int *)argument + 1;
}

// What is under way when io_uring goes, and what comes of it.
typedef struct work {
    sl_loop loop;
    sl_stream here, there, idle[2 * CONNECTIONS];
    sl_listener listener;
    sl_address address;
    sl_file file;
    sl_op tick, stuck, receive, accept;
} work;

enum { SEND = 1, TIMER, TICK, WORK, READ, STUCK, ACCEPT, IDLE, LATER };

static void begin(work *w)
{
    static int argument = 41;
    static uint8_t byte[2 * CONNECTIONS];
    sl_options options = {.size = sizeof options, .flags = SL_OPTION_NO_INLINE};
    w->loop = open_loop(NULL);
    connect_pair(w->loop, &w->here, &w->there);
    CHECK_IS(sl_stream_set(w->here, SL_STREAM_SEND_BUFFER, 65536), SL_OK);
    CHECK_IS(sl_stream_set(w->there, SL_STREAM_RECEIVE_BUFFER, 65536), SL_OK);
    for (int i = 0; i < CONNECTIONS; i++) {
        connect_pair(w->loop, &w->idle[2 * i], &w->idle[2 * i + 1]);
    }
    w->listener = listen_here(w->loop, 16, &w->address);
    int fd = open("refused.tmp", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    CHECK_IS(write(fd, "0123456789", 10), 10);
    CHECK_IS(sl_file_adopt(w->loop, fd, &w->file), SL_OK);
    for (size_t i = 0; i < sizeof sent; i++) {
        sent[i] = (uint8_t)(i * 7 + i / 251);
    }
    options.user_data = IDLE;
    for (int i = 0; i < 2 * CONNECTIONS; i++) {
        CHECK_IS(sl_stream_receive(w->idle[i], i % 3 ? &byte[i] : NULL, i % 3 ? 1 : 0, i % 3 ? 0 : SL_MULTISHOT, &options, NULL),
                 SL_OK);
    }
    options.user_data = TICK;
    CHECK_IS(sl_timer(w->loop, 1000000, 1000000, &options, &w->tick), SL_OK);
    options.user_data = TIMER;
    CHECK_IS(sl_timer(w->loop, 20000000, 0, &options, NULL), SL_OK);
    options.user_data = WORK;
    CHECK_IS(sl_work(w->loop, sum, &argument, &options, NULL), SL_OK);
    options.user_data = STUCK;
    CHECK_IS(sl_stream_receive(w->here, NULL, 0, 0, &options, &w->stuck), SL_OK);
    options.user_data = ACCEPT;
    CHECK_IS(sl_tcp_accept(w->listener, SL_MULTISHOT, &options, &w->accept), SL_OK);
    // More than the connection holds: it stays under way until somebody receives.
    options.user_data = SEND;
    CHECK_IS(sl_stream_send(w->here, sent, sizeof sent, 0, &options, NULL), SL_OK);
    // Behind all of them.
    options.user_data = LATER;
    CHECK_IS(sl_nop(w->loop, &options, NULL), SL_OK);
    for (sl_event event = next_event(w->loop); event.user_data != LATER; event = next_event(w->loop)) {
        CHECK(event.user_data == TICK || event.user_data == TIMER || event.user_data == WORK);
    }
}

// Everything that was begun comes to its end, as ever.
static void finish(work *w)
{
    sl_options options = {.size = sizeof options, .flags = SL_OPTION_NO_INLINE, .user_data = READ};
    char text[11] = {0};
    sl_op connect;
    CHECK_IS(sl_file_read(w->file, text, 10, 0, 0, &options, NULL), SL_OK);
    options.user_data = LATER;
    CHECK_IS(sl_stream_receive(w->there, received, sizeof received, SL_EXACT, &options, NULL), SL_OK);
    CHECK_IS(sl_tcp_connect(w->loop, &w->address, &options, &connect), SL_OK);
    int left = (1 << SEND) | (1 << READ) | (1 << LATER) | (1 << ACCEPT) | (1 << TICK);
    while (left) {
        sl_event event = next_event(w->loop);
        left &= ~(1 << event.user_data);
        if (event.user_data == SEND) {
            CHECK_IS(event.result, BIG);
        } else if (event.user_data == READ) {
            CHECK_IS(event.result, 10);
            CHECK(strcmp(text, "0123456789") == 0);
        } else if (event.user_data == LATER && event.kind == SL_STREAM_RECEIVE) {
            CHECK_IS(event.result, BIG);
            CHECK(memcmp(sent, received, BIG) == 0);
        } else {
            CHECK(event.result >= 0);
        }
    }
    // The receive that waited all the time is alive, and so are all the others.
    CHECK_IS(sl_stream_send(w->there, "x", 1, 0, NULL, NULL), SL_OK);
    for (int i = 0; i < 2 * CONNECTIONS; i++) {
        CHECK_IS(sl_stream_send(w->idle[i], "y", 1, 0, NULL, NULL), SL_OK);
    }
    int heard = 0, stuck = 0;
    while (heard < 2 * CONNECTIONS || !stuck) {
        sl_event event = next_event(w->loop);
        if (event.user_data == STUCK || event.user_data == IDLE) {
            CHECK_IS(event.result, 1);
            stuck += event.user_data == STUCK;
            heard += event.user_data == IDLE;
        }
    }
    char why[200];
    CHECK_IS(sl_loop_driver(w->loop, why, sizeof why), SL_DRIVER_POLL);
    CHECK(strstr(why, "io_uring"));
    // The timer, the multishot operations and the events that nobody took.
    CHECK(sl_loop_close(w->loop, SL_FOREVER) > 0);
    CHECK_IS(unlink("refused.tmp"), 0);
}

static void at_the_start(int error)
{
    static work w;
    forbid(error);
    begin(&w);
    finish(&w);
}

static void later(int error)
{
    static work w;
    begin(&w);
    forbid(error);
    finish(&w);
}

// A close is the first that the kernel does not take: it has not been carried out, and is.
static void at_a_close(int error)
{
    sl_loop loop = open_loop(NULL);
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    // A number that nobody else will get.
    int fd = fcntl(lowest, F_DUPFD_CLOEXEC, 200);
    sl_file file;
    CHECK(lowest >= 0 && close(lowest) == 0);
    CHECK(fd >= 200);
    CHECK_IS(sl_file_adopt(loop, fd, &file), SL_OK);
    forbid(error);
    close_resource(loop, file);
    CHECK_IS(fcntl(fd, F_GETFD), -1);
    close_loop(loop);
}

// A stream that io_uring has accepted, and that nothing was done with yet: a receive does not keep the loop from all else.
static void before_the_first_receive(int error)
{
    sl_loop loop = open_loop(NULL);
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_options options = {.size = sizeof options, .flags = SL_OPTION_NO_INLINE, .timeout_ns = 20 * MILLISECOND};
    char byte;
    sl_op op;
    forbid(error);
    while (sl_loop_driver(loop, NULL, 0) != SL_DRIVER_POLL) {
        CHECK_IS(sl_nop(loop, NULL, &op), SL_OK);
        CHECK_IS(result_of(loop, op), 0);
    }
    CHECK_IS(sl_stream_receive(stream, &byte, 1, 0, &options, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_TIMED_OUT);
    close_resource(loop, stream);
    close_socket(other);
    close_loop(loop);
}

static void in_a_child(void (*body)(int), int error, const char *when)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        watchdog(60);
        setenv("SIDELOOP_DRIVER", "auto", 1);
        body(error);
        exit(0);
    }
    int status;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "with errno %d, %s: wait status %#x\n", error, when, (unsigned)status);
        exit(1);
    }
}

int main(void)
{
    start();
    sl_loop loop = open_loop(NULL);
    int driver = sl_loop_driver(loop, NULL, 0);
    close_loop(loop);
    if (driver != SL_DRIVER_URING) {
        printf("skipped: this loop has no io_uring that could be taken away\n");
        return 0;
    }
    static const int errors[] = {EPERM, ENOSYS, EOPNOTSUPP, ENOMEM, EACCES, EINVAL};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        in_a_child(at_the_start, errors[i], "at the start");
        in_a_child(later, errors[i], "later");
        in_a_child(at_a_close, errors[i], "at a close");
        in_a_child(before_the_first_receive, errors[i], "before the first receive");
    }
    return 0;
}
#else
int main(void)
{
    printf("skipped: only Linux has io_uring\n");
    return 0;
}
#endif
