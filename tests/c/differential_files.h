// Files of differential.c: random operations on what is in the two trees.

#ifndef DIFFERENTIAL_FILES_H
#define DIFFERENTIAL_FILES_H

#include "differential_trees.h"

#include <sys/resource.h>

enum {
    FILES = 8,
    ENDLESS_SLOT = 62,
    LENT_SLOT = 63,
};

typedef struct file {
    int live;
    uint64_t id; // of the library's
    int fd;      // the oracle's
    uint32_t flags;
    uint64_t node; // the inode of a regular file in the oracle's tree
    int made_up;   // of /proc: it knows no writing at an offset
} file;

// Names that may be created and removed have a bit of their own; a path has those that it leads to.
enum { A = 1, B = 2, EMPTY = 4, ABSENT = 8, INNER = 16, FRESH = 32, LOCKED = 64, READONLY = 128, ODD = 256, TARGET = 512 };

typedef struct place {
    const char *text;
    uint64_t names;
} place;

static const place places[] = {
    {"a", A},
    {"b", B},
    {"empty", EMPTY},
    {"absent", ABSENT},
    {"dir/inner", INNER},
    {"dir/fresh", FRESH},
    {"dir/../b", B},
    {"to-dir/inner", INNER},
    {"to-a", A},
    {"readonly", READONLY},
    {"to-to-a", A},
    {"dangling", TARGET},
    {"target", TARGET},
    {"od\xc3 \xff\n", ODD},
    {"locked", LOCKED},
    {"dir", 0},
    {".", 0},
    {"to-dir", 0},
    {"locked-dir", 0},
    {"locked-dir/x", 0},
    {"readonly-dir/x", 0},
    {"missing/x", 0},
    {"a/x", A},
    {"a/", A},
    {"absent/", ABSENT},
    {"circle", 0},
    {"circle/x", 0},
    {"self", 0},
};

// Outside of the trees: both sides meet the same, which keeps nothing.
static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/proc/version", "", "/dev/null/x"};

static file files[FILES];
static uint64_t stale_file;
static size_t receive_size;
static uint64_t most_lent;  // bytes that the loop may lend,
static uint64_t lent_slots; // and the slot of all that needs some, where it is so little that they could wait for each other
static uint8_t *endless; // memory for a read that is given far more than it can fill: `endless_length` bytes
static size_t endless_length;
static char oracle_text[6000];

// --- Paths

// Makes the path of an operation, and the oracle's counterpart in `oracle_text`; the names that it leads to.
static uint64_t choose_path(operation *op, int with_devices)
{
    char name[5300];
    // The first ones are good for most.
    const place *chosen = &places[one_in(3) ? below(10) : below(sizeof places / sizeof *places)];
    const char *text = chosen->text;
    uint64_t names = chosen->names;
    if (with_devices && one_in(12)) {
        text = devices[below(with_devices > 1 ? 6 : 1)];
        names = 0;
    } else if (one_in(40)) {
        // Of a length that no name has, or no path.
        size_t length = one_in(2) ? 256 + below(40) : 4090 + below(1000);
        memset(name, 'x', length);
        name[length] = 0;
        text = name;
        names = 0;
    }
    size_t room = strlen(text) + 40;
    op->path = malloc(room);
    CHECK(op->path);
    int outside = *text == '/' || *text == 0;
    snprintf(op->path, room, "%s%s%s", outside ? "" : roots[0], outside ? "" : "/", text);
    snprintf(oracle_text, sizeof oracle_text, "%s%s%s", outside ? "" : roots[1], outside ? "" : "/", text);
    op->shown = malloc(room);
    CHECK(op->shown);
    strcpy(op->shown, op->path);
    op->request.buffer = op->path;
    return names;
}

// The inode of the regular file that the oracle finds there, or 0.
static uint64_t node_at(const char *path)
{
    struct stat is;
    return stat(path, &is) == 0 && S_ISREG(is.st_mode) ? is.st_ino : 0;
}

static void touches_all(operation *op, uint64_t node, int writes)
{
    op->touches.node = node;
    op->touches.writes = writes;
    op->touches.from = 0;
    op->touches.to = EVERYWHERE;
}

