/*
 * sideloop - asynchronous I/O behind a C ABI.
 *
 * # What it does
 *
 * A loop runs on a thread of its own. Your program hands it reads, writes, connections, timers and other work; each
 * submission returns at once with the id of an operation. You carry on, and collect one event per operation when it
 * suits you.
 *
 * # Ids
 *
 * Loops, operations, files, streams, listeners and lent buffers are all named by 64-bit ids, never by pointers. An id
 * is never 0 and never negative when read as int64_t. A stale, forged or foreign id is an error (SL_ERR_STALE,
 * SL_ERR_BAD_ID, SL_ERR_WRONG_KIND), not undefined behaviour. You never free an operation: it ends with its last event.
 *
 * # How events reach you
 *
 * You choose it for every operation (sl_options.delivery):
 *
 * - SL_DELIVER_QUEUE (the default): take many at once with sl_poll or sl_wait, or let the wake descriptor
 *   (sl_loop_wake_descriptor) tell the poll, epoll, select or GUI loop that you have already.
 * - SL_DELIVER_HANDLE: the event stays with the operation: sl_op_poll, sl_op_wait.
 * - SL_DELIVER_DISPATCH: a callback that runs inside sl_dispatch, on the thread that calls it.
 * - SL_DELIVER_THREAD: a callback that runs on the loop's own thread. The fastest; it must not block.
 *
 * Every accepted operation ends with exactly one last event, whatever happens. Multishot operations (SL_MULTISHOT, and
 * timers with a period) post any number of events flagged SL_EVENT_MORE before it.
 *
 * # Errors
 *
 * Functions return an sl_status: 0 or more is success, negative is one of SL_ERR_... . What cannot be accepted is
 * refused at once and leaves no trace; output arguments are written on success only. sl_last_error and
 * sl_last_os_error say, for the calling thread, what was wrong with its last refused call. A failed operation's
 * event carries the same numbers in `result`, and the system's own code in `os_error`.
 *
 * # Ownership
 *
 * Memory that you hand over (a buffer to read into, data to write, an sl_stat to fill) belongs to the operation from
 * submission to its last event: keep it valid and do not touch it. Paths, addresses, option structures, and arrays of
 * sl_slice are copied at submission; you may free them when the call returns. Give NULL instead of a buffer to read,
 * and the library lends you one of its own: the event is flagged SL_EVENT_LENT and you return it with
 * sl_buffer_release. Closing a loop ends all operations and takes all lent memory back.
 *
 * # Threads
 *
 * Any thread may call any function at any time, also from inside callbacks. An operation is under way as soon as it is
 * submitted: its event may come, on another thread, before the call that submitted it has returned. What would deadlock (to wait for a loop, or
 * close it, on one of its own threads) is refused with SL_ERR_DEADLOCK. On one stream, receives complete in the order
 * submitted, and so do sends. File operations at an explicit offset have no order; those at the file's current position
 * (SL_OFFSET_CURRENT) run in the order submitted. The loop's threads block all signals. After fork, calls on the parent's
 * loops return SL_ERR_FORKED in the child, which may open a loop of its own.
 *
 * # A complete program
 *
 * #include <sideloop.h>
 * #include <inttypes.h>
 * #include <stdio.h>
 *
 * int main(int argc, char **argv)
 * {
 *     const char *path = argc > 1 ? argv[1] : "/etc/hostname";
 *     sl_loop loop;
 *     if (sl_loop_open(NULL, &loop) < 0) {
 *         fprintf(stderr, "sl_loop_open: %s\n", sl_last_error());
 *         return 1;
 *     }
 *
 *     // Say what you want: the whole file, in memory that the library lends.
 *     sl_op op;
 *     if (sl_path_read(loop, path, NULL, &op) < 0) {
 *         fprintf(stderr, "sl_path_read: %s\n", sl_last_error());
 *         return 1;
 *     }
 *
 *     // ... carry on; then take the event (here: wait up to five seconds for it).
 *     sl_event event;
 *     int code = 1;
 *     if (sl_wait(loop, &event, 1, UINT64_C(5000000000)) == 1) {
 *         if (event.result < 0) {
 *             fprintf(stderr, "%s: %s\n", path, sl_status_message((sl_status)event.result));
 *         } else {
 *             printf("%s: %" PRId64 " bytes\n", path, event.result);
 *             fwrite(event.data, 1, (size_t)event.result, stdout);
 *             sl_buffer_release(event.detail);
 *             code = 0;
 *         }
 *     }
 *     sl_loop_close(loop, SL_FOREVER);
 *     return code;
 * }
 */

#ifndef SIDELOOP_H
#define SIDELOOP_H

/* Made from src/ffi by build.rs: edit there. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * ============================================================================
 * Versions and errors
 * ============================================================================
 *
 * A status is 0 or positive on success and negative on failure. The numbers never change their meaning.
 */

// The work was accepted, or the call succeeded.
#define SL_OK 0

// An argument is outside its range; `sl_last_error` names it.
#define SL_ERR_INVALID (-1)

// A pointer is NULL where NULL is not allowed.
#define SL_ERR_NULL (-2)

// The id was never issued by this library in this process.
#define SL_ERR_BAD_ID (-3)

// The id was valid once: what it named is closed, or has ended.
#define SL_ERR_STALE (-4)

// The id names something of another kind, or of another loop, than the call needs.
#define SL_ERR_WRONG_KIND (-5)

// A limit of the loop is reached; take events (or return buffers) and try again.
#define SL_ERR_AGAIN (-6)

// Memory could not be had.
#define SL_ERR_NO_MEMORY (-7)

// The operation was cancelled, by `sl_op_cancel`, by closing what it worked on, or by shutting down its loop.
#define SL_ERR_CANCELLED (-8)

// The deadline passed first.
#define SL_ERR_TIMED_OUT (-9)

// The loop is shutting down and accepts nothing new, or, for a wait, has no event left to wait for.
#define SL_ERR_SHUT_DOWN (-10)

// The call would wait for the very thread that makes it (a wait or a close on one of the loop's own threads).
#define SL_ERR_DEADLOCK (-11)

// The loop belongs to the parent of this forked process; open a new loop here.
#define SL_ERR_FORKED (-12)

// This platform, driver or kind of resource cannot do it.
#define SL_ERR_UNSUPPORTED (-13)

// A bug in the library: it caught itself in a state that should not exist.
#define SL_ERR_INTERNAL (-14)

// The operation has already ended; its event is waiting or taken.
#define SL_ERR_ENDED (-15)

// No lent buffer of this size can be had within the loop's limit.
#define SL_ERR_NO_BUFFERS (-16)

// The `size` at the start of a structure is none that any version of the library has used.
#define SL_ERR_STRUCT_SIZE (-17)

// The operation is delivered another way than this call collects it.
#define SL_ERR_DELIVERY (-18)

// No such file or directory.
#define SL_ERR_NOT_FOUND (-32)

// Permission denied.
#define SL_ERR_PERMISSION (-33)

// It exists already.
#define SL_ERR_EXISTS (-34)

// It is a directory.
#define SL_ERR_IS_DIRECTORY (-35)

// A part of the path is not a directory.
#define SL_ERR_NOT_DIRECTORY (-36)

// The directory is not empty.
#define SL_ERR_NOT_EMPTY (-37)

// No space is left on the device, or a quota is used up.
#define SL_ERR_NO_SPACE (-38)

// The file would become larger than the system allows.
#define SL_ERR_FILE_TOO_LARGE (-39)

// The file system is read-only.
#define SL_ERR_READ_ONLY (-40)

// The process or the system has too many open descriptors.
#define SL_ERR_TOO_MANY_FILES (-41)

// The name is too long.
#define SL_ERR_NAME_TOO_LONG (-42)

// Too many symbolic links, or a link where none is allowed.
#define SL_ERR_LINKS (-43)

