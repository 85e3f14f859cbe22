/* Output files: whole or not at all, and impossible ones found before the work. */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700

#include "check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"

static char root[] = "/tmp/kvbits-output-XXXXXX";

static int enter(void **state) {
    (void)state;
    return mkdtemp(root) == NULL || chdir(root) != 0;
}

static int leave(void **state) {
    (void)state;
    static const char *const left[] = {"a", "link", "deep/er/file", "deep/er", "deep", "folder"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        (void)remove(left[i]);
    }
    return chdir("/") != 0 || rmdir(root) != 0;
}

static void assert_holds(const char *path, const char *text) {
    char content[256] = {0};
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(content, 1, sizeof content - 1, file) <= sizeof content);
    fclose(file);
    assert_string_equal(content, text);
}

static int entries(const char *folder) {
    int n = 0;
    DIR *stream = opendir(folder);
    assert_non_null(stream);
    while (readdir(stream) != NULL) {
        n++;
    }
    closedir(stream);
    return n - 2;
}

static void a_file_is_replaced_whole_and_keeps_its_mode(void **state) {
    (void)state;
    kvb_error error = {""};
    struct stat entry;
    assert_ok(kvb_output_write("a", "a long first text", 17, &error), error);
    assert_int_equal(chmod("a", 0640), 0);
    assert_ok(kvb_output_write("a", "short", 5, &error), error);
    assert_holds("a", "short");
    assert_int_equal(stat("a", &entry), 0);
    assert_int_equal(entry.st_mode & 0777, 0640);
    assert_int_equal(entries("."), 1); /* no temporary file is left */
}

static void a_reader_keeps_the_old_file_while_it_is_replaced(void **state) {
    (void)state;
    kvb_error error = {""};
    char content[16] = {0};
    assert_ok(kvb_output_write("a", "old", 3, &error), error);
    FILE *file = fopen("a", "r");
    assert_ok(kvb_output_write("a", "new", 3, &error), error);
    assert_int_equal(fread(content, 1, 15, file), 3);
    assert_string_equal(content, "old");
    fclose(file);
}

static void a_link_stays_a_link_and_its_target_is_written(void **state) {
    (void)state;
    kvb_error error = {""};
    struct stat entry;
    assert_ok(kvb_output_write("a", "old", 3, &error), error);
    assert_int_equal(symlink("a", "link"), 0);
    assert_ok(kvb_output_write("link", "new", 3, &error), error);
    assert_holds("a", "new");
    assert_int_equal(lstat("link", &entry), 0);
    assert_true(S_ISLNK(entry.st_mode));
}

static void a_device_is_written_to_and_not_replaced(void **state) {
    (void)state;
    kvb_error error = {""};
    struct stat entry;
    assert_ok(kvb_output_check_file("/dev/null", &error), error);
    assert_ok(kvb_output_write("/dev/null", "text", 4, &error), error);
    assert_int_equal(stat("/dev/null", &entry), 0);
    assert_true(S_ISCHR(entry.st_mode));
    assert_int_equal(kvb_output_write("/dev/full", "text", 4, &error), KVB_ERROR_IO);
    assert_non_null(strstr(error.text, "No space left"));
}

static void folders_are_made_with_those_above_them(void **state) {
    (void)state;
    kvb_error error = {""};
    assert_ok(kvb_output_make_folder("deep/er/", &error), error);
    assert_ok(kvb_output_make_folder("deep/er", &error), error); /* again */
    assert_ok(kvb_output_write("deep/er/file", "x", 1, &error), error);
    assert_int_equal(entries("deep/er"), 1);
    assert_int_equal(kvb_output_make_folder("deep/er/file", &error), KVB_ERROR_IO);
    assert_int_equal(kvb_output_make_folder("deep/er/file/below", &error), KVB_ERROR_IO);
    assert_int_equal(kvb_output_make_folder("", &error), KVB_ERROR_ARGUMENT);
}

static void what_cannot_be_written_is_found_before_the_work(void **state) {
    (void)state;
    kvb_error error = {""};
    assert_int_equal(mkdir("folder", 0700), 0);
    assert_ok(kvb_output_check_writable("folder", &error), error);
    assert_ok(kvb_output_check_file("folder/new", &error), error);
    assert_ok(kvb_output_check_file("new", &error), error);
    assert_int_equal(entries("folder"), 0); /* the probe is gone */
    assert_int_equal(kvb_output_check_writable("missing", &error), KVB_ERROR_IO);
    assert_non_null(strstr(error.text, "missing: no such output folder"));
    assert_int_equal(kvb_output_check_file("missing/new", &error), KVB_ERROR_IO);
    assert_int_equal(kvb_output_check_file("folder", &error), KVB_ERROR_IO);
    assert_int_equal(kvb_output_check_writable("/proc", &error), KVB_ERROR_IO); /* nobody, not even root, may */
    assert_int_equal(kvb_output_check_file("/proc/new", &error), KVB_ERROR_IO);
    assert_int_equal(kvb_output_write("/proc/new", "x", 1, &error), KVB_ERROR_IO);
    assert_int_equal(kvb_output_write("folder", "x", 1, &error), KVB_ERROR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_replaced_whole_and_keeps_its_mode),
        cmocka_unit_test(a_reader_keeps_the_old_file_while_it_is_replaced),
        cmocka_unit_test(a_link_stays_a_link_and_its_target_is_written),
        cmocka_unit_test(a_device_is_written_to_and_not_replaced),
        cmocka_unit_test(folders_are_made_with_those_above_them),
        cmocka_unit_test(what_cannot_be_written_is_found_before_the_work),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
