/* CPUID names the instructions, XGETBV the registers that the operating system saves; without the latter an
 * instruction that exists still faults. Compilers' own queries know too few names (clang 14: no F16C). */
#if defined(__x86_64__)
#include "cpu/cpu_x86.h"

#include <cpuid.h>
#include <stdint.h>

/* State components of XCR0. */
enum { saves_avx = 0x06, saves_avx512 = 0xe6 };

typedef struct registers {
    uint32_t a, b, c, d;
} registers;

/* All 0 for a leaf that does not exist. */
static registers cpuid(uint32_t leaf) {
    registers r = {0};
    __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
    return r;
}

static int has_all(uint32_t flags, uint32_t needed) {
    return (flags & needed) == needed;
}

static int saves(uint32_t components) {
    if (!(cpuid(1).c & bit_OSXSAVE)) {
        return 0;
    }
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return has_all(low, components);
}

int kvb_x86_has_avx2(void) {
    return has_all(cpuid(1).c, bit_AVX | bit_FMA | bit_F16C) && has_all(cpuid(7).b, bit_AVX2) && saves(saves_avx);
}

int kvb_x86_has_avx512(void) {
    uint32_t needed = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    registers seven = cpuid(7);
    return kvb_x86_has_avx2() && has_all(seven.b, needed) && has_all(seven.c, bit_AVX512VNNI) && saves(saves_avx512);
}
#endif
