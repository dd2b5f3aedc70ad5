// What an operation of differential.c is: its request, what it has to do with, what it gave and what it was to give; and which
// operations may be under way together.

#ifndef DIFFERENTIAL_OPERATION_H
#define DIFFERENTIAL_OPERATION_H

#include "differential_oracle.h"

enum {
    MOST_ACTIVE = 24, // operations that are not compared yet
    MOST_RECORDS = 32,
    MOST_ACCEPTED = 16,
    SOURCE = 1 << 20, // bytes from which all that is written comes
    GUARD = 16,       // bytes behind memory to read into that nobody may touch
};

// What an operation has to do with. Two that could change each other's results are never under way together.
typedef struct touched {
    uint64_t names_read, names_written; // names in the tree, one bit each
    uint64_t slots_read, slots_written; // files, streams and the like, one bit each
    uint64_t node;                      // the file's inode in the oracle's tree, or 0
    int writes;
    uint64_t from, to; // the bytes that are written, or those whose contents or absence is seen
    uint64_t length;   // of the file before a write: what lies between it and `from` becomes zeros
    int lane;          // operations at the same current position are in order: 1 and more, or 0
} touched;

#define EVERYWHERE UINT64_MAX

// How the event's result is compared.
typedef enum comparison {
    SAME,     // it is the oracle's
    AN_ID,    // likewise where that is an error, else it is an id
    STANDING, // multishot: whoever started it compares
} comparison;

struct operation;
typedef void (*afterwards)(struct operation *op);

typedef struct operation {
    int active, submitted, ended;
    int may_be_short;       // the loop is simulated: fewer bytes than there are
    int held;              // nobody waits for it meanwhile: it is being made, or its end needs something still to be done
    uint64_t number;        // of the step,
    uint64_t serial;        // and of all operations of this program
    sl_request request;     // without its target, where that is not known yet
    const uint64_t *target; // where the target's id is once it is known, or NULL
    touched touches;
    sl_status refused; // what the call itself is to return, or SL_OK
    int alone;         // it must not be part of a batch
    comparison how;
    outcome wanted;
    uint64_t *opened;         // AN_ID: where the id goes
    afterwards finish;        // what else there is to do with the event, or NULL
    uint8_t *memory;          // the caller's memory to read into, `room` bytes and the guard
    size_t room;
    uint8_t *wanted_bytes;    // what the oracle has read: as many bytes as its result
    sl_slice *slices;         // copied by the library when it is submitted
    char *path, *other;       // likewise,
    char *shown;              // and for whoever reads about it later
    sl_stat stat;
    struct stat wanted_stat;
    size_t link, end;         // streams: which one
    sl_op id;
    sl_event event;           // the last
    size_t more;              // events before it,
    uint64_t accepted[MOST_ACCEPTED];
    uint8_t *bytes;           // and what they brought
    size_t length;
} operation;

static sl_loop loop;
static uint64_t dice, luck, seed, step, serial, accepted_count, refused_count;
static int talkative;
static int running_on; // the driver of this program's loop
static uint8_t *source; // SOURCE bytes that can only be read

// What the program is made from: drawn in the same order however fast the system is.
static uint64_t below(uint64_t limit)
{
    return random_below(&dice, limit);
}

// For what depends on what has ended already.
static uint64_t lucky_below(uint64_t limit)
{
    return random_below(&luck, limit);
}

static int one_in(uint64_t count)
{
    return below(count) == 0;
}

// --- What is said of an operation

static const char *kind_name(uint32_t kind)
{
    static const struct {
        uint32_t kind;
        const char *name;
    } names[] = {
        {SL_NOP, "nop"},
        {SL_CLOSE, "close"},
        {SL_FILE_OPEN, "file_open"},
        {SL_FILE_READ, "file_read"},
        {SL_FILE_WRITE, "file_write"},
        {SL_FILE_READV, "file_readv"},
        {SL_FILE_WRITEV, "file_writev"},
        {SL_FILE_SYNC, "file_sync"},
        {SL_FILE_STAT, "file_stat"},
        {SL_FILE_TRUNCATE, "file_truncate"},
        {SL_PATH_STAT, "path_stat"},
        {SL_PATH_READ, "path_read"},
        {SL_PATH_WRITE, "path_write"},
        {SL_PATH_REMOVE, "path_remove"},
        {SL_PATH_RENAME, "path_rename"},
        {SL_PATH_MAKE_DIRECTORY, "path_make_directory"},
        {SL_PATH_LINK, "path_link"},
        {SL_PATH_READ_LINK, "path_read_link"},
        {SL_PATH_LIST, "path_list"},
        {SL_PATH_COPY, "path_copy"},
        {SL_TCP_ACCEPT, "tcp_accept"},
        {SL_TCP_CONNECT, "tcp_connect"},
        {SL_STREAM_RECEIVE, "stream_receive"},
        {SL_STREAM_SEND, "stream_send"},
        {SL_STREAM_SENDV, "stream_sendv"},
        {SL_STREAM_SHUTDOWN, "stream_shutdown"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].kind == kind) {
            return names[i].name;
        }
    }
    return "?";
}

