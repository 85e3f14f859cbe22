/* Encoding, decoding and rotation: every backend gives the scalar one's bits, at every width, head_dim, rotation and
 * kind of scale. KVB_PARITY_ROWS sets the rows at random per codec. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "backends.h"
#include "oracle.h"
#include "row_kinds.h"

#include <float.h>
#include <math.h>
#include <sys/mman.h>

enum { max_rows = 4096, page = 4096 };

/* ---- Buffers that end where reading and writing end ---- */

enum { buffer_bytes = max_rows * KVB_MAX_HEAD_DIM * 4 / page * page };

static uint8_t *open_buffer(void) {
    uint8_t *start =
        mmap(NULL, buffer_bytes + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(start != MAP_FAILED);
    assert_int_equal(mprotect(start, page, PROT_NONE), 0);
    assert_int_equal(mprotect(start + page + buffer_bytes, page, PROT_NONE), 0);
    return start + page + buffer_bytes;
}

/* So many bytes up to `end`, or a little less: aligned to 4. */
static void *before(uint8_t *end, size_t bytes) {
    assert_true(bytes <= buffer_bytes);
    return end - (bytes + 3) / 4 * 4;
}

static uint8_t *rows_end, *blocks_end[2], *floats_end[2];

/* ---- What is compared ---- */

typedef struct pair {
    kvb_codec *codecs[2]; /* scalar, other */
    const char *name;
    size_t d;
} pair;

static void fail_at(const pair *p, const char *what, size_t row) {
    const kvb_codec_spec *s = kvb_codec_get_spec(p->codecs[1]);
    fail_msg(
        "%s: %s differ at row %zu: head_dim %d, %d bits and %d halves, %d states, rotation %d, scale %d of type %d",
        p->name, what, row, s->head_dim, s->bits, s->half_bit, s->trellis_states, (int)s->rotation, (int)s->scale,
        (int)s->scale_dtype);
}

/* Equal bits, or NaN both: whose payload survives a sum of two NaN depends on the order of its operands. */
static void compare_floats(const pair *p, const char *what, const float *a, const float *b, size_t n_rows) {
    for (size_t i = 0; i < n_rows * p->d; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            fail_at(p, what, i / p->d);
        }
    }
}

static void compare_bytes(const pair *p, const char *what, const void *a, const void *b, size_t bytes) {
    if (memcmp(a, b, bytes) != 0) {
        fail_at(p, what, 0);
    }
}

/* Encodes on both, decodes and unpacks on both what scalar encoded. */
static void compare_codecs(const pair *p, const void *rows, kvb_dtype dtype, size_t n_rows) {
    size_t bytes = kvb_codec_block_bytes(p->codecs[0], n_rows);
    void *blocks[2];
    kvb_packed packed[2];
    kvb_encode_stats stats[2] = {{0}, {0}};
    for (int k = 0; k < 2; k++) {
        blocks[k] = before(blocks_end[k], bytes);
        memset(blocks[k], 0xa5, bytes);
        packed[k] = kvb_packed_view(p->codecs[k], blocks[k], n_rows);
        kvb_encode_unchecked(p->codecs[k], rows, dtype, p->d, n_rows, &packed[k], 0, &stats[k]);
    }
    compare_bytes(p, "packed bytes", blocks[0], blocks[1], bytes);
    compare_bytes(p, "statistics", &stats[0], &stats[1], sizeof stats[0]);
    float *out[2];
    for (int domain = KVB_DOMAIN_INPUT; domain <= KVB_DOMAIN_ROTATED; domain++) {
        for (int k = 0; k < 2; k++) {
            kvb_error error;
            out[k] = before(floats_end[k], n_rows * p->d * sizeof *out[k]);
            assert_ok(kvb_decode(p->codecs[k], &packed[0], 0, n_rows, (kvb_domain)domain, out[k], p->d, &error), error);
        }
        compare_floats(p, "decoded values", out[0], out[1], n_rows);
    }
    for (size_t row = 0; row < n_rows; row += 1 + n_rows / 8) {
        uint8_t *codes[2];
        float scales[2];
        for (int k = 0; k < 2; k++) {
            codes[k] = before(floats_end[k], p->d);
            kvb_packed_row_codes(p->codecs[k], &packed[0], row, codes[k], &scales[k]);
        }
        compare_bytes(p, "codes", codes[0], codes[1], p->d);
        compare_bytes(p, "scales", &scales[0], &scales[1], sizeof scales[0]);
    }
}

