/* out[i] = table[codes[i]]; n is a multiple of 8. One load fetches eight codes, which compilers do not find themselves.
 */
#ifndef KVB_CPU_LOOKUP_H
#define KVB_CPU_LOOKUP_H

#include <stdint.h>
#include <string.h>

static inline void kvb_look_up(const float *table, const uint8_t *codes, int n, float *out) {
    for (int i = 0; i < n; i += 8) {
        uint64_t eight;
        memcpy(&eight, codes + i, sizeof eight);
        for (int j = 0; j < 8; j++) {
            out[i + j] = table[eight & 0xff];
            eight >>= 8;
        }
    }
}

#endif
