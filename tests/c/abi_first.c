// Compiled against the first published header (abi-1/sideloop.h), and run with the library of today: numbers, structure
// sizes and behaviour of then still hold.

#include "harness.h"

static int calls;

static void on_event(sl_loop loop, const sl_event *event)
{
    (void)loop;
    CHECK_IS(event->result, 0);
    calls++;
}

static int64_t add_one(void *argument_of_work)
{
    return *(int64_t *)argument_of_work + 1;
}

static void files(sl_loop loop)
{
    sl_stat stat = {0};
    sl_event event;
    sl_op op;
    CHECK_IS(sl_path_write(loop, "abi_first.tmp", "first", 5, 0, 0644, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 5);
    sl_file file = open_file(loop, "abi_first.tmp", SL_OPEN_READ);
    stat.size = sizeof stat;
    CHECK_IS(sl_file_stat(file, &stat, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
    CHECK(stat.length == 5 && stat.type == SL_TYPE_FILE);
    CHECK_IS(sl_file_read(file, NULL, 100, 0, 0, NULL, &op), SL_OK);
    event = next_event(loop);
    CHECK(event.result == 5 && event.flags == SL_EVENT_LENT && memcmp(event.data, "first", 5) == 0);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    close_resource(loop, file);
    CHECK_IS(remove("abi_first.tmp"), 0);
}

static void deliveries(sl_loop loop)
{
    sl_request request = request_of(SL_POST, loop);
    sl_options options = by_handle();
    sl_event event;
    sl_op op;
    int64_t number = 41;
    request.offset = 9;
    request.user_data = 10;
    CHECK_IS(sl_submit(loop, &request, 1, &op), 1);
    event = next_event(loop);
    CHECK(event.op == op && event.result == 9 && event.user_data == 10 && event.kind == SL_POST);
    CHECK_IS(sl_work(loop, add_one, &number, &options, &op), SL_OK);
    CHECK_IS(sl_op_wait(op, PATIENCE, &event), 1);
    CHECK_IS(event.result, 42);
    options = delivered(SL_DELIVER_DISPATCH, 0, on_event);
    CHECK_IS(sl_nop(loop, &options, NULL), SL_OK);
    CHECK_IS(sl_dispatch(loop, 0, PATIENCE), 1);
    CHECK_IS(calls, 1);
}

int main(void)
{
    start();
    CHECK_IS(SL_ABI_VERSION, 1);
    CHECK(sl_abi_version() >= SL_ABI_VERSION);
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_operations = 100;
    sl_loop loop = open_loop(&options);
    sl_stream here, there;
    sl_op op;
    connect_pair(loop, &here, &there);
    CHECK_IS(sl_stream_send(here, "abc", 3, 0, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 3);
    char bytes[3];
    CHECK_IS(sl_stream_receive(there, bytes, 3, SL_EXACT, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 3);
    close_resource(loop, here);
    close_resource(loop, there);
    files(loop);
    deliveries(loop);
    close_loop(loop);
    return 0;
}
