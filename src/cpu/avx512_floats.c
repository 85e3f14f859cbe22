/* Attention on floats in AVX-512. */
#if defined(__x86_64__)
#define KVB_ISA avx512
#include "cpu/avx512_attend.h"
#include "cpu/vec_fused_avx512.h"

#include "cpu/vec_floats.h"
#include "cpu/vec_halves.h"
#include "cpu/vec_softmax.h"

#include "cpu/avx512_prefill_softmax.h"
#endif
