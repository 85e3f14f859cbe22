/* Included once per instruction set, with NAME, LABEL, BYTES (of a register), FLOATS(x) (a register of x) and
 * MULTIPLY_ADD(a, b, c) defined. */
#include "loops.h"

typedef unsigned long long block __attribute__((vector_size(BYTES)));

/* Eight independent sums: enough to keep every load port busy. */
static unsigned long long read_all(const void *from, size_t bytes) {
    const block *p = from, *end = p + bytes / BYTES;
    block a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0};
    for (; p < end; p += 16) {
        a ^= p[0], b ^= p[1], c ^= p[2], d ^= p[3], e ^= p[4], f ^= p[5], g ^= p[6], h ^= p[7];
        a ^= p[8], b ^= p[9], c ^= p[10], d ^= p[11], e ^= p[12], f ^= p[13], g ^= p[14], h ^= p[15];
    }
    a ^= b ^ c ^ d ^ e ^ f ^ g ^ h;
    return a[0] ^ a[1];
}

/* Two streams, prefetched: one plain stream leaves more than half of the bandwidth unused where the hardware's
 * prefetchers stop at pages. */
static unsigned long long read_far(const void *from, size_t bytes) {
    const char *p = from, *q = p + bytes / 2, *end = q;
    block a = {0}, b = {0}, c = {0}, d = {0};
    for (; p < end; p += 256, q += 256)
        for (int line = 0; line < 256; line += 64) {
            __builtin_prefetch(p + line + 1024, 0, 3);
            __builtin_prefetch(q + line + 1024, 0, 3);
            for (int i = 0; i < 64; i += 2 * BYTES) {
                a ^= *(const block *)(p + line + i);
                b ^= *(const block *)(q + line + i);
                if (BYTES < 64) {
                    c ^= *(const block *)(p + line + i + BYTES % 64);
                    d ^= *(const block *)(q + line + i + BYTES % 64);
                }
            }
        }
    a ^= b ^ c ^ d;
    return a[0] ^ a[1];
}

static void copy_all(void *to, const void *from, size_t bytes) {
    const block *p = from, *end = p + bytes / BYTES;
    block *q = to;
    for (; p < end; p += 8, q += 8) {
        block a = p[0], b = p[1], c = p[2], d = p[3], e = p[4], f = p[5], g = p[6], h = p[7];
        q[0] = a, q[1] = b, q[2] = c, q[3] = d, q[4] = e, q[5] = f, q[6] = g, q[7] = h;
    }
}

/* Twelve chains: more than latency times width of any processor in sight. */
static float multiply_add(size_t rounds) {
    floats a[12];
    for (int i = 0; i < 12; i++)
        a[i] = FLOATS((float)i);
    const floats b = FLOATS(0.999f), c = FLOATS(1e-3f);
    for (size_t round = 0; round < rounds; round++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            a[i] = MULTIPLY_ADD(a[i], b, c);
    }
    for (int i = 1; i < 12; i++)
        a[0] += a[i];
    return a[0][0];
}

const kvb_bench_loops NAME = {
    .name = LABEL,
    .read = read_all,
    .read_far = read_far,
    .copy = copy_all,
    .multiply_add = multiply_add,
    .slots_per_round = 12.0 * BYTES / 4.0,
};
