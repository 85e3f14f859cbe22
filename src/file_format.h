/* The numbers of docs/format.md, section 9: what stands where in a .kvb file. */
#ifndef KVB_FILE_FORMAT_H
#define KVB_FILE_FORMAT_H

#include <stdint.h>

#include "kvbits/kvbits.h"

#define KVB_FILE_MAGIC "\x89KVB\r\n\x1a\n"
#define KVB_FILE_NONE UINT32_C(0xffffffff) /* no codec, no sequence, no layer */

enum {
    KVB_FILE_VERSION = 1,
    KVB_FILE_HEADER_BYTES = 64, /* the last 4 are the CRC of those before */
    KVB_FILE_HEAD_BYTES = 32,   /* of a section; likewise */
    KVB_FILE_CRC_BYTES = 4,     /* behind a section's content */
    KVB_FILE_LAYER_BYTES = 32,
    KVB_FILE_SEQUENCE_BYTES = 16,
    KVB_FILE_PART_BYTES = 24,
    KVB_FILE_OPTIONAL = 1 /* flag of a section that a reader may skip */
};

/* Types of sections: their four letters, the first in the lowest byte. */
#define KVB_FILE_TYPE(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define KVB_FILE_CODECS KVB_FILE_TYPE('C', 'O', 'D', 'C')
#define KVB_FILE_LAYERS KVB_FILE_TYPE('L', 'A', 'Y', 'R')
#define KVB_FILE_MEANS KVB_FILE_TYPE('M', 'E', 'A', 'N')
#define KVB_FILE_SEQUENCE KVB_FILE_TYPE('S', 'E', 'Q', 'U')
#define KVB_FILE_EXACT KVB_FILE_TYPE('E', 'X', 'A', 'C')
#define KVB_FILE_PAGES KVB_FILE_TYPE('P', 'A', 'G', 'E')
#define KVB_FILE_END KVB_FILE_TYPE('E', 'N', 'D', '.')

typedef struct kvb_file_head {
    uint32_t type, flags, sequence, layer;
    uint64_t bytes; /* of the content */
} kvb_file_head;

/* Little-endian numbers of `bytes` bytes; both move *at behind them. */
static inline void kvb_file_put(uint8_t **at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        *(*at)++ = (uint8_t)(value >> (8 * i));
    }
}

static inline uint64_t kvb_file_get(const uint8_t **at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) {
        value |= (uint64_t) * (*at)++ << (8 * i);
    }
    return value;
}

/* Sums and products that stop at UINT64_MAX, which no file has. */
static inline uint64_t kvb_file_sum(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t kvb_file_product(uint64_t a, uint64_t b) {
    return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

/* Of a section that has so much content. */
static inline uint64_t kvb_file_section_bytes(uint64_t content) {
    return kvb_file_sum(content, KVB_FILE_HEAD_BYTES + KVB_FILE_CRC_BYTES);
}

#endif
