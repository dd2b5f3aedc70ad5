// Descriptors that the program opened itself: files, sockets, listeners and pipes become the loop's, which closes them; what
// is refused stays the program's.

#include "harness.h"

#if defined(_WIN32)

int main(void)
{
    return skip("gives away file descriptors, pipes and socket pairs of POSIX");
}

#else

#include <arpa/inet.h>
#include <fcntl.h>

static sl_loop loop;

static int is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void files(void)
{
    sl_file file = 0;
    sl_op op;
    char in[8] = {0};
    int fd = open("adopt.tmp", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    CHECK_IS(write(fd, "adopted", 7), 7);
    CHECK_IS(sl_file_adopt(loop, fd, &file), SL_OK);
    sl_descriptor descriptor = -1;
    CHECK_IS(sl_descriptor_of(file, &descriptor), SL_OK);
    CHECK_IS(descriptor, fd);
    CHECK_IS(sl_file_read(file, in, 7, 0, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 7);
    CHECK(strcmp(in, "adopted") == 0);
    // Its position is where the program left it.
    CHECK_IS(sl_file_write(file, "!", 1, SL_OFFSET_CURRENT, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 1);
    CHECK_IS(sl_file_read(file, in, 8, 0, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 8);
    CHECK(memcmp(in, "adopted!", 8) == 0);
    close_resource(loop, file);
    CHECK(!is_open(fd));
    CHECK_IS(remove("adopt.tmp"), 0);
}

static void exchange(sl_stream from, sl_stream to)
{
    static uint8_t out[300000], in[300000];
    sl_op op;
    fill(out, sizeof out, 8, 0);
    memset(in, 0, sizeof in);
    CHECK_IS(sl_stream_send(from, out, sizeof out, 0, NULL, NULL), SL_OK);
    CHECK_IS(sl_stream_receive(to, in, sizeof in, SL_EXACT, NULL, NULL), SL_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_IS(next_event(loop).result, sizeof in);
    }
    CHECK(matches(in, sizeof in, 8, 0));
    close_resource(loop, from);
    CHECK_IS(sl_stream_receive(to, in, 1, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    close_resource(loop, to);
}

static void streams(void)
{
    int pair[2];
    sl_stream a = 0, b = 0;
    sl_op op;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_IS(sl_stream_adopt(loop, pair[0], &a), SL_OK);
    CHECK_IS(sl_stream_adopt(loop, pair[1], &b), SL_OK);
    CHECK(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
    sl_address address;
    CHECK_IS(sl_local_address(a, &address), SL_ERR_UNSUPPORTED);
    CHECK_IS(sl_stream_shutdown(b, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    exchange(a, b);
    CHECK(!is_open(pair[0]) && !is_open(pair[1]));

    CHECK_IS(pipe2(pair, O_CLOEXEC), 0);
    CHECK_IS(sl_stream_adopt(loop, pair[0], &b), SL_OK);
    CHECK_IS(sl_stream_adopt(loop, pair[1], &a), SL_OK);
    CHECK_IS(sl_stream_set(a, SL_STREAM_NO_DELAY, 1), SL_ERR_UNSUPPORTED);
    CHECK_IS(sl_stream_shutdown(a, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), SL_ERR_UNSUPPORTED);
    exchange(a, b);
    CHECK(!is_open(pair[0]) && !is_open(pair[1]));
}

static void listeners(void)
{
    struct sockaddr_in any;
    sl_listener listener = 0;
    sl_address address;
    sl_op op;
    memset(&any, 0, sizeof any);
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_IS(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    CHECK_IS(listen(fd, 5), 0);
    CHECK_IS(sl_listener_adopt(loop, fd, &listener), SL_OK);
    CHECK_IS(sl_local_address(listener, &address), SL_OK);
    CHECK_IS(sl_tcp_accept(listener, 0, NULL, &op), SL_OK);
    raw_socket other = raw_connect(&address);
    int64_t stream = result_of(loop, op);
    CHECK(stream > 0);
    sl_address peer;
    CHECK_IS(sl_local_address((sl_stream)stream, &peer), SL_OK);
    CHECK_IS(peer.port, address.port);
    close_resource(loop, (sl_stream)stream);
    close_resource(loop, listener);
    CHECK(!is_open(fd));
    close_socket(other);
}

static void refused(void)
{
    uint64_t id = 0;
    int pair[2], fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK_IS(pipe2(pair, O_CLOEXEC), 0);
    CHECK(fd >= 0);
    CHECK_IS(sl_file_adopt(loop, -1, &id), SL_ERR_BAD_DESCRIPTOR);
    CHECK_IS(sl_stream_adopt(loop, 12345, &id), SL_ERR_BAD_DESCRIPTOR);
    CHECK_IS(sl_stream_adopt(loop, (sl_descriptor)1 << 40, &id), SL_ERR_BAD_DESCRIPTOR);
    CHECK_IS(sl_stream_adopt(loop, fd, &id), SL_ERR_UNSUPPORTED);
    CHECK(sl_listener_adopt(loop, pair[0], &id) < 0);
    CHECK_IS(sl_stream_adopt(0, pair[0], &id), SL_ERR_BAD_ID);
    CHECK_IS(id, 0);
    CHECK(is_open(fd) && is_open(pair[0]) && is_open(pair[1]));
    CHECK(!(fcntl(pair[0], F_GETFL) & O_NONBLOCK));
    close(fd);
    close(pair[0]);
    close(pair[1]);
}

// What is still open when the loop closes is closed with it.
static void left_open(void)
{
    int pair[2], fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    uint64_t id;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_IS(sl_stream_adopt(loop, pair[0], &id), SL_OK);
    CHECK_IS(sl_file_adopt(loop, fd, &id), SL_OK);
    CHECK_IS(counters_of(loop).resources, 2);
    close_loop(loop);
    CHECK(!is_open(fd) && !is_open(pair[0]));
    close(pair[1]);
}

int main(void)
{
    start();
    holdings before = holdings_now();
    loop = open_loop(NULL);
    files();
    streams();
    listeners();
    refused();
    left_open();
    check_returned(before);
    return 0;
}

#endif
