/* The two steps of decode attention that read packed rows, alone, on one tile whose rows, tables and sums lie in L1:
 * what is left of kvb_attend's time when memory, softmax and schedule cost nothing. Prints ns per token and KV head,
 * the least of 20 runs; docs/benchmarks/xeon6.md.
 *
 *     cc -std=c11 -O2 -Iinclude -Isrc dev/attend_steps.c build/src/libkvbits.a -lm -lpthread -o attend_steps &&
 * ./attend_steps
 */
#define _POSIX_C_SOURCE 200809L
#include "codec.h"
#include "cpu/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef void dot_step(const kvb_packed_run *, const int16_t *, const float *, int, void *, float *);
typedef void add_step(const kvb_packed_run *, const float *, int, void *, float *);
dot_step kvb_avx512_dot_packed, kvb_avx512vbmi_dot_packed;
add_step kvb_avx512_add_ordered, kvb_avx512vbmi_add_ordered;

enum { n_tokens = KVB_TILE_TOKENS, repeats = 2000, runs = 20 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What a step reads and writes. */
typedef struct tile {
    _Alignas(64) uint8_t rows[1 << 20], scratch[1 << 20];
    _Alignas(64) int16_t q[1 << 14];
    _Alignas(64) float factors[KVB_FEW_ROWS], weights[1 << 10], dots[1 << 10], sums[1 << 14];
} tile;

static kvb_packed_run run_of(const kvb_codec_tables *tables, tile *t) {
    kvb_packed_run run = {.tables = tables, .packed = {.scales = t->rows}, .n_rows = n_tokens};
    uint8_t *plane = t->rows + n_tokens * sizeof(uint16_t);
    for (int p = 0; p < tables->n_planes; p++) {
        run.packed.planes[p] = plane;
        run.next[p] = plane;
        plane += n_tokens * kvb_layout_plane_bytes(tables->head_dim, tables->plane_widths[p]);
    }
    return run;
}

static int measure(int head_dim, int n_rows, int bits, tile *t) {
    kvb_codec_spec spec = kvb_codec_spec_default(head_dim, bits);
    kvb_codec *codec;
    kvb_error error;
    if (kvb_codec_create(&spec, NULL, NULL, &codec, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    dot_step *dot = bits < 7 ? kvb_avx512_dot_packed : kvb_avx512vbmi_dot_packed;
    add_step *add = bits < 7 ? kvb_avx512_add_ordered : kvb_avx512vbmi_add_ordered;
    const kvb_packed_run run = run_of(&codec->tables, t);
    double least[2] = {1e9, 1e9};
    for (int r = 0; r < runs; r++) {
        double begin = seconds();
        for (int i = 0; i < repeats; i++) {
            dot(&run, t->q, t->factors, n_rows, t->scratch, t->dots);
        }
        double middle = seconds();
        for (int i = 0; i < repeats; i++) {
            add(&run, t->weights, n_rows, t->scratch, t->sums);
        }
        double end = seconds();
        least[0] = middle - begin < least[0] ? middle - begin : least[0];
        least[1] = end - middle < least[1] ? end - middle : least[1];
    }
    printf("head_dim %d, %d query heads, %d bits: keys %.2f, values %.2f ns per token\n", head_dim, n_rows, bits,
           least[0] / repeats / n_tokens * 1e9, least[1] / repeats / n_tokens * 1e9);
    kvb_codec_destroy(codec);
    return 0;
}

int main(void) {
    static const int shapes[3][2] = {{256, 2}, {128, 4}, {64, 3}}; /* A, B, C */
    tile *t = aligned_alloc(64, sizeof *t);
    if (!t || !__builtin_cpu_supports("avx512vbmi")) {
        fputs("memory and AVX-512 with VBMI are needed\n", stderr);
        return 1;
    }
    for (size_t i = 0; i < sizeof t->rows; i++) {
        t->rows[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    for (int i = 0; i < 1 << 14; i++) {
        t->q[i] = (int16_t)(i * 40503 % 2001 - 1000);
        t->sums[i] = 0.0f;
    }
    for (int i = 0; i < n_tokens; i++) {
        ((uint16_t *)(void *)t->rows)[i] = 0x3c00; /* scales of 1 */
    }
    for (int i = 0; i < 1 << 10; i++) {
        t->weights[i] = 0.3f + (float)(i % 7);
    }
    for (int i = 0; i < KVB_FEW_ROWS; i++) {
        t->factors[i] = 1.0f;
    }
    int failed = 0;
    for (int s = 0; s < 3; s++) {
        for (int bits = 2; bits <= 8; bits++) {
            failed |= measure(shapes[s][0], shapes[s][1], bits, t);
        }
    }
    free(t);
    return failed;
}
