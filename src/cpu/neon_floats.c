/* Attention on floats in Advanced SIMD. */
#if defined(__aarch64__)
#define KVB_ISA neon
#include "cpu/neon_attend.h"
#include "cpu/vec_fused_neon.h"

#include "cpu/vec_floats.h"
#include "cpu/vec_softmax.h"
#endif
