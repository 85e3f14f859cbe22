/* Writes the golden packed rows: make-golden-packed FOLDER.
 *
 * One JSON file per head_dim and width, the rotations and scales dealt over them, and one of edge rows per kind of
 * scale. Each holds the description and the block of docs/format.md, the input in binary16, and the decoded floats.
 * Rows come from integer arithmetic, so that every machine writes the same files. They are made once: tests compare
 * with them, and a difference is a broken format, not a reason to write them anew. */
#include "kvbits/kvbits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { max_rows = 6, max_block = max_rows * (4 + KVB_MAX_HEAD_DIM), max_description = 24 + 8 * 3 + 4 * KVB_MAX_LEVELS };

typedef struct golden {
    kvb_codec_spec spec;
    int n_rows;
    uint16_t rows[max_rows * KVB_MAX_HEAD_DIM];
} golden;

static uint64_t next_word(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Sum of twelve 16-bit uniforms about its mean: nearly normal, deviation 1. */
static float next_normal(uint64_t *state) {
    int64_t sum = 0;
    for (int k = 0; k < 3; k++) {
        uint64_t word = next_word(state);
        sum += (int64_t)(word & 0xffff) + (int64_t)(word >> 16 & 0xffff) + (int64_t)(word >> 32 & 0xffff) +
               (int64_t)(word >> 48);
    }
    return (float)(sum - 6 * 65535) * 0x1p-16f;
}

static void put_hex(FILE *file, const char *key, const void *data, size_t bytes, const char *end) {
    fprintf(file, " \"%s\": \"", key);
    for (size_t i = 0; i < bytes; i++) {
        fprintf(file, "%02x", ((const uint8_t *)data)[i]);
    }
    fprintf(file, "\"%s\n", end);
}

/* Little-endian number of `bytes` bytes; returns the position behind it. */
static uint8_t *put_number(uint8_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        *at++ = (uint8_t)(value >> (8 * i));
    }
    return at;
}

/* docs/format.md, section 6. */
static size_t describe(const kvb_codec_spec *spec, uint8_t description[max_description]) {
    int widths[KVB_MAX_PLANES], low_bit = 0;
    int n_planes =
        spec->trellis_states ? kvb_trellis_plane_widths(spec->bits, widths) : kvb_plane_widths(spec->bits, widths);
    uint8_t *at = put_number(description, 1, 2);
    at = put_number(at, spec->trellis_states ? 2 : 1, 1);
    at = put_number(at, (uint64_t)n_planes, 1);
    at = put_number(at, (uint64_t)spec->head_dim, 2);
    at = put_number(at, (uint64_t)spec->rotation, 1);
    at = put_number(at, (uint64_t)spec->scale, 1);
    at = put_number(at, (uint64_t)spec->scale_dtype, 2);
    at = put_number(at, (uint64_t)kvb_codec_spec_levels(spec), 2);
    at = put_number(at, (uint64_t)spec->trellis_states, 4);
    at = put_number(at, spec->rotation == KVB_ROTATION_SIGNED ? spec->sign_seed : 0, 8);
    for (int p = 0; p < n_planes; p++) {
        at = put_number(at, (uint64_t)widths[p], 1);
        at = put_number(at, (uint64_t)low_bit, 1);
        int is_inputs = spec->trellis_states && p == 0;
        at = put_number(at, (uint64_t)is_inputs, 4);
        at = put_number(at, (uint64_t)spec->head_dim, 2);
        low_bit += is_inputs ? 2 : widths[p];
    }
    for (int i = 0; i < kvb_codec_spec_levels(spec); i++) {
        uint32_t bits;
        memcpy(&bits, &spec->centroids[i], sizeof bits);
        at = put_number(at, bits, 4);
    }
    return (size_t)(at - description);
}

static void write_json(FILE *file, const kvb_codec *codec, const golden *golden, const void *block,
                       const float *decoded) {
    static const char *const rotations[] = {"none", "hadamard", "signed"}, *const scales[] = {"norm", "lsq", "search"};
    const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
    uint8_t description[max_description];
    size_t n_values = (size_t)golden->n_rows * (size_t)spec->head_dim;
    fprintf(file, "{\"head_dim\": %d, \"bits\": %d, \"rotation\": \"%s\", \"sign_seed\": \"%016llx\",\n",
            spec->head_dim, spec->bits, rotations[spec->rotation], (unsigned long long)spec->sign_seed);
    fprintf(file, " \"scale\": \"%s\", \"scale_dtype\": \"%s\", \"n_rows\": %d,\n", scales[spec->scale],
            spec->scale_dtype == KVB_F16 ? "f16" : "f32", golden->n_rows);
    if (spec->trellis_states) {
        fprintf(file, " \"trellis_states\": %d,\n", spec->trellis_states);
    }
    put_hex(file, "description", description, describe(spec, description), ",");
    put_hex(file, "rows_f16", golden->rows, 2 * n_values, ",");
    put_hex(file, "block", block, kvb_codec_block_bytes(codec, (size_t)golden->n_rows), ",");
    put_hex(file, "decoded_f32", decoded, 4 * n_values, "}");
}

