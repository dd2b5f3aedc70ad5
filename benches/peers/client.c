// The client of all servers: one thread with epoll, the same for every peer, in a process of its own. It also reads the
// server's processor time (pid=...), at exactly the moments between which it counts.

#include "common.h"

#include <sys/epoll.h>

enum { EVENTS = 1024 };

typedef struct connection {
    int fd;
    size_t received;
    uint8_t *message;
} connection;

static int poller;
static clockid_t server_clock;
static struct epoll_event events[EVENTS];

static void prepare(void)
{
    poller = epoll_create1(EPOLL_CLOEXEC);
    CHECK(poller >= 0 && clock_getcpuclockid((pid_t)number_argument("pid", 0), &server_clock) == 0);
}

static span server_span(void) { return (span){.wall = now_ns(), .cpu = clock_ns(server_clock)}; }

static void report(span begun, uint64_t count)
{
    span ended = server_span();
    CHECK(count > 0);
    figure("per_s", (double)count * 1e9 / (double)(ended.wall - begun.wall));
    figure("cpu_ns", (double)(ended.cpu - begun.cpu) / (double)count);
}

static struct sockaddr_in server_address(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons((uint16_t)number_argument("port", 0))};
}

static void open_connection(connection *c, size_t number)
{
    struct sockaddr_in address = server_address();
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0);
    struct epoll_event interest = {.events = EPOLLIN, .data.u64 = number};
    CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &interest) == 0);
}

// Every message carries its number, so that an answer to another one is noticed.
static void send_message(connection *c, size_t size, uint64_t number)
{
    memcpy(c->message, &number, sizeof number);
    c->received = 0;
    CHECK(send(c->fd, c->message, size, MSG_NOSIGNAL) == (ssize_t)size);
}

// Whether the connection's message has come back as a whole.
static bool receive_answer(connection *c, size_t size)
{
    static uint8_t piece[PIECE];
    ssize_t count = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);
    CHECK(count > 0 && c->received + (size_t)count <= size);
    CHECK(memcmp(piece, c->message + c->received, (size_t)count) == 0);
    c->received += (size_t)count;
    return c->received == size;
}

static void echo(void)
{
    size_t count = number_argument("connections", 1), size = number_argument("size", 64);
    uint64_t length = number_argument("ms", 500) * 1000000, done = 0, counted = 0;
    connection *connections = calloc(count, sizeof *connections);
    CHECK(connections);
    prepare();
    for (size_t i = 0; i < count; i++) {
        connections[i].message = malloc(size);
        CHECK(connections[i].message);
        memset(connections[i].message, (int)(i % 251), size);
        open_connection(&connections[i], i);
    }
    for (size_t i = 0; i < count; i++) {
        send_message(&connections[i], size, i);
    }
    // The first fifth warms up, and is not counted.
    uint64_t warm = now_ns() + length / 5, end = warm + length;
    span begun = {0};
    for (uint64_t now = now_ns(); now < end; now = now_ns()) {
        if (begun.wall == 0 && now >= warm) {
            begun = server_span();
            counted = done;
        }
        int ready = epoll_wait(poller, events, EVENTS, 1000);
        CHECK(ready > 0 && "the server answers");
        for (int i = 0; i < ready; i++) {
            connection *c = &connections[events[i].data.u64];
            if (receive_answer(c, size)) {
                send_message(c, size, ++done);
            }
        }
    }
    report(begun, done - counted);
}

// A connection that the server shall accept and close.
static void begin_visit(void)
{
    struct sockaddr_in address = server_address();
    struct linger reset = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    // With a reset at the end no port has to rest afterwards.
    CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    struct epoll_event interest = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
    CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &interest) == 0);
}

static void visit(void)
{
    uint64_t length = number_argument("ms", 500) * 1000000, done = 0;
    prepare();
    for (size_t i = 0; i < number_argument("connections", 64); i++) {
        begin_visit();
    }
    span begun = server_span();
    while (now_ns() < begun.wall + length) {
        int ready = epoll_wait(poller, events, EVENTS, 1000);
        CHECK(ready > 0 && "the server accepts");
        for (int i = 0; i < ready; i++, done++) {
            close(events[i].data.fd);
            begin_visit();
        }
    }
    report(begun, done);
}

MAIN({"echo", echo}, {"accept", visit})