static uint32_t any_open_flags(void)
{
    uint32_t flags = (uint32_t[]){SL_OPEN_READ, SL_OPEN_WRITE, SL_OPEN_READ | SL_OPEN_WRITE, SL_OPEN_APPEND,
                                  SL_OPEN_READ | SL_OPEN_APPEND, SL_OPEN_READ | SL_OPEN_WRITE,
                                  SL_OPEN_READ | SL_OPEN_WRITE, SL_OPEN_READ | SL_OPEN_WRITE}[below(8)];
    if (flags != SL_OPEN_READ) {
        flags |= one_in(3) ? SL_OPEN_CREATE : 0;
        flags |= flags & SL_OPEN_CREATE && one_in(4) ? SL_OPEN_EXCLUSIVE : 0;
        flags |= one_in(8) ? SL_OPEN_TRUNCATE : 0;
    }
    flags |= one_in(8) ? SL_OPEN_NO_FOLLOW : 0;
    flags |= one_in(12) ? SL_OPEN_DIRECTORY : 0;
    return flags;
}

static uint32_t any_mode(void)
{
    return (uint32_t[]){0644, 0600, 0444, 0666, 0, 07777 & ~022u}[below(6)];
}

static void touches_names(operation *op, uint64_t names)
{
    op->touches.names_read = names;
    op->touches.names_written = op->request.flags & SL_OPEN_CREATE ? names : 0;
}

static void open_some(void)
{
    size_t at = below(FILES);
    struct stat is;
    if (files[at].live) {
        return;
    }
    operation *op = begin(SL_FILE_OPEN);
    op->request.flags = any_open_flags();
    op->request.mode = any_mode();
    uint64_t names = choose_path(op, 2);
    if (!names && op->request.flags & SL_OPEN_CREATE) {
        // These two are refused together, and a path may be refused as well: two reasons, of which the system gives one.
        op->request.flags &= ~(uint32_t)SL_OPEN_DIRECTORY;
    }
    touches_names(op, names);
    uint64_t node = op->request.flags & SL_OPEN_TRUNCATE ? node_at(oracle_text) : 0;
    op->wanted = oracle_open(oracle_text, op->request.flags, op->request.mode, &files[at].fd);
    op->how = AN_ID;
    if (op->wanted.result >= 0) {
        file *opened = &files[at];
        CHECK_IS(fstat(opened->fd, &is), 0);
        opened->live = 1;
        opened->id = 0;
        opened->flags = op->request.flags;
        opened->node = S_ISREG(is.st_mode) && is.st_size <= MOST_LENGTH && *oracle_text != '/' ? is.st_ino : 0;
        opened->made_up = strncmp(oracle_text, "/proc", 5) == 0;
        op->opened = &opened->id;
        op->touches.slots_written = UINT64_C(1) << at;
    }
    touches_all(op, node, 1);
    issue(op);
}

static void finish_path_stat(operation *op)
{
    struct stat own = {0};
    if (op->event.result == 0 && op->wanted.result == 0) {
        int status = op->request.flags & SL_NO_FOLLOW ? lstat(op->shown, &own) : stat(op->shown, &own);
        CHECK_IS(status, 0);
        compare_stat(op, &own);
    }
}

static void stat_path(void)
{
    operation *op = begin(SL_PATH_STAT);
    op->request.flags = one_in(2) ? SL_NO_FOLLOW : 0;
    op->touches.names_read = choose_path(op, 2);
    op->request.offset = (int64_t)(intptr_t)&op->stat;
    op->stat.size = sizeof op->stat;
    int status = op->request.flags ? lstat(oracle_text, &op->wanted_stat) : stat(oracle_text, &op->wanted_stat);
    op->wanted = status < 0 ? failed_after(0) : succeeded(0);
    touches_all(op, *oracle_text == '/' ? 0 : node_at(oracle_text), 0);
    op->finish = finish_path_stat;
    issue(op);
}

