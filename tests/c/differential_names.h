// Names of differential.c: files that are replaced, copied, renamed, linked and removed, and directories that are made and listed.
//
// What concerns two files, or how many names something has, is carried out while nothing else is under way.

#ifndef DIFFERENTIAL_NAMES_H
#define DIFFERENTIAL_NAMES_H

#include "differential_files.h"

enum { ALL_NAMES = 1023 };

// What may change: no links, and no directories that the trees begin with.
static const place changing[] = {
    {"a", A},           {"b", B},           {"empty", EMPTY},       {"absent", ABSENT},     {"dir/inner", INNER},
    {"dir/fresh", FRESH}, {"dir/../b", B},  {"target", TARGET},     {"readonly", READONLY}, {"od\xc3 \xff\n", ODD},
    {"locked", LOCKED}, {"absent", ABSENT}, {"dir/fresh", FRESH},   {"locked-dir/x", 0},    {"missing/x", 0},
    {"readonly-dir/x", 0}, {"absent/", ABSENT}, {"circle/x", 0},
};

static char other_text[700];

static char *copied(const char *text)
{
    char *copy = malloc(strlen(text) + 1);
    CHECK(copy);
    return strcpy(copy, text);
}

// Makes the path of an operation, and the oracle's counterpart in `oracle_text`; the names that it leads to.
static uint64_t change_path(operation *op)
{
    const place *chosen = &changing[below(sizeof changing / sizeof *changing)];
    op->path = copied(in_tree(0, chosen->text));
    op->shown = copied(op->path);
    op->request.buffer = op->path;
    strcpy(oracle_text, in_tree(1, chosen->text));
    return chosen->names;
}

// Likewise for the second path of an operation, in `other_text`.
static void change_other_path(operation *op)
{
    const place *chosen = &changing[below(sizeof changing / sizeof *changing)];
    op->other = copied(in_tree(0, chosen->text));
    size_t room = strlen(op->shown) + strlen(op->other) + 5;
    char *both = malloc(room);
    CHECK(both);
    snprintf(both, room, "%s -> %s", op->shown, op->other);
    free(op->shown);
    op->shown = both;
    op->request.offset = (int64_t)(intptr_t)op->other;
    strcpy(other_text, in_tree(1, chosen->text));
}

// Nothing is under way when it begins, and nothing else begins before its end.
static void issue_alone(operation *op)
{
    finish_all();
    issue(op);
    finish_all();
}

static operation *begin_alone(uint32_t kind)
{
    finish_all();
    return begin(kind);
}

static outcome outcome_of(int status)
{
    return status < 0 ? failed_after(0) : succeeded(0);
}

static void remove_some(void)
{
    int directory = one_in(4);
    operation *op = directory ? begin_alone(SL_PATH_REMOVE) : begin(SL_PATH_REMOVE);
    op->request.flags = directory ? SL_DIRECTORY : 0;
    op->touches.names_written = change_path(op);
    touches_all(op, node_at(oracle_text), 1);
    op->wanted = outcome_of(directory ? rmdir(oracle_text) : unlink(oracle_text));
    (directory ? issue_alone : issue)(op);
}

static void make_some_directory(void)
{
    operation *op = begin_alone(SL_PATH_MAKE_DIRECTORY);
    op->request.mode = (uint32_t[]){0755, 0700, 0777}[below(3)];
    change_path(op);
    op->wanted = outcome_of(mkdir(oracle_text, op->request.mode));
    issue_alone(op);
}

static void rename_some(void)
{
    operation *op = begin_alone(SL_PATH_RENAME);
    op->request.flags = one_in(3) ? SL_NO_REPLACE : 0;
    change_path(op);
    change_other_path(op);
    op->wanted = outcome_of(op->request.flags ? renameat2(AT_FDCWD, oracle_text, AT_FDCWD, other_text, RENAME_NOREPLACE)
                                              : rename(oracle_text, other_text));
    issue_alone(op);
}

static void link_some(void)
{
    operation *op = begin_alone(SL_PATH_LINK);
    change_path(op);
    change_other_path(op);
    op->wanted = outcome_of(link(oracle_text, other_text));
    issue_alone(op);
}

static void copy_some(void)
{
    operation *op = begin_alone(SL_PATH_COPY);
    op->request.flags = (one_in(3) ? SL_NO_REPLACE : 0) | (one_in(8) ? SL_WRITE_SYNC : 0);
    op->request.mode = any_mode();
    uint8_t *bytes = NULL;
    choose_path(op, 0);
    change_other_path(op);
    // What can be read is no matter of how much may be lent.
    outcome from = oracle_path_read(oracle_text, SIZE_MAX, &bytes);
    int is_directory = from.result == SL_ERR_IS_DIRECTORY && bytes;
    op->wanted = from.result < 0 && !is_directory ? from
                                                  : oracle_whole(other_text, bytes, is_directory ? -1 : from.result,
                                                                 !(op->request.flags & SL_NO_REPLACE), op->request.mode);
    free(bytes);
    issue_alone(op);
}

