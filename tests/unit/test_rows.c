/* Where rows are read and written: strides, first_row, neighbors, refusals that write nothing, threads. */
#include "check.h"
#include "oracle.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { d = 72, n_rows = 5, capacity = 12, canary = 0x5a };

static kvb_codec *create(int bits) {
    kvb_codec_spec spec = kvb_codec_spec_default(d, bits);
    return create_codec(&spec);
}

static void fill(float *values, size_t n, uint64_t seed) {
    oracle_random random = {seed};
    for (size_t i = 0; i < n; i++) {
        values[i] = oracle_normal(&random);
    }
}

static void rows_land_at_first_row_and_nowhere_else(void **state) {
    (void)state;
    float x[n_rows * d];
    fill(x, n_rows * d, 20);
    for (int bits = 1; bits <= 8; bits++) {
        kvb_codec *codec = create(bits);
        size_t bytes = kvb_codec_block_bytes(codec, capacity);
        uint8_t *block = malloc(bytes + 8), *alone = malloc(bytes);
        kvb_packed packed = kvb_packed_view(codec, block, capacity), one = kvb_packed_view(codec, alone, 1);
        for (size_t first = 0; first + n_rows <= capacity; first++) {
            kvb_error error;
            memset(block, canary, bytes + 8);
            assert_ok(kvb_encode(codec, x, KVB_F32, d, n_rows, &packed, first, NULL, &error), error);
            const uint8_t *at = block;
            int widths[KVB_MAX_PLANES], n_planes = kvb_plane_widths(bits, widths);
            for (int p = -1; p < n_planes; p++) {
                size_t row_bytes = p < 0 ? 2 : (size_t)(widths[p] * d / 8);
                for (size_t row = 0; row < capacity; row++, at += row_bytes) {
                    if (row >= first && row < first + n_rows) {
                        assert_ok(kvb_encode(codec, x + (row - first) * d, KVB_F32, d, 1, &one, 0, NULL, &error),
                                  error);
                        assert_memory_equal(at, p < 0 ? one.scales : one.planes[p], row_bytes);
                    } else {
                        for (size_t i = 0; i < row_bytes; i++) {
                            assert_int_equal(at[i], canary);
                        }
                    }
                }
            }
            assert_ptr_equal(at, block + bytes);
            for (int i = 0; i < 8; i++) {
                assert_int_equal(at[i], canary);
            }
        }
        free(block);
        free(alone);
        kvb_codec_destroy(codec);
    }
}

static void strides_change_nothing_and_gaps_stay_untouched(void **state) {
    (void)state;
    enum { stride = d + 5 };
    float dense[n_rows * d], spread[n_rows * stride], decoded[n_rows * d], out[n_rows * stride];
    fill(dense, n_rows * d, 21);
    for (int i = 0; i < n_rows * stride; i++) {
        spread[i] = NAN; /* a gap that is read shows */
        out[i] = -77.0f;
    }
    for (int row = 0; row < n_rows; row++) {
        memcpy(spread + row * stride, dense + row * d, d * sizeof *dense);
    }
    kvb_codec *codec = create(6);
    size_t bytes = kvb_codec_block_bytes(codec, n_rows);
    void *a = malloc(bytes), *b = malloc(bytes);
    kvb_packed pa = kvb_packed_view(codec, a, n_rows), pb = kvb_packed_view(codec, b, n_rows);
    kvb_error error;
    assert_ok(kvb_encode(codec, dense, KVB_F32, d, n_rows, &pa, 0, NULL, &error), error);
    assert_ok(kvb_encode(codec, spread, KVB_F32, stride, n_rows, &pb, 0, NULL, &error), error);
    assert_memory_equal(a, b, bytes);
    assert_ok(kvb_decode(codec, &pa, 0, n_rows, KVB_DOMAIN_INPUT, decoded, d, &error), error);
    assert_ok(kvb_decode(codec, &pa, 0, n_rows, KVB_DOMAIN_INPUT, out, stride, &error), error);
    for (int row = 0; row < n_rows; row++) {
        assert_memory_equal(decoded + row * d, out + row * stride, d * sizeof *out);
        for (int i = d; i < stride; i++) {
            assert_true(out[row * stride + i] == -77.0f);
        }
    }
    assert_ok(kvb_decode(codec, &pa, 2, 1, KVB_DOMAIN_INPUT, out, d, &error), error);
    assert_memory_equal(out, decoded + 2 * d, d * sizeof *out);
    free(a);
    free(b);
    kvb_codec_destroy(codec);
}

