// What the races share: the operations of a batch, what is to disturb each, what they work on, and who has ended how.

#ifndef RACES_H
#define RACES_H

#include "harness.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

// The operations of one batch, those that close (the resources, and what was opened), and the memory of each operation.
enum { BATCH = 256, CLOSINGS = 1024, SLOTS = BATCH + CLOSINGS, RESOURCES = 8, BYTES = 128, FILE_LENGTH = 4096 };

// An untouched byte of an operation's memory: nobody may write there before the operation begins and after it has ended.
enum { UNTOUCHED = 0xee };

// What disturbs an operation.
enum disturbance { NOTHING, CANCEL_HERE, CANCEL_THERE, CANCEL_BOTH, DEADLINE, CLOSE_HERE, CLOSE_THERE };

// What a kind of operation works on.
enum target { ON_LOOP, ON_FILE, ON_STREAM, ON_LISTENER };

typedef struct slot {
    sl_request request;
    sl_op op;
    int accepted;
    int resource;
    uint8_t plan;
    uint16_t spins; // how long the one who disturbs it waits first
    atomic_int ended;
    // What it moved, and what it read.
    uint64_t moved;
    uint8_t seen[BYTES];
    sl_slice slices[2];
    union {
        uint8_t bytes[BYTES];
        sl_stat stat;
    } memory;
} slot;

// Something to work on, and what belongs to it at the other end.
typedef struct resource {
    atomic_ullong id;
    atomic_int closed;
    int peer;
    sl_address address;
    uint64_t fed;   // bytes that the other end has sent or taken
    uint64_t moved; // bytes that the operations say they have moved
} resource;

typedef struct kind {
    const char *name;
    uint32_t kind;
    uint32_t flags;
    enum target target;
    // Whether it may wait without end: what is left of a batch is then cancelled.
    int waits;
    // How many times fewer rounds than the others, where one costs so much more.
    int dear;
    // Completes the request, which has its kind, target and flags.
    void (*describe)(slot *s, uint64_t *random);
    // Has one operation end really: bytes for it, a connection, room. On the other thread.
    void (*feed)(resource *r, uint64_t *random);
    // Checks a success.
    void (*judge)(const slot *s, const sl_event *event);
} kind;

extern const kind kinds[];
extern const size_t kind_count;

static sl_loop loop;
static slot slots[SLOTS];
static resource resources[RESOURCES];
static sl_address connect_to; // for connects: nobody but the feeding thread accepts there
static int accepting = -1;

// A socket that resets its connection when it is closed, so that no port waits for its end to be forgotten.
static inline void close_with_reset(int descriptor)
{
    struct linger at_once = {1, 0};
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(descriptor);
}

#endif
