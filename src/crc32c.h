/* CRC-32C (Castagnoli), eight bytes at a step from tables that are made when they are needed: 8 KiB, a few
 * microseconds. */
#ifndef KVB_CRC32C_H
#define KVB_CRC32C_H

#include <stddef.h>
#include <stdint.h>

typedef struct kvb_crc32c_tables {
    uint32_t of[8][256]; /* [k][b]: of byte b, followed by k zero bytes */
} kvb_crc32c_tables;

void kvb_crc32c_fill(kvb_crc32c_tables *tables);
/* The CRC of what `crc` is the CRC of (0: of nothing) followed by `bytes` bytes. */
uint32_t kvb_crc32c(const kvb_crc32c_tables *tables, uint32_t crc, const void *data, size_t bytes);

#endif