// The descriptor is not open, or not open for this.
#define SL_ERR_BAD_DESCRIPTOR (-44)

// The device reports an input/output error.
#define SL_ERR_IO (-45)

// The resource cannot seek, so it has no offsets.
#define SL_ERR_NO_SEEK (-46)

// The file or device is in use.
#define SL_ERR_BUSY (-47)

// The other side does not read any more.
#define SL_ERR_BROKEN_PIPE (-64)

// Nobody listens at that address.
#define SL_ERR_CONNECTION_REFUSED (-65)

// The other side reset the connection.
#define SL_ERR_CONNECTION_RESET (-66)

// The connection was aborted on this side.
#define SL_ERR_CONNECTION_ABORTED (-67)

// The stream is not connected.
#define SL_ERR_NOT_CONNECTED (-68)

// The address is in use.
#define SL_ERR_ADDRESS_IN_USE (-69)

// The address does not belong to this machine.
#define SL_ERR_ADDRESS_UNAVAILABLE (-70)

// The network cannot be reached.
#define SL_ERR_NETWORK_UNREACHABLE (-71)

// The host cannot be reached.
#define SL_ERR_HOST_UNREACHABLE (-72)

// An error of the operating system that has no portable name; its own code tells which.
#define SL_ERR_OS (-127)

// The version of the ABI that this header describes. It grows when something is added; a library whose
// sl_abi_version() is at least this serves a program compiled against this header. The bits from 16 up are the number in
// the shared library's name: where they differ, program and library cannot work together.
#define SL_ABI_VERSION 2

// Returned by every function: 0 or positive is success (a count, where the function says so), negative an SL_ERR_....
typedef int32_t sl_status;

// Says which ABI the loaded library has (compare with SL_ABI_VERSION). Any thread; never fails.
uint32_t sl_abi_version(void);

// Says the library's version, like "0.1.0". The string is static. Any thread; never fails.
const char *sl_version(void);

// Says the name of a status, like "SL_ERR_STALE"; "SL_ERR_?" for a number that is none.
//
// The string is static. Any thread; never fails.
const char *sl_status_name(sl_status status);

// Says in a few words what a status means, like "the id is closed or has ended"; "unknown status" for a number that is
// none.
//
// The string is static. Any thread; never fails.
const char *sl_status_message(sl_status status);

// Says what was wrong with the last call that failed on the calling thread: the meaning of its status and which
// argument it was about. "" where none has failed yet.
//
// The string belongs to the library and is valid until the next call of this thread that fails. Never fails.
const char *sl_last_error(void);

// Gives the operating system's own code (errno, or GetLastError on Windows) for the last call that failed on the
// calling thread; 0 where the system was not involved. Never fails.
int32_t sl_last_os_error(void);

/*
 * ============================================================================
 * Loops
 * ============================================================================
 *
 * A loop is one thread that carries out operations. A process may have up to 256 open at a time; they share nothing.
 *
 * # Faults
 *
 * To see how a program takes bad I/O, give its loop a fault plan: sl_loop_options.faults, or the environment variable SIDELOOP_FAULTS,
 * which needs no change of the program. A plan is a list of rules, separated by semicolons; a rule names kinds of operations, and
 * behind a colon what is to befall them:
 *
 * read, write: EIO@0.01 short@0.3; all: delay=5ms@0.1; accept: EMFILE#3
 *
 * The kinds are open, read, write, sync, stat, truncate, close, accept, connect, receive, send, shutdown, work, copy,
 * remove, rename, make_directory, link, read_link, list, and all. What befalls them: the name of a system's error (EIO,
 * ENOSPC, ECONNRESET and the like), with which the operation ends without having been carried out; `error`, which is any
 * one that the kind may give; `short`, a read or write that moves fewer bytes than it could; `delay=...`, a beginning that
 * much later at most (ns, us, ms, s). @ gives a probability from 0 to 1, and # the number of the one time that it happens,
 * counted from 1 for each rule; without either it is always. Whole-file operations count as what they are made of. With a
 * plan, nothing is carried out on the submitting thread. sl_counters.faults counts.
 *
 * # Simulated loops
 *
 * A loop with SL_DRIVER_SIM works on the same files and sockets as any other, but looks for the program's weak points: completions come
 * in every order that is allowed, transfers are cut short, buffers are kept for long, cancels come too late, all by chance from a seed
 * that brings it all back (fault plans may add errors). Its time, by which timers, deadlines and timeouts go, stands still while
 * anything can be done, and then jumps: a test of an hour's timeout takes microseconds.
 *
 * A simulated loop has no thread: it goes on while some thread is in sl_poll, sl_wait, sl_dispatch, sl_op_poll, sl_op_wait,
 * sl_op_status or sl_loop_close, and callbacks and functions given to sl_work run there. As long as only one thread uses it, the
 * same seed and the same calls give the same events in the same order. Once two threads
 * wait at a time, or the wake descriptor is asked for, it gets a thread, and with it chance from outside. Sockets whose other end is not in the same program may look slower than they are, since
 * simulated time does not wait for them.
 */

// The id of a loop.
typedef uint64_t sl_loop;

// What a loop has done so far, and what it holds now. Set `size` to sizeof(sl_counters) before the call.
typedef struct sl_counters {
    // sizeof(sl_counters).
    uint32_t size;
    // Threads of this loop now: its own, and the workers.
    uint32_t threads;
    // Operations accepted.
    uint64_t accepted;
    // Submissions refused.
    uint64_t refused;
    // Last events posted. When the loop is at rest this equals `accepted`.
    uint64_t ended;
    // Events posted that were flagged SL_EVENT_MORE.
    uint64_t more;
    // Events taken: by sl_poll, sl_wait, sl_op_poll and sl_op_wait, and given to callbacks.
    uint64_t taken;
    // Operations that ended with SL_ERR_CANCELLED.
    uint64_t cancelled;
    // Operations that ended with SL_ERR_TIMED_OUT.
    uint64_t timed_out;
    // Operations accepted whose last event is not taken yet (see max_operations).
    uint64_t in_flight;
    // SL_EVENT_MORE events that wait to be taken (see max_unclaimed).
    uint64_t unclaimed;
    // Files, streams and listeners that are open (see max_resources).
    uint64_t resources;
    // Lent buffers that are out.
    uint64_t lent_buffers;
    // Bytes of lent buffers that are out (see max_lent_bytes).
    uint64_t lent_bytes;
    // Turns of the loop: how often it looked for work.
    uint64_t turns;
    // Wakes: how often another thread found the loop asleep and woke it.
    uint64_t wakes;
    // Faults: how many operations a fault plan has had fail, fall short or wait (see sl_loop_options.faults).
    uint64_t faults;
} sl_counters;

// A timeout that never ends.
#define SL_FOREVER UINT64_MAX

// The driver is chosen by the environment variable SIDELOOP_DRIVER ("auto", "poll", "uring" or "sim") or, without it, is the
// fastest that works here. (A program with more rights than whoever started it, such as a set-user-ID one, reads none of the
// environment variables.)
#define SL_DRIVER_AUTO 0

// Readiness (epoll, kqueue, AFD) with a pool of threads for files. Works on every platform.
#define SL_DRIVER_POLL 1

// io_uring (Linux). Where it cannot be had, the loop runs on SL_DRIVER_POLL and sl_loop_driver says why.
#define SL_DRIVER_URING 2

// A simulation, for tests: the same operations on the same files and sockets, but their order, their delays, short transfers and
// whether a cancel comes in time are decided by chance from sl_loop_options.seed, in a time of its own: see "Simulated loops".
#define SL_DRIVER_SIM 3

// The wake descriptor shall be a socket, for programs that can only wait for sockets. (On Windows it always is one.)
#define SL_LOOP_WAKE_SOCKET 1

