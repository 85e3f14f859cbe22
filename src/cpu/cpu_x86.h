/* What this x86 processor and its operating system offer, for backends' supported(). */
#ifndef KVB_CPU_X86_H
#define KVB_CPU_X86_H

/* AVX2, FMA and F16C, and the system saves their registers. */
int kvb_x86_has_avx2(void);
/* That, and AVX-512 F, BW, DQ, VL and VNNI, and the system saves its registers. */
int kvb_x86_has_avx512(void);

/* AVX-512 VBMI, where kvb_x86_has_avx512. */
static inline int kvb_x86_has_vbmi(void) {
    return __builtin_cpu_supports("avx512vbmi") != 0;
}

#endif
