/* A small legal trace in memory, and ways to damage it: for the tests of traces. */
#ifndef KVB_TESTS_TRACE_IMAGE_H
#define KVB_TESTS_TRACE_IMAGE_H

#include "kvbits/eval.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Layer 5: 2 tokens, 2 query heads on 1, head_dim 8, v_head_dim 16; 128 + 32 + 64 bytes of data. */
#define Q "\"layers.5.q\":{\"dtype\":\"F32\",\"shape\":[2,2,8],\"data_offsets\":[0,128]}"
#define K "\"layers.5.k\":{\"dtype\":\"F16\",\"shape\":[2,1,8],\"data_offsets\":[128,160]}"
#define V "\"layers.5.v\":{\"dtype\":\"BF16\",\"shape\":[2,1,16],\"data_offsets\":[160,224]}"
#define GOOD "{" Q "," K "," V "}"
#define META(x) "{\"__metadata__\":{" x "}," Q "," K "," V "}"

enum { DATA = 224 };

typedef struct image {
    uint8_t *bytes; /* exactly `size` of them, so that ASan sees a read beyond */
    size_t size;
} image;

static inline image image_of(const char *header, size_t data_bytes) {
    const size_t length = strlen(header);
    image out = {.bytes = malloc(8 + length + data_bytes), .size = 8 + length + data_bytes};
    assert_non_null(out.bytes);
    for (int i = 0; i < 8; i++) {
        out.bytes[i] = (uint8_t)((uint64_t)length >> 8 * i);
    }
    memcpy(out.bytes + 8, header, length);
    memset(out.bytes + 8 + length, 0, data_bytes);
    return out;
}

static inline uint8_t *data_of(image file, size_t data_bytes) {
    return file.bytes + file.size - data_bytes;
}

static inline kvb_trace *open_good(image file) {
    kvb_trace *trace = NULL;
    kvb_error error = {""};
    const kvb_status status = kvb_trace_from_memory(file.bytes, file.size, "t.safetensors", &trace, &error);
    if (status) {
        fail_msg("%s", error.text);
    }
    return trace;
}

static inline void expect_fault(image file, kvb_status expected, const char *sentence) {
    kvb_trace *trace = (kvb_trace *)&file;
    kvb_error error = {""};
    const kvb_status status = kvb_trace_from_memory(file.bytes, file.size, "t.safetensors", &trace, &error);
    if (status != expected || trace || !strstr(error.text, sentence) || !strstr(error.text, "t.safetensors")) {
        fail_msg("status %d, expected %d; '%s', expected '%s'", status, expected, error.text, sentence);
    }
}

static inline void expect_bad_header(const char *header, size_t data_bytes, const char *sentence) {
    const image file = image_of(header, data_bytes);
    expect_fault(file, KVB_ERROR_FORMAT, sentence);
    free(file.bytes);
}

#endif