static void read_path(void)
{
    operation *op = begin(SL_PATH_READ);
    op->touches.names_read = choose_path(op, 1);
    op->touches.slots_written = lent_slots;
    if (one_in(50)) {
        // Its length is 0 until it is read.
        strcpy(op->path, "/proc/version");
        strcpy(op->shown, op->path);
        strcpy(oracle_text, op->path);
    }
    touches_all(op, node_at(oracle_text), 0);
    op->wanted = oracle_path_read(oracle_text, most_lent, &op->wanted_bytes);
    issue(op);
}

// Most are short; some are of many pages.
static size_t any_length(void)
{
    return (size_t)(one_in(12) ? below(60000) : one_in(16) ? 0 : below(3000));
}

static void write_path(void)
{
    operation *op = begin(SL_PATH_WRITE);
    const uint8_t *data = source + below(SOURCE / 2);
    size_t length = one_in(40) ? MOST_LENGTH - 20 + below(40) : any_length();
    uint32_t flags = one_in(2) ? 0 : any_open_flags() & ~(uint32_t)(SL_OPEN_READ | SL_OPEN_DIRECTORY);
    // What is implied need not be said.
    op->request.flags = flags & ~(one_in(2) ? (uint32_t)SL_OPEN_WRITE : 0);
    flags = op->request.flags ? op->request.flags : SL_OPEN_CREATE | SL_OPEN_TRUNCATE;
    op->request.mode = any_mode();
    op->request.offset = (int64_t)(intptr_t)data;
    op->request.length = length;
    uint64_t names = choose_path(op, 2);
    op->touches.names_read = names;
    op->touches.names_written = flags & SL_OPEN_CREATE ? names : 0;
    uint64_t node = node_at(oracle_text);
    op->wanted = oracle_path_write(oracle_text, data, length, op->request.flags, op->request.mode);
    touches_all(op, node ? node : node_at(oracle_text), 1);
    issue(op);
}

// Takes a file away behind everybody's back, so that it can be created again.
static void unlink_some(void)
{
    const place *chosen = &places[below(sizeof places / sizeof *places)];
    finish_all();
    if (chosen->names && !strstr(chosen->text, "to-") && !strchr("/", chosen->text[strlen(chosen->text) - 1])) {
        int results[2] = {unlink(in_tree(0, chosen->text)), unlink(in_tree(1, chosen->text))};
        must_be(NULL, chosen->text, results[0], results[1]);
    }
}

// --- Open files

// One that is open; where there is none at the first look, one is opened instead.
static file *any_file(void)
{
    file *chosen = &files[below(FILES)];
    if (!chosen->live) {
        open_some();
    }
    return chosen->live ? chosen : NULL;
}

static void works_on(operation *op, file *on)
{
    op->target = &on->id;
    op->touches.slots_read = UINT64_C(1) << (on - files);
}

// Where in a file: its beginning, middle, end, behind it, near what no file may reach, or the current position.
static int64_t any_offset(int64_t size)
{
    switch (below(12)) {
    case 0:
        return 0;
    case 1:
        return size;
    case 2:
        return size + (int64_t)below(one_in(8) ? 30000 : 3000);
    case 3:
        return one_in(3) ? MOST_LENGTH - (int64_t)below(100) : 0;
    case 4:
        return one_in(4) ? INT64_MAX - (int64_t)below(3000) : one_in(3) ? (int64_t)below(INT64_MAX) : 1;
    case 5:
    case 6:
    case 7:
        return (int64_t)below((uint64_t)size + 1);
    default:
        return SL_OFFSET_CURRENT;
    }
}

// Says which bytes are read or written by an operation at an offset, and where in the oracle's file that is.
static void touches_range(operation *op, const file *on, size_t length, int writes)
{
    struct stat is;
    touched *touches = &op->touches;
    CHECK_IS(fstat(on->fd, &is), 0);
    int64_t at = op->request.offset;
    if (at == SL_OFFSET_CURRENT) {
        at = lseek(on->fd, 0, SEEK_CUR);
        at = at < 0 ? 0 : at;
        touches->lane = 1 + (int)(on - files);
    }
    touches->node = on->node;
    touches->writes = writes;
    touches->from = (uint64_t)at;
    touches->to = (uint64_t)at + length;
    touches->length = (uint64_t)is.st_size;
    // Where the end of the file shows, every write that moves it matters.
    if (!writes && touches->to > touches->length) {
        touches->to = EVERYWHERE;
    }
    if (writes && on->flags & SL_OPEN_APPEND) {
        touches->from = 0;
        touches->to = EVERYWHERE;
    }
}

