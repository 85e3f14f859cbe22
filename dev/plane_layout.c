/* Packing and unpacking in two orders of coordinates inside a plane: strided (src/layout.h, the format's) and
 * sequential (byte j holds coordinates j*n .. j*n + n-1, lowest bits first). Prints ns per row;
 * docs/adr/0001-plane-layout.md.
 *
 *     cc -std=c11 -O3 -DNDEBUG -Iinclude -Isrc dev/plane_layout.c src/cpu/pack.c -o plane_layout && ./plane_layout
 */
#define _POSIX_C_SOURCE 200809L
#include "cpu/ops.h"

#include <stdio.h>
#include <time.h>

typedef void pack_function(const kvb_codec_tables *, const uint8_t *, uint8_t *const *);
typedef void unpack_function(const kvb_codec_tables *, const uint8_t *const *, uint8_t *);

static inline void pack_sequential_plane(const uint8_t *restrict codes, int n, int shift, int width,
                                         uint8_t *restrict plane) {
    const uint8_t mask = (uint8_t)((1 << width) - 1);
    int per_byte = 8 / width;
    for (int j = 0; j < n / per_byte; j++) {
        uint8_t byte = 0;
        for (int field = 0; field < per_byte; field++) {
            byte |= (uint8_t)(((codes[j * per_byte + field] >> shift) & mask) << (field * width));
        }
        plane[j] = byte;
    }
}

static inline void unpack_sequential_plane(const uint8_t *restrict plane, int n, int shift, int width,
                                           uint8_t *restrict codes) {
    const uint8_t mask = (uint8_t)((1 << width) - 1);
    int per_byte = 8 / width;
    for (int j = 0; j < n / per_byte; j++) {
        for (int field = 0; field < per_byte; field++) {
            uint8_t bits = (uint8_t)(plane[j] >> (field * width)) & mask;
            uint8_t *code = &codes[j * per_byte + field];
            *code = shift ? (uint8_t)(*code | bits << shift) : bits;
        }
    }
}

/* One instance per plane of a width, its shift and width constants, as src/cpu/pack.c has them. */
#define EACH_PLANE(call)                                                                                               \
    switch (tables->bits) {                                                                                            \
    case 4:                                                                                                            \
        call(0, 4, 0);                                                                                                 \
        break;                                                                                                         \
    case 5:                                                                                                            \
        call(0, 4, 0);                                                                                                 \
        call(4, 1, 1);                                                                                                 \
        break;                                                                                                         \
    case 6:                                                                                                            \
        call(0, 4, 0);                                                                                                 \
        call(4, 2, 1);                                                                                                 \
        break;                                                                                                         \
    case 7:                                                                                                            \
        call(0, 4, 0);                                                                                                 \
        call(4, 2, 1);                                                                                                 \
        call(6, 1, 2);                                                                                                 \
        break;                                                                                                         \
    case 3:                                                                                                            \
        call(0, 2, 0);                                                                                                 \
        call(2, 1, 1);                                                                                                 \
        break;                                                                                                         \
    default:                                                                                                           \
        call(0, 2, 0);                                                                                                 \
    }

static void pack_sequential(const kvb_codec_tables *tables, const uint8_t *codes, uint8_t *const *planes) {
#define PACK(shift, width, plane) pack_sequential_plane(codes, tables->head_dim, shift, width, planes[plane])
    EACH_PLANE(PACK)
}

static void unpack_sequential(const kvb_codec_tables *tables, const uint8_t *const *planes, uint8_t *codes) {
#define UNPACK(shift, width, plane) unpack_sequential_plane(planes[plane], tables->head_dim, shift, width, codes)
    EACH_PLANE(UNPACK)
}

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

enum { rows = 64, samples = 2000 };

/* Time per row, the best of many samples: the machine may be shared. */
static double measure(const kvb_codec_tables *tables, pack_function *pack, unpack_function *unpack) {
    static uint8_t codes[KVB_MAX_HEAD_DIM], bytes[KVB_MAX_PLANES][KVB_MAX_HEAD_DIM];
    uint8_t *planes[KVB_MAX_PLANES] = {bytes[0], bytes[1], bytes[2]};
    double best = 1e30;
    for (int i = 0; i < tables->head_dim; i++) {
        codes[i] = (uint8_t)(i * 37 & ((1 << tables->bits) - 1));
    }
    for (int sample = 0; sample < samples; sample++) {
        double start = now_ns();
        for (int row = 0; row < rows; row++) {
            if (pack) {
                pack(tables, codes, planes);
            } else {
                unpack(tables, (const uint8_t *const *)planes, codes);
            }
        }
        double time = (now_ns() - start) / rows;
        best = time < best ? time : best;
    }
    return best;
}

int main(void) {
    static const int dims[] = {72, 128, 256};
    static kvb_codec_tables tables;
    printf("ns per row            strided             sequential\n");
    printf("head_dim  bits     pack    unpack      pack    unpack\n");
    for (int k = 0; k < 3; k++) {
        for (int bits = 2; bits <= 7; bits++) {
            tables.head_dim = dims[k];
            tables.bits = bits;
            printf("%8d %5d %8.1f  %8.1f  %8.1f  %8.1f\n", dims[k], bits, measure(&tables, kvb_scalar_pack, NULL),
                   measure(&tables, NULL, kvb_scalar_unpack), measure(&tables, pack_sequential, NULL),
                   measure(&tables, NULL, unpack_sequential));
        }
    }
    return 0;
}
