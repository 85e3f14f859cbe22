/* Images of .kvb files that are changed, and what loading them must say. */
#ifndef KVB_TESTS_FILE_LIE_H
#define KVB_TESTS_FILE_LIE_H

#include "file_format.h"
#include "file_image.h"

static inline kvb_status inspect_image(image from, int trusts_crc, kvb_error *error) {
    kvb_file_reader reader;
    kvb_file_read_memory(&reader, from.bytes, from.size);
    reader.trusts_crc = trusts_crc;
    return kvb_file_inspect_from(&reader, NULL, NULL, NULL, error);
}

static inline void expect_refusal(image file, int trusts_crc, const char *sentence) {
    kvb_cache *cache;
    kvb_error error = {""}, also = {""};
    kvb_status status = load_image(file, trusts_crc, NULL, &cache, &error);
    if (status != KVB_ERROR_FORMAT || cache || !strstr(error.text, sentence)) {
        fail_msg("status %d, \"%s\" does not say \"%s\"", (int)status, error.text, sentence);
    }
    assert_int_equal(inspect_image(file, trusts_crc, &also), KVB_ERROR_FORMAT);
    assert_string_equal(error.text, also.text);
}

/* Offset of the content of the n-th section of a type. */
static inline size_t content_of(image file, uint32_t type, int n) {
    size_t at = KVB_FILE_HEADER_BYTES;
    for (;;) {
        const uint8_t *head = file.bytes + at;
        assert_true(at < file.size);
        uint32_t found = (uint32_t)kvb_file_get(&head, 4);
        head += 12;
        uint64_t bytes = kvb_file_get(&head, 8);
        if (found == type && n-- == 0) {
            return at + KVB_FILE_HEAD_BYTES;
        }
        at += KVB_FILE_HEAD_BYTES + (size_t)bytes + KVB_FILE_CRC_BYTES;
    }
}

static inline void put(image file, size_t offset, uint64_t value, int bytes) {
    uint8_t *at = file.bytes + offset;
    assert_true(offset + (size_t)bytes <= file.size);
    kvb_file_put(&at, value, bytes);
}

static inline void expect_lie(int which, uint32_t type, int n, int offset, uint64_t value, int bytes,
                              const char *sentence) {
    image file = image_of_case(which, 1);
    size_t start = type == 0 ? 0 : content_of(file, type, n);
    put(file, start + (size_t)offset, value, bytes);
    expect_refusal(file, 1, sentence);
    expect_refusal(file, 0, "the bytes have changed");
    free(file.bytes);
}

static inline image without(image file, size_t start, size_t end) {
    image made = {malloc(file.size), file.size - (end - start)};
    memcpy(made.bytes, file.bytes, start);
    memcpy(made.bytes + start, file.bytes + end, file.size - end);
    put(made, 16, made.size, 8);
    return made;
}

static inline image with(image file, size_t at, const uint8_t *bytes, size_t n) {
    image made = {malloc(file.size + n), file.size + n};
    memcpy(made.bytes, file.bytes, at);
    memcpy(made.bytes + at, bytes, n);
    memcpy(made.bytes + at + n, file.bytes + at, file.size - at);
    put(made, 16, made.size, 8);
    return made;
}

/* [start, end) of section n. */
static inline void bounds_of(image file, int n, size_t *start, size_t *end) {
    *start = *end = KVB_FILE_HEADER_BYTES;
    for (int i = 0; i <= n; i++) {
        *start = *end;
        const uint8_t *head = file.bytes + *start + 16;
        *end = *start + KVB_FILE_HEAD_BYTES + (size_t)kvb_file_get(&head, 8) + KVB_FILE_CRC_BYTES;
    }
}

#endif
