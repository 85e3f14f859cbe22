// How lanes turn words of packed codes (fragments.h) into four half2, a step of 16 x 16 values. Look-up tables lie in
// shared memory, replicated over the banks so that no two lanes meet.
#pragma once
#include "fragments.h"

#include <cuda_fp16.h>

namespace kvb {

__device__ __forceinline__ uint32_t permute(uint32_t a, uint32_t b,
                                            uint32_t selector) { // __byte_perm masks its selector
    uint32_t r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
    return r;
}
__device__ __forceinline__ uint32_t half_pair(__half low, __half high) {
    return (uint32_t)__half_as_ushort(low) | (uint32_t)__half_as_ushort(high) << 16;
}
// Byte `i` of a word << 8 | low: the address of an entry of 256 bytes.
__device__ __forceinline__ uint32_t entry256(uint32_t word, int i, uint32_t low) {
    return permute(word, low, 0x5504u | (uint32_t)i << 4);
}
// The fourth word of a round of three whose bytes have two spare bits; bits 6 and 7 of a byte are noise, and tables
// repeat themselves.
__device__ __forceinline__ uint32_t spare_word(uint32_t a, uint32_t b, uint32_t c) {
    return (a >> 6 & 0x03030303u) | (b >> 4 & 0x0c0c0c0cu) | (c >> 2 & 0x30303030u);
}

// ---- Tables ----

// A pair of codes of `BITS` bits (first low) -> half2, copies for 32 lanes: the lower half of an entry of 256 bytes, or
// an entry of 128.
template <int BITS, int ENTRY> __device__ void build_pairs(uint8_t *table, const __half *centroids) {
    for (int i = threadIdx.x; i < 256 * 8; i += blockDim.x) {
        int entry = i / 8, mask = (1 << BITS) - 1;
        uint32_t pair = half_pair(centroids[entry & mask], centroids[entry >> BITS & mask]);
        *(uint4 *)(table + entry * ENTRY + i % 8 * 16) = make_uint4(pair, pair, pair, pair);
    }
}

// A code -> half in the low 16 bits for lanes at 0, in the high 16 bits at 128.
template <int BITS> __device__ void build_singles(uint8_t *table, const __half *centroids) {
    for (int i = threadIdx.x; i < 256 * 16; i += blockDim.x) {
        uint32_t bits = __half_as_ushort(centroids[i / 16 & ((1 << BITS) - 1)]);
        bits = i % 16 < 8 ? bits : bits << 16;
        *(uint4 *)(table + i * 16) = make_uint4(bits, bits, bits, bits);
    }
}

// Two neighboring centroids as the lower and half the gap, so that gap / 2 * (0 or 2.0) + lower is either, rounded
// once.
__device__ __forceinline__ void lower_and_gap(__half low, __half high, float *lower, float *gap) {
    *lower = __half2float(low);
    *gap = 0.5f * (__half2float(high) - *lower);
}
__device__ __forceinline__ uint32_t choose(uint32_t lower, uint32_t gap, uint32_t twos) { // twos: bits 14 and 30
    uint32_t r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(twos), "r"(gap), "r"(lower));
    return r;
}

// ---- Streams: get<STEP>(words, table, lane's constants, four half2) ----

template <int BITS> struct Stream;

template <> struct Stream<4> { // two codes to a byte
    static constexpr int table_bytes = 65536;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        build_pairs<4, 256>(table, centroids);
    }
    struct Lane {
        uint32_t low;
    };
    __device__ static Lane open(int lane, const uint8_t *) {
        return {(uint32_t)lane * 4};
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            out[r] = *(const uint32_t *)(table + entry256(words[STEP], r, l.low));
        }
    }
};

struct SmallPairs : Stream<4> { // half the table, one shift dearer: beside a large table of the other side
    static constexpr int table_bytes = 32768;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        build_pairs<4, 128>(table, centroids);
    }
    __device__ static Lane open(int lane, const uint8_t *) {
        return {(uint32_t)lane * 8};
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            out[r] = *(const uint32_t *)(table + (entry256(words[STEP], r, l.low) >> 1));
        }
    }
};

