// Paths: directories, names and links are made, listed, changed and removed, and the errors of that.
//
// paths [entries of a large directory = 3000]

#include "harness.h"

static sl_loop loop;

// --- Every operation, and what it ends with

#define END_OF(call)                                                                                                               \
    do {                                                                                                                           \
        sl_op op;                                                                                                                  \
        CHECK_IS(call, SL_OK);                                                                                                     \
        return result_of(loop, op);                                                                                                \
    } while (0)

static int64_t make_directory(const char *path)
{
    END_OF(sl_path_make_directory(loop, path, 0755, NULL, &op));
}

static int64_t make_file(const char *path, const char *text)
{
    END_OF(sl_path_write(loop, path, text, strlen(text), 0, 0644, NULL, &op));
}

static int64_t remove_path(const char *path, uint32_t flags)
{
    END_OF(sl_path_remove(loop, path, flags, NULL, &op));
}

static int64_t rename_path(const char *from, const char *to, uint32_t flags)
{
    END_OF(sl_path_rename(loop, from, to, flags, NULL, &op));
}

static int64_t link_path(const char *from, const char *to, uint32_t flags)
{
    END_OF(sl_path_link(loop, from, to, flags, NULL, &op));
}

static int64_t stat_of(const char *path, uint32_t flags, sl_stat *stat)
{
    memset(stat, 0, sizeof *stat);
    stat->size = sizeof *stat;
    END_OF(sl_path_stat(loop, path, flags, stat, NULL, &op));
}

static uint32_t type_of(const char *path)
{
    sl_stat stat;
    return stat_of(path, SL_NO_FOLLOW, &stat) == 0 ? stat.type : 0;
}

// Whether a file holds just this text.
static int holds(const char *path, const char *text)
{
    sl_op op;
    CHECK_IS(sl_path_read(loop, path, NULL, &op), SL_OK);
    sl_event event = next_event(loop);
    CHECK_IS(event.op, op);
    int same = event.result == (int64_t)strlen(text) && memcmp(event.data, text, strlen(text)) == 0;
    if (event.flags & SL_EVENT_LENT) {
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    }
    return same;
}

// --- Lists

static sl_event list(const char *path)
{
    sl_op op;
    CHECK_IS(sl_path_list(loop, path, NULL, &op), SL_OK);
    sl_event event = next_event(loop);
    CHECK_IS(event.op, op);
    CHECK_IS(event.kind, SL_PATH_LIST);
    return event;
}

// The entry of this name in a list, or NULL; how many there are. Checks the form of all.
static const sl_entry *entry_in(const sl_event *event, const char *name, size_t *count)
{
    const sl_entry *found = NULL;
    size_t seen = 0;
    for (int64_t at = 0; at < event->result;) {
        const sl_entry *entry = (const sl_entry *)((const char *)event->data + at);
        const char *own = (const char *)(entry + 1);
        CHECK(((uintptr_t)entry & 7) == 0 && (entry->length & 7) == 0);
        CHECK(entry->length > sizeof *entry + entry->name_length);
        CHECK_IS(strlen(own), entry->name_length);
        CHECK(strcmp(own, ".") != 0 && strcmp(own, "..") != 0);
        for (const char *rest = own + entry->name_length; rest < (const char *)entry + entry->length; rest++) {
            CHECK_IS(*rest, 0);
        }
        if (strcmp(own, name) == 0) {
            CHECK(!found);
            found = entry;
        }
        seen++;
        at += entry->length;
        CHECK(at <= event->result);
    }
    if (count) {
        *count = seen;
    }
    return found;
}

