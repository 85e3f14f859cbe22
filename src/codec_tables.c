#include "codec_tables.h"

#include "codec.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Bit-exact by specification: every operation must round to float once. */
_Static_assert(FLT_EVAL_METHOD == 0, "kvbits needs float arithmetic without excess precision (x86: SSE)");

int kvb_hadamard_order(int head_dim) {
    if (head_dim < KVB_MIN_ROTATED_DIM || head_dim > KVB_MAX_HEAD_DIM || head_dim % 8 != 0) {
        return 0;
    }
    int odd = head_dim;
    while (odd % 2 == 0) {
        odd /= 2;
    }
    if (odd == 1) {
        return 1;
    }
    return odd <= 9 ? 4 * odd : 0;
}

static uint64_t splitmix64_next(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void fill_signs(kvb_codec_tables *tables, uint64_t seed) {
    uint64_t word = 0;
    for (int i = 0; i < tables->head_dim; i++) {
        if (i % 64 == 0) {
            word = splitmix64_next(&seed);
        }
        tables->sign_masks[i] = (word >> (i % 64) & 1) ? 0x80000000u : 0;
    }
}

/* Legendre symbol of n modulo the odd prime q. */
static int legendre(int n, int q) {
    int residue = ((n % q) + q) % q;
    for (int i = 1; residue != 0 && i < q; i++) {
        if (i * i % q == residue) {
            return 1;
        }
    }
    return residue == 0 ? 0 : -1;
}

/* Orders 12 and 20: q = m - 1 = 3 mod 4, skew Q. First row and column are ones. */
static int paley_one(int row, int column, int m) {
    if (row == 0 || column == 0) {
        return 1;
    }
    return row == column ? -1 : legendre(column - row, m - 1);
}

/* Orders 28 and 36: q = m/2 - 1 = 1 mod 4, symmetric conference matrix C, [[C+I, C-I], [C-I, -C-I]] with row and column
 * m/2 negated, so that first row and column are ones. */
static int paley_two(int row, int column, int m) {
    int half = m / 2;
    int i = row % half, j = column % half;
    int lower = row >= half, right = column >= half;
    int entry;
    if (i == j) {
        entry = lower || right ? -1 : 1;
    } else {
        int c = i == 0 || j == 0 ? 1 : legendre(j - i, half - 1);
        entry = lower && right ? -c : c;
    }
    return (row == half) != (column == half) ? -entry : entry;
}

static void fill_mix(kvb_codec_tables *tables) {
    int m = tables->hadamard_order;
    for (int row = 0; m > 1 && row < m; row++) {
        for (int column = 0; column < m; column++) {
            int entry = m <= 20 ? paley_one(row, column, m) : paley_two(row, column, m);
            tables->mix[0][row * m + column] = (uint8_t)(entry > 0 ? column : m + column);
            tables->mix[1][column * m + row] = (uint8_t)(entry > 0 ? row : m + row);
        }
    }
}

static void fill_mix_negative(kvb_codec_tables *tables) {
    int m = tables->hadamard_order;
    for (int k = 0; m > 1 && k < 2; k++) {
        for (int i = 0; i < tables->head_dim; i++) {
            for (int j = 0; j < m; j++) {
                int is_negative = tables->mix[k][i / tables->run * m + j] >= m;
                tables->mix_negative[k][i / 16 * m + j] |= (uint16_t)(is_negative << (i % 16));
            }
        }
    }
}

/* ---- Trellis ---- */

#define TRELLIS(states, memory, taps0, taps1) {states, memory, {taps0, taps1}},
static const struct trellis {
    int states, memory;
    uint32_t taps[2];
} trellises[] = {KVB_EACH_TRELLIS(TRELLIS)};
#undef TRELLIS

static const struct trellis *find_trellis(int states) {
    for (size_t i = 0; i < sizeof trellises / sizeof trellises[0]; i++) {
        if (trellises[i].states == states) {
            return &trellises[i];
        }
    }
    return NULL;
}

int kvb_trellis_memory(int states) {
    const struct trellis *trellis = find_trellis(states);
    return trellis ? trellis->memory : 0;
}

static int parity(uint32_t bits) {
    int odd = 0;
    for (; bits; bits &= bits - 1) {
        odd ^= 1;
    }
    return odd;
}

static void fill_trellis(kvb_codec_tables *tables, int states) {
    const struct trellis *trellis = find_trellis(states);
    tables->trellis_states = states;
    tables->trellis_memory = trellis->memory;
    for (int z = 0; z < 2; z++) {
        for (int state = 0; state < states / 2; state++) {
            tables->trellis_subsets[state] |= (uint8_t)(parity((uint32_t)state << 1 & trellis->taps[z]) << z);
        }
    }
}

/* ---- Quantization ---- */

static int n_midpoints_of(const kvb_codec_tables *tables) {
    return tables->levels - (tables->trellis_states ? 4 : 1);
}

/* Midpoints in the fullest of `n` buckets; fills them. */
static int fill_buckets(kvb_codec_tables *tables, int n) {
    int n_midpoints = n_midpoints_of(tables);
    float first = tables->midpoints[0], last = tables->midpoints[n_midpoints - 1];
    float per_unit = last > first ? (float)n / (last - first) : 1.0f;
    tables->bucket_origin = first;
    tables->buckets_per_unit = per_unit < FLT_MAX ? per_unit : FLT_MAX; /* Inf would make 0 * Inf of the origin */
    tables->last_bucket = (float)(n - 1);
    int most = 0, code = 0;
    for (int bucket = 0; bucket < n; bucket++) {
        tables->buckets[bucket] = (kvb_bucket){tables->midpoints[code], code};
        int start = code;
        while (code < n_midpoints && kvb_bucket_of(tables, tables->midpoints[code]) == bucket) {
            code++;
        }
        most = code - start > most ? code - start : most;
    }
    return most;
}

static void fill_quantizer(kvb_codec_tables *tables, const float *centroids) {
    int levels = tables->levels, n = n_midpoints_of(tables);
    memcpy(tables->centroids, centroids, (size_t)levels * sizeof *centroids);
    tables->is_odd = 1;
    for (int i = 0; i < levels; i++) {
        tables->is_odd &= centroids[levels - 1 - i] == -centroids[i];
    }
    for (int i = 0; i < levels; i++) {
        tables->midpoints[i] = i < n ? 0.5f * (centroids[i] + centroids[i + levels - n]) : INFINITY;
    }
    /* The smallest table in which one comparison decides; tables with very uneven gaps keep more in some bucket. */
    n = 1;
    while ((tables->most_in_bucket = fill_buckets(tables, n)) > 1 && n < KVB_MAX_BUCKETS) {
        n *= 2;
    }
}

/* 0 where the midpoints do not fit such words. */
static int fill_words(kvb_codec_tables *tables, int exponent, int parts, int has_tails) {
    int n_midpoints = n_midpoints_of(tables), code = 0, size = 256 / parts;
    double words[KVB_MAX_LEVELS];
    for (int i = 0; i < n_midpoints; i++) {
        words[i] = ldexp((double)tables->midpoints[i], exponent);
        if (words[i] != floor(words[i])) {
            return 0;
        }
    }
    for (int first = INT16_MIN; first <= INT16_MAX; first += size) {
        int high = (int)((uint32_t)first >> 8 & 0xff), start = code;
        int at = parts == 2 ? (int)((uint32_t)first >> 7 & 1) * 256 + high : high,
            is_tail = has_tails && (high == 0x7f || high == 0x80);
        tables->word_codes[at] = (uint8_t)code;
        tables->word_ends[at] = 0xff;
        while (code < n_midpoints && words[code] < first + size) {
            tables->word_ends[at] = (uint8_t)((int)words[code] & 0xff);
            code++;
        }
        if (code - start > 1 && !is_tail) {
            return 0;
        }
    }
    tables->word_factor = (float)ldexp(1.0, exponent);
    tables->word_parts = parts;
    tables->word_has_tails = has_tails;
    return 1;
}

/* The finest words that hold all midpoints, coarse buckets first; or twice as fine ones, which leave the ends out when
 * few normal values are there. */
static void choose_words(kvb_codec_tables *tables) {
    enum { finest = 24 };
    int n_midpoints = n_midpoints_of(tables), k = finest;
    double most = fmax(fabs((double)tables->midpoints[0]), fabs((double)tables->midpoints[n_midpoints - 1]));
    while (k >= 0 && ldexp(most, k) > INT16_MAX - 1) {
        k--;
    }
    if (k < 0 || fill_words(tables, k, 1, 0) || fill_words(tables, k, 2, 0)) {
        return;
    }
    if (ldexp(INT16_MAX, -(k + 1)) > 3.9) {
        fill_words(tables, k + 1, 2, 1);
    }
}

/* The midpoints [first, first + n) as the tree below `node`; n is 2^k - 1. */
static void fill_tree(kvb_codec_tables *tables, int node, int first, int n) {
    int middle = first + n / 2;
    tables->tree[node] = tables->midpoints[middle];
    if (n > 1) {
        fill_tree(tables, 2 * node, first, n / 2);
        fill_tree(tables, 2 * node + 1, middle + 1, n / 2);
    }
}

void kvb_codec_tables_fix(kvb_codec_tables *tables) {
    int levels = tables->levels;
    double most = 0.0;
    tables->fixed_is_exact = 1;
    for (int i = 0; i < levels; i++) {
        double value = fabs((double)tables->centroids[i]);
        most = value > most ? value : most;
        tables->fixed_is_exact &= value * 4096.0 == floor(value * 4096.0) && value * 4096.0 <= INT16_MAX;
    }
    double unit = tables->fixed_is_exact ? 1.0 / 4096.0 : most / INT16_MAX;
    for (int i = 0; i < levels; i++) {
        tables->fixed[i] = (int16_t)lrint((double)tables->centroids[i] / unit);
        tables->fixed_bytes[0][i] = (uint8_t)((uint16_t)tables->fixed[i] & 0xff);
        tables->fixed_bytes[1][i] = (uint8_t)((uint16_t)tables->fixed[i] >> 8);
    }
    tables->fixed_is_odd = 1;
    for (int i = 0; i < levels; i++) {
        tables->fixed_is_odd &= tables->fixed[i] == -tables->fixed[levels - 1 - i];
    }
    tables->fixed_unit = (float)unit;
    tables->fixed_most = (float)(most / unit);
}

/* What the whole row has, whatever its codes. */
static void fill_row(kvb_codec_tables *tables, const kvb_codec_spec *spec) {
    memset(tables, 0, sizeof *tables);
    tables->head_dim = spec->head_dim;
    tables->bits = spec->trellis_states ? spec->bits + 1 : spec->bits;
    tables->levels = kvb_codec_spec_levels(spec);
    tables->n_planes = kvb_codec_spec_planes(spec, tables->plane_widths);
    for (int p = 0; p < tables->n_planes; p++) {
        int covered = spec->half_bit ? spec->head_dim / 2 : spec->head_dim;
        tables->plane_bytes[p] = kvb_layout_plane_bytes(covered, tables->plane_widths[p]);
    }
    tables->rotation = spec->rotation;
    tables->scale = spec->scale;
    tables->scale_dtype = spec->scale_dtype;
    tables->sqrt_dim = (float)sqrt((double)spec->head_dim);
    tables->inverse_sqrt_dim = (float)(1.0 / sqrt((double)spec->head_dim));
    if (spec->rotation != KVB_ROTATION_NONE) {
        tables->hadamard_order = kvb_hadamard_order(spec->head_dim);
        tables->run = spec->head_dim / tables->hadamard_order;
        fill_mix(tables);
        fill_mix_negative(tables);
    }
    if (spec->rotation == KVB_ROTATION_SIGNED) {
        fill_signs(tables, spec->sign_seed);
    }
}

void kvb_codec_tables_join(kvb_codec_tables *tables, const kvb_codec_spec *spec, const kvb_codec_tables *parts) {
    fill_row(tables, spec);
    tables->parts = parts;
    tables->trellis_states = spec->trellis_states;
    memcpy(tables->centroids, parts[0].centroids, (size_t)parts[0].levels * sizeof(float));
    memcpy(tables->centroids + parts[0].levels, parts[1].centroids, (size_t)parts[1].levels * sizeof(float));
}

void kvb_codec_tables_fill(kvb_codec_tables *tables, const kvb_codec_spec *spec) {
    fill_row(tables, spec);
    if (spec->trellis_states) {
        fill_trellis(tables, spec->trellis_states);
    }
    fill_quantizer(tables, kvb_codec_spec_centroids(spec));
    choose_words(tables);
    fill_tree(tables, 1, 0, tables->levels - 1);
    kvb_codec_tables_fix(tables);
}