// Whether a driver may end a read early though more could be read: /dev/zero may give way to others after each page.
static int may_end_early(const operation *op, const file *on, size_t length)
{
    return !on->node && !(op->request.flags & SL_EXACT) && length > 4096;
}

static int64_t size_of(const file *on)
{
    struct stat is;
    CHECK_IS(fstat(on->fd, &is), 0);
    return S_ISREG(is.st_mode) ? is.st_size : 5000;
}

// Cuts `length` bytes at `start` into pieces, some of them empty, for the library and for the oracle; how many.
static int cut(operation *op, uint8_t *start, uint8_t *oracle_start, size_t length, struct iovec *pieces)
{
    int count = one_in(50) ? 1024 : (int)below(9);
    op->slices = malloc((size_t)count * sizeof *op->slices + 1);
    CHECK(op->slices);
    for (int i = 0; i < count; i++) {
        size_t piece = i == count - 1 ? length : one_in(4) ? 0 : (size_t)below(length / (one_in(3) ? 1 : 4) + 1);
        op->slices[i].data = piece || one_in(2) ? start : NULL;
        op->slices[i].length = piece;
        pieces[i].iov_base = oracle_start;
        pieces[i].iov_len = piece;
        start += piece;
        oracle_start += piece;
        length -= piece;
    }
    op->request.buffer = op->slices;
    op->request.length = (uint64_t)count;
    return count;
}

static void read_file(void)
{
    file *on = any_file();
    struct iovec pieces[1024];
    if (!on) {
        return;
    }
    int vectored = one_in(4), lent = !vectored && one_in(3);
    operation *op = begin(vectored ? SL_FILE_READV : SL_FILE_READ);
    works_on(op, on);
    size_t length = any_length();
    int64_t size = size_of(on), offset = any_offset(size);
    length += lent && length == 0;
    op->request.offset = offset;
    op->request.flags = !lent && one_in(2) ? SL_EXACT : 0;
    if (running_on == SL_DRIVER_SIM && !op->request.flags) {
        // At the current position the next operation of the oracle's comes before the number of bytes is known.
        op->request.flags = !lent && offset == SL_OFFSET_CURRENT ? SL_EXACT : 0;
        op->may_be_short = !op->request.flags;
    }
    op->wanted_bytes = malloc(length + 1);
    CHECK(op->wanted_bytes);
    int count = 1;
    pieces[0].iov_base = op->wanted_bytes;
    pieces[0].iov_len = length;
    if (vectored) {
        count = cut(op, give_memory(op, length), op->wanted_bytes, length, pieces);
        length = count ? length : 0;
    } else {
        op->request.buffer = lent ? NULL : give_memory(op, length);
        op->request.length = length;
    }
    op->touches.slots_written = lent ? lent_slots : 0;
    touches_range(op, on, length, 0);
    if (may_end_early(op, on, length) || (op->may_be_short && offset == SL_OFFSET_CURRENT)) {
        forget(op);
        return;
    }
    if (lent && length > most_lent) {
        op->wanted = failed_with(SL_ERR_NO_BUFFERS);
    } else {
        op->wanted = oracle_read(on->fd, pieces, count, length, offset, op->request.flags != 0);
    }
    issue(op);
}

// Into more memory than any call takes at once; only what there is of the file comes.
static void read_endless(void)
{
    file *on = any_file();
    if (!on || !on->node) {
        return;
    }
    operation *op = begin(SL_FILE_READ);
    works_on(op, on);
    op->touches.slots_written = UINT64_C(1) << ENDLESS_SLOT;
    op->request.buffer = endless;
    op->request.length = endless_length - below(5000);
    op->request.offset = one_in(2) ? SL_OFFSET_CURRENT : 0;
    op->request.flags = running_on == SL_DRIVER_SIM || one_in(2) ? SL_EXACT : 0;
    op->wanted_bytes = malloc(MOST_LENGTH + 1);
    CHECK(op->wanted_bytes);
    struct iovec all = {op->wanted_bytes, MOST_LENGTH + 1};
    touches_range(op, on, op->request.length, 0);
    op->wanted = oracle_read(on->fd, &all, 1, all.iov_len, op->request.offset, op->request.flags != 0);
    issue(op);
}

