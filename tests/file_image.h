/* .kvb files as bytes in memory, and a folder to write them to. */
#ifndef KVB_TESTS_FILE_IMAGE_H
#define KVB_TESTS_FILE_IMAGE_H

#include "check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_case.h"
#include "file_load.h"

typedef struct image {
    uint8_t *bytes;
    size_t size;
} image;

/* A new empty folder, and a path in it; both stay valid until the next call. */
static char image_folder[64], image_path[128];

static inline const char *path_in_folder(const char *name) {
    if (image_folder[0] == '\0') {
        strcpy(image_folder, "/tmp/kvbits-test-XXXXXX");
        assert_non_null(mkdtemp(image_folder));
    }
    snprintf(image_path, sizeof image_path, "%s/%s", image_folder, name);
    return image_path;
}

/* Files in the folder; removes them when asked to. */
static inline int count_files(int and_remove) {
    char path[512];
    int n = 0;
    DIR *folder = opendir(image_folder);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            n++;
            snprintf(path, sizeof path, "%s/%s", image_folder, entry->d_name);
            assert_true(!and_remove || unlink(path) == 0);
        }
    }
    closedir(folder);
    return n;
}

static inline int remove_folder(void **state) {
    (void)state;
    if (image_folder[0] != '\0') {
        count_files(1);
        assert_int_equal(rmdir(image_folder), 0);
    }
    return 0;
}

static inline image image_read(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    image made = {.size = (size_t)ftell(file)};
    rewind(file);
    made.bytes = malloc(made.size + 1);
    assert_non_null(made.bytes);
    assert_int_equal(fread(made.bytes, 1, made.size, file), made.size);
    fclose(file);
    return made;
}

static inline image image_of(const kvb_cache *cache) {
    kvb_error error;
    char path[sizeof image_path];
    strcpy(path, path_in_folder("image.kvb"));
    assert_ok(kvb_cache_save(cache, path, &error), error);
    image made = image_read(path);
    assert_int_equal(unlink(path), 0);
    return made;
}

static inline image image_of_case(int which, uint64_t seed) {
    kvb_error error;
    kvb_cache *cache = file_case_make(which, seed, NULL, &error);
    if (!cache) {
        fail_msg("%s", error.text);
    }
    image made = image_of(cache);
    kvb_cache_destroy(cache);
    return made;
}

static inline void assert_same_image(image a, image b) {
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.bytes, b.bytes, a.size);
}

static inline kvb_status load_image(image from, int trusts_crc, const kvb_load_limits *limits, kvb_cache **out,
                                    kvb_error *error) {
    kvb_file_reader reader;
    *out = NULL;
    kvb_file_read_memory(&reader, from.bytes, from.size);
    reader.trusts_crc = trusts_crc;
    return kvb_cache_load_from(&reader, limits, NULL, NULL, out, error);
}

#endif
