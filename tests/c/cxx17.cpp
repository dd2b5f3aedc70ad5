// The header from C++17: a loop, a lambda as a callback, structures with default initialisation.

#include <sideloop.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

static_assert(std::is_standard_layout<sl_event>::value && std::is_trivial<sl_event>::value, "sl_event is plain data");
static_assert(std::is_trivial<sl_request>::value && std::is_trivial<sl_options>::value, "so are the others");
static_assert(sizeof(sl_event) == (sizeof(void *) == 8 ? 48 : 44), "the size that the header promises");
static_assert(std::is_same<decltype(sl_loop_open(nullptr, nullptr)), sl_status>::value, "a status comes back");

#define CHECK(expression)                                                                                              \
    do {                                                                                                               \
        if (!(expression)) {                                                                                           \
            std::fprintf(stderr, "%s:%d: does not hold: %s\n  sl_last_error: %s\n", __FILE__, __LINE__, #expression,   \
                         sl_last_error());                                                                             \
            std::_Exit(1);                                                                                             \
        }                                                                                                              \
    } while (0)

static std::atomic<int> calls{0};

int main()
{
    sl_loop loop{};
    CHECK(sl_loop_open(nullptr, &loop) == SL_OK);

    sl_options options{};
    options.size = sizeof options;
    options.delivery = SL_DELIVER_THREAD;
    options.user_data = 7;
    options.callback = [](sl_loop, const sl_event *event) { calls += static_cast<int>(event->user_data); };
    sl_op op{};
    CHECK(sl_nop(loop, &options, &op) == SL_OK);

    options = {};
    options.size = sizeof options;
    options.delivery = SL_DELIVER_HANDLE;
    sl_op work{};
    int number = 20;
    CHECK(sl_work(
              loop, [](void *argument) -> int64_t { return ++*static_cast<int *>(argument); }, &number, &options,
              &work) == SL_OK);
    sl_event event{};
    CHECK(sl_op_wait(work, SL_FOREVER, &event) == 1);
    CHECK(event.result == 21 && number == 21 && event.kind == SL_WORK);

    CHECK(sl_poll(0, &event, 1) == SL_ERR_BAD_ID);
    CHECK(std::strcmp(sl_status_name(SL_ERR_BAD_ID), "SL_ERR_BAD_ID") == 0);
    CHECK(sl_loop_close(loop, SL_FOREVER) == 0);
    CHECK(calls == 7);
    return 0;
}
