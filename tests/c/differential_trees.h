// The two trees of differential.c, one for the library and one for the oracle: how they begin, and the comparison of what is left
// in them.

#ifndef DIFFERENTIAL_TREES_H
#define DIFFERENTIAL_TREES_H

#include "differential_run.h"

enum {
    // No file becomes larger (RLIMIT_FSIZE): what is written beyond is cut, and then refused, for both sides.
    MOST_LENGTH = 100000,
};

static const char *const roots[2] = {"tree-sideloop", "tree-oracle"};

static const char *in_tree(int side, const char *name)
{
    static char texts[4][700];
    static int next;
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "%s/%s", roots[side], name);
    return text;
}

static void plant_file(int side, const char *name, size_t length, size_t at, mode_t mode)
{
    int fd = open(in_tree(side, name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    CHECK(fd >= 0);
    CHECK_IS(write(fd, source + at, length), length);
    CHECK_IS(close(fd), 0);
}

// Both trees are made alike.
static void plant(int side, uint64_t random)
{
    CHECK_IS(mkdir(roots[side], 0755), 0);
    CHECK_IS(mkdir(in_tree(side, "dir"), 0755), 0);
    CHECK_IS(mkdir(in_tree(side, "locked-dir"), 0), 0);
    CHECK_IS(mkdir(in_tree(side, "readonly-dir"), 0555), 0);
    plant_file(side, "a", random % 20000, random % 1000, 0644);
    plant_file(side, "b", random / 7 % 5000, random % 999, 0600);
    plant_file(side, "empty", 0, 0, 0644);
    plant_file(side, "locked", 100, 0, 0);
    plant_file(side, "readonly", 5000, 17, 0444);
    plant_file(side, "dir/inner", random / 3 % 50000, 33, 0640);
    CHECK_IS(symlink("a", in_tree(side, "to-a")), 0);
    CHECK_IS(symlink("to-a", in_tree(side, "to-to-a")), 0);
    CHECK_IS(symlink("dir", in_tree(side, "to-dir")), 0);
    CHECK_IS(symlink("target", in_tree(side, "dangling")), 0);
    CHECK_IS(symlink("self", in_tree(side, "self")), 0);
    CHECK_IS(symlink("elcric", in_tree(side, "circle")), 0);
    CHECK_IS(symlink("circle", in_tree(side, "elcric")), 0);
}

// Compares what both trees have under a name: its mode, and its bytes or where it leads to.
static void compare_entry(const char *name)
{
    static uint8_t bytes[2][MOST_LENGTH];
    struct stat is[2];
    ssize_t length[2] = {0, 0};
    for (int side = 0; side < 2; side++) {
        const char *path = in_tree(side, name);
        if (lstat(path, &is[side]) < 0) {
            memset(&is[side], 0, sizeof *is);
        } else if (S_ISREG(is[side].st_mode)) {
            CHECK_IS(chmod(path, 0600), 0);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            CHECK(fd >= 0);
            length[side] = read(fd, bytes[side], MOST_LENGTH);
            CHECK_IS(close(fd), 0);
        } else if (S_ISLNK(is[side].st_mode)) {
            length[side] = readlink(path, (char *)bytes[side], MOST_LENGTH);
        }
    }
    if (talkative) {
        printf("%s: mode %o and %o, %zd and %zd bytes\n", name, is[0].st_mode, is[1].st_mode, length[0], length[1]);
    }
    must_be(NULL, name, is[0].st_mode, is[1].st_mode);
    must_be(NULL, name, length[0], length[1]);
    CHECK(length[0] >= 0);
    must_be(NULL, name, memcmp(bytes[0], bytes[1], (size_t)length[0]), 0);
}

typedef char entry_name[256];

enum { MOST_ENTRIES = 40 };

static int names_of(const char *directory, entry_name *names)
{
    int count = 0;
    DIR *opened = opendir(directory);
    CHECK(opened);
    for (struct dirent *entry; (entry = readdir(opened));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            CHECK(count < MOST_ENTRIES);
            strcpy(names[count++], entry->d_name);
        }
    }
    closedir(opened);
    return count;
}

// Both directories have as many entries, and each of one is in the other, and alike.
static void compare_directory(const char *inside)
{
    entry_name names[MOST_ENTRIES], others[MOST_ENTRIES];
    char path[600];
    int count = names_of(in_tree(0, inside), names);
    must_be(NULL, "number of entries", count, names_of(in_tree(1, inside), others));
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%.255s", inside, names[i]);
        compare_entry(path);
    }
}

static void open_up(int side)
{
    CHECK_IS(chmod(in_tree(side, "locked-dir"), 0755), 0);
    CHECK_IS(chmod(in_tree(side, "readonly-dir"), 0755), 0);
}

static void compare_trees(void)
{
    static const char *const directories[] = {".", "dir", "locked-dir", "readonly-dir"};
    open_up(0);
    open_up(1);
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        compare_directory(directories[i]);
    }
}

// A directory that the program has made: there may be one file in it.
static void fell_directory(const char *path)
{
    entry_name names[MOST_ENTRIES];
    char inside[1000];
    int count = names_of(path, names);
    for (int entry = 0; entry < count; entry++) {
        snprintf(inside, sizeof inside, "%s/%.255s", path, names[entry]);
        CHECK_IS(unlink(inside), 0);
    }
    CHECK_IS(rmdir(path), 0);
}

static void fell(int side)
{
    static const char *const directories[] = {"dir", "locked-dir", "readonly-dir", "."};
    entry_name names[MOST_ENTRIES];
    char path[600];
    for (size_t i = 0; i < 4; i++) {
        int count = names_of(in_tree(side, directories[i]), names);
        for (int entry = 0; entry < count; entry++) {
            snprintf(path, sizeof path, "%s/%.255s", directories[i], names[entry]);
            if (unlink(in_tree(side, path)) < 0) {
                fell_directory(in_tree(side, path));
            }
        }
        CHECK_IS(rmdir(i < 3 ? in_tree(side, directories[i]) : roots[side]), 0);
    }
}

#endif
