#include "crc32c.h"

#include <string.h>

#include "layout.h" /* refuses big-endian machines: words are read as they lie */

#define POLYNOMIAL UINT32_C(0x82f63b78)

void kvb_crc32c_fill(kvb_crc32c_tables *tables) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        }
        tables->of[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = tables->of[k - 1][byte];
            tables->of[k][byte] = before >> 8 ^ tables->of[0][before & 255];
        }
    }
}

uint32_t kvb_crc32c(const kvb_crc32c_tables *tables, uint32_t crc, const void *data, size_t bytes) {
    const uint8_t *at = data;
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        word ^= crc;
        crc = 0;
        for (int k = 0; k < 8; k++) {
            crc ^= tables->of[7 - k][word >> 8 * k & 255];
        }
    }
    for (; bytes > 0; bytes--) {
        crc = crc >> 8 ^ tables->of[0][(crc ^ *at++) & 255];
    }
    return ~crc;
}
