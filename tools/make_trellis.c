/* Prints src/trellis_tables.inc: levels of the trellis codes (docs/math.md, "Trellis codes"). Lloyd's iteration: encode
 * many Gaussian rows, move each level to the mean of the values that took it. Everything that reaches the result has
 * the same bits on every machine: the rows, the encoder, and sums in double precision in a fixed order.
 *
 *     kvb-make-trellis                     all tables
 *     kvb-make-trellis STATES BITS [N]     one table; N rounds instead of all */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvbits/eval.h"

enum { DIM = 256, ROWS = 4096, ROUNDS = 100, MAX_LEVELS = 2 << KVB_MAX_TRELLIS_BITS, PER_LINE = 6 };

typedef struct trainer {
    int states, bits, levels;
    float *rows;
    void *block;
    float centroids[MAX_LEVELS];
} trainer;

static int fail(const char *text) {
    fprintf(stderr, "kvb-make-trellis: %s\n", text);
    return 1;
}

/* Rows of norm sqrt(DIM), as a codec sees them. */
static void draw_rows(uint64_t seed, float *rows) {
    kvb_rng rng = kvb_rng_seed(seed);
    for (int r = 0; r < ROWS; r++) {
        float *row = rows + (size_t)r * DIM;
        double sum = 0.0;
        kvb_rng_normals(&rng, row, DIM);
        for (int i = 0; i < DIM; i++)
            sum += (double)row[i] * row[i];
        for (int i = 0; i < DIM; i++)
            row[i] = (float)(row[i] * sqrt(DIM / sum));
    }
}

static int encode(const trainer *t, kvb_scale_kind scale, kvb_dtype dtype, kvb_codec **codec, kvb_packed *packed) {
    kvb_codec_spec spec = kvb_codec_spec_default(DIM, t->bits);
    kvb_error error;
    spec.rotation = KVB_ROTATION_NONE;
    spec.scale = scale;
    spec.scale_dtype = dtype;
    spec.trellis_states = t->states;
    spec.centroids = t->centroids;
    if (kvb_codec_create(&spec, NULL, NULL, codec, &error) != KVB_OK)
        return fail(error.text);
    *packed = kvb_packed_view(*codec, t->block, ROWS);
    if (kvb_encode(*codec, t->rows, KVB_F32, DIM, ROWS, packed, 0, NULL, &error) != KVB_OK) {
        kvb_codec_destroy(*codec);
        return fail(error.text);
    }
    return 0;
}

/* The mean squared error of what a codec of this table stores by default: lsq scales in binary16. */
static int measure(const trainer *t, kvb_scale_kind scale, double *mse) {
    kvb_codec *codec;
    kvb_packed packed;
    kvb_error error;
    float row[DIM];
    double sum = 0.0;
    if (encode(t, scale, KVB_F16, &codec, &packed))
        return 1;
    for (size_t r = 0; r < ROWS; r++) {
        if (kvb_decode(codec, &packed, r, 1, KVB_DOMAIN_INPUT, row, DIM, &error) != KVB_OK)
            return fail(error.text);
        for (int i = 0; i < DIM; i++) {
            double difference = (double)row[i] - t->rows[r * DIM + (size_t)i];
            sum += difference * difference;
        }
    }
    kvb_codec_destroy(codec);
    *mse = sum / ((double)ROWS * DIM);
    return 0;
}

/* One round of Lloyd's iteration, with mirrored levels moved together. */
static int move_levels(trainer *t) {
    kvb_codec *codec;
    kvb_packed packed;
    double sums[MAX_LEVELS] = {0}, counts[MAX_LEVELS] = {0};
    uint8_t codes[DIM];
    if (encode(t, KVB_SCALE_NORM, KVB_F32, &codec, &packed))
        return 1;
    for (size_t r = 0; r < ROWS; r++) {
        float scale;
        kvb_packed_row_codes(codec, &packed, r, codes, &scale);
        for (int i = 0; i < DIM; i++) {
            sums[codes[i]] += (double)t->rows[r * DIM + (size_t)i] / scale;
            counts[codes[i]] += 1.0;
        }
    }
    kvb_codec_destroy(codec);
    for (int i = 0; i < t->levels / 2; i++) {
        int mirrored = t->levels - 1 - i;
        double count = counts[i] + counts[mirrored];
        double level = count > 0.0 ? (sums[i] - sums[mirrored]) / count : t->centroids[i];
        t->centroids[i] = (float)level;
        t->centroids[mirrored] = -(float)level;
    }
    return 0;
}

