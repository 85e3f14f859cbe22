/* How many cycles a core takes for the instructions of which the AVX-512 kernels are made, alone and in the kernels'
 * proportions, without loads, stores or waiting: vectors of 64 bytes have two ports there, and shuffles and shifts only
 * one of them. A cycle is a third of an imul that waits for the one before. docs/benchmarks/xeon6.md.
 *
 *     cc -std=gnu11 -O2 -march=native dev/x86_ports.c -o x86_ports && ./x86_ports
 */
#include <stdio.h>
#include <time.h>

enum { repeats = 20000000, runs = 5 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define OVERWRITTEN                                                                                                    \
    "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm20",         \
        "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27"

/* ns of one repetition: the least of some runs */
#define TIME(code, result)                                                                                             \
    do {                                                                                                               \
        result = 1e9;                                                                                                  \
        for (int run = 0; run < runs; run++) {                                                                         \
            double begin = seconds();                                                                                  \
            for (int i = 0; i < repeats; i++) {                                                                        \
                __asm__ volatile(code : : : OVERWRITTEN, "rax");                                                       \
            }                                                                                                          \
            double took = (seconds() - begin) / repeats * 1e9;                                                         \
            result = took < result ? took : result;                                                                    \
        }                                                                                                              \
    } while (0)

#define SHOW(name, code)                                                                                               \
    do {                                                                                                               \
        double ns;                                                                                                     \
        TIME(code, ns);                                                                                                \
        printf("%-72s %5.2f cycles\n", name, ns / cycle);                                                              \
    } while (0)

/* Sources are never written: zmm16 to zmm18. Destinations differ, so that only ports limit. */
#define PERMUTE(to) "vpermw %%zmm16, %%zmm17, %%zmm" #to "\n\t"
#define PERMUTE2(to) "vpermi2b %%zmm16, %%zmm17, %%zmm" #to "\n\t"
#define SHIFT(to) "vpsrlw $4, %%zmm17, %%zmm" #to "\n\t"
#define SHUFFLE(to) "vshuff32x4 $0x4e, %%zmm17, %%zmm17, %%zmm" #to "\n\t"
#define UNPACK(to) "vpunpcklwd %%zmm16, %%zmm17, %%zmm" #to "\n\t"
#define MULTIPLY(to) "vmulps %%zmm16, %%zmm17, %%zmm" #to "\n\t"
#define ADD(to) "vaddps %%zmm16, %%zmm17, %%zmm" #to "\n\t"
#define PRODUCTS(to) "vpdpwssd %%zmm18, %%zmm17, %%zmm" #to "\n\t"
#define FMA(to) "vfmadd231ps %%zmm18, %%zmm17, %%zmm" #to "\n\t"

#define FOUR(DO) DO(20) DO(21) DO(22) DO(23)
#define THREE(DO) DO(24) DO(25) DO(26)
#define EIGHT(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define TWELVE(DO) EIGHT(DO) DO(8) DO(9) DO(10) DO(11)
#define PAIR(a, b) PRODUCTS(a) PRODUCTS(b)

int main(void) {
    double imul, cycle;
    if (!__builtin_cpu_supports("avx512vnni")) {
        fputs("AVX-512 with VNNI is needed\n", stderr);
        return 1;
    }
    TIME("imul %%rax, %%rax\n\timul %%rax, %%rax\n\timul %%rax, %%rax\n\timul %%rax, %%rax\n\t", imul);
    cycle = imul / 12;
    printf("%-72s %5.2f GHz\n", "clock, from dependent multiplications", 1 / cycle);
    SHOW("12 vfmadd231ps", TWELVE(FMA));
    SHOW("12 vpdpwssd (32 products of words, added in pairs)", TWELVE(PRODUCTS));
    SHOW("8 vpermw (32 look-ups)", EIGHT(PERMUTE));
    SHOW("8 vpermi2b (64 look-ups in 128 entries)", EIGHT(PERMUTE2));
    SHOW("8 vpsrlw (the next code of each word)", EIGHT(SHIFT));
    SHOW("8 vshuff32x4", EIGHT(SHUFFLE));
    SHOW("4 vpermw, 3 vpsrlw: they share a port", FOUR(PERMUTE) THREE(SHIFT));
    SHOW("64 bytes of 4-bit keys, 2 queries: 4 vpermw, 3 vpsrlw, 8 vpdpwssd",
         PERMUTE(20) PAIR(0, 1) SHIFT(24) PERMUTE(21) PAIR(2, 3) SHIFT(25) PERMUTE(22) PAIR(4, 5) SHIFT(26) PERMUTE(23)
             PAIR(6, 7));
    SHOW("64 bytes of 4-bit keys, 4 queries: 4 vpermw, 3 vpsrlw, 16 vpdpwssd",
         PERMUTE(20) PAIR(0, 1) PAIR(8, 9) SHIFT(24) PERMUTE(21) PAIR(2, 3) PAIR(10, 11) SHIFT(25) PERMUTE(22)
             PAIR(4, 5) PAIR(0, 1) SHIFT(26) PERMUTE(23) PAIR(6, 7) PAIR(2, 3));
    SHOW("64 bytes of 4-bit values, 2 queries: the same and a vpunpcklwd",
         UNPACK(27) PERMUTE(20) PAIR(0, 1) SHIFT(24) PERMUTE(21) PAIR(2, 3) SHIFT(25) PERMUTE(22) PAIR(4, 5) SHIFT(26)
             PERMUTE(23) PAIR(6, 7));
    SHOW("a stage inside 4 vectors: 4 vshuff32x4, 4 vmulps, 4 vaddps",
         FOUR(SHUFFLE) MULTIPLY(0) MULTIPLY(1) MULTIPLY(2) MULTIPLY(3) ADD(4) ADD(5) ADD(6) ADD(7));
    SHOW("the same with vfmadd231ps, which encoding forbids itself", FOUR(SHUFFLE) FMA(0) FMA(1) FMA(2) FMA(3));
    return 0;
}