static void replace_some(void)
{
    operation *op = begin(SL_PATH_WRITE);
    const uint8_t *data = source + below(SOURCE / 2);
    op->request.flags = SL_WRITE_REPLACE | (one_in(8) ? SL_WRITE_SYNC : 0);
    op->request.length = one_in(20) ? MOST_LENGTH - 20 + below(40) : any_length();
    op->request.offset = (int64_t)(intptr_t)data;
    op->request.mode = any_mode();
    op->touches.names_written = change_path(op);
    touches_all(op, node_at(oracle_text), 1);
    op->wanted = oracle_whole(oracle_text, data, (int64_t)op->request.length, 1, op->request.mode);
    issue(op);
}

static void read_some_link(void)
{
    static const char *const links[] = {"to-a", "to-to-a", "dangling", "self", "circle", "elcric"};
    char text[PATH_MAX];
    operation *op = begin(SL_PATH_READ_LINK);
    op->touches.names_read = choose_path(op, 2);
    op->touches.slots_written = lent_slots;
    if (one_in(2)) {
        const char *chosen = links[below(6)];
        op->path = strcpy(realloc(op->path, 100), in_tree(0, chosen));
        op->shown = strcpy(realloc(op->shown, 100), op->path);
        op->request.buffer = op->path;
        strcpy(oracle_text, in_tree(1, chosen));
    }
    ssize_t length = readlink(oracle_text, text, sizeof text);
    op->wanted = length < 0 ? failed_after(0) : succeeded(length);
    if (length > 0) {
        op->wanted_bytes = memcpy(malloc((size_t)length), text, (size_t)length);
    }
    issue(op);
}

// --- Lists

static uint32_t type_in(const sl_event *event, const char *name)
{
    for (int64_t at = 0; at < event->result;) {
        const sl_entry *entry = (const sl_entry *)((const char *)event->data + at);
        if (strcmp((const char *)(entry + 1), name) == 0) {
            return entry->type;
        }
        at += entry->length;
    }
    return UINT32_MAX;
}

// The lengths are the same, so that all is there where all of the oracle's is.
static void finish_list(operation *op)
{
    char path[PATH_MAX + 300];
    struct stat is;
    if (op->event.result > 0 && op->event.result == op->wanted.result) {
        snprintf(path, sizeof path, "tree-oracle%s", op->shown + strlen("tree-sideloop"));
        DIR *opened = opendir(path);
        CHECK(opened);
        for (struct dirent *entry; (entry = readdir(opened));) {
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                CHECK_IS(fstatat(dirfd(opened), entry->d_name, &is, AT_SYMLINK_NOFOLLOW), 0);
                must_be(op, entry->d_name, type_in(&op->event, entry->d_name), type_of(is.st_mode));
            }
        }
        closedir(opened);
    }
}

static void list_some(void)
{
    static const char *const listed[] = {".", "dir", "dir", "to-dir", "locked-dir", "readonly-dir", "missing", "a", "circle"};
    const char *chosen = listed[below(sizeof listed / sizeof *listed)];
    operation *op = begin_alone(SL_PATH_LIST);
    op->path = copied(in_tree(0, chosen));
    op->shown = copied(op->path);
    op->request.buffer = op->path;
    op->touches.names_read = ALL_NAMES;
    op->touches.slots_written = lent_slots;
    DIR *opened = opendir(in_tree(1, chosen));
    op->wanted = opened ? succeeded(0) : failed_after(0);
    for (struct dirent *entry; opened && (entry = readdir(opened));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            op->wanted.result += (int64_t)((sizeof(sl_entry) + strlen(entry->d_name) + 8) & ~(size_t)7);
        }
    }
    if (opened) {
        closedir(opened);
    }
    op->finish = finish_list;
    issue_alone(op);
}

static void name_step(void)
{
    uint64_t chance = below(100);
    if (chance < 20) {
        replace_some();
    } else if (chance < 35) {
        copy_some();
    } else if (chance < 50) {
        rename_some();
    } else if (chance < 60) {
        remove_some();
    } else if (chance < 70) {
        link_some();
    } else if (chance < 78) {
        make_some_directory();
    } else if (chance < 90) {
        list_some();
    } else {
        read_some_link();
    }
}

#endif