// No operation of this loop is carried out on the thread that submits it: see "Submitting". For threads that must get back to
// their own work at once, like that of a user interface.
#define SL_LOOP_NO_INLINE 2

// How a loop is to be. Set `size` to sizeof(sl_loop_options); leave what you do not care about 0.
typedef struct sl_loop_options {
    // sizeof(sl_loop_options).
    uint32_t size;
    // One of SL_DRIVER_....
    uint32_t driver;
    // SL_LOOP_... bits.
    uint32_t flags;
    // How many operations may be accepted whose last event is not taken yet: 1 to 4194304; 0 means 65536. Beyond it,
    // submissions are refused with SL_ERR_AGAIN.
    uint32_t max_operations;
    // How many SL_EVENT_MORE events (accepted connections, received pieces) may wait to be taken: 1 to 1048576; 0 means
    // 4096. Beyond it, multishot operations pause until you take some; a timer counts its ticks meanwhile.
    uint32_t max_unclaimed;
    // How many files, streams and listeners may be open in this loop: 1 to 4194304; 0 means 1048576.
    uint32_t max_resources;
    // How many threads may do blocking file work: 1 to 256; 0 means 4. Started when needed.
    uint32_t max_file_threads;
    // How many threads may run functions given to sl_work: 1 to 256; 0 means one per processor. Started when needed.
    uint32_t max_work_threads;
    // How many bytes a lent receive buffer holds: 512 to 16777216; 0 means 16384.
    uint32_t receive_buffer_size;
    // For how many microseconds a thread may look for what it waits for, awake, before it sleeps: the loop's for work, and those
    // in sl_wait for events. 0 to 1000000; 0, the default, makes them sleep at once. It saves system calls and the time of
    // waking, and costs processor time. They look only while what came lately came that soon: an idle loop still costs nothing.
    uint32_t spin_us;
    // How many bytes of lent buffers may be out at a time: 0 means 268435456 (256 MiB). Beyond it, operations that need a
    // lent buffer wait until one is released.
    uint64_t max_lent_bytes;
    // What chance begins with, in a simulated loop and in a fault plan: the same seed, the same chance. 0 means the environment
    // variable SIDELOOP_SEED or, without it, any; sl_loop_driver says which it was.
    uint64_t seed;
    // A fault plan, as a string: see "Faults". NULL means the environment variable SIDELOOP_FAULTS or, without it, no faults; the
    // empty string means none. Copied before the call returns.
    const char *faults;
} sl_loop_options;

// A descriptor of the operating system: a file descriptor on Unix; on Windows a HANDLE (files) or a SOCKET (streams,
// listeners, the wake descriptor).
typedef ptrdiff_t sl_descriptor;

// Opens a loop and starts its thread.
//
// options: NULL for the defaults; read before the call returns. loop: receives the id. Close it with sl_loop_close.
//
// Any thread. Errors: SL_ERR_NULL, SL_ERR_INVALID (which option is in sl_last_error), SL_ERR_STRUCT_SIZE, SL_ERR_AGAIN (256
// loops are open), SL_ERR_TOO_MANY_FILES, SL_ERR_NO_MEMORY, and others of the system.
sl_status sl_loop_open(const sl_loop_options *options,
                       sl_loop *loop);

// Begins to shut a loop down, without waiting: nothing new is accepted (SL_ERR_SHUT_DOWN), every operation ends, as
// cancelled where it has not already succeeded, and every resource closes. You can still take the events; when the
// last is taken, sl_wait returns SL_ERR_SHUT_DOWN. Then sl_loop_close.
//
// Any thread, also in callbacks. Calling it again is fine. Errors: those of the id.
sl_status sl_loop_shutdown(sl_loop loop);

// Closes a loop: shuts it down, waits until its operations have ended and its threads are gone, and discards the events
// that nobody took. When it returns 0 or more, no memory of yours is touched any more, no callback will begin (one that another thread
// runs in sl_dispatch just now is not waited for), and the
// loop's ids and lent buffers are dead. Threads that wait in sl_wait and the like return SL_ERR_SHUT_DOWN or SL_ERR_STALE.
//
// timeout_ns: how long to wait; SL_FOREVER is usual. What cannot be interrupted (a function given to sl_work, a read from
// a disk that hangs) must end first.
//
// Returns how many operations' last events were discarded. Any thread but the loop's own. Errors: SL_ERR_DEADLOCK on a
// thread of this loop, SL_ERR_TIMED_OUT (the loop stays shut down; call again), those of the id.
sl_status sl_loop_close(sl_loop loop,
                        uint64_t timeout_ns);

// Says which driver the loop runs on now (io_uring may be taken away from a program at any time; its loops then go on with
// SL_DRIVER_POLL): returns SL_DRIVER_POLL, SL_DRIVER_URING or SL_DRIVER_SIM, and writes the reason for the choice as a
// sentence into `reason` (at most `capacity` bytes with the NUL at the end, cut where it does not fit). reason may be NULL
// when capacity is 0.
//
// Any thread. Errors: those of the id, SL_ERR_NULL.
sl_status sl_loop_driver(sl_loop loop,
                         char *reason,
                         size_t capacity);

// Reads the loop's counters. Each is exact; together they are a snapshot only while the loop is at rest.
//
// counters: set its `size` first. Any thread. Errors: those of the id, SL_ERR_NULL, SL_ERR_STRUCT_SIZE.
sl_status sl_loop_counters(sl_loop loop, sl_counters *counters);

// Gives the wake descriptor: readable exactly while events wait for sl_poll, sl_wait or sl_dispatch. Put it into the
// poll, epoll, kqueue, select or GUI loop that you have, and call sl_poll or sl_dispatch when it is readable.
// Do not read from it, write to it or close it: sideloop keeps it true.
//
// It belongs to the loop and dies with it. Made at the first call; the same every time. Any thread. Errors: those of the
// id, SL_ERR_NULL, SL_ERR_TOO_MANY_FILES.
sl_status sl_loop_wake_descriptor(sl_loop loop,
                                  sl_descriptor *descriptor);

/*
 * ============================================================================
 * Events
 * ============================================================================
 *
 * What operations post, and the ways to take it. Each event is taken exactly once, by one thread.
 */

// More events of this operation will follow.
#define SL_EVENT_MORE 1

// `data` points to `result` bytes that the library lends, and `detail` is the sl_buffer to give to sl_buffer_release.
#define SL_EVENT_LENT 2

// The operation failed part-way: `result` is the error, `detail` the number of bytes that were done before it.
#define SL_EVENT_PARTIAL 4

// The event goes to the loop's queue: sl_poll, sl_wait.
#define SL_DELIVER_QUEUE 0

// The event stays with the operation: sl_op_poll, sl_op_wait. Not for multishot operations.
#define SL_DELIVER_HANDLE 1

// The callback runs inside sl_dispatch, on the thread that calls it.
#define SL_DELIVER_DISPATCH 2

// The callback runs on the loop's thread. It must not block; it may submit, cancel and close.
#define SL_DELIVER_THREAD 3

// The id of an operation.
typedef uint64_t sl_op;

// What an operation has to say: 48 bytes, or 44 where pointers have 32 bits.
typedef struct sl_event {
    // What the submission gave as sl_options.user_data.
    uint64_t user_data;
    // 0 or more: what the function that submitted it promises (a count of bytes, an id, ...); negative: an SL_ERR_....
    int64_t result;
    // The operation. With its last event taken, its id is stale.
    sl_op op;
    // A second number, as `flags` says: SL_EVENT_LENT: the lent buffer; SL_EVENT_PARTIAL: bytes done; else 0.
    uint64_t detail;
    // What kind of operation: SL_FILE_READ, SL_TCP_ACCEPT, ....
    uint16_t kind;
    // SL_EVENT_... bits.
    uint16_t flags;
    // The system's own code where `result` is an error that the system gave; else 0.
    int32_t os_error;
    // The lent bytes (SL_EVENT_LENT), else NULL. Yours until sl_buffer_release or the end of the loop.
    void *data;
} sl_event;

