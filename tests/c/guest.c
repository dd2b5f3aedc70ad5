// A good guest: the library's threads block all signals, a send to a closed peer raises no SIGPIPE, no handler, environment
// or locale changes, descriptors are closed in programs that are started, and nothing is written to the terminal.

#include "harness.h"

#if !defined(__linux__)

int main(void)
{
    return skip("looks into /proc/self");
}

#else

#include <fcntl.h>
#include <locale.h>
#include <sys/epoll.h>

extern char **environ;

static gate at_work = GATE_CLOSED, released = GATE_CLOSED;

static int64_t hold(void *unused)
{
    (void)unused;
    gate_open(&at_work);
    gate_pass(&released);
    return 0;
}

// Every signal that can be blocked is, on every thread but this one.
static int check_masks(void)
{
    // Without KILL and STOP, which cannot be blocked, and those that the C library keeps for itself (32 to 34).
    const uint64_t wanted = ~((UINT64_C(1) << (SIGKILL - 1)) | (UINT64_C(1) << (SIGSTOP - 1)) | (UINT64_C(7) << 31));
    int others = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    for (struct dirent *task = readdir(tasks); task; task = readdir(tasks)) {
        char path[300], line[256];
        if (task->d_name[0] == '.' || atoi(task->d_name) == (int)getpid()) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(path, "r");
        if (!status) {
            continue; // A worker of the kernel's for io_uring leaves when it likes.
        }
        int found = 0;
        while (fgets(line, sizeof line, status)) {
            if (strncmp(line, "SigBlk:", 7) == 0) {
                uint64_t blocked = strtoull(line + 7, NULL, 16);
                if ((blocked & wanted) != wanted) {
                    fprintf(stderr, "thread %s blocks %016" PRIx64 "\n", task->d_name, blocked);
                    CHECK(!"a thread of the library takes signals");
                }
                found = 1;
            }
        }
        fclose(status);
        CHECK(found);
        others++;
    }
    closedir(tasks);
    return others;
}

// All descriptors but those that were open before.
static int check_close_on_exec(const char *known)
{
    int fresh = 0;
    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !known[fd]) {
            if (!(flags & FD_CLOEXEC)) {
                char link[64], target[256] = "";
                snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
                CHECK(readlink(link, target, sizeof target - 1) >= 0);
                fprintf(stderr, "descriptor %d (%s)\n", fd, target);
                CHECK(!"a descriptor of the library survives exec");
            }
            fresh++;
        }
    }
    return fresh;
}

static void no_broken_pipe(sl_loop loop)
{
    static uint8_t bytes[1 << 20];
    raw_socket other;
    sl_stream stream = stream_and_socket(loop, &other);
    sl_op op;
    int64_t result = 0;
    int pair[2];
    close(other);
    for (int i = 0; i < 100 && result >= 0; i++) {
        CHECK_IS(sl_stream_send(stream, bytes, sizeof bytes, 0, NULL, &op), SL_OK);
        result = result_of(loop, op);
    }
    CHECK(result == SL_ERR_BROKEN_PIPE || result == SL_ERR_CONNECTION_RESET);
    close_resource(loop, stream);

    // A pipe has no MSG_NOSIGNAL.
    CHECK_IS(pipe(pair), 0);
    CHECK_IS(sl_stream_adopt(loop, pair[1], &stream), SL_OK);
    close(pair[0]);
    CHECK_IS(sl_stream_send(stream, "x", 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_BROKEN_PIPE);
    close_resource(loop, stream);
}

// What the program itself waits for is not cut short with EINTR when a loop comes or goes. epoll_wait is the most easily
// disturbed of all: the system never restarts it by itself.
static void no_interruption(void)
{
    int own = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event;
    CHECK(own >= 0);
    for (int i = 0; i < 100; i++) {
        sl_op op;
        sl_loop loop = open_loop(NULL);
        CHECK_IS(epoll_wait(own, &event, 1, 2), 0);
        CHECK_IS(sl_path_read(loop, "missing.tmp", NULL, &op), SL_OK);
        CHECK_IS(epoll_wait(own, &event, 1, 2), 0);
        CHECK_IS(result_of(loop, op), SL_ERR_NOT_FOUND);
        close_loop(loop);
        CHECK_IS(epoll_wait(own, &event, 1, 10), 0);
    }
    close(own);
}

int main(void)
{
    start();
    holdings before = holdings_now();
    static char known[1024];
    static struct sigaction actions[65];
    char *locale = strdup(setlocale(LC_ALL, NULL));
    char **environment = environ;
    size_t variables = 0;
    sigset_t mask, after;
    while (environ[variables]) {
        variables++;
    }
    for (int fd = 0; fd < 1024; fd++) {
        known[fd] = fcntl(fd, F_GETFD) >= 0;
    }
    for (int number = 1; number < 65; number++) {
        sigaction(number, NULL, &actions[number]);
    }
    // The system fills in only as much as it has signals.
    memset(&mask, 0, sizeof mask);
    memset(&after, 0, sizeof after);
    CHECK_IS(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    // The process dies of it if one arrives.
    CHECK(actions[SIGPIPE].sa_handler == SIG_DFL);

    sl_loop_options options = {0};
    options.size = sizeof options;
    options.flags = SL_LOOP_WAKE_SOCKET;
    sl_loop loop = open_loop(NULL), second = open_loop(&options);
    sl_stream here, there;
    sl_address address;
    sl_descriptor wake;
    sl_op op;
    connect_pair(loop, &here, &there);
    sl_listener listener = listen_here(loop, 0, &address);
    sl_file file = open_file(loop, "guest.tmp", SL_OPEN_READ | SL_OPEN_WRITE | SL_OPEN_CREATE);
    CHECK_IS(sl_loop_wake_descriptor(loop, &wake), SL_OK);
    CHECK_IS(sl_loop_wake_descriptor(second, &wake), SL_OK);
    CHECK_IS(sl_work(loop, hold, NULL, NULL, &op), SL_OK);
    gate_pass(&at_work);
    // Two loops, a worker, perhaps a thread for files.
    CHECK(check_masks() >= 3);
    // Both ends, the listener, the file, two wake descriptors at least.
    CHECK(check_close_on_exec(known) >= 6);
    gate_open(&released);
    CHECK_IS(result_of(loop, op), 0);
    no_broken_pipe(loop);
    no_interruption();

    close_resource(loop, here);
    close_resource(loop, there);
    close_resource(loop, listener);
    close_resource(loop, file);
    close_loop(loop);
    close_loop(second);
    for (int number = 1; number < 65; number++) {
        struct sigaction now;
        memset(&now, 0, sizeof now);
        sigaction(number, NULL, &now);
        CHECK(now.sa_handler == actions[number].sa_handler && now.sa_flags == actions[number].sa_flags);
    }
    CHECK_IS(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    CHECK(memcmp(&mask, &after, sizeof mask) == 0);
    CHECK(strcmp(locale, setlocale(LC_ALL, NULL)) == 0);
    CHECK(environ == environment && environ[variables] == NULL);
    free(locale);
    CHECK_IS(remove("guest.tmp"), 0);
    check_returned(before);
    return 0;
}

#endif
