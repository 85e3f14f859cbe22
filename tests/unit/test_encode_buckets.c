/* The buckets that the GPU's encoders search give every value the code that docs/format.md gives it. */
#include "cuda/encode_buckets.c"

#include "check.h"
#include "codec.h"
#include "oracle.h"

#include <float.h>

static int code_by_counting(const float *midpoints, int n, float value) {
    int code = 0;
    for (int i = 0; i < n; i++) {
        code += value > midpoints[i];
    }
    return code;
}

static void check_value(const kvb_cuda_format *f, const kvb_cuda_buckets *buckets, const float *midpoints, int n,
                        float value) {
    const uint32_t bucket = kvb_bucket_number(f->bucket_factor, f->bucket_offset, f->bucket_step, value);
    assert_true(bucket < (uint32_t)f->n_buckets);
    const uint32_t level = value > buckets->midpoints[bucket] ? buckets->above[bucket] : buckets->below[bucket];
    assert_int_equal(level & 0xffff, code_by_counting(midpoints, n, value));
    assert_int_equal(level >> 16, kvb_f32_to_f16((float)(level & 0xffff)));
}

/* Midpoints, their neighbors, and values that are no numbers or far away; returns the number of buckets. */
static int check_levels(const float *midpoints, int n) {
    static kvb_cuda_buckets buckets;
    kvb_cuda_format f = {0};
    uint16_t halves[KVB_MAX_LEVELS];
    for (int i = 0; i < KVB_MAX_LEVELS; i++) {
        halves[i] = kvb_f32_to_f16((float)i); /* any that tell levels apart */
    }
    kvb_cuda_buckets_fill(midpoints, n, halves, &buckets, &f);
    oracle_random random = {.state = 3};
    const float far[] = {0.0f, -0.0f, 1e-45f, FLT_MAX, -FLT_MAX, INFINITY, -INFINITY, NAN};
    for (int i = 0; f.n_buckets && i < n; i++) {
        check_value(&f, &buckets, midpoints, n, midpoints[i]);
        check_value(&f, &buckets, midpoints, n, nextafterf(midpoints[i], INFINITY));
        check_value(&f, &buckets, midpoints, n, nextafterf(midpoints[i], -INFINITY));
    }
    for (int i = 0; f.n_buckets && i < 2000; i++) {
        check_value(&f, &buckets, midpoints, n, i < 8 ? far[i] : 1.5f * oracle_normal(&random));
    }
    return f.n_buckets;
}

static void the_librarys_levels(void **state) {
    (void)state;
    static const int states[] = {0, 8, 16, 64, 256}, most[] = {0, 32, 32, 32, 32, 64, 128, 256, 1024};
    for (int s = 0; s < 5; s++) {
        for (int bits = s ? KVB_MIN_TRELLIS_BITS : 1; bits <= (s ? KVB_MAX_TRELLIS_BITS : 8); bits++) {
            kvb_codec_spec spec = kvb_codec_spec_default(128, bits);
            kvb_codec *codec;
            kvb_error error;
            spec.trellis_states = states[s];
            assert_int_equal(kvb_codec_create(&spec, NULL, NULL, &codec, &error), KVB_OK);
            const int n = codec->tables.levels - (s ? 4 : 1), many = check_levels(codec->tables.midpoints, n);
            assert_true(many > 0);
            if (s == 0) {
                assert_int_equal(many, most[bits]);
            }
            kvb_codec_destroy(codec);
        }
    }
}

/* The same of a ring, for values that its format knows the magnitude of; returns the number of buckets. */
static int check_ring(const float *midpoints, int n, kvb_scale_kind scale, float sqrt_dim) {
    static kvb_cuda_buckets ring;
    kvb_cuda_format f = {.scale_kind = (int)scale, .sqrt_dim = sqrt_dim};
    uint16_t halves[KVB_MAX_LEVELS];
    for (int i = 0; i < KVB_MAX_LEVELS; i++) {
        halves[i] = kvb_f32_to_f16((float)i);
    }
    kvb_cuda_ring_fill(midpoints, n, halves, &ring, &f);
    oracle_random random = {.state = 4};
    const float most = KVB_RING_REACH * sqrt_dim;
    for (int i = 0; f.n_ring && i < 3 * n + 4000; i++) {
        float value = i % 2 ? oracle_normal(&random) : (2.0f * (float)i / (float)(3 * n + 4000) - 1.0f) * most;
        if (i < 3 * n) {
            value = i % 3 == 0 ? midpoints[i / 3] : nextafterf(midpoints[i / 3], i % 3 == 1 ? INFINITY : -INFINITY);
        }
        const uint32_t at = kvb_ring_bits(f.ring_factor, value) & 4 * ((uint32_t)f.n_ring - 1), bucket = at / 4;
        const uint32_t level = value > ring.midpoints[bucket] ? ring.above[bucket] : ring.below[bucket];
        assert_int_equal(at % 4, 0);
        assert_int_equal(level & 0xffff, code_by_counting(midpoints, n, value));
        assert_int_equal(level >> 16, kvb_f32_to_f16((float)(level & 0xffff)));
    }
    return f.n_ring;
}

static void rings(void **state) {
    (void)state;
    static const int most[] = {0, 32, 32, 64, 128, 256, 0, 0, 0};
    for (int bits = 1; bits <= 8; bits++) {
        kvb_codec_spec spec = kvb_codec_spec_default(128, bits);
        kvb_codec *codec;
        kvb_error error;
        assert_int_equal(kvb_codec_create(&spec, NULL, NULL, &codec, &error), KVB_OK);
        const kvb_codec_tables *t = &codec->tables;
        assert_int_equal(check_ring(t->midpoints, t->levels - 1, KVB_SCALE_LSQ, t->sqrt_dim), most[bits]);
        assert_int_equal(check_ring(t->midpoints, t->levels - 1, KVB_SCALE_SEARCH, t->sqrt_dim), most[bits]);
        assert_int_equal(check_ring(t->midpoints, t->levels - 1, KVB_SCALE_NORM, t->sqrt_dim), 0);
        kvb_codec_destroy(codec);
    }
    const float wide[] = {-100.0f, 0.0f, 100.0f};
    assert_int_equal(check_ring(wide, 3, KVB_SCALE_LSQ, 8.0f), 0);
}

static void levels_of_others(void **state) {
    (void)state;
    const float even[] = {-3.0f, -1.0f, 1.0f, 3.0f}, far_apart[] = {-1.0f, 0.0f, 1e-2f, 4.0f},
                too_close[] = {-1.0f, 0.0f, 1e-6f, 4.0f}, one[] = {0.25f}, huge[] = {-0x1p58f, 0.0f, 0x1p58f},
                tiny[] = {0.0f, 1e-45f, 3e-45f};
    assert_int_equal(check_levels(even, 4), 32);
    assert_int_equal(check_levels(far_apart, 4), 128);
    assert_int_equal(check_levels(too_close, 4), 0);
    assert_int_equal(check_levels(one, 1), 32);
    assert_int_equal(check_levels(huge, 3), 32);
    assert_int_equal(check_levels(tiny, 3), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_librarys_levels), cmocka_unit_test(rings),
                                       cmocka_unit_test(levels_of_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
