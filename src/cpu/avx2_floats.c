/* Attention on floats in AVX2. */
#if defined(__x86_64__)
#define KVB_ISA avx2
#include "cpu/avx2_attend.h"
#include "cpu/vec_fused_avx2.h"

#include "cpu/vec_floats.h"
#include "cpu/vec_halves.h"
#include "cpu/vec_softmax.h"
#endif