// A callback. event: valid during the call only. Runs with none of the library's locks held, so that it may call any
// function of this header. It must return normally: no longjmp, no C++ exception.
typedef void (*sl_callback)(sl_loop loop, const struct sl_event *event);

// Takes events from the loop's queue without blocking: at most `capacity`, oldest first.
//
// Returns how many it wrote to `events`: 0 where none waits. Any thread; several may poll at once, and each event goes to
// one of them. Errors: as for sl_wait.
sl_status sl_poll(sl_loop loop,
                  sl_event *events,
                  size_t capacity);

// Waits until events are in the loop's queue or `timeout_ns` nanoseconds have passed, and takes at most `capacity`, oldest
// first. SL_FOREVER waits without end; 0 does not wait.
//
// Returns how many it wrote to `events`: 0 after a timeout. Any thread but the loop's own. Errors: those of the id,
// SL_ERR_NULL, SL_ERR_INVALID (it would wait with room for none), SL_ERR_DEADLOCK (it would wait on a thread of this
// loop), SL_ERR_SHUT_DOWN (the loop is shut down and its last event is taken), SL_ERR_STALE (the loop was closed
// meanwhile).
sl_status sl_wait(sl_loop loop,
                  sl_event *events,
                  size_t capacity,
                  uint64_t timeout_ns);

// Takes the event of one operation (SL_DELIVER_HANDLE) without blocking.
//
// Returns 1 and writes `event` where the operation has ended, which makes its id stale; 0 where it is still under way.
// Any thread. Errors: those of the id, SL_ERR_DELIVERY (the operation is not delivered this way), SL_ERR_NULL.
sl_status sl_op_poll(sl_op op, sl_event *event);

// Waits for the event of one operation (SL_DELIVER_HANDLE) for at most `timeout_ns` nanoseconds, and takes it.
//
// Returns 1 and writes `event` where the operation has ended, which makes its id stale; 0 after a timeout. Where several
// threads wait for the same operation, one gets the event and the others SL_ERR_STALE. Any thread but the loop's own.
// Errors: those of the id, SL_ERR_DELIVERY, SL_ERR_NULL, SL_ERR_DEADLOCK.
sl_status sl_op_wait(sl_op op,
                     uint64_t timeout_ns,
                     sl_event *event);

// Says how an operation is doing, whatever its delivery, and takes nothing: 0 while it is under way, 1 when it has ended
// and its event waits to be taken.
//
// Any thread. Errors: SL_ERR_STALE (its last event is taken), and the others of the id.
sl_status sl_op_status(sl_op op);

// Asks an operation to end. It ends with SL_ERR_CANCELLED, or with its real result where that came first; either way by
// exactly one last event. What a cancelled open, accept or connect had opened already is closed again.
//
// Returns at once. Any thread. Errors: SL_ERR_ENDED (it has ended; its event waits), SL_ERR_NO_MEMORY
// (nothing is asked; try again), those of the id.
sl_status sl_op_cancel(sl_op op);

// Runs the callbacks of events that wait with SL_DELIVER_DISPATCH, on this thread, oldest first, at most `max` of them
// (0: no limit but what waits when the call begins). Where none waits, it first waits for at most `timeout_ns` nanoseconds.
//
// Returns how many callbacks it ran: 0 after a timeout. Any thread, also inside a callback. Errors: those of the id,
// SL_ERR_DEADLOCK (it would wait on a thread of this loop), SL_ERR_SHUT_DOWN (shut down, and no event is left).
sl_status sl_dispatch(sl_loop loop,
                      size_t max,
                      uint64_t timeout_ns);

/*
 * ============================================================================
 * Submitting
 * ============================================================================
 *
 * Every function below that ends in `options, op` submits one operation. The same operations can be described by
 * sl_request and submitted many in one call.
 *
 * What takes no waiting is carried out at once, on the thread that submits it, for going to another thread and back takes
 * longer: a send for which the system has room, a receive for which bytes are there, a read of a file that is in memory (on
 * Linux), a post. A call does no more than 32 operations and 128 KiB of that, which takes some ten microseconds; the rest goes
 * to the loop. The event is ready when the call returns. Its order and its delivery are the same as ever: callbacks run where
 * they always run. SL_OPTION_NO_INLINE turns this off for an operation, SL_LOOP_NO_INLINE for a loop.
 */

// Nothing; ends at once. Measures the way there and back.
#define SL_NOP 1

// sl_post.
#define SL_POST 2

// sl_work.
#define SL_WORK 3

// sl_timer.
#define SL_TIMER 4

// sl_close.
#define SL_CLOSE 5

// sl_file_open.
#define SL_FILE_OPEN 16

// sl_file_read.
#define SL_FILE_READ 17

// sl_file_write.
#define SL_FILE_WRITE 18

// sl_file_readv.
#define SL_FILE_READV 19

// sl_file_writev.
#define SL_FILE_WRITEV 20

// sl_file_sync.
#define SL_FILE_SYNC 21

// sl_file_stat.
#define SL_FILE_STAT 22

// sl_file_truncate.
#define SL_FILE_TRUNCATE 23

// sl_path_stat.
#define SL_PATH_STAT 24

// sl_path_read.
#define SL_PATH_READ 25

// sl_path_write.
#define SL_PATH_WRITE 26

// sl_path_remove.
#define SL_PATH_REMOVE 27

// sl_path_rename.
#define SL_PATH_RENAME 28

// sl_path_make_directory.
#define SL_PATH_MAKE_DIRECTORY 29

// sl_path_link.
#define SL_PATH_LINK 30

// sl_path_read_link.
#define SL_PATH_READ_LINK 31

// sl_tcp_accept.
#define SL_TCP_ACCEPT 32

// sl_tcp_connect.
#define SL_TCP_CONNECT 33

// sl_stream_receive.
#define SL_STREAM_RECEIVE 34

// sl_stream_send.
#define SL_STREAM_SEND 35

// sl_stream_sendv.
#define SL_STREAM_SENDV 36

// sl_stream_shutdown.
#define SL_STREAM_SHUTDOWN 37

// sl_path_list.
#define SL_PATH_LIST 48

// sl_path_copy.
#define SL_PATH_COPY 49

// Reads: until the buffers are full or the end is reached, instead of what there is.
#define SL_EXACT 1

// Accepts and receives: go on, with an event flagged SL_EVENT_MORE for each, until cancelled or ended by an error or by
// the end of the stream.
#define SL_MULTISHOT 2

// sl_file_sync: the data and what is needed to read it back, not the times (fdatasync).
#define SL_DATA_ONLY 4

// sl_path_stat: of a symbolic link itself (lstat).
#define SL_NO_FOLLOW 8

// sl_path_rename, sl_path_copy: not where there is something already.
#define SL_NO_REPLACE 16

// sl_path_remove: of a directory; sl_path_link: to a directory.
#define SL_DIRECTORY 32

// sl_path_link: a symbolic link.
#define SL_SYMBOLIC 64

// The operation is not carried out on the thread that submits it.
#define SL_OPTION_NO_INLINE 1

// Function on a worker thread: see sl_work.
typedef int64_t (*sl_work_function)(void *argument);

