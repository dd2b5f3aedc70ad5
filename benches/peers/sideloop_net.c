// sideloop's servers: callbacks on the loop's thread (delivery=thread), or batches of events from the queue on this one.

#include "sideloop_common.h"

static sl_options here(uint64_t user_data, sl_callback callback)
{
    return (sl_options){
        .size = sizeof(sl_options), .delivery = SL_DELIVER_THREAD, .user_data = user_data, .callback = callback};
}

static sl_listener listener_open(sl_loop loop)
{
    sl_listener listener;
    CHECK(sl_listener_adopt(loop, listen_here(), &listener) == SL_OK);
    return listener;
}

static void rest(void)
{
    for (;;) {
        pause();
    }
}

// --- Echo by callbacks: what was received is sent from where it lies, and given back when it is sent.

static void on_sent(sl_loop loop, const sl_event *event)
{
    (void)loop;
    sl_buffer_release(event->user_data);
}

static void on_received(sl_loop loop, const sl_event *event)
{
    (void)loop;
    sl_stream stream = event->user_data;
    if (event->flags & SL_EVENT_MORE) {
        sl_options options = here(event->detail, on_sent);
        CHECK(sl_stream_send(stream, event->data, (size_t)event->result, 0, &options, NULL) == SL_OK);
    } else {
        CHECK(sl_close(stream, NULL, NULL) == SL_OK);
    }
}

static void on_accepted(sl_loop loop, const sl_event *event)
{
    (void)loop;
    sl_stream stream = (sl_stream)event->result;
    sl_options options = here(stream, on_received);
    CHECK(event->result > 0 && sl_stream_receive(stream, NULL, 0, SL_MULTISHOT, &options, NULL) == SL_OK);
}

static void echo_by_callbacks(sl_loop loop)
{
    sl_options options = here(0, on_accepted);
    CHECK(sl_tcp_accept(listener_open(loop), SL_MULTISHOT, &options, NULL) == SL_OK);
    rest();
}

// --- Echo by the queue: one call takes many events, one call submits what follows from them.

static size_t answer(const sl_event *event, sl_request *request)
{
    *request = (sl_request){.size = sizeof *request};
    if (event->kind == SL_STREAM_SEND) {
        sl_buffer_release(event->user_data);
        return 0;
    }
    if (event->kind == SL_TCP_ACCEPT) {
        CHECK(event->result > 0);
        request->kind = SL_STREAM_RECEIVE;
        request->flags = SL_MULTISHOT;
        request->target = request->user_data = (sl_stream)event->result;
        return 1;
    }
    if (event->kind != SL_STREAM_RECEIVE) {
        return 0;
    }
    request->target = event->user_data;
    if (event->flags & SL_EVENT_MORE) {
        request->kind = SL_STREAM_SEND;
        request->buffer = event->data;
        request->length = (uint64_t)event->result;
        request->user_data = event->detail;
    } else {
        request->kind = SL_CLOSE;
    }
    return 1;
}

static void echo_by_queue(sl_loop loop)
{
    CHECK(sl_tcp_accept(listener_open(loop), SL_MULTISHOT, NULL, NULL) == SL_OK);
    for (;;) {
        int count = take(loop);
        size_t more = 0;
        for (int i = 0; i < count; i++) {
            more += answer(&events[i], requests + more);
        }
        submit(loop, more);
    }
}

static void echo(void)
{
    sl_loop loop = loop_open(0);
    (argument_is("delivery", "thread") ? echo_by_callbacks : echo_by_queue)(loop);
}

// --- Accept, and close at once.

static void on_closed(sl_loop loop, const sl_event *event) { (void)loop, (void)event; }

static void on_visitor(sl_loop loop, const sl_event *event)
{
    (void)loop;
    sl_options options = here(0, on_closed);
    CHECK(event->result > 0 && sl_close((uint64_t)event->result, &options, NULL) == SL_OK);
}

static void serve_accept(void)
{
    sl_loop loop = loop_open(0);
    sl_options options = here(0, on_visitor);
    bool thread = argument_is("delivery", "thread");
    CHECK(sl_tcp_accept(listener_open(loop), SL_MULTISHOT, thread ? &options : NULL, NULL) == SL_OK);
    if (thread) {
        rest();
    }
    for (;;) {
        int count = take(loop);
        size_t more = 0;
        for (int i = 0; i < count; i++) {
            if (events[i].kind == SL_TCP_ACCEPT) {
                CHECK(events[i].result > 0);
                requests[more++] =
                    (sl_request){.size = sizeof *requests, .kind = SL_CLOSE, .target = (uint64_t)events[i].result};
            }
        }
        submit(loop, more);
    }
}

MAIN({"echo", echo}, {"accept", serve_accept})