template <> struct Stream<8> {
    static constexpr int table_bytes = 65536;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        build_singles<8>(table, centroids);
    }
    struct Lane {
        uint32_t low, high;
    };
    __device__ static Lane open(int lane, const uint8_t *) {
        return {(uint32_t)lane * 4, (uint32_t)lane * 4 + 128};
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            uint32_t word = words[2 * STEP + r / 2];
            out[r] = *(const uint32_t *)(table + entry256(word, r % 2 * 2, l.low)) |
                     *(const uint32_t *)(table + entry256(word, r % 2 * 2 + 1, l.high));
        }
    }
};

template <> struct Stream<6> : Stream<8> { // singles in bytes, spare bits
    __device__ static void build(uint8_t *table, const __half *centroids) {
        build_singles<6>(table, centroids);
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        const uint32_t *w = words + STEP / 2 * 3;
        uint32_t two[2];
        if constexpr (STEP % 2 == 0) {
            two[0] = w[0], two[1] = w[1];
        } else {
            two[0] = w[2], two[1] = spare_word(w[0], w[1], w[2]);
        }
        Stream<8>::get<0>(two, table, l, out);
    }
};

template <> struct Stream<7> : Stream<8> { // singles in bytes, a spare bit
    __device__ static void build(uint8_t *table, const __half *centroids) {
        build_singles<7>(table, centroids);
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        const uint32_t *w = words + STEP / 4 * 7;
        uint32_t two[2] = {w[STEP % 4 * 2], 0};
        if constexpr (STEP % 4 < 3) {
            two[1] = w[STEP % 4 * 2 + 1];
        } else {
#pragma unroll
            for (int bit = 0; bit < 7; bit++) {
                two[1] |= w[bit] >> (7 - bit) & 0x01010101u << bit;
            }
        }
        Stream<8>::get<0>(two, table, l, out);
    }
};

template <> struct Stream<3> : Stream<4> { // pairs in bytes, spare bits
    __device__ static void build(uint8_t *table, const __half *centroids) {
        build_pairs<3, 256>(table, centroids);
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        const uint32_t *w = words + STEP / 4 * 3;
        uint32_t one;
        if constexpr (STEP % 4 == 3) {
            one = spare_word(w[0], w[1], w[2]);
        } else {
            one = w[STEP % 4];
        }
        Stream<4>::get<0>(&one, table, l, out);
    }
};

template <> struct Stream<2> { // four codes to a byte -> two half2 by one load; entries of 128 bytes, 16 copies
    static constexpr int table_bytes = 32768;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        for (int i = threadIdx.x; i < 256 * 8; i += blockDim.x) {
            int e = i / 8;
            uint32_t first = half_pair(centroids[e & 3], centroids[e >> 2 & 3]);
            uint32_t second = half_pair(centroids[e >> 4 & 3], centroids[e >> 6 & 3]);
            *(uint4 *)(table + i * 16) = make_uint4(first, second, first, second);
        }
    }
    struct Lane {
        uint32_t low;
    };
    __device__ static Lane open(int lane, const uint8_t *) {
        return {(uint32_t)(lane & 15) * 16};
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            uint2 two = *(const uint2 *)(table + (entry256(words[STEP / 2], STEP % 2 * 2 + r, l.low) >> 1));
            out[2 * r] = two.x;
            out[2 * r + 1] = two.y;
        }
    }
};