// One operation, described. Which fields count depends on `kind`; set the others to 0.
//
// | kind | target | buffer | length | offset | flags | mode |
// |---|---|---|---|---|---|---|
// | SL_NOP | loop | | | | | |
// | SL_POST | loop | | | value | | |
// | SL_WORK (and `work`) | loop | argument | | | | |
// | SL_TIMER | loop | | delay_ns | period_ns | | |
// | SL_CLOSE | resource | | | | | |
// | SL_FILE_OPEN | loop | path | | | SL_OPEN_... | mode |
// | SL_FILE_READ, SL_FILE_WRITE | file | bytes | length | offset | flags | |
// | SL_FILE_READV, SL_FILE_WRITEV | file | sl_slice array | count | offset | flags | |
// | SL_FILE_SYNC | file | | | | flags | |
// | SL_FILE_STAT | file | sl_stat | | | | |
// | SL_FILE_TRUNCATE | file | | length | | | |
// | SL_PATH_STAT | loop | path | | address of the sl_stat | flags | |
// | SL_PATH_READ | loop | path | | | | |
// | SL_PATH_WRITE | loop | path | length | address of the data | SL_OPEN_..., SL_WRITE_... | mode |
// | SL_PATH_REMOVE | loop | path | | | flags | |
// | SL_PATH_RENAME, SL_PATH_LINK | loop | path `from` | | address of the path `to` | flags | |
// | SL_PATH_MAKE_DIRECTORY | loop | path | | | | mode |
// | SL_PATH_READ_LINK, SL_PATH_LIST | loop | path | | | | |
// | SL_PATH_COPY | loop | path `from` | | address of the path `to` | flags | mode |
// | SL_TCP_ACCEPT | listener | | | | flags | |
// | SL_TCP_CONNECT | loop | sl_address | | | | |
// | SL_STREAM_RECEIVE, SL_STREAM_SEND | stream | bytes | length | | flags | |
// | SL_STREAM_SENDV | stream | sl_slice array | count | | | |
// | SL_STREAM_SHUTDOWN | stream | | | | | |
typedef struct sl_request {
    // sizeof(sl_request).
    uint32_t size;
    // Which operation: SL_FILE_READ, ....
    uint32_t kind;
    // The loop, file, stream or listener that it works on.
    uint64_t target;
    // An address, as the table says.
    void *buffer;
    // A length, count or time, as the table says.
    uint64_t length;
    // An offset, or what the table says.
    int64_t offset;
    // SL_EXACT, SL_MULTISHOT, ... or SL_OPEN_..., as the table says.
    uint32_t flags;
    // The permissions of a file that is created (like 0644; on Windows only whether anybody may write counts); else 0.
    uint32_t mode;
    // One of SL_DELIVER_....
    uint32_t delivery;
    // SL_OPTION_... bits.
    uint32_t options;
    // Comes back in every event of the operation.
    uint64_t user_data;
    // The deadline in nanoseconds from now; 0: none.
    uint64_t timeout_ns;
    // The callback, for SL_DELIVER_DISPATCH and SL_DELIVER_THREAD; else NULL.
    sl_callback callback;
    // The function, for SL_WORK; else NULL.
    sl_work_function work;
} sl_request;

// How one operation is to be delivered, and until when it may take. Set `size` to sizeof(sl_options) and leave what you do
// not care about 0. NULL instead of a pointer to it means all 0.
typedef struct sl_options {
    // sizeof(sl_options).
    uint32_t size;
    // One of SL_DELIVER_....
    uint32_t delivery;
    // Comes back in every event of the operation.
    uint64_t user_data;
    // After this many nanoseconds the operation ends with SL_ERR_TIMED_OUT unless it has ended before; 0: no deadline.
    uint64_t timeout_ns;
    // The callback, for SL_DELIVER_DISPATCH and SL_DELIVER_THREAD; else NULL.
    sl_callback callback;
    // SL_OPTION_... bits.
    uint32_t flags;
    // Must be 0.
    uint32_t reserved;
} sl_options;

// Submits `count` operations in one call: the loop is woken once at most.
//
// requests: an array; every element's `size` is sizeof(sl_request). ops: NULL, or room for `count` ids.
//
// Returns how many were accepted, counted from the first. Where that is fewer than `count`, the next one was refused, and
// sl_last_error says why; it and those after it left no trace. Returns the error itself where the first is refused.
// Any thread. Errors: those of the single functions, SL_ERR_NULL, SL_ERR_INVALID, SL_ERR_WRONG_KIND (a target belongs to
// another loop).
sl_status sl_submit(sl_loop loop,
                    const sl_request *requests,
                    size_t count,
                    sl_op *ops);

/*
 * ============================================================================
 * Lent buffers
 * ============================================================================
 *
 * Memory of the library that an event carries to you (SL_EVENT_LENT). It holds no bytes of anybody else.
 */

// The id of a lent buffer.
typedef uint64_t sl_buffer;

// Returns a lent buffer. Its bytes must not be touched any more.
//
// Any thread. Errors: SL_ERR_STALE (returned already), and the others of the id.
sl_status sl_buffer_release(sl_buffer buffer);

/*
 * ============================================================================
 * Files
 * ============================================================================
 *
 * Files are opened close-on-exec, without O_NONBLOCK. The blocking work is done on the loop's file threads, or by the kernel,
 * never on your thread. For files by their names see "Paths".
 */

// At the file's current position, which moves on by what is read or written. Such operations run in the order submitted.
#define SL_OFFSET_CURRENT (-1)

// Open for reading.
#define SL_OPEN_READ 1

// Open for writing.
#define SL_OPEN_WRITE 2

// Every write goes to the end of the file, whatever its offset; implies SL_OPEN_WRITE.
#define SL_OPEN_APPEND 4

// Create the file where it does not exist.
#define SL_OPEN_CREATE 8

// With SL_OPEN_CREATE: fail with SL_ERR_EXISTS where it does.
#define SL_OPEN_EXCLUSIVE 16

// Cut an existing file to length 0.
#define SL_OPEN_TRUNCATE 32

// Fail with SL_ERR_LINKS where the last part of the path is a symbolic link (O_NOFOLLOW). Not on Windows.
#define SL_OPEN_NO_FOLLOW 64

// Fail with SL_ERR_NOT_DIRECTORY where it is not a directory (O_DIRECTORY). Not on Windows.
#define SL_OPEN_DIRECTORY 128

// The directory does not say which (sl_path_list).
#define SL_TYPE_UNKNOWN 0

// A regular file.
#define SL_TYPE_FILE 1

// A directory.
#define SL_TYPE_DIRECTORY 2

// A symbolic link.
#define SL_TYPE_LINK 3

// A device, a socket, a pipe or something else.
#define SL_TYPE_OTHER 4

// The id of an open file.
typedef uint64_t sl_file;

// A piece of memory.
typedef struct sl_slice {
    // Its address.
    void *data;
    // Its length in bytes.
    size_t length;
} sl_slice;

// What is known of a file. Set `size` to sizeof(sl_stat) before you submit. Times are nanoseconds since 1970 (UTC).
typedef struct sl_stat {
    // sizeof(sl_stat).
    uint32_t size;
    // One of SL_TYPE_....
    uint32_t type;
    // Length in bytes.
    uint64_t length;
    // Bytes that it takes up on the device.
    uint64_t allocated;
    // Permissions, as st_mode & 07777 (on Windows 0444 or 0666).
    uint32_t mode;
    // How many names it has; 0 where the system does not say.
    uint32_t links;
    // Its owner; 0 on Windows.
    uint32_t user;
    // Its group; 0 on Windows.
    uint32_t group;
    // The device that it is on; 0 on Windows.
    uint64_t device;
    // Its number on that device; 0 on Windows.
    uint64_t inode;
    // When it was last read.
    int64_t accessed_ns;
    // When it was last written.
    int64_t modified_ns;
    // When its contents or attributes last changed; 0 on Windows.
    int64_t changed_ns;
    // When it was created; 0 where the system does not say.
    int64_t created_ns;
} sl_stat;

// Opens a file. The event's result is the sl_file.
//
// path: copied. flags: SL_OPEN_...; one of READ, WRITE and APPEND at least. mode: the permissions of a file that is created,
// like 0644, less the process's umask.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission (see sl_request). Ends with the errors of open(2).
sl_status sl_file_open(sl_loop loop,
                       const char *path,
                       uint32_t flags,
                       uint32_t mode,
                       const sl_options *options,
                       sl_op *op);