static void lists(void)
{
    size_t count;
    sl_stat stat;
    CHECK_IS(make_directory("in.tmp"), 0);
    sl_event event = list("in.tmp");
    CHECK(event.result == 0 && event.flags == 0 && event.data == NULL && event.detail == 0);
    CHECK_IS(make_file("in.tmp/file", "x"), 1);
    CHECK_IS(make_directory("in.tmp/a directory"), 0);
    CHECK_IS(make_file("in.tmp/\xc3\xa9t\xc3\xa9", "x"), 1);
#if !defined(_WIN32)
    CHECK_IS(link_path("nowhere", "in.tmp/link", SL_SYMBOLIC), 0);
    CHECK_IS(make_file("in.tmp/\xff\n", "x"), 1);
#endif
    event = list("in.tmp");
    CHECK_IS(event.flags, SL_EVENT_LENT);
    CHECK_IS(entry_in(&event, "file", &count)->type, SL_TYPE_FILE);
    CHECK_IS(entry_in(&event, "a directory", NULL)->type, SL_TYPE_DIRECTORY);
    CHECK(entry_in(&event, "\xc3\xa9t\xc3\xa9", NULL));
    CHECK(!entry_in(&event, "nothing", NULL));
#if !defined(_WIN32)
    CHECK_IS(count, 5);
    CHECK_IS(entry_in(&event, "link", NULL)->type, SL_TYPE_LINK);
    CHECK(entry_in(&event, "\xff\n", NULL));
    CHECK_IS(stat_of("in.tmp/file", 0, &stat), 0);
    CHECK_IS(entry_in(&event, "file", NULL)->inode, stat.inode);
    CHECK_IS(remove_path("in.tmp/link", 0), 0);
    CHECK_IS(remove_path("in.tmp/\xff\n", 0), 0);
#else
    CHECK_IS(count, 3);
    (void)stat;
#endif
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    CHECK_IS(list("missing.tmp").result, SL_ERR_NOT_FOUND);
    CHECK_IS(list("in.tmp/file").result, SL_ERR_NOT_DIRECTORY);
    CHECK_IS(remove_path("in.tmp", SL_DIRECTORY), SL_ERR_NOT_EMPTY);
    CHECK_IS(remove_path("in.tmp/file", 0), 0);
    CHECK_IS(remove_path("in.tmp/\xc3\xa9t\xc3\xa9", 0), 0);
    CHECK_IS(remove_path("in.tmp/a directory", SL_DIRECTORY), 0);
    CHECK_IS(remove_path("in.tmp", SL_DIRECTORY), 0);
}

// More than one reading of the directory brings; more than may be lent; as much as may be lent, once somebody gives it back.
static void large_lists(size_t entries)
{
    char name[64];
    size_t count;
    CHECK_IS(make_directory("large.tmp"), 0);
    for (size_t i = 0; i < entries; i++) {
        snprintf(name, sizeof name, "large.tmp/an entry with number %zu", i);
        CHECK_IS(make_file(name, ""), 0);
    }
    sl_event event = list("large.tmp");
    CHECK(entry_in(&event, "an entry with number 0", &count));
    CHECK_IS(count, entries);
    sl_loop_options options = {0};
    options.size = sizeof options;
    options.max_lent_bytes = (uint64_t)event.result - 8;
    options.receive_buffer_size = 512;
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    sl_loop whole = loop;
    loop = open_loop(&options);
    event = list("large.tmp");
    CHECK(event.result == SL_ERR_NO_BUFFERS && event.data == NULL);
    close_loop(loop);

    options.max_lent_bytes += 8;
    loop = open_loop(&options);
    event = list("large.tmp");
    CHECK(event.result > 0);
    CHECK_IS(sl_path_list(loop, "large.tmp", NULL, NULL), SL_OK);
    CHECK_IS(counters_of(loop).lent_buffers, 1);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    event = next_event(loop);
    CHECK(entry_in(&event, "an entry with number 1", &count));
    CHECK_IS(count, entries);
    CHECK_IS(sl_buffer_release(event.detail), SL_OK);
    close_loop(loop);
    loop = whole;
    for (size_t i = 0; i < entries; i++) {
        snprintf(name, sizeof name, "large.tmp/an entry with number %zu", i);
        CHECK_IS(remove_path(name, 0), 0);
    }
    CHECK_IS(remove_path("large.tmp", SL_DIRECTORY), 0);
}

// --- Names

