/* Writing: whatever fails, and wherever, the old file is whole and nothing is left beside it. The system's calls are
 * replaced by ones that fail on request. */
#define _GNU_SOURCE /* flock, syscall, RTLD_NEXT */
#include "file_image.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* ---- A system that fails ---- */

static struct {
    int write_after; /* so many bytes can be written; -1: all */
    int write_errno;
    int write_most;  /* bytes of one call; 0: all */
    int interrupted; /* every other call is */
    int fsync_errno, rename_errno;
    int calls;
    int synced; /* before the file took its name */
} fault;

static void no_faults(void) {
    memset(&fault, 0, sizeof fault);
    fault.write_after = -1;
}

/* Only to files of the test's folder: the test's own output goes through. */
static int is_ours(int fd) {
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    return image_folder[0] != '\0' && strncmp(path, image_folder, strlen(image_folder)) == 0;
}

ssize_t write(int fd, const void *data, size_t bytes) {
    if (is_ours(fd)) {
        fault.calls++;
        if (fault.interrupted && fault.calls % 2 == 1) {
            errno = EINTR;
            return -1;
        }
        if (fault.write_after == 0) {
            errno = fault.write_errno;
            return -1;
        }
        if (fault.write_after > 0 && bytes > (size_t)fault.write_after) {
            bytes = (size_t)fault.write_after; /* short, as on a disk that fills up */
        }
        if (fault.write_most > 0 && bytes > (size_t)fault.write_most) {
            bytes = (size_t)fault.write_most;
        }
        fault.write_after -= fault.write_after > 0 ? (int)bytes : 0;
    }
    return (ssize_t)syscall(SYS_write, fd, data, bytes);
}