/* Puts an illegal value into the last row, so that a checker that writes as it goes is caught. */
static void check_refused(const kvb_codec *codec, const void *rows, kvb_dtype dtype, const char *text) {
    size_t bytes = kvb_codec_block_bytes(codec, n_rows);
    uint8_t *block = malloc(bytes);
    memset(block, canary, bytes);
    kvb_packed packed = kvb_packed_view(codec, block, n_rows);
    kvb_encode_stats stats = {0};
    kvb_error error = {""};
    assert_int_equal(kvb_encode(codec, rows, dtype, d, n_rows, &packed, 0, &stats, &error), KVB_ERROR_NOT_FINITE);
    assert_non_null(strstr(error.text, text));
    assert_int_equal(stats.rows, 0);
    for (size_t i = 0; i < bytes; i++) {
        assert_int_equal(block[i], canary);
    }
    free(block);
}

static void illegal_values_are_refused_by_name_and_nothing_is_written(void **state) {
    (void)state;
    kvb_codec *codec = create(4);
    const float illegal[] = {NAN, -NAN, INFINITY, -INFINITY, nextafterf(KVB_MAX_ABS, INFINITY), -0x1p60f};
    for (size_t k = 0; k < sizeof illegal / sizeof illegal[0]; k++) {
        for (int i = 0; i < d; i++) {
            float x[n_rows * d];
            char text[64];
            fill(x, n_rows * d, 22);
            x[4 * d + i] = illegal[k];
            (void)snprintf(text, sizeof text, "row 4 coordinate %d is", i);
            check_refused(codec, x, KVB_F32, text);
        }
    }
    static const uint16_t bad_f16[] = {0x7c00, 0xfc00, 0x7c01, 0xfe00}, bad_bf16[] = {0x7f80, 0xff80, 0x7fc0, 0x5c81};
    for (int k = 0; k < 4 * d; k++) {
        uint16_t x[n_rows * d] = {0};
        char text[64];
        (void)snprintf(text, sizeof text, "row 4 coordinate %d is", k / 4);
        x[4 * d + k / 4] = bad_f16[k % 4];
        check_refused(codec, x, KVB_F16, text);
        x[4 * d + k / 4] = bad_bf16[k % 4];
        check_refused(codec, x, KVB_BF16, text);
    }
    kvb_codec_destroy(codec);
}

static void the_largest_legal_values_are_taken(void **state) {
    (void)state;
    kvb_codec *codec = create(4);
    float x[d], block[d];
    uint16_t halves[d];
    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_encode_stats stats = {0};
    kvb_error error;
    for (int i = 0; i < d; i++) {
        x[i] = i % 2 ? KVB_MAX_ABS : -KVB_MAX_ABS;
        halves[i] = 0xfbff;
    }
    assert_ok(kvb_encode(codec, x, KVB_F32, d, 1, &packed, 0, &stats, &error), error);
    assert_ok(kvb_encode(codec, halves, KVB_F16, d, 1, &packed, 0, &stats, &error), error);
    assert_int_equal(stats.not_finite_rows, 0);
    kvb_codec_destroy(codec);
}

static void stats_add_up(void **state) {
    (void)state;
    kvb_codec *codec = create(4);
    float x[n_rows * d], block[n_rows * d];
    fill(x, n_rows * d, 23);
    for (int i = 0; i < 2 * d; i++) {
        x[i] *= 1e7f;
    }
    kvb_packed packed = kvb_packed_view(codec, block, n_rows);
    kvb_encode_stats stats = {.rows = 100, .saturated_scales = 10, .not_finite_rows = 1};
    kvb_error error;
    assert_ok(kvb_encode(codec, x, KVB_F32, d, n_rows, &packed, 0, &stats, &error), error);
    x[3 * d] = NAN;
    kvb_encode_unchecked(codec, x, KVB_F32, d, n_rows, &packed, 0, &stats);
    assert_int_equal(stats.rows, 100 + 2 * n_rows);
    assert_int_equal(stats.saturated_scales, 10 + 2 + 2);
    assert_int_equal(stats.not_finite_rows, 2);
    kvb_codec_destroy(codec);
}