// Reads at most `length` bytes at `offset` (bytes from the start, or SL_OFFSET_CURRENT). The event's result is how many: 0 at
// the end of the file, fewer than `length` where the file had no more just then.
//
// buffer: yours, lent to the operation until its last event; or NULL for a lent buffer of up to `length` bytes.
// flags: SL_EXACT (buffer must not be NULL) reads on until `length` bytes or the end of the file; fewer than `length` then means the end.
//
// Any thread. Refused with: SL_ERR_INVALID (length beyond SSIZE_MAX, offset below -1, unknown flags), those of the id and of
// submission. Ends with the errors of read(2), SL_ERR_NO_BUFFERS, SL_ERR_NO_SEEK.
sl_status sl_file_read(sl_file file,
                       void *buffer,
                       size_t length,
                       int64_t offset,
                       uint32_t flags,
                       const sl_options *options,
                       sl_op *op);

// Writes all `length` bytes at `offset` (bytes from the start, or SL_OFFSET_CURRENT). The event's result is `length`; or an
// error, with SL_EVENT_PARTIAL and the number of bytes written before it in `detail` where there were any.
//
// data: lent to the operation until its last event. flags: 0.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of the id and of submission. Ends with the errors of write(2).
sl_status sl_file_write(sl_file file,
                        const void *data,
                        size_t length,
                        int64_t offset,
                        uint32_t flags,
                        const sl_options *options,
                        sl_op *op);

// Reads into `count` pieces of memory, one after the other (at most 1024); otherwise like sl_file_read.
//
// slices: the array is copied; the memory it names is lent to the operation until its last event.
sl_status sl_file_readv(sl_file file,
                        const sl_slice *slices,
                        size_t count,
                        int64_t offset,
                        uint32_t flags,
                        const sl_options *options,
                        sl_op *op);

// Writes `count` pieces of memory, one after the other (at most 1024); otherwise like sl_file_write.
//
// slices: the array is copied; the memory it names is lent to the operation until its last event.
sl_status sl_file_writev(sl_file file,
                         const sl_slice *slices,
                         size_t count,
                         int64_t offset,
                         uint32_t flags,
                         const sl_options *options,
                         sl_op *op);

// Makes what was written before safe on the device (fsync; with SL_DATA_ONLY fdatasync). The event's result is 0. It covers
// the writes whose events were posted before this call.
//
// Any thread. Refused with: SL_ERR_INVALID, those of the id and of submission. Ends with the errors of fsync(2).
sl_status sl_file_sync(sl_file file,
                       uint32_t flags,
                       const sl_options *options,
                       sl_op *op);

// Says what is known of an open file. The event's result is 0.
//
// stat: set its `size` first; lent to the operation until its last event, and written where that is a success.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_STRUCT_SIZE, those of the id and of submission.
sl_status sl_file_stat(sl_file file, sl_stat *stat, const sl_options *options, sl_op *op);

// Makes a file `length` bytes long: cuts it, or adds zeros. The event's result is 0.
//
// Any thread. Refused with: SL_ERR_INVALID (length beyond INT64_MAX), those of the id and of submission. Ends with the errors
// of ftruncate(2).
sl_status sl_file_truncate(sl_file file,
                           uint64_t length,
                           const sl_options *options,
                           sl_op *op);

// Gives an open file descriptor (on Windows a HANDLE) of yours to a loop, which closes it from then on.
//
// The descriptor should be of something that read(2) can block on without harm: a regular file, a directory, a device. For
// sockets and pipes see sl_stream_adopt.
//
// Any thread. Errors: SL_ERR_NULL, SL_ERR_BAD_DESCRIPTOR (the descriptor stays yours, as after every error), SL_ERR_AGAIN, those
// of the id.
sl_status sl_file_adopt(sl_loop loop,
                        sl_descriptor descriptor,
                        sl_file *file);

/*
 * ============================================================================
 * Paths
 * ============================================================================
 *
 * Whole files, directories and links by their names. Paths are bytes on Unix and UTF-8 on Windows, and end with a NUL; they are
 * copied at submission. What is not absolute begins at the current directory of the moment in which it is carried out.
 */

// sl_path_write: the file is there whole or not at all. It is written under a name that nobody knows, in the same directory, and
// then renamed.
#define SL_WRITE_REPLACE 256

// sl_path_write, sl_path_copy: the event comes when the file, and its name in its directory, are safe on the device (fsync).
#define SL_WRITE_SYNC 512

// An entry of a directory, as sl_path_list gives it. Its name follows it: `name_length` bytes, then a NUL, then zeros up to
// `length`.
typedef struct sl_entry {
    // Its number on the device; 0 on Windows.
    uint64_t inode;
    // How many bytes this entry takes with its name, a multiple of 8: the next one begins so many bytes on.
    uint32_t length;
    // How many bytes its name has, which is no path; on Windows UTF-8.
    uint16_t name_length;
    // One of SL_TYPE_....
    uint16_t type;
} sl_entry;

// Says what is known of a path. The event's result is 0.
//
// flags: SL_NO_FOLLOW for a symbolic link itself. stat: as for sl_file_stat.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, SL_ERR_STRUCT_SIZE, those of submission. Ends with the errors of
// stat(2).
sl_status sl_path_stat(sl_loop loop,
                       const char *path,
                       uint32_t flags,
                       sl_stat *stat,
                       const sl_options *options,
                       sl_op *op);

// Reads a whole file in one operation: opens it, reads to its end, closes it. The event's result is the length, and `data`
// and `detail` a lent buffer with the contents (no buffer where the file is empty).
//
// Any thread. Refused with: SL_ERR_NULL, those of submission. Ends with the errors of open(2) and read(2), and
// SL_ERR_NO_BUFFERS where the file is larger than the loop's max_lent_bytes.
sl_status sl_path_read(sl_loop loop,
                       const char *path,
                       const sl_options *options,
                       sl_op *op);

// Writes a whole file in one operation: opens it, writes all of `data`, closes it. The event's result is `length`; or an
// error, with SL_EVENT_PARTIAL and the bytes written before it.
//
// data: lent to the operation until its last event. flags: SL_OPEN_..., and SL_WRITE_SYNC; without any of the former,
// SL_OPEN_CREATE | SL_OPEN_TRUNCATE. SL_OPEN_WRITE is implied. mode: as for sl_file_open.
//
// With SL_WRITE_REPLACE (and no SL_OPEN_...) what was there before stays as it is until the new file takes its place, and for
// good where the operation fails, is cancelled or past its deadline; the new file's owner is who made it, its permissions
// (0777) are those of the file that it replaces. A symbolic link is replaced itself. What is neither a regular file nor absent
// is SL_ERR_IS_DIRECTORY or SL_ERR_UNSUPPORTED. A program that ends meanwhile may leave a file ".sideloop-..." behind. On
// Windows a file that is read-only cannot be replaced, nor one that somebody has opened without sharing.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of open(2), write(2),
// close(2), and as the flags say, fsync(2) and rename(2). Where only the sync of the directory fails, the file is written all
// the same.
sl_status sl_path_write(sl_loop loop,
                        const char *path,
                        const void *data,
                        size_t length,
                        uint32_t flags,
                        uint32_t mode,
                        const sl_options *options,
                        sl_op *op);

// Copies a file's contents. The event's result is how many bytes. The new file takes the place of what is at `to` as with
// SL_WRITE_REPLACE of sl_path_write: whole or not at all, also where `from` is the same file.
//
// mode: the permissions of the new file where there was none, as for sl_file_open. flags: SL_NO_REPLACE ends with
// SL_ERR_EXISTS where anything is at `to`; the new file is then seen while it grows, and removed where the copy does not come
// to its end. SL_WRITE_SYNC. The system copies by itself what it can (copy_file_range(2)). A cancel or a deadline ends a copy
// after at most 8 MiB more.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of open(2), read(2) and
// those of sl_path_write.
sl_status sl_path_copy(sl_loop loop,
                       const char *from,
                       const char *to,
                       uint32_t flags,
                       uint32_t mode,
                       const sl_options *options,
                       sl_op *op);

