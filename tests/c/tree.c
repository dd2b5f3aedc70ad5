// Reading a directory tree: makes one through the library, walks it, reads and measures every file, many at a time.
//
// tree [directories = 20] [files in each = 100]

#include "harness.h"

#include <dirent.h>
#include <sys/stat.h>

#if defined(_WIN32)
#include <direct.h>
#define make_directory(path) _mkdir(path)
#else
#define make_directory(path) mkdir(path, 0755)
#endif

typedef struct entry {
    char path[64];
    uint64_t number;
    int seen; // bit 1: read, bit 2: measured
    sl_stat stat;
} entry;

// From nothing to a few hundred thousand bytes.
static size_t length_of(uint64_t number)
{
    return number % 10 == 0 ? 0 : (size_t)(mix(number) % (number % 50 == 1 ? 300000 : 3000)) + 1;
}

static void make_tree(sl_loop loop, size_t directories, size_t files)
{
    CHECK_IS(make_directory("tree"), 0);
    for (size_t d = 0; d < directories; d++) {
        char path[64];
        snprintf(path, sizeof path, "tree/%zu", d);
        CHECK_IS(make_directory(path), 0);
        uint8_t **contents = calloc(files, sizeof *contents);
        CHECK(contents);
        for (size_t f = 0; f < files; f++) {
            uint64_t number = d * files + f;
            size_t length = length_of(number);
            sl_options options = tagged(length);
            contents[f] = malloc(length + 1);
            CHECK(contents[f]);
            fill(contents[f], length, number, 0);
            snprintf(path, sizeof path, "tree/%zu/%" PRIu64, d, number);
            CHECK_IS(sl_path_write(loop, path, contents[f], length, 0, 0644, &options, NULL), SL_OK);
        }
        for (size_t f = 0; f < files; f++) {
            sl_event event = next_event(loop);
            CHECK_IS(event.result, event.user_data);
        }
        for (size_t f = 0; f < files; f++) {
            free(contents[f]);
        }
        free(contents);
    }
}

// Lists the files of all directories; how many.
static size_t list_tree(size_t directories, entry *entries, size_t capacity)
{
    size_t count = 0;
    for (size_t d = 0; d < directories; d++) {
        char path[32];
        snprintf(path, sizeof path, "tree/%zu", d);
        DIR *open = opendir(path);
        CHECK(open);
        for (struct dirent *found = readdir(open); found; found = readdir(open)) {
            if (found->d_name[0] == '.') {
                continue;
            }
            CHECK(count < capacity);
            entries[count].number = strtoull(found->d_name, NULL, 10);
            snprintf(entries[count].path, sizeof entries[count].path, "tree/%zu/%" PRIu64, d, entries[count].number);
            count++;
        }
        closedir(open);
    }
    return count;
}

static void check_event(const sl_event *event, entry *of)
{
    size_t length = length_of(of->number);
    if (event->kind == SL_PATH_STAT) {
        CHECK_IS(event->result, 0);
        CHECK_IS(of->stat.type, SL_TYPE_FILE);
        CHECK_IS(of->stat.length, length);
        CHECK_IS(of->seen & 2, 0);
        of->seen |= 2;
        return;
    }
    CHECK_IS(event->kind, SL_PATH_READ);
    CHECK_IS(event->result, length);
    CHECK_IS(event->flags, length > 0 ? SL_EVENT_LENT : 0);
    CHECK_IS(of->seen & 1, 0);
    of->seen |= 1;
    if (length > 0) {
        CHECK(matches(event->data, length, of->number, 0));
        CHECK_IS(sl_buffer_release(event->detail), SL_OK);
    }
}

static void read_tree(sl_loop loop, entry *entries, size_t count)
{
    size_t awaited = 0;
    for (size_t i = 0; i < count; i++) {
        sl_options options = tagged(i);
        entries[i].stat.size = sizeof entries[i].stat;
        CHECK_IS(sl_path_read(loop, entries[i].path, &options, NULL), SL_OK);
        CHECK_IS(sl_path_stat(loop, entries[i].path, 0, &entries[i].stat, &options, NULL), SL_OK);
        awaited += 2;
    }
    while (awaited > 0) {
        sl_event events[64];
        sl_status got = sl_wait(loop, events, 64, PATIENCE);
        CHECK(got > 0);
        for (sl_status i = 0; i < got; i++) {
            check_event(&events[i], &entries[events[i].user_data]);
        }
        awaited -= (size_t)got;
    }
}

int main(int argc, char **argv)
{
    start();
    size_t directories = argument(argc, argv, 1, 20), files = argument(argc, argv, 2, 100);
    holdings before = holdings_now();
    sl_loop loop = open_loop(NULL);
    entry *entries = calloc(directories * files, sizeof *entries);
    CHECK(entries);
    make_tree(loop, directories, files);
    CHECK_IS(list_tree(directories, entries, directories * files), directories * files);
    read_tree(loop, entries, directories * files);
    CHECK_IS(counters_of(loop).resources, 0);
    close_loop(loop);
    for (size_t i = 0; i < directories * files; i++) {
        CHECK_IS(entries[i].seen, 3);
        CHECK_IS(remove(entries[i].path), 0);
    }
    for (size_t d = 0; d < directories; d++) {
        char path[32];
        snprintf(path, sizeof path, "tree/%zu", d);
        CHECK_IS(rmdir(path), 0);
    }
    CHECK_IS(rmdir("tree"), 0);
    free(entries);
    check_returned(before);
    return 0;
}