static int write_golden(const char *folder, const char *name, const golden *golden) {
    static uint32_t block[max_block / 4];
    static float decoded[max_rows * KVB_MAX_HEAD_DIM];
    kvb_error error;
    kvb_codec *codec;
    if (kvb_codec_create(&golden->spec, NULL, NULL, &codec, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 0;
    }
    size_t d = (size_t)golden->spec.head_dim, n_rows = (size_t)golden->n_rows;
    kvb_packed packed = kvb_packed_view(codec, block, n_rows);
    kvb_encode_unchecked(codec, golden->rows, KVB_F16, d, n_rows, &packed, 0, NULL);
    char path[1024];
    FILE *file = NULL;
    int written = 0;
    if (kvb_decode(codec, &packed, 0, n_rows, KVB_DOMAIN_INPUT, decoded, d, &error)) {
        fprintf(stderr, "%s\n", error.text);
    } else if (snprintf(path, sizeof path, "%s/%s.json", folder, name) < (int)sizeof path &&
               (file = fopen(path, "w")) != NULL) {
        write_json(file, codec, golden, block, decoded);
        written = fclose(file) == 0;
    }
    if (!written) {
        fprintf(stderr, "%s/%s.json cannot be written\n", folder, name);
    }
    kvb_codec_destroy(codec);
    return written;
}

static void draw_rows(golden *golden, uint64_t seed) {
    int d = golden->spec.head_dim;
    uint64_t state = golden->spec.sign_seed = seed;
    for (int i = 0; i < 2 * d; i++) { /* the second row is large and has outliers */
        float factor = i < d ? 1.0f : i % 23 == 0 ? 60.0f : 3.0f;
        golden->rows[i] = kvb_f32_to_f16(factor * next_normal(&state));
    }
}

static int write_grid(const char *folder) {
    static const int dims[] = {32, 64, 72, 80, 96, 112, 128, 192, 256, 320, 512, 576};
    for (int k = 0; k < 12; k++) {
        for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
            int mode = (k + 5 * bits) % 12; /* every width meets all twelve, every head_dim eight */
            golden golden = {.spec = kvb_codec_spec_default(dims[k], bits), .n_rows = 2};
            golden.spec.rotation = (kvb_rotation)(mode % 3);
            golden.spec.scale = mode / 3 % 2 ? KVB_SCALE_LSQ : KVB_SCALE_NORM;
            golden.spec.scale_dtype = mode / 6 ? KVB_F16 : KVB_F32;
            draw_rows(&golden, (uint64_t)(1000 * dims[k] + bits));
            char name[32];
            (void)snprintf(name, sizeof name, "d%d-b%d", dims[k], bits);
            if (!write_golden(folder, name, &golden)) {
                return 0;
            }
        }
    }
    return 1;
}

/* Trellis codes, and a search of scales without: every trellis meets every width, every head_dim both. */
static int write_trellises(const char *folder) {
    static const int dims[] = {32, 72, 128, 160}, states[] = {8, 16, 64, 256, 0};
    for (int s = 0; s < 5; s++) {
        for (int bits = KVB_MIN_TRELLIS_BITS; bits <= KVB_MAX_TRELLIS_BITS; bits++) {
            int mode = 5 * s + bits;
            golden golden = {.spec = kvb_codec_spec_default(dims[(s + bits) % 4], bits), .n_rows = 2};
            golden.spec.rotation = (kvb_rotation)(mode % 3);
            golden.spec.scale = states[s] ? (kvb_scale_kind)(mode / 3 % 3) : KVB_SCALE_SEARCH;
            golden.spec.scale_dtype = mode % 2 ? KVB_F16 : KVB_F32;
            golden.spec.trellis_states = states[s];
            draw_rows(&golden, (uint64_t)(100 * states[s] + bits));
            char name[32];
            (void)snprintf(name, sizeof name, "t%d-b%d", states[s], bits);
            if (!write_golden(folder, name, &golden)) {
                return 0;
            }
        }
    }
    return 1;
}

/* Rows: zero, -0, NaN, Inf, subnormal, and the largest half, whose scale at levels this small saturates under lsq. */
static int write_edges(const char *folder) {
    static const uint16_t values[max_rows] = {0x0000, 0x8000, 0x7e01, 0xfc00, 0x0003, 0x7bff};
    static const float levels[4] = {-0.9f, -0.25f, 0.5f, 0.75f};
    for (int mode = 0; mode < 4; mode++) {
        golden golden = {.spec = kvb_codec_spec_default(32, 2), .n_rows = max_rows};
        golden.spec.centroids = levels;
        golden.spec.scale = mode % 2 ? KVB_SCALE_LSQ : KVB_SCALE_NORM;
        golden.spec.scale_dtype = mode / 2 ? KVB_F16 : KVB_F32;
        golden.spec.rotation = KVB_ROTATION_NONE;
        for (int i = 0; i < max_rows * 32; i++) {
            golden.rows[i] = values[i / 32];
        }
        golden.rows[2 * 32 + 7] = 0x3c00;
        char name[32];
        (void)snprintf(name, sizeof name, "edges-%s-%s", mode % 2 ? "lsq" : "norm", mode / 2 ? "f16" : "f32");
        if (!write_golden(folder, name, &golden)) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER (an existing one, such as tests/golden/packed)\n", argv[0]);
        return 2;
    }
    return write_grid(argv[1]) && write_edges(argv[1]) && write_trellises(argv[1]) ? 0 : 3;
}