static int train(trainer *t, int rounds) {
    const float *start = kvb_codebook(t->bits + 1);
    t->levels = 2 << t->bits;
    for (int i = 0; i < t->levels; i++)
        t->centroids[i] = 0.85f * start[i];
    draw_rows(1, t->rows);
    for (int round = 0; round < rounds; round++) {
        if (move_levels(t))
            return 1;
        if (getenv("KVB_TRACE")) {
            double mse;
            if (measure(t, KVB_SCALE_LSQ, &mse))
                return 1;
            fprintf(stderr, "%d %d round %d: %.9g\n", t->states, t->bits, round, mse);
        }
    }
    for (int i = 0; i < t->levels; i++)
        t->centroids[i] = (float)kvb_codebook_round(t->centroids[i]);
    return 0;
}

static int print_table(trainer *t, int states, int bits, int rounds) {
    double mse, searched;
    t->states = states;
    t->bits = bits;
    if (train(t, rounds))
        return 1;
    draw_rows(2, t->rows);
    if (measure(t, KVB_SCALE_LSQ, &mse) || measure(t, KVB_SCALE_SEARCH, &searched))
        return 1;
    printf("\n/* %d states, %d bits: MSE %.4g with lsq, %.2f dB above the bound; with search %.4g, %.2f dB. */\n",
           states, bits, mse, kvb_decibel(mse * ldexp(1.0, 2 * bits)), searched,
           kvb_decibel(searched * ldexp(1.0, 2 * bits)));
    printf("static const float trellis_%d_%d_bit[%d] = {\n", states, bits, t->levels);
    for (int i = 0; i < t->levels; i++) {
        char number[32];
        snprintf(number, sizeof number, "%.13g", (double)t->centroids[i]); /* exact, as in make_codebooks.c */
        printf("%s%s%sf,%s", i % PER_LINE == 0 ? "    " : " ", number, strchr(number, '.') ? "" : ".0",
               i % PER_LINE == PER_LINE - 1 || i + 1 == t->levels ? "\n" : "");
    }
    printf("};\n");
    return 0;
}

static int print_all(trainer *t) {
    static const int states[] = {8, 16, 64, 256};
    printf("/* Made by tools/make_trellis.c; do not edit. Levels of trellis codes, trained on Gaussian rows of %d "
           "values,\n"
           " * rounded to the nearest multiple of 2^-12 that binary16 represents; errors measured on other rows. */\n",
           DIM);
    for (int s = 0; s < 4; s++)
        for (int bits = KVB_MIN_TRELLIS_BITS; bits <= KVB_MAX_TRELLIS_BITS; bits++)
            if (print_table(t, states[s], bits, ROUNDS))
                return 1;
    printf("\nstatic const float *const trellis_tables[4][%d] = {\n", KVB_MAX_TRELLIS_BITS - KVB_MIN_TRELLIS_BITS + 1);
    for (int s = 0; s < 4; s++) {
        printf("    {");
        for (int bits = KVB_MIN_TRELLIS_BITS; bits <= KVB_MAX_TRELLIS_BITS; bits++)
            printf("%strellis_%d_%d_bit", bits > KVB_MIN_TRELLIS_BITS ? ", " : "", states[s], bits);
        printf("},\n");
    }
    printf("};\n");
    return fflush(stdout) != 0 || ferror(stdout);
}

int main(int argc, char **argv) {
    trainer t = {.rows = malloc(sizeof *t.rows * ROWS * DIM), .block = malloc((size_t)ROWS * (DIM + 4))};
    int failed;
    if (!t.rows || !t.block)
        failed = fail("out of memory");
    else if (argc == 3 || argc == 4)
        failed = print_table(&t, atoi(argv[1]), atoi(argv[2]), argc == 4 ? atoi(argv[3]) : ROUNDS);
    else
        failed = argc == 1 ? print_all(&t) : fail("usage: kvb-make-trellis [STATES BITS [ROUNDS]]");
    free(t.rows);
    free(t.block);
    return failed;
}