static void illegal_calls_are_refused(void **state) {
    (void)state;
    kvb_codec *codec = create(5);
    float x[2 * d] = {0}, block[2 * d];
    kvb_packed packed = kvb_packed_view(codec, block, 2), hole = packed, odd = packed;
    hole.planes[1] = NULL;
    odd.scales = (uint8_t *)block + 1;
    kvb_error *none = NULL;
    assert_int_equal(kvb_encode(NULL, x, KVB_F32, d, 1, &packed, 0, NULL, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_encode(codec, NULL, KVB_F32, d, 1, &packed, 0, NULL, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_encode(codec, (uint8_t *)x + 2, KVB_F32, d, 1, &packed, 0, NULL, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_encode(codec, x, (kvb_dtype)9, d, 1, &packed, 0, NULL, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_encode(codec, x, KVB_F32, d - 1, 1, &packed, 0, NULL, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_encode(codec, x, KVB_F32, d, 1, NULL, 0, NULL, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_encode(codec, x, KVB_F32, d, 1, &hole, 0, NULL, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_encode(codec, x, KVB_F32, d, 1, &odd, 0, NULL, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_encode(codec, x, KVB_F32, d, SIZE_MAX / d, &packed, 0, NULL, none), KVB_ERROR_MEMORY);
    assert_int_equal(kvb_encode(codec, x, KVB_F32, d, 1, &packed, SIZE_MAX, NULL, none), KVB_ERROR_MEMORY);
    assert_int_equal(kvb_encode(codec, x, KVB_F32, d, 1, &packed, SIZE_MAX / 40, NULL, none), KVB_ERROR_MEMORY);
    assert_int_equal(kvb_decode(NULL, &packed, 0, 1, KVB_DOMAIN_INPUT, x, d, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_decode(codec, &packed, 0, 1, (kvb_domain)2, x, d, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_INPUT, NULL, d, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_INPUT, x, 8, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_decode(codec, &hole, 0, 1, KVB_DOMAIN_INPUT, x, d, none), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_decode(codec, &packed, SIZE_MAX, 2, KVB_DOMAIN_INPUT, x, d, none), KVB_ERROR_MEMORY);
    assert_int_equal(kvb_encode(codec, NULL, KVB_F32, 0, 0, NULL, 0, NULL, none), KVB_OK);
    assert_int_equal(kvb_decode(codec, NULL, 0, 0, KVB_DOMAIN_INPUT, NULL, 0, none), KVB_OK);
    kvb_codec_destroy(codec);
}

/* ---- Threads ---- */

enum { thread_rows = 400, n_threads = 4 };

typedef struct thread_job {
    const kvb_codec *codec;
    const float *x;
    void *block;
    kvb_status status;
} thread_job;

static void *encode_all(void *argument) {
    thread_job *job = argument;
    kvb_packed packed = kvb_packed_view(job->codec, job->block, thread_rows);
    job->status = kvb_encode(job->codec, job->x, KVB_F32, d, thread_rows, &packed, 0, NULL, NULL);
    return NULL;
}

static void one_codec_serves_several_threads(void **state) {
    (void)state;
    float *x = malloc(thread_rows * d * sizeof *x);
    fill(x, thread_rows * d, 24);
    kvb_codec *codec = create(7);
    size_t bytes = kvb_codec_block_bytes(codec, thread_rows);
    thread_job jobs[n_threads];
    pthread_t threads[n_threads];
    for (int i = 0; i < n_threads; i++) {
        jobs[i] = (thread_job){codec, x, malloc(bytes), KVB_ERROR_ARGUMENT};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_all, &jobs[i]), 0);
    }
    for (int i = 0; i < n_threads; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(jobs[i].status, KVB_OK);
        assert_memory_equal(jobs[i].block, jobs[0].block, bytes);
    }
    for (int i = 0; i < n_threads; i++) {
        free(jobs[i].block);
    }
    free(x);
    kvb_codec_destroy(codec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_land_at_first_row_and_nowhere_else),
        cmocka_unit_test(strides_change_nothing_and_gaps_stay_untouched),
        cmocka_unit_test(illegal_values_are_refused_by_name_and_nothing_is_written),
        cmocka_unit_test(the_largest_legal_values_are_taken),
        cmocka_unit_test(stats_add_up),
        cmocka_unit_test(illegal_calls_are_refused),
        cmocka_unit_test(one_codec_serves_several_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
