/* Making codecs: what is refused and how, memory, sizes, backends, names. */
#include "check.h"
#include "oracle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_refused(const kvb_codec_spec *spec, const char *text) {
    kvb_error error = {""};
    kvb_codec *codec = (kvb_codec *)&error;
    assert_int_equal(kvb_codec_create(spec, NULL, NULL, &codec, &error), KVB_ERROR_ARGUMENT);
    assert_null(codec);
    if (!strstr(error.text, text)) {
        fail_msg("\"%s\" lacks \"%s\"", error.text, text);
    }
    assert_int_equal(kvb_codec_create(spec, NULL, NULL, &codec, NULL), KVB_ERROR_ARGUMENT);
}

static void illegal_specs_are_refused_naming_the_value(void **state) {
    (void)state;
    kvb_codec_spec good = kvb_codec_spec_default(128, 4), spec;
    static const int no_rotation[] = {8, 16, 24, 88, 104, 120, 136, 176, 200, 352, 440};
    for (size_t k = 0; k < sizeof no_rotation / sizeof no_rotation[0]; k++) {
        char text[32];
        (void)snprintf(text, sizeof text, "head_dim %d has no Hadamard", no_rotation[k]);
        spec = good;
        spec.head_dim = no_rotation[k];
        check_refused(&spec, text);
        spec.rotation = KVB_ROTATION_NONE;
        kvb_codec_destroy(create_codec(&spec));
    }
    static const int no_dim[] = {-8, 0, 4, 12, 100, 129, 584, 1024};
    for (size_t k = 0; k < sizeof no_dim / sizeof no_dim[0]; k++) {
        spec = good;
        spec.head_dim = no_dim[k];
        check_refused(&spec, "is not a multiple of 8 from 8 to 576");
    }
    spec = good, spec.bits = 0;
    check_refused(&spec, "bits 0 is not from 1 to 8");
    spec = good, spec.bits = 9;
    check_refused(&spec, "bits 9");
    spec = good, spec.rotation = (kvb_rotation)3;
    check_refused(&spec, "rotation 3");
    spec = good, spec.scale = (kvb_scale_kind)3;
    check_refused(&spec, "scale 3");
    static const int no_states[] = {-8, 1, 4, 12, 32, 128, 512};
    for (size_t k = 0; k < sizeof no_states / sizeof no_states[0]; k++) {
        spec = good, spec.trellis_states = no_states[k];
        check_refused(&spec, "is not 0 (scalar codes), 8, 16, 64 or 256");
    }
    static const int no_bits[] = {1, 7, 8};
    for (size_t k = 0; k < sizeof no_bits / sizeof no_bits[0]; k++) {
        spec = good, spec.trellis_states = 16, spec.bits = no_bits[k];
        check_refused(&spec, "of a trellis code is not from 2 to 6");
    }
    spec = good, spec.half_bit = 2;
    check_refused(&spec, "half_bit 2 is not 0 or 1");
    spec = good, spec.half_bit = 1, spec.bits = 8;
    check_refused(&spec, "bits 8 and a half are more than 8");
    spec = good, spec.half_bit = 1, spec.trellis_states = 16, spec.bits = 6;
    check_refused(&spec, "bits 6 and a half are more than 6");
    spec = good, spec.half_bit = 1, spec.head_dim = 72;
    check_refused(&spec, "half a bit is not a multiple of 16");
    spec = good, spec.scale_dtype = KVB_BF16;
    check_refused(&spec, "scale_dtype 2");
    kvb_codec *codec;
    assert_int_equal(kvb_codec_create(NULL, NULL, NULL, &codec, NULL), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_codec_create(&good, NULL, NULL, NULL, NULL), KVB_ERROR_ARGUMENT);
}