static void directories(void)
{
    sl_stat stat;
    sl_op op;
    CHECK_IS(make_directory("made.tmp"), 0);
    CHECK_IS(make_directory("made.tmp"), SL_ERR_EXISTS);
    CHECK_IS(make_directory("missing.tmp/made"), SL_ERR_NOT_FOUND);
    CHECK_IS(stat_of("made.tmp", 0, &stat), 0);
    CHECK_IS(stat.type, SL_TYPE_DIRECTORY);
    CHECK_IS(remove_path("made.tmp", SL_DIRECTORY), 0);
    CHECK_IS(remove_path("made.tmp", SL_DIRECTORY), SL_ERR_NOT_FOUND);
    CHECK_IS(remove_path("made.tmp", 0), SL_ERR_NOT_FOUND);
    CHECK_IS(sl_path_make_directory(loop, "made.tmp", 0700, NULL, &op), SL_OK);
    CHECK_IS(result_of(loop, op), 0);
#if !defined(_WIN32)
    CHECK_IS(stat_of("made.tmp", 0, &stat), 0);
    CHECK_IS(stat.mode & 0777, 0700);
    CHECK_IS(remove_path("made.tmp", 0), SL_ERR_IS_DIRECTORY);
    CHECK_IS(make_file("file.tmp", "x"), 1);
    CHECK_IS(remove_path("file.tmp", SL_DIRECTORY), SL_ERR_NOT_DIRECTORY);
    CHECK_IS(remove_path("file.tmp", 0), 0);
#endif
    CHECK_IS(remove_path("made.tmp", SL_DIRECTORY), 0);
}

static void renames(void)
{
    CHECK_IS(make_file("one.tmp", "one"), 3);
    CHECK_IS(make_file("two.tmp", "two"), 3);
    int64_t kept = rename_path("one.tmp", "two.tmp", SL_NO_REPLACE);
    // Not every system, and not every file system, can rename like that; but then nothing is done.
    CHECK(kept == SL_ERR_EXISTS || kept == SL_ERR_UNSUPPORTED);
    CHECK(holds("one.tmp", "one") && holds("two.tmp", "two"));
    CHECK_IS(rename_path("one.tmp", "two.tmp", 0), 0);
    CHECK(holds("two.tmp", "one"));
    CHECK_IS(type_of("one.tmp"), 0);
    CHECK_IS(rename_path("one.tmp", "two.tmp", 0), SL_ERR_NOT_FOUND);
    CHECK_IS(rename_path("two.tmp", "missing.tmp/two", 0), SL_ERR_NOT_FOUND);
    if (kept == SL_ERR_EXISTS) {
        CHECK_IS(rename_path("two.tmp", "one.tmp", SL_NO_REPLACE), 0);
        CHECK_IS(rename_path("one.tmp", "two.tmp", SL_NO_REPLACE), 0);
        CHECK_IS(rename_path("one.tmp", "two.tmp", SL_NO_REPLACE), SL_ERR_NOT_FOUND);
    }
    CHECK_IS(make_directory("from.tmp"), 0);
    CHECK_IS(make_directory("to.tmp"), 0);
    CHECK_IS(rename_path("two.tmp", "to.tmp/two", 0), 0);
#if !defined(_WIN32)
    CHECK_IS(rename_path("from.tmp", "to.tmp", 0), SL_ERR_NOT_EMPTY);
    CHECK_IS(rename_path("from.tmp", "from.tmp/inside", 0), SL_ERR_INVALID);
    CHECK_IS(rename_path("from.tmp", "from.tmp/inside", SL_NO_REPLACE), kept == SL_ERR_EXISTS ? SL_ERR_INVALID : kept);
    CHECK_IS(rename_path("to.tmp/two", "from.tmp", 0), SL_ERR_IS_DIRECTORY);
    CHECK_IS(rename_path("to.tmp", "from.tmp", 0), 0);
#else
    CHECK_IS(remove_path("from.tmp", SL_DIRECTORY), 0);
    CHECK_IS(rename_path("to.tmp", "from.tmp", 0), 0);
#endif
    CHECK(holds("from.tmp/two", "one"));
    CHECK_IS(remove_path("from.tmp/two", 0), 0);
    CHECK_IS(remove_path("from.tmp", SL_DIRECTORY), 0);
}

static void hard_links(void)
{
    sl_stat stat;
    CHECK_IS(make_file("one.tmp", "one"), 3);
    CHECK_IS(link_path("one.tmp", "two.tmp", 0), 0);
    CHECK_IS(link_path("one.tmp", "two.tmp", 0), SL_ERR_EXISTS);
    CHECK_IS(link_path("missing.tmp", "three.tmp", 0), SL_ERR_NOT_FOUND);
    CHECK_IS(make_file("two.tmp", "both"), 4);
    CHECK(holds("one.tmp", "both"));
    CHECK_IS(stat_of("one.tmp", 0, &stat), 0);
    CHECK_IS(stat.links, 2);
    CHECK_IS(remove_path("one.tmp", 0), 0);
    CHECK(holds("two.tmp", "both"));
    CHECK_IS(remove_path("two.tmp", 0), 0);
}