static void write_file(void)
{
    file *on = any_file();
    struct iovec pieces[1024];
    if (!on) {
        return;
    }
    int vectored = one_in(3);
    operation *op = begin(vectored ? SL_FILE_WRITEV : SL_FILE_WRITE);
    works_on(op, on);
    size_t length = any_length();
    uint8_t *data = source + below(SOURCE / 2);
    // Two reasons to refuse: which of them is given, is the system's business.
    op->request.offset = on->made_up ? SL_OFFSET_CURRENT : any_offset(size_of(on));
    if (vectored) {
        length = cut(op, data, data, length, pieces) ? length : 0;
    } else {
        op->request.buffer = length || one_in(2) ? data : NULL;
        op->request.length = length;
    }
    touches_range(op, on, length, 1);
    op->wanted = oracle_write(on->fd, data, length, op->request.offset);
    issue(op);
}

static void finish_file_stat(operation *op)
{
    struct stat own;
    sl_descriptor descriptor;
    if (op->event.result == 0 && op->wanted.result == 0) {
        CHECK_IS(sl_descriptor_of(*op->target, &descriptor), SL_OK);
        CHECK_IS(fstat((int)descriptor, &own), 0);
        compare_stat(op, &own);
    }
}

static void stat_file(void)
{
    file *on = any_file();
    if (on) {
        operation *op = begin(SL_FILE_STAT);
        works_on(op, on);
        touches_all(op, on->node, 0);
        op->request.buffer = &op->stat;
        op->stat.size = sizeof op->stat;
        CHECK_IS(fstat(on->fd, &op->wanted_stat), 0);
        op->wanted = succeeded(0);
        op->finish = finish_file_stat;
        issue(op);
    }
}

static void truncate_file(void)
{
    file *on = any_file();
    if (on) {
        operation *op = begin(SL_FILE_TRUNCATE);
        works_on(op, on);
        touches_all(op, on->node, 1);
        // Sometimes to just what the loop may lend, or a byte more.
        op->request.length = one_in(6)    ? most_lent + below(2)
                             : one_in(20) ? MOST_LENGTH - 1 + below(3)
                             : one_in(20) ? (uint64_t)INT64_MAX - below(2)
                                          : below((uint64_t)size_of(on) * 2 + 100);
        op->wanted = ftruncate(on->fd, (off_t)op->request.length) < 0 ? failed_after(0) : succeeded(0);
        issue(op);
    }
}

static void sync_file(void)
{
    file *on = any_file();
    if (on) {
        operation *op = begin(SL_FILE_SYNC);
        works_on(op, on);
        op->request.flags = one_in(2) ? SL_DATA_ONLY : 0;
        int status = op->request.flags ? fdatasync(on->fd) : fsync(on->fd);
        op->wanted = status < 0 ? failed_after(0) : succeeded(0);
        issue(op);
    }
}

static void close_file(file *on)
{
    operation *op = begin(SL_CLOSE);
    op->target = &on->id;
    op->touches.slots_written = UINT64_C(1) << (on - files);
    op->wanted = close(on->fd) < 0 ? failed_after(0) : succeeded(0);
    issue(op);
    flush();
    stale_file = on->id;
    on->live = 0;
}

static void file_step(void)
{
    uint64_t chance = below(100);
    file *on;
    if (chance < 14) {
        open_some();
    } else if (chance < 40) {
        read_file();
    } else if (chance < 66) {
        write_file();
    } else if (chance < 70) {
        truncate_file();
    } else if (chance < 75) {
        stat_file();
    } else if (chance < 81) {
        stat_path();
    } else if (chance < 87) {
        read_path();
    } else if (chance < 92) {
        write_path();
    } else if (chance < 98) {
        if ((on = any_file())) {
            close_file(on);
        }
    } else if (one_in(3)) {
        unlink_some();
    } else if (one_in(6)) {
        sync_file();
    } else {
        read_endless();
    }
}

#endif
