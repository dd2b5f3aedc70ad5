// What the system answers with a signal comes as an error, and the program never sees the signal: a write to a pipe and to a
// socket that nobody reads (SIGPIPE), a write beyond the size that files may have (SIGXFSZ). Each ends a program that has not
// asked for it, so this one only has to live on; one that has asked for it must find its own ones untouched.

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("is about POSIX signals");
}

#else

#include <fcntl.h>
#include <signal.h>

static sl_loop loop;

static void pipe_without_reader(void)
{
    int ends[2];
    sl_stream stream = 0;
    sl_op op;
    CHECK_IS(pipe(ends), 0);
    CHECK_IS(sl_stream_adopt(loop, ends[1], &stream), SL_OK);
    close(ends[0]);
    CHECK_IS(sl_stream_send(stream, "lost", 4, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_BROKEN_PIPE);
    close_resource(loop, stream);
}

static void socket_without_reader(void)
{
    int ends[2];
    sl_stream stream = 0;
    sl_op op;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    CHECK_IS(sl_stream_adopt(loop, ends[1], &stream), SL_OK);
    close(ends[0]);
    CHECK_IS(sl_stream_send(stream, "lost", 4, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_BROKEN_PIPE);
    close_resource(loop, stream);
}

static void file_too_large(void)
{
    static char bytes[16];
    struct rlimit before, small;
    sl_op op;
    sl_file file = open_file(loop, "signals.tmp", SL_OPEN_WRITE | SL_OPEN_CREATE);
    CHECK_IS(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    CHECK_IS(setrlimit(RLIMIT_FSIZE, &small), 0);
    CHECK_IS(sl_file_write(file, bytes, sizeof bytes, 4096, 0, NULL, &op), SL_OK);
    CHECK(result_of(loop, op) < 0);
    CHECK_IS(setrlimit(RLIMIT_FSIZE, &before), 0);
    close_resource(loop, file);
    CHECK_IS(remove("signals.tmp"), 0);
}

// A signal that the program holds back itself is still its own afterwards.
static void own_signal_stays(void)
{
    sigset_t pipe_only, pending, before;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    CHECK_IS(pthread_sigmask(SIG_BLOCK, &pipe_only, &before), 0);
    CHECK_IS(raise(SIGPIPE), 0);
    pipe_without_reader();
    CHECK_IS(sigpending(&pending), 0);
    CHECK(sigismember(&pending, SIGPIPE));
    int number = 0;
    CHECK_IS(sigwait(&pipe_only, &number), 0);
    CHECK_IS(number, SIGPIPE);
    CHECK_IS(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

int main(void)
{
    start();
    signal(SIGPIPE, SIG_DFL);
    loop = open_loop(NULL);
    pipe_without_reader();
    socket_without_reader();
    file_too_large();
    own_signal_stays();
    pipe_without_reader();
    close_loop(loop);
    printf("no signal came through\n");
    return 0;
}

#endif
