/* Packed rows in floats, Advanced SIMD. */
#if defined(__aarch64__)
#define KVB_ISA neon
#include "cpu/fixed_neon.h"
#include "cpu/neon_attend.h"

#include "cpu/packed_floats.h"
#endif
