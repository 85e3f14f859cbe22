/* Queries and packed keys in fixed point, Advanced SIMD. */
#if defined(__aarch64__)
#define KVB_ISA neon
#include "cpu/fixed_neon.h"
#include "cpu/neon_attend.h"

#include "cpu/fixed_keys.h"
#endif