int fsync(int fd) {
    if (is_ours(fd) && fault.fsync_errno) {
        errno = fault.fsync_errno;
        return -1;
    }
    fault.synced++;
    return (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    if (fault.rename_errno) {
        errno = fault.rename_errno;
        return -1;
    }
    assert_int_equal(fault.synced, 1); /* the content is on the disk before the name is */
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- An old file and a cache that is to replace it ---- */

static kvb_cache *cache;
static image old;
static char path[128];

static int set_up(void **state) {
    (void)state;
    kvb_error error;
    no_faults();
    strcpy(path, path_in_folder("cache.kvb"));
    count_files(1);
    kvb_cache *first = file_case_make(3, 1, NULL, &error);
    assert_non_null(first);
    assert_ok(kvb_cache_save(first, path, &error), error);
    kvb_cache_destroy(first);
    old = image_read(path);
    cache = file_case_make(1, 2, NULL, &error);
    assert_non_null(cache);
    fault.synced = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    no_faults();
    free(old.bytes);
    kvb_cache_destroy(cache);
    return 0;
}

static void expect_old_file(const char *sentence) {
    kvb_error error = {""};
    kvb_status status = kvb_cache_save(cache, path, &error);
    no_faults();
    if (status != KVB_ERROR_IO || !strstr(error.text, sentence)) {
        fail_msg("status %d, \"%s\" does not say \"%s\"", (int)status, error.text, sentence);
    }
    image now = image_read(path);
    assert_same_image(old, now);
    assert_int_equal(count_files(0), 1);
    free(now.bytes);
}

static void expect_new_file(const char *where) {
    kvb_error error;
    kvb_cache *loaded;
    assert_ok(kvb_cache_save(cache, where, &error), error);
    no_faults();
    assert_ok(kvb_cache_load(where, NULL, NULL, NULL, &loaded, &error), error);
    assert_int_equal(kvb_cache_n_tokens(loaded, 0), 53);
    kvb_cache_destroy(loaded);
}

/* ---- What may fail ---- */

static void a_disk_that_fills_up_at_any_byte_leaves_the_old_file(void **state) {
    (void)state;
    image whole = image_of(cache);
    int size = (int)whole.size;
    free(whole.bytes);
    for (int after = 0; after < size; after = after == size - 1 || 2 * after < size ? 1 + 2 * after : size - 1) {
        fault.write_after = after;
        fault.write_errno = ENOSPC;
        expect_old_file("could not be written, and what was there before is untouched: No space left on device");
    }
}

static void an_error_of_the_device_leaves_the_old_file(void **state) {
    (void)state;
    fault.write_after = 9000;
    fault.write_errno = EIO;
    expect_old_file("Input/output error");
    fault.fsync_errno = EIO;
    expect_old_file("Input/output error");
    fault.rename_errno = EACCES;
    expect_old_file("Permission denied");
}

static void a_limit_of_the_file_size_leaves_the_old_file(void **state) {
    (void)state;
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit = before;
    limit.rlim_cur = 5000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_old_file("File too large");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
}

static void short_and_interrupted_writes_go_on(void **state) {
    (void)state;
    fault.write_most = 7;
    fault.interrupted = 1;
    expect_new_file(path);
    assert_int_equal(count_files(0), 1);
}

/* ---- Names ---- */

static void what_a_killed_process_left_is_cleared_away(void **state) {
    (void)state;
    char stale[160];
    for (int i = 0; i < 3; i++) {
        snprintf(stale, sizeof stale, "%s.%d.tmp", path, i);
        FILE *file = fopen(stale, "wb");
        assert_non_null(file);
        fclose(file);
    }
    expect_new_file(path);
    assert_int_equal(count_files(0), 3); /* the first is gone; the others do not stand in the way */
    expect_new_file(path);
}

static void a_temporary_file_that_is_in_use_is_left_alone(void **state) {
    (void)state;
    char busy[160];
    snprintf(busy, sizeof busy, "%s.0.tmp", path);
    int fd = open(busy, O_WRONLY | O_CREAT | O_EXCL, 0666);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    assert_int_equal(write(fd, "busy", 4), 4);
    fault.synced = 0;
    expect_new_file(path);
    image now = image_read(busy);
    assert_int_equal(now.size, 4);
    assert_memory_equal(now.bytes, "busy", 4);
    free(now.bytes);
    close(fd);
}

static void a_link_in_place_of_a_temporary_file_is_not_followed(void **state) {
    (void)state;
    char stale[160], victim[160];
    snprintf(stale, sizeof stale, "%s.0.tmp", path);
    strcpy(victim, path_in_folder("victim"));
    FILE *file = fopen(victim, "wb");
    assert_true(file && fputs("mine", file) >= 0 && fclose(file) == 0);
    assert_int_equal(symlink(victim, stale), 0);
    expect_new_file(path);
    image now = image_read(victim);
    assert_int_equal(now.size, 4);
    free(now.bytes);
}

static void a_link_is_followed_and_the_mode_is_kept(void **state) {
    (void)state;
    char link[160];
    struct stat entry;
    strcpy(link, path_in_folder("link.kvb"));
    assert_int_equal(symlink("cache.kvb", link), 0);
    assert_int_equal(chmod(path, 0640), 0);
    expect_new_file(link);
    assert_int_equal(lstat(link, &entry), 0);
    assert_true(S_ISLNK(entry.st_mode));
    assert_int_equal(stat(path, &entry), 0);
    assert_int_equal(entry.st_mode & 0777, 0640);
    assert_int_equal(count_files(0), 2);
}

static void expect_no_file(const char *where, const char *sentence) {
    kvb_error error = {""};
    int before = count_files(0);
    assert_int_equal(kvb_cache_save(cache, where, &error), KVB_ERROR_IO);
    if (!strstr(error.text, sentence)) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, sentence);
    }
    assert_int_equal(count_files(0), before);
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    static char long_name[5000];
    memset(long_name, 'x', sizeof long_name - 1);
    expect_no_file(image_folder, "is a folder, not a file");
    expect_no_file("/dev/full", "is a device or a pipe, not a file");
    expect_no_file("/nowhere/cache.kvb", "No such file or directory");
    expect_no_file("", "No such file or directory");
    expect_no_file(long_name, "File name too long");
}

static void what_cannot_be_read_is_refused(void **state) {
    (void)state;
    kvb_error error = {""};
    kvb_cache *out = cache;
    assert_int_equal(kvb_cache_load("/nowhere/cache.kvb", NULL, NULL, NULL, &out, &error), KVB_ERROR_IO);
    assert_string_equal(error.text, "/nowhere/cache.kvb: cannot be opened: No such file or directory");
    assert_null(out);
    assert_int_equal(kvb_cache_load(image_folder, NULL, NULL, NULL, &out, &error), KVB_ERROR_IO);
    assert_non_null(strstr(error.text, "is a folder"));
    assert_int_equal(kvb_cache_load("/dev/null", NULL, NULL, NULL, &out, &error), KVB_ERROR_IO);
    assert_non_null(strstr(error.text, "is a device or a pipe"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_disk_that_fills_up_at_any_byte_leaves_the_old_file),
        TEST(an_error_of_the_device_leaves_the_old_file),
        TEST(a_limit_of_the_file_size_leaves_the_old_file),
        TEST(short_and_interrupted_writes_go_on),
        TEST(what_a_killed_process_left_is_cleared_away),
        TEST(a_temporary_file_that_is_in_use_is_left_alone),
        TEST(a_link_in_place_of_a_temporary_file_is_not_followed),
        TEST(a_link_is_followed_and_the_mode_is_kept),
        TEST(what_is_no_file_is_refused),
        TEST(what_cannot_be_read_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