static void compare_rotations(const pair *p, const float *rows, size_t n_rows) {
    size_t bytes = n_rows * p->d * sizeof *rows;
    for (int inverse = 0; inverse < 2; inverse++) {
        float *out[2];
        for (int k = 0; k < 2; k++) {
            out[k] = memcpy(before(floats_end[k], bytes), rows, bytes);
            if (inverse) {
                kvb_unrotate(p->codecs[k], out[k], p->d, n_rows);
            } else {
                kvb_rotate(p->codecs[k], out[k], p->d, n_rows);
            }
        }
        compare_floats(p, inverse ? "rows rotated back" : "rotated rows", out[0], out[1], n_rows);
    }
}

/* ---- Rows ---- */

enum { n_illegal = 4, n_special = n_kinds + n_illegal };

/* Any finite pattern: exponents all over. */
static void fill_patterns(size_t d, oracle_random *random, float *x) {
    for (size_t i = 0; i < d; i++) {
        uint32_t bits = (uint32_t)oracle_next(random) & 0x9fffffffu; /* up to 2^-64 squares vanish, or up to 1 */
        bits |= oracle_next(random) & 1 ? 0x20000000u : 0;
        memcpy(&x[i], &bits, sizeof bits);
        x[i] = isfinite(x[i]) ? x[i] : 1.0f;
    }
}

/* One of each kind, illegal ones too, then so many at random. */
static float *fill_rows(size_t d, size_t n_random, oracle_random *random, size_t *n_rows) {
    static const float illegal[n_illegal] = {NAN, INFINITY, -INFINITY, FLT_MAX};
    *n_rows = n_special + n_random;
    float *rows = before(rows_end, *n_rows * d * sizeof *rows);
    for (size_t r = 0; r < *n_rows; r++) {
        float *x = rows + r * d;
        if (r < n_special) {
            fill_row(r < n_kinds ? (int)r : 0, (int)d, random, x);
        } else if (r % 4 == 3) {
            fill_patterns(d, random, x);
        } else {
            fill_row(r % 4 == 2 ? 8 : (int)(r % 4), (int)d, random, x); /* plain, heavy channels, ties */
        }
        if (r >= n_kinds && r < n_special) {
            x[oracle_next(random) % d] = illegal[r - n_kinds];
        }
    }
    return rows;
}

/* ---- Codebooks ---- */

enum { n_codebooks = 5 };

/* The library's (NULL); odd, but not in fixed point; neither; half of them close together, so that buckets fill up;
 * odd, with midpoints at 1 and -1 from 3 bits on, where all of a row of one magnitude lies whose norm has an exact
 * root. */
static const float *fill_levels(int kind, int bits, float *levels) {
    int n = 1 << bits;
    oracle_uniform_levels(bits, 6.0 / n, levels);
    if (kind == 0) {
        return NULL;
    }
    if (kind == 1) {
        for (int i = 0; i < n; i++) {
            levels[i] = levels[i] * 0.7f + 0.02f * levels[i] * levels[i] * levels[i];
        }
    }
    if (kind == 2) {
        levels[0] -= 0.125f;
    }
    if (kind == 3) {
        for (int i = 0; i < n; i++) {
            levels[i] = i < n / 2 ? 1e-6f * (float)(i - n / 4) : 0.5f + (float)i / (float)n;
        }
    }
    if (kind == 4) {
        oracle_uniform_levels(bits, 8.0 / n, levels);
    }
    return levels;
}

static size_t rows_at_random(void) {
    const char *text = getenv("KVB_PARITY_ROWS");
    size_t n = text ? strtoul(text, NULL, 10) : 12;
    assert_true(n + n_special <= max_rows);
    return n;
}

static kvb_codec *create_on(const kvb_backend *backend, const kvb_codec_spec *spec) {
    kvb_error error;
    kvb_codec *codec;
    assert_ok(kvb_codec_create(spec, backend, NULL, &codec, &error), error);
    return codec;
}

typedef void check_function(const pair *p, oracle_random *random);

/* Calls check for each backend but scalar. */
static void check_spec(const test_backends *all, const kvb_codec_spec *spec, oracle_random *random,
                       check_function *check) {
    kvb_codec *scalar = create_codec(spec);
    for (size_t b = 0; b < all->n; b++) {
        const char *name = kvb_backend_name(all->list[b]);
        if (strcmp(name, "scalar") != 0) {
            pair p = {{scalar, create_on(all->list[b], spec)}, name, (size_t)spec->head_dim};
            check(&p, random);
            kvb_codec_destroy(p.codecs[1]);
        }
    }
    kvb_codec_destroy(scalar);
}

