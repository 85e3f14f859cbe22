/* Legal rows of many kinds, for tests of encoding. */
#ifndef KVB_TESTS_ROW_KINDS_H
#define KVB_TESTS_ROW_KINDS_H

#include "kvbits/kvbits.h"
#include "oracle.h"

#include <math.h>

enum { n_kinds = 9 };

static inline void fill_row(int kind, int d, oracle_random *random, float *x) {
    for (int i = 0; i < d; i++) {
        x[i] = oracle_normal(random);
        switch (kind) {
        case 1: /* heavy channels, large scale */
            x[i] *= i % 13 == 0 ? 3000.0f : 150.0f;
            break;
        case 2: /* subnormal half scale */
            x[i] *= 0x1p-17f;
            break;
        case 3: /* half scale rounds to zero */
            x[i] *= 0x1p-30f;
            break;
        case 4: /* squares are subnormal or zero */
            x[i] *= 0x1p-72f;
            break;
        case 5: /* half scale saturates */
            x[i] *= 1e6f;
            break;
        case 6: /* as large as allowed */
            x[i] = x[i] < 0.0f ? -KVB_MAX_ABS : KVB_MAX_ABS;
            break;
        case 7: /* zero */
            x[i] = i % 2 ? -0.0f : 0.0f;
            break;
        case 8: /* ties: small integers */
            x[i] = rintf(2.0f * x[i]);
            break;
        default:
            break;
        }
    }
}

#endif