static const char *delivery_name(uint32_t delivery)
{
    static const char *const names[] = {"queue", "handle", "dispatch", "thread"};
    return delivery < 4 ? names[delivery] : "?";
}

static void describe(FILE *out, const operation *op)
{
    const sl_request *request = &op->request;
    fprintf(out, "step %" PRIu64 ": %s", op->number, kind_name(request->kind));
    if (op->shown) {
        fprintf(out, " \"%.60s\"%s", op->shown, strlen(op->shown) > 60 ? "..." : "");
    }
    fprintf(out, " target %#" PRIx64 " length %" PRIu64, op->target ? *op->target : request->target, request->length);
    if (!op->other && request->kind != SL_PATH_STAT && request->kind != SL_PATH_WRITE) {
        fprintf(out, " offset %" PRId64, request->offset);
    }
    fprintf(out, " flags %#x mode %#o, into %s, delivered by %s\n", request->flags, request->mode,
            op->memory ? "the caller's memory" : "lent or no memory", delivery_name(request->delivery));
}

// Ends the program with everything that is needed to see the difference again.
static void differs(const operation *op, const char *what, int64_t here, int64_t oracle)
{
    fflush(stdout);
    fprintf(stderr, "differs: %s\n", what);
    if (op) {
        fprintf(stderr, "  ");
        describe(stderr, op);
        fprintf(stderr, "  the event: result %" PRId64 " %s, os_error %d, flags %#x, detail %" PRIu64 "\n",
                op->event.result, harness_name(op->event.result), op->event.os_error, op->event.flags, op->event.detail);
        fprintf(stderr, "  blocking calls: result %" PRId64 " %s, errno %d, %" PRIu64 " bytes before it\n",
                op->wanted.result, harness_name(op->wanted.result), op->wanted.os_error, op->wanted.partial);
    } else {
        fprintf(stderr, "  step %" PRIu64 "\n", step);
    }
    const char *driver = running_on == SL_DRIVER_URING ? "uring" : running_on == SL_DRIVER_POLL ? "poll" : "sim";
    fprintf(stderr, "  sideloop: %" PRId64 " %s; blocking calls: %" PRId64 " %s\n  seed %" PRIu64 " on %s\n", here,
            harness_name(here), oracle, harness_name(oracle), seed, driver);
    fprintf(stderr, "  once more, in an empty folder: SIDELOOP_DRIVER=%s differential 1 %" PRIu64 " 1\n",
            driver, seed);
    fprintf(stderr, "  sl_last_error: %s\n", sl_last_error());
    fflush(stderr);
    _Exit(1);
}

static void must_be(const operation *op, const char *what, int64_t here, int64_t oracle)
{
    if (here != oracle) {
        differs(op, what, here, oracle);
    }
}

// --- What may be under way together

static int ranges_meet(const touched *a, const touched *b)
{
    uint64_t a_from = a->from, b_from = b->from;
    // A write behind the end also makes what lies between; another write there is not disturbed by it, a read is.
    if (a->writes != b->writes) {
        a_from = a->writes && a->length < a_from ? a->length : a_from;
        b_from = b->writes && b->length < b_from ? b->length : b_from;
    }
    return a_from < b->to && b_from < a->to;
}

static int conflict(const touched *a, const touched *b)
{
    if ((a->names_written & (b->names_read | b->names_written)) | (b->names_written & a->names_read)) {
        return 1;
    }
    if ((a->slots_written & (b->slots_read | b->slots_written)) | (b->slots_written & a->slots_read)) {
        return 1;
    }
    if (!a->node || a->node != b->node || !(a->writes | b->writes) || (a->lane && a->lane == b->lane)) {
        return 0;
    }
    return ranges_meet(a, b);
}

#endif
