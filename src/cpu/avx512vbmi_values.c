/* avx512_values.c with look-ups of bytes, for 7 and 8 bits. */
#if defined(__x86_64__)
#define KVB_ISA avx512vbmi
#define KVB_VBMI
#include "cpu/avx512_values.c"
#endif