template <> struct Stream<5> { // nibbles code / 2 give lower and gap; a bit chooses
    static constexpr int table_bytes = 32768;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        for (int i = threadIdx.x; i < 256 * 8; i += blockDim.x) {
            int a = i / 8 % 16, b = i / 128;
            float lower[2], gap[2];
            lower_and_gap(centroids[2 * a], centroids[2 * a + 1], &lower[0], &gap[0]);
            lower_and_gap(centroids[2 * b], centroids[2 * b + 1], &lower[1], &gap[1]);
            uint32_t l = half_pair(__float2half_rn(lower[0]), __float2half_rn(lower[1]));
            uint32_t g = half_pair(__float2half_rn(gap[0]), __float2half_rn(gap[1]));
            *(uint4 *)(table + i * 16) = make_uint4(l, g, l, g);
        }
    }
    using Lane = Stream<2>::Lane;
    __device__ static Lane open(int lane, const uint8_t *table) {
        return Stream<2>::open(lane, table);
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        const uint32_t *w = words + STEP / 4 * 5;
#pragma unroll
        for (int r = 0; r < 4; r++) {
            constexpr int first = STEP % 4 * 4;
            uint2 two = *(const uint2 *)(table + (entry256(w[1 + STEP % 4], r, l.low) >> 1));
            uint32_t twos = first + r <= 14 ? w[0] << (14 - first - r) : w[0] >> 1;
            out[r] = choose(two.x, two.y, twos & 0x40004000u);
        }
    }
};

template <> struct Stream<1> { // no table but two constants
    static constexpr int table_bytes = 128;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        if (threadIdx.x == 0) {
            float lower, gap;
            lower_and_gap(centroids[0], centroids[1], &lower, &gap);
            ((uint32_t *)table)[0] = half_pair(centroids[0], centroids[0]);
            ((uint32_t *)table)[1] = half_pair(__float2half_rn(gap), __float2half_rn(gap));
        }
    }
    struct Lane {
        uint32_t lower, gap;
    };
    __device__ static Lane open(int, const uint8_t *table) { // after build and a barrier
        return {((const uint32_t *)table)[0], ((const uint32_t *)table)[1]};
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *, Lane l, uint32_t *out) {
        const uint32_t w = words[STEP / 4];
#pragma unroll
        for (int r = 0; r < 4; r++) {
            constexpr int first = STEP % 4 * 4;
            uint32_t twos = first + r <= 14 ? w << (14 - first - r) : w >> 1;
            out[r] = choose(l.lower, l.gap, twos & 0x40004000u);
        }
    }
};

// ---- A side's block in shared memory ----

template <int CODE, int DIM> struct Block {
    static constexpr int steps = DIM / 16, words = kvb_fragment_words(steps, CODE), held = words;
    static constexpr int scales = words * 128, bytes = scales + 2 * KVB_BLOCK_TOKENS;
    static_assert(DIM % 16 == 0, "whole steps");
    __device__ static void load(const uint8_t *block, int lane, int, uint32_t *w) {
        constexpr int fours = words / 4, twos = words % 4 / 2;
#pragma unroll
        for (int i = 0; i < fours; i++) {
            uint4 v = *(const uint4 *)(block + i * 512 + lane * 16);
            w[4 * i] = v.x, w[4 * i + 1] = v.y, w[4 * i + 2] = v.z, w[4 * i + 3] = v.w;
        }
        if constexpr (twos) {
            uint2 v = *(const uint2 *)(block + fours * 512 + lane * 8);
            w[4 * fours] = v.x, w[4 * fours + 1] = v.y;
        }
        if constexpr (words % 2) {
            w[words - 1] = *(const uint32_t *)(block + fours * 512 + twos * 256 + lane * 4);
        }
    }
    // Scales of tokens lane / 4 and lane / 4 + 8.
    __device__ static float2 load_scales(const uint8_t *block, int lane) {
        return __half22float2(*(const __half2 *)(block + scales + lane / 4 * 4));
    }
};

// Steps 0 .. N-1 with a constant index.
template <class S, int STEP, int N> struct Steps {
    template <class F>
    __device__ static __forceinline__ void run(const uint32_t *w, const uint8_t *table, typename S::Lane l, F f) {
        if constexpr (STEP < N) {
            uint32_t a[4];
            S::template get<STEP>(w, table, l, a);
            f(STEP, a);
            Steps<S, STEP + 1, N>::run(w, table, l, f);
        }
    }
};

} // namespace kvb