/* Every head_dim, width and mode of trellis codes, and of the search of scales; every trellis often. */
static void for_each_trellis(check_function *check) {
    static const int states[] = {16, 8, 16, 64, 16, 256, 0};
    test_backends all = open_backends();
    oracle_random random = {32};
    int n_codecs = 0;
    for (int d = KVB_MIN_HEAD_DIM; d <= KVB_MAX_HEAD_DIM; d += 8) {
        for (int bits = KVB_MIN_TRELLIS_BITS; bits <= KVB_MAX_TRELLIS_BITS; bits++) {
            for (int mode = n_codecs % 3; mode < 18; mode += 7) {
                float levels[KVB_MAX_LEVELS];
                kvb_codec_spec spec = {.head_dim = d, .bits = bits, .sign_seed = 77};
                spec.rotation = (kvb_rotation)(mode % 3);
                spec.scale = (kvb_scale_kind)(mode / 3 % 3);
                spec.scale_dtype = mode / 9 ? KVB_F16 : KVB_F32;
                spec.trellis_states = states[n_codecs % 7];
                if (kvb_head_dim_supported(d, spec.rotation)) {
                    spec.centroids = fill_levels(n_codecs / 7 % n_codebooks, bits + (spec.trellis_states > 0), levels);
                    check_spec(&all, &spec, &random, check);
                    n_codecs++;
                }
            }
        }
    }
}

/* Every head_dim and mode; every width, or one: what is done to the input does not depend on it. */
static void for_each_spec(check_function *check, int all_widths) {
    test_backends all = open_backends();
    oracle_random random = {31};
    int n_codecs = 0;
    for (int d = KVB_MIN_HEAD_DIM; d <= KVB_MAX_HEAD_DIM; d += 8) {
        for (int k = 0; k < (all_widths ? KVB_MAX_BITS : 1); k++) {
            int bits = (d / 8 + k) % KVB_MAX_BITS + 1;
            for (int mode = 0; mode < 12; mode++) {
                float levels[KVB_MAX_LEVELS];
                kvb_codec_spec spec = {.head_dim = d, .bits = bits, .sign_seed = 77};
                spec.rotation = (kvb_rotation)(mode % 3);
                spec.scale = mode / 3 % 2 ? KVB_SCALE_LSQ : KVB_SCALE_NORM;
                spec.scale_dtype = mode / 6 ? KVB_F16 : KVB_F32;
                if (kvb_head_dim_supported(d, spec.rotation)) {
                    spec.centroids = fill_levels(n_codecs % n_codebooks, bits, levels);
                    check_spec(&all, &spec, &random, check);
                    n_codecs += 1 + (mode == 11); /* no codebook for one mode alone */
                }
            }
        }
    }
}

/* Every head_dim, width and mode of codes of half a bit, scalar and trellis; levels by turns. */
static void for_each_half(check_function *check) {
    static const int states[] = {0, 16, 0, 8, 64, 0, 256};
    test_backends all = open_backends();
    oracle_random random = {33};
    int n_codecs = 0;
    for (int d = 16; d <= KVB_MAX_HEAD_DIM; d += 16) {
        for (int k = 0; k < KVB_MAX_BITS - 1; k++) {
            for (int mode = (n_codecs + k) % 4; mode < 18; mode += 5) {
                float levels[2 * KVB_MAX_LEVELS];
                kvb_codec_spec spec = {.head_dim = d, .half_bit = 1, .sign_seed = 77};
                spec.trellis_states = states[n_codecs % 7];
                spec.bits = spec.trellis_states ? KVB_MIN_TRELLIS_BITS + k % 4 : 1 + k;
                spec.rotation = (kvb_rotation)(mode % 3);
                spec.scale = (kvb_scale_kind)(mode / 3 % 3);
                spec.scale_dtype = mode / 9 ? KVB_F16 : KVB_F32;
                if (kvb_head_dim_supported(d, spec.rotation)) {
                    int level_bits = spec.bits + (spec.trellis_states > 0);
                    spec.centroids = fill_levels(n_codecs / 7 % n_codebooks, level_bits + 1, levels);
                    fill_levels(n_codecs / 7 % n_codebooks, level_bits, levels + (2 << level_bits));
                    check_spec(&all, &spec, &random, check);
                    n_codecs++;
                }
            }
        }
    }
}

static void check_floats(const pair *p, oracle_random *random) {
    size_t n_rows;
    float *rows = fill_rows(p->d, rows_at_random(), random, &n_rows);
    compare_codecs(p, rows, KVB_F32, n_rows);
    compare_rotations(p, rows, n_rows);
}

static void floats_have_the_bits_of_scalar(void **state) {
    (void)state;
    for_each_spec(check_floats, 1);
}

static void trellis_rows_have_the_bits_of_scalar(void **state) {
    (void)state;
    for_each_trellis(check_floats);
}

static void rows_of_half_a_bit_have_the_bits_of_scalar(void **state) {
    (void)state;
    for_each_half(check_floats);
}

