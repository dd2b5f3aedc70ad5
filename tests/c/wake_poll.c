// A program with a plain poll(2) loop of its own embeds a sideloop: it waits for its own socket and for the wake
// descriptor in one call, and takes events only when told that some wait. It never waits in the library.
//
// wake_poll [messages = 20000]

#include "harness.h"

#if defined(_WIN32)
#define poll_descriptors(entries, count, timeout) WSAPoll(entries, count, timeout)
typedef WSAPOLLFD poll_entry;
#else
#define poll_descriptors(entries, count, timeout) poll(entries, count, timeout)
typedef struct pollfd poll_entry;
#endif

enum { MESSAGE = 32 };

// What the application itself does: its own socket, read in its own way.
typedef struct application {
    sl_loop loop;
    sl_stream stream;    // the library's end of the connection
    raw_socket own;      // the application's end of it
    uint64_t got;        // bytes that arrived at `own`
    size_t sent, events; // messages handed to the library, and their events
    uint8_t out[MESSAGE];
} application;

static void send_next(application *app)
{
    sl_options options = tagged(app->sent);
    fill(app->out, MESSAGE, 1, app->sent * MESSAGE);
    app->sent++;
    CHECK_IS(sl_stream_send(app->stream, app->out, MESSAGE, 0, &options, NULL), SL_OK);
}

static void on_wake(application *app)
{
    sl_event events[8];
    sl_status got = sl_poll(app->loop, events, 8);
    CHECK(got > 0); // The wake descriptor never lies.
    for (sl_status i = 0; i < got; i++) {
        CHECK_IS(events[i].user_data, app->events++);
        CHECK_IS(events[i].result, MESSAGE);
    }
}

static void on_own_socket(application *app)
{
    uint8_t bytes[1000];
    int got = (int)recv(app->own, (char *)bytes, sizeof bytes, 0);
    CHECK(got > 0);
    CHECK(matches(bytes, (size_t)got, 1, app->got));
    app->got += (uint64_t)got;
}

static void run(application *app, sl_descriptor wake, size_t messages)
{
    poll_entry entries[2];
    memset(entries, 0, sizeof entries);
    entries[0].fd = app->own;
    entries[0].events = POLLIN;
    send_next(app);
    while (app->events < messages || app->got < messages * MESSAGE) {
        entries[1] = entries[0];
#if defined(_WIN32)
        entries[1].fd = (SOCKET)wake;
#else
        entries[1].fd = (int)wake;
#endif
        CHECK(poll_descriptors(entries, 2, (int)(PATIENCE / MILLISECOND)) > 0);
        short own = entries[0].revents, woken = entries[1].revents;
        CHECK_IS((own | woken) & (POLLERR | POLLNVAL), 0);
        if (own) {
            on_own_socket(app);
        }
        if (woken) {
            on_wake(app);
            if (app->events == app->sent && app->sent < messages) {
                send_next(app);
            }
        }
        entries[0].revents = 0;
    }
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    size_t messages = argument(argc, argv, 1, 20000);
    application app;
    sl_descriptor wake;
    memset(&app, 0, sizeof app);
    app.loop = open_loop(NULL);
    app.stream = stream_and_socket(app.loop, &app.own);
    CHECK_IS(sl_loop_wake_descriptor(app.loop, &wake), SL_OK);
    run(&app, wake, messages);
    close_socket(app.own);
    close_resource(app.loop, app.stream);
    close_loop(app.loop);
    check_returned(before);
    return 0;
}