// Removes a file, or a symbolic link itself (unlink); with SL_DIRECTORY a directory that is empty (rmdir). The event's result
// is 0. What is open stays usable until it is closed. On Windows a link to a directory is removed with SL_DIRECTORY.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of unlink(2) and rmdir(2).
sl_status sl_path_remove(sl_loop loop,
                         const char *path,
                         uint32_t flags,
                         const sl_options *options,
                         sl_op *op);

// Gives what is at `from` the name `to`, on the same file system. The event's result is 0. What was at `to` is replaced in the
// same moment: a file by what is no directory, an empty directory by a directory (not on Windows).
//
// flags: SL_NO_REPLACE ends with SL_ERR_EXISTS where anything is at `to`, and with SL_ERR_UNSUPPORTED where the system or the
// file system cannot rename like that.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of rename(2).
sl_status sl_path_rename(sl_loop loop,
                         const char *from,
                         const char *to,
                         uint32_t flags,
                         const sl_options *options,
                         sl_op *op);

// Makes a directory. The event's result is 0.
//
// mode: its permissions, like 0755, less the process's umask; without meaning on Windows.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of mkdir(2).
sl_status sl_path_make_directory(sl_loop loop, const char *path, uint32_t mode, const sl_options *options, sl_op *op);

// Makes `to` another name of the file `from` (link); with SL_SYMBOLIC a link with the text `from`, which is not looked at
// (symlink). The event's result is 0. Where something is at `to`, it ends with SL_ERR_EXISTS.
//
// flags: SL_SYMBOLIC, and with it SL_DIRECTORY for a link to a directory, which is of another kind on Windows, and means nothing
// elsewhere. Windows lets not everybody make symbolic links (SL_ERR_PERMISSION).
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of link(2) and symlink(2).
sl_status sl_path_link(sl_loop loop,
                       const char *from,
                       const char *to,
                       uint32_t flags,
                       const sl_options *options,
                       sl_op *op);

// Says where a symbolic link leads. The event's result is the length of that, and `data` and `detail` a lent buffer with it,
// without a NUL.
//
// Any thread. Refused with: SL_ERR_NULL, those of submission. Ends with the errors of readlink(2), among them SL_ERR_INVALID
// where it is no symbolic link, and SL_ERR_NO_BUFFERS.
sl_status sl_path_read_link(sl_loop loop,
                            const char *path,
                            const sl_options *options,
                            sl_op *op);

// Lists a directory: all of its entries but "." and "..", in no order. The event's result is a length, and `data` and `detail`
// a lent buffer with as many bytes: one sl_entry with its name after the other, each at an address that is a multiple of 8 (no
// buffer where the directory is empty). Entries that come or go meanwhile may be in it or not.
//
// Any thread. Refused with: SL_ERR_NULL, those of submission. Ends with the errors of opendir(3) and readdir(3), and
// SL_ERR_NO_BUFFERS where the list is larger than the loop's max_lent_bytes.
sl_status sl_path_list(sl_loop loop,
                       const char *path,
                       const sl_options *options,
                       sl_op *op);

/*
 * ============================================================================
 * Addresses
 * ============================================================================
 *
 * An IP address and a port, as numbers. Names are not looked up here.
 */

// IPv4.
#define SL_IPV4 4

// IPv6.
#define SL_IPV6 6

// An address. Make one with sl_address_parse, or fill it in.
typedef struct sl_address {
    // SL_IPV4 or SL_IPV6.
    uint32_t family;
    // The port, in the machine's own byte order.
    uint16_t port;
    // Must be 0.
    uint16_t reserved;
    // IPv6: the scope id (the number of an interface), for link-local addresses; else 0.
    uint32_t scope;
    // The address, first byte first: 4 bytes for IPv4 (the others 0), 16 for IPv6.
    uint8_t bytes[16];
} sl_address;

// Reads an address with a port from text: `127.0.0.1:80` or `[::1]:80` (`[fe80::1%2]:80` with a scope).
//
// Any thread. Errors: SL_ERR_NULL, SL_ERR_INVALID.
sl_status sl_address_parse(const char *text, sl_address *address);

// Writes an address as text, in the form that sl_address_parse reads, into `text` (at most `capacity` bytes with the NUL at
// the end, cut where it does not fit; 64 are always enough).
//
// Returns the length of the whole text without the NUL. Any thread. Errors: SL_ERR_NULL, SL_ERR_INVALID.
sl_status sl_address_format(const sl_address *address,
                            char *text,
                            size_t capacity);

/*
 * ============================================================================
 * Listeners and streams
 * ============================================================================
 *
 * A stream is a connection: TCP over IPv4 or IPv6, or (on Unix) any stream socket or pipe that you adopt. Receives complete in
 * the order submitted, and so do sends; the two directions are independent. One that fails or is cancelled does not stop those
 * behind it: what the other side receives are the bytes that each send's event says were taken, one send after the other.
 * Neither side ever raises SIGPIPE.
 */

// Several sockets may listen at the address, and share its connections (SO_REUSEPORT). Not on Windows.
#define SL_LISTEN_REUSE_PORT 1

// An IPv6 listener takes IPv6 connections only, not also IPv4 ones.
#define SL_LISTEN_IPV6_ONLY 2

// 1: small pieces leave at once (TCP_NODELAY); 0: they may wait to be joined. New streams have 1.
#define SL_STREAM_NO_DELAY 1

// 1: ask a silent peer now and then whether it lives (SO_KEEPALIVE).
#define SL_STREAM_KEEP_ALIVE 2

// Bytes of the system's receive buffer (SO_RCVBUF). Linux doubles what it is told.
#define SL_STREAM_RECEIVE_BUFFER 3

// Bytes of the system's send buffer (SO_SNDBUF). Linux doubles what it is told.
#define SL_STREAM_SEND_BUFFER 4

// What closing does with bytes not yet sent (SO_LINGER): -1: sends them behind your back (the default); 0: throws them away
// and resets the connection.
#define SL_STREAM_LINGER 5

// How to listen. Set `size` to sizeof(sl_listen_options); leave what you do not care about 0.
typedef struct sl_listen_options {
    // sizeof(sl_listen_options).
    uint32_t size;
    // SL_LISTEN_... bits.
    uint32_t flags;
    // How many connections the system may hold that are not accepted yet; 0 means 1024.
    uint32_t backlog;
    // Must be 0.
    uint32_t reserved;
} sl_listen_options;

// The id of a listening socket.
typedef uint64_t sl_listener;

// The id of a stream.
typedef uint64_t sl_stream;

// Listens for TCP connections at an address, with SO_REUSEADDR (on Windows: exclusively). Port 0 lets the system choose one:
// see sl_local_address.
//
// options: NULL for the defaults. listener: receives the id. Then sl_tcp_accept.
//
// Any thread; does not block. Errors: SL_ERR_NULL, SL_ERR_INVALID, SL_ERR_ADDRESS_IN_USE, SL_ERR_ADDRESS_UNAVAILABLE,
// SL_ERR_PERMISSION, SL_ERR_AGAIN (max_resources), SL_ERR_TOO_MANY_FILES, those of the id.
sl_status sl_tcp_listen(sl_loop loop,
                        const sl_address *address,
                        const sl_listen_options *options,
                        sl_listener *listener);

