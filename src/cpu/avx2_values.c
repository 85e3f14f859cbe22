/* Weighted sums of packed values in fixed point, AVX2. */
#if defined(__x86_64__)
#define KVB_ISA avx2
#include "cpu/avx2_attend.h"
#include "cpu/fixed_avx2.h"

#include "cpu/fixed_values.h"
#endif