/* Every pattern of 16 bits some time. */
static void check_halves(const pair *p, oracle_random *random) {
    static uint16_t next;
    size_t n_rows = 3;
    for (kvb_dtype dtype = KVB_F16; dtype <= KVB_BF16; dtype++) {
        uint16_t *rows = before(rows_end, n_rows * p->d * sizeof *rows);
        for (size_t i = 0; i < n_rows * p->d; i++) {
            float value = oracle_normal(random);
            rows[i] = dtype == KVB_F16 ? kvb_f32_to_f16(value) : kvb_f32_to_bf16(value);
        }
        for (size_t i = p->d; i < 2 * p->d; i++) {
            rows[i] = next++;
        }
        rows[3 * p->d - 1] = next;
        compare_codecs(p, rows, dtype, n_rows);
    }
}

static void halves_have_the_bits_of_scalar(void **state) {
    (void)state;
    for_each_spec(check_halves, 0);
}

/* Of legal rows: what encoding and decoding give, apart from the rows and in their place. */
static void compare_round_trips(const pair *p, const float *rows, size_t n_rows) {
    size_t bytes = n_rows * p->d * sizeof *rows;
    for (int k = 0; k < 2; k++) {
        kvb_error error;
        const kvb_codec *codec = p->codecs[k];
        kvb_packed packed = kvb_packed_view(codec, before(blocks_end[k], kvb_codec_block_bytes(codec, n_rows)), n_rows);
        float *decoded = before(floats_end[0], bytes), *out = before(floats_end[1], bytes);
        assert_ok(kvb_encode(codec, rows, KVB_F32, p->d, n_rows, &packed, 0, NULL, &error), error);
        assert_ok(kvb_decode(codec, &packed, 0, n_rows, KVB_DOMAIN_INPUT, decoded, p->d, &error), error);
        assert_ok(kvb_round_trip(codec, rows, p->d, n_rows, out, p->d, &error), error);
        compare_bytes(p, "round trips", decoded, out, bytes);
        memcpy(out, rows, bytes);
        assert_ok(kvb_round_trip(codec, out, p->d, n_rows, out, p->d, &error), error);
        compare_bytes(p, "round trips in place", decoded, out, bytes);
    }
}

static void check_round_trips(const pair *p, oracle_random *random) {
    size_t n_rows;
    float *rows = fill_rows(p->d, 5, random, &n_rows);
    compare_round_trips(p, rows, n_kinds);
    compare_round_trips(p, rows + n_special * p->d, n_rows - n_special);
}

static void round_trips_are_what_decoding_gives(void **state) {
    (void)state;
    for_each_spec(check_round_trips, 1);
}

/* The same row is refused, in the same words. */
static void check_illegal(const pair *p, oracle_random *random) {
    static const float values[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -0x1.000002p58f, 0x1p58f, 0x1p-149f};
    enum { n_rows = 3 };
    float *rows = before(rows_end, n_rows * p->d * sizeof *rows);
    size_t bytes = kvb_codec_block_bytes(p->codecs[0], n_rows);
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        for (size_t i = 0; i < n_rows * p->d; i++) {
            rows[i] = oracle_normal(random);
        }
        rows[oracle_next(random) % (n_rows * p->d)] = values[v];
        kvb_status status[2];
        kvb_error errors[2] = {{{0}}, {{0}}};
        for (int k = 0; k < 2; k++) {
            kvb_packed packed = kvb_packed_view(p->codecs[k], before(blocks_end[k], bytes), n_rows);
            status[k] = kvb_encode(p->codecs[k], rows, KVB_F32, p->d, n_rows, &packed, 0, NULL, &errors[k]);
        }
        kvb_error other;
        assert_int_equal(kvb_round_trip(p->codecs[1], rows, p->d, n_rows, rows, p->d, &other), status[0]);
        assert_true(status[0] == KVB_OK || strcmp(other.text, errors[0].text) == 0);
        assert_int_equal(status[0], status[1]);
        assert_string_equal(errors[0].text, errors[1].text);
        assert_int_equal(status[0] != KVB_OK, v < 5);
    }
}

static void the_same_rows_are_refused(void **state) {
    (void)state;
    for_each_spec(check_illegal, 0);
}

int main(void) {
    rows_end = open_buffer();
    for (int k = 0; k < 2; k++) {
        blocks_end[k] = open_buffer();
        floats_end[k] = open_buffer();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_have_the_bits_of_scalar),
        cmocka_unit_test(trellis_rows_have_the_bits_of_scalar),
        cmocka_unit_test(rows_of_half_a_bit_have_the_bits_of_scalar),
        cmocka_unit_test(halves_have_the_bits_of_scalar),
        cmocka_unit_test(round_trips_are_what_decoding_gives),
        cmocka_unit_test(the_same_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