#if !defined(_WIN32)
static sl_event read_link(const char *path)
{
    sl_op op;
    CHECK_IS(sl_path_read_link(loop, path, NULL, &op), SL_OK);
    sl_event event = next_event(loop);
    CHECK_IS(event.op, op);
    return event;
}

static void symbolic_links(void)
{
    static const char *const texts[] = {"one.tmp", "no/where", "..", "\xff\xfe"};
    CHECK_IS(make_file("one.tmp", "one"), 3);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint32_t flags = i == 2 ? SL_SYMBOLIC | SL_DIRECTORY : SL_SYMBOLIC;
        CHECK_IS(link_path(texts[i], "link.tmp", flags), 0);
        CHECK_IS(link_path(texts[i], "link.tmp", flags), SL_ERR_EXISTS);
        CHECK_IS(type_of("link.tmp"), SL_TYPE_LINK);
        sl_event event = read_link("link.tmp");
        CHECK_IS(event.result, strlen(texts[i]));
        CHECK_IS(event.flags, SL_EVENT_LENT);
        CHECK(memcmp(event.data, texts[i], strlen(texts[i])) == 0);
        CHECK_IS(sl_buffer_release(event.detail), SL_OK);
        CHECK(i > 0 || holds("link.tmp", "one"));
        CHECK_IS(remove_path("link.tmp", 0), 0);
    }
    CHECK_IS(link_path("", "link.tmp", SL_SYMBOLIC), SL_ERR_NOT_FOUND);
    CHECK_IS(read_link("one.tmp").result, SL_ERR_INVALID);
    CHECK_IS(read_link("missing.tmp").result, SL_ERR_NOT_FOUND);
    CHECK(holds("one.tmp", "one"));
    CHECK_IS(remove_path("one.tmp", 0), 0);
}
#endif

// --- Refused

static void refused(void)
{
    enum { UNKNOWN = 1 << 20 };
    sl_op op = 1;
    CHECK_IS(sl_path_remove(loop, NULL, 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_rename(loop, NULL, "x", 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_rename(loop, "x", NULL, 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_link(loop, "x", NULL, 0, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_copy(loop, "x", NULL, 0, 0644, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_copy(loop, NULL, "x", 0, 0644, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_make_directory(loop, NULL, 0755, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_list(loop, NULL, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_read_link(loop, NULL, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_remove(loop, "x", SL_NO_REPLACE, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_rename(loop, "x", "y", SL_DIRECTORY, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_link(loop, "x", "y", SL_DIRECTORY, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_link(loop, "x", "y", UNKNOWN, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_copy(loop, "x", "y", UNKNOWN, 0644, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_copy(loop, "x", "y", 0, 010000, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_copy(loop, "x", "..", 0, 0644, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_make_directory(loop, "x", 010000, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_write(loop, "x", "", 0, SL_WRITE_REPLACE | SL_OPEN_CREATE, 0644, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_write(loop, "..", "", 0, SL_WRITE_REPLACE, 0644, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_write(loop, "x", NULL, 1, SL_WRITE_REPLACE, 0644, NULL, &op), SL_ERR_NULL);
    CHECK_IS(sl_path_write(loop, "x", "", 0, SL_WRITE_SYNC | UNKNOWN, 0644, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(sl_path_write(loop, "x", "", 0, SL_WRITE_SYNC | SL_OPEN_EXCLUSIVE, 0644, NULL, &op), SL_ERR_INVALID);
    CHECK_IS(op, 1);
}

int main(int argc, char **argv)
{
    start();
    holdings before = holdings_now();
    loop = open_loop(NULL);
    lists();
    large_lists(argument(argc, argv, 1, 3000));
    directories();
    renames();
    hard_links();
#if !defined(_WIN32)
    symbolic_links();
#endif
    refused();
    close_loop(loop);
    check_returned(before);
    return 0;
}
