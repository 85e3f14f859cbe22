/* Packed rows in floats, AVX2. */
#if defined(__x86_64__)
#define KVB_ISA avx2
#include "cpu/fixed_avx2.h"
#include "cpu/avx2_attend.h"

#include "cpu/packed_floats.h"
#endif