static void illegal_centroids_are_refused_naming_the_index(void **state) {
    (void)state;
    float levels[16];
    kvb_codec_spec spec = kvb_codec_spec_default(64, 4);
    spec.centroids = levels;
    static const float illegal[] = {NAN, INFINITY, 0x1p59f};
    for (int i = 0; i < 16; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "centroid %d is", i);
        for (size_t k = 0; k < sizeof illegal / sizeof illegal[0]; k++) {
            oracle_uniform_levels(4, 0.3, levels);
            levels[i] = illegal[k];
            check_refused(&spec, text);
        }
        if (i > 0) {
            oracle_uniform_levels(4, 0.3, levels);
            levels[i] = levels[i - 1];
            check_refused(&spec, text);
        }
    }
}

/* ---- Memory ---- */

typedef struct counting {
    int allocations, releases, fail_at;
    size_t bytes;
} counting;

static void *count_allocate(void *context, size_t bytes, size_t alignment) {
    counting *count = context;
    assert_true(bytes > 0 && alignment > 0 && (alignment & (alignment - 1)) == 0);
    if (count->allocations++ == count->fail_at) {
        return NULL;
    }
    count->bytes += bytes;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void count_release(void *context, void *pointer, size_t bytes) {
    counting *count = context;
    count->releases++;
    count->bytes -= bytes;
    free(pointer);
}

static void every_failing_allocation_is_reported_and_leaks_nothing(void **state) {
    (void)state;
    kvb_codec_spec spec = kvb_codec_spec_default(72, 5);
    kvb_codec *codec = NULL;
    kvb_status status = KVB_ERROR_MEMORY;
    for (int fail_at = 0; status == KVB_ERROR_MEMORY; fail_at++) {
        counting count = {.fail_at = fail_at};
        kvb_allocator allocator = {count_allocate, count_release, &count};
        kvb_error error = {""};
        status = kvb_codec_create(&spec, NULL, &allocator, &codec, &error);
        if (status == KVB_OK) {
            assert_int_equal(count.allocations, fail_at);
            assert_true(fail_at > 0);
            kvb_codec_destroy(codec);
            assert_int_equal(count.releases, count.allocations);
        } else {
            assert_null(codec);
            assert_non_null(strstr(error.text, "no memory"));
        }
        assert_int_equal(count.bytes, 0);
    }
    assert_int_equal(status, KVB_OK);
    kvb_codec_destroy(NULL);
}

static void half_an_allocator_is_refused(void **state) {
    (void)state;
    kvb_codec_spec spec = kvb_codec_spec_default(64, 4);
    kvb_allocator lacking[] = {{NULL, count_release, NULL}, {count_allocate, NULL, NULL}};
    for (int k = 0; k < 2; k++) {
        kvb_codec *codec;
        assert_int_equal(kvb_codec_create(&spec, NULL, &lacking[k], &codec, NULL), KVB_ERROR_ARGUMENT);
    }
}

/* ---- Sizes ---- */

static void blocks_are_dense_and_their_size_is_checked(void **state) {
    (void)state;
    for (int bits = 1; bits <= 8; bits++) {
        for (int dtype = KVB_F32; dtype <= KVB_F16; dtype++) {
            kvb_codec_spec spec = kvb_codec_spec_default(80, bits);
            spec.scale_dtype = (kvb_dtype)dtype;
            kvb_codec *codec = create_codec(&spec);
            size_t scale_bytes = kvb_dtype_bytes(spec.scale_dtype), row = scale_bytes + (size_t)(80 * bits / 8);
            assert_int_equal(kvb_codec_block_bytes(codec, 7), 7 * row);
            assert_int_equal(kvb_codec_block_bytes(codec, 0), 0);
            assert_int_equal(kvb_codec_block_bytes(codec, SIZE_MAX / row), SIZE_MAX / row * row);
            assert_int_equal(kvb_codec_block_bytes(codec, SIZE_MAX / row + 1), 0);
            assert_int_equal(kvb_codec_block_bytes(codec, SIZE_MAX), 0);
            assert_true(fabs(kvb_codec_bits_per_value(codec) - (bits + 8.0 * (double)scale_bytes / 80)) < 1e-12);
            uint8_t *block = calloc(7, row);
            kvb_packed packed = kvb_packed_view(codec, block, 7);
            assert_ptr_equal(packed.scales, block);
            assert_ptr_equal(packed.planes[0], block + 7 * scale_bytes);
            free(block);
            kvb_codec_destroy(codec);
        }
    }
}

static void the_codec_keeps_its_own_copy_of_the_spec(void **state) {
    (void)state;
    float levels[16];
    oracle_uniform_levels(4, 0.3, levels);
    kvb_codec_spec spec = kvb_codec_spec_default(64, 4);
    spec.centroids = levels;
    kvb_codec *codec = create_codec(&spec);
    float first = levels[0];
    memset(levels, 0, sizeof levels);
    const kvb_codec_spec *kept = kvb_codec_get_spec(codec);
    assert_ptr_not_equal(kept->centroids, levels);
    assert_true(kept->centroids[0] == first);
    assert_int_equal(kept->sign_seed, 0x6b766269);
    assert_int_equal(kept->rotation, KVB_ROTATION_SIGNED);
    assert_int_equal(kept->scale, KVB_SCALE_LSQ);
    assert_int_equal(kept->scale_dtype, KVB_F16);
    kvb_codec_destroy(codec);
}

/* ---- Backends, names ---- */

static void backends_open_by_name_and_unknown_names_are_refused(void **state) {
    (void)state;
    const kvb_backend *backend;
    kvb_error error = {""};
    assert_ok(kvb_backend_open(NULL, &backend, &error), error);
    size_t n = 0;
    int has_scalar = 0;
    for (const char *name; (name = kvb_backend_list(n)) != NULL; n++) {
        has_scalar |= strcmp(name, "scalar") == 0;
    }
    assert_true(has_scalar);
    assert_null(kvb_backend_list(n + 1));
    assert_ok(kvb_backend_open("scalar", &backend, &error), error);
    assert_string_equal(kvb_backend_name(backend), "scalar");
    kvb_codec_spec spec = kvb_codec_spec_default(64, 4);
    kvb_codec *codec;
    assert_ok(kvb_codec_create(&spec, backend, NULL, &codec, &error), error);
    kvb_codec_destroy(codec);
    assert_int_equal(kvb_backend_open("abacus", &backend, &error), KVB_ERROR_ARGUMENT);
    assert_null(backend);
    assert_non_null(strstr(error.text, "abacus"));
    assert_non_null(strstr(error.text, "scalar"));
    assert_int_equal(kvb_backend_open("scalar", NULL, &error), KVB_ERROR_ARGUMENT);
}

static void errors_carry_their_sentence_and_may_be_null(void **state) {
    (void)state;
    kvb_error error;
    assert_int_equal(kvb_error_set(&error, KVB_ERROR_IO, "file %s, line %d", "a", 3), KVB_ERROR_IO);
    assert_string_equal(error.text, "file a, line 3");
    assert_int_equal(kvb_error_set(NULL, KVB_ERROR_FORMAT, "%d", 1), KVB_ERROR_FORMAT);
    kvb_error_set(&error, KVB_ERROR_IO, "%1000d", 1);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    for (int status = KVB_OK; status <= KVB_ERROR_CONVERGENCE; status++) {
        assert_string_not_equal(kvb_status_name((kvb_status)status), "unknown status");
    }
    assert_string_equal(kvb_status_name((kvb_status)99), "unknown status");
    char version[32];
    (void)snprintf(version, sizeof version, "%d.%d.%d", KVB_VERSION_MAJOR, KVB_VERSION_MINOR, KVB_VERSION_PATCH);
    assert_string_equal(kvb_version(), version);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(illegal_specs_are_refused_naming_the_value),
        cmocka_unit_test(illegal_centroids_are_refused_naming_the_index),
        cmocka_unit_test(every_failing_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(half_an_allocator_is_refused),
        cmocka_unit_test(blocks_are_dense_and_their_size_is_checked),
        cmocka_unit_test(the_codec_keeps_its_own_copy_of_the_spec),
        cmocka_unit_test(backends_open_by_name_and_unknown_names_are_refused),
        cmocka_unit_test(errors_carry_their_sentence_and_may_be_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