// Accepts a connection. The event's result is the sl_stream.
//
// flags: SL_MULTISHOT accepts one after the other, each with an event flagged SL_EVENT_MORE; it pauses while the loop's
// max_unclaimed events wait for you, and while the process is out of descriptors.
//
// Any thread. Refused with: SL_ERR_INVALID, those of the id and of submission. Ends with the errors of accept(2).
sl_status sl_tcp_accept(sl_listener listener, uint32_t flags, const sl_options *options, sl_op *op);

// Connects to an address by TCP. The event's result is the sl_stream.
//
// address: copied. Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of
// connect(2), like SL_ERR_CONNECTION_REFUSED; give a timeout_ns, for the system's own may be minutes.
sl_status sl_tcp_connect(sl_loop loop, const sl_address *address, const sl_options *options, sl_op *op);

// Receives from a stream. The event's result is how many bytes: 0 where the other side has ended its sending.
//
// buffer: `length` bytes of yours, lent to the operation until its last event; or NULL for a lent buffer of up to `length`
// bytes, where 0 means the loop's receive_buffer_size. flags: SL_EXACT (buffer must not be NULL) goes on until `length` bytes or
// the end (fewer then means the end). SL_MULTISHOT (buffer must be NULL) posts each piece as it comes, flagged
// SL_EVENT_MORE, until the last event with 0 or an error; it pauses while the loop's lent memory or max_unclaimed is used up.
//
// Any thread. Refused with: SL_ERR_INVALID, those of the id and of submission. Ends with the errors of recv(2). An operation
// cancelled part-way with SL_EXACT reports what it had received with SL_EVENT_PARTIAL.
sl_status sl_stream_receive(sl_stream stream,
                            void *buffer,
                            size_t length,
                            uint32_t flags,
                            const sl_options *options,
                            sl_op *op);

// Sends all `length` bytes. The event's result is `length`; or an error, with SL_EVENT_PARTIAL and the number of bytes that the
// system had taken before it in `detail` where there were any.
//
// data: lent to the operation until its last event. flags: 0.
//
// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of the id and of submission. Ends with the errors of send(2).
sl_status sl_stream_send(sl_stream stream,
                         const void *data,
                         size_t length,
                         uint32_t flags,
                         const sl_options *options,
                         sl_op *op);

// Sends `count` pieces of memory, one after the other (at most 1024); otherwise like sl_stream_send.
//
// slices: the array is copied; the memory it names is lent to the operation until its last event.
sl_status sl_stream_sendv(sl_stream stream, const sl_slice *slices, size_t count, const sl_options *options, sl_op *op);

// Ends this side's sending, after the sends submitted before it: the other side then receives 0. Receiving goes on. The event's
// result is 0. Not for pipes: close them instead.
//
// Any thread. Refused with: those of the id and of submission. Ends with SL_ERR_NOT_CONNECTED, SL_ERR_UNSUPPORTED (a pipe).
sl_status sl_stream_shutdown(sl_stream stream,
                             const sl_options *options,
                             sl_op *op);

// Sets an option of a stream: SL_STREAM_....
//
// Any thread; at once. Errors: SL_ERR_INVALID (which option, which value), SL_ERR_UNSUPPORTED (a pipe), those of the id and of
// setsockopt(2).
sl_status sl_stream_set(sl_stream stream,
                        uint32_t option,
                        int64_t value);

// Reads an option of a stream: SL_STREAM_....
//
// Any thread; at once. Errors: SL_ERR_NULL, SL_ERR_INVALID, SL_ERR_UNSUPPORTED (a pipe), those of the id and of getsockopt(2).
sl_status sl_stream_get(sl_stream stream,
                        uint32_t option,
                        int64_t *value);

// Says the address of this side of a stream, or the address that a listener listens at (with the port that the system chose).
//
// Any thread; at once. Errors: SL_ERR_NULL, SL_ERR_UNSUPPORTED (not an IP socket), those of the id.
sl_status sl_local_address(uint64_t stream_or_listener,
                           sl_address *address);

// Says the address of the other side of a stream.
//
// Any thread; at once. Errors: SL_ERR_NULL, SL_ERR_NOT_CONNECTED, SL_ERR_UNSUPPORTED (not an IP socket), those of the id.
sl_status sl_peer_address(sl_stream stream,
                          sl_address *address);

// Gives a connected stream socket of yours (on Unix also one end of a pipe) to a loop, which from then on makes it block or not
// as it needs, and closes it.
//
// Any thread. Errors: SL_ERR_NULL, SL_ERR_BAD_DESCRIPTOR (the descriptor stays yours, as after every error), SL_ERR_UNSUPPORTED
// (neither a socket nor a pipe), SL_ERR_AGAIN, those of the id.
sl_status sl_stream_adopt(sl_loop loop,
                          sl_descriptor descriptor,
                          sl_stream *stream);

// Gives a listening stream socket of yours to a loop, which from then on makes it block or not as it needs, and closes it.
//
// Any thread. Errors: as for sl_stream_adopt.
sl_status sl_listener_adopt(sl_loop loop,
                            sl_descriptor descriptor,
                            sl_listener *listener);

/*
 * ============================================================================
 * Timers, events of your own, work, and closing
 * ============================================================================
 *
 * Times are nanoseconds of the monotonic clock, which no change of the date moves.
 */

// Starts a timer: its first event comes `delay_ns` nanoseconds from now, never earlier. With a `period_ns` other than 0 it
// goes on every `period_ns`, each event flagged SL_EVENT_MORE, until cancelled.
//
// The event's result is how many times it has fired since its last event: 1, or more where you or the machine were too slow to
// take each (ticks are counted, not queued). Cancel it with sl_op_cancel.
//
// Any thread. Refused with: SL_ERR_INVALID (delay_ns or period_ns beyond INT64_MAX, period_ns below 1000), those of submission.
sl_status sl_timer(sl_loop loop,
                   uint64_t delay_ns,
                   uint64_t period_ns,
                   const sl_options *options,
                   sl_op *op);

// Posts an event of your own, whose result is `value` (0 or more): to wake another thread, or to pass it something.
//
// Any thread. Refused with: SL_ERR_INVALID (value is negative), those of submission.
sl_status sl_post(sl_loop loop, int64_t value, const sl_options *options, sl_op *op);

// Runs `function(argument)` on one of the loop's worker threads, for work that keeps a processor busy or blocks. The event's
// result is what it returns: 0 or more is yours; a negative number is taken for an SL_ERR_....
//
// function: must return normally (no longjmp, no C++ exception, no thread exit); may call any function of this header, except
// to wait for or close this loop. argument: passed on as it is; what it points to is lent until the last event.
//
// A function that has begun is not interrupted: cancel and deadline then wait for its end and report its result.
//
// Any thread. Refused with: SL_ERR_NULL (function), those of submission.
sl_status sl_work(sl_loop loop,
                  sl_work_function function,
                  void *argument,
                  const sl_options *options,
                  sl_op *op);

// Does nothing, by way of the loop's thread. The event's result is 0.
//
// Any thread. Refused with: those of submission.
sl_status sl_nop(sl_loop loop, const sl_options *options, sl_op *op);

// Closes a file, stream or listener. Its id is dead at once; its operations end, as cancelled where they have not already
// succeeded; the descriptor is closed when none is under way any more. Then comes the event of this operation: its result is 0
// or what close(2) reported. The event is the last that has to do with the resource.
//
// A deadline or cancel does not stop it. Any thread. Refused with: those of the id and of submission (the resource then stays
// open).
sl_status sl_close(uint64_t resource,
                   const sl_options *options,
                   sl_op *op);

// Gives the descriptor of a file, stream or listener, for calls that sideloop does not have. It stays sideloop's: do not close
// it, and do not use it after sl_close.
//
// Any thread. Errors: SL_ERR_NULL, those of the id.
sl_status sl_descriptor_of(uint64_t resource,
                           sl_descriptor *descriptor);

#ifdef __cplusplus
}
#endif

#endif /* SIDELOOP_H */
