// Packed rows in fragment order: the order in which the tensor cores of mma.m16n8k16 want their A operand, so that a
// lane's codes for one block of 16 tokens are consecutive and decode without a shuffle.
//
// A block is 16 tokens of one side of one KV head. A step is one A operand, 16 x 16 values, of which a lane (g = lane /
// 4, t = lane % 4) holds 8, two to a register:
//     keys:    row = token, column = dim       values:   row = dim, column = token
//     register 0: (g, 2t), (g, 2t+1)    1: (g+8, 2t), (g+8, 2t+1)    2: (g, 2t+8), (g, 2t+9)    3: (g+8, 2t+8), (g+8,
//     2t+9)
// So a block is dim / 16 steps, value 8 * step + 2 * register + (0, 1) of a lane's stream of dim / 2 values.
//
// Each width has a Stream: how a lane's values lie in 32-bit words (position(), which the host packs by), and how one
// step becomes four half2 (get()). Look-up tables lie in shared memory, replicated over the banks so that no two lanes
// meet.
#pragma once
#include <cstdint>
#include <cuda_fp16.h>

namespace kvb {

__device__ __forceinline__ uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
    uint32_t r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
    return r;
}

struct Place {
    int word, bit;
};

// The bytes of `fields` begin at byte `i` of a word: byte << 8 | low, an address into a table with entries of 256
// bytes.
__device__ __forceinline__ uint32_t entry256(uint32_t word, int i, uint32_t low) {
    return permute(word, low, 0x5504u | (uint32_t)i << 4);
}

// Codes in bytes with two spare bits: three words and the spares are four words of four bytes. Bits 6 and 7 of a byte
// are noise, and tables repeat themselves.
__device__ __forceinline__ uint32_t spare_word(uint32_t a, uint32_t b, uint32_t c) {
    return (a >> 6 & 0x03030303u) | (b >> 4 & 0x0c0c0c0cu) | (c >> 2 & 0x30303030u);
}

// Field `i` of 6 bits among 16 in three words.
__host__ __device__ inline int spare_field_bit(int i, int bit, int *word) {
    if (i < 12) {
        *word = i / 4;
        return i % 4 * 8 + bit;
    }
    *word = bit / 2;
    return (i - 12) * 8 + 6 + bit % 2;
}

// ---- Tables, all entries of 256 bytes or of 128 ----

__device__ __forceinline__ uint32_t half_pair(half low, half high) {
    return (uint32_t)__half_as_ushort(low) | (uint32_t)__half_as_ushort(high) << 16;
}

// A pair of codes of `BITS` bits (first low) -> half2; copies for 32 lanes: the lower half of an entry of 256 bytes, or
// an entry of 128.
template <int BITS, int ENTRY> __device__ void build_pairs(uint8_t *table, const half *centroids) {
    for (int i = threadIdx.x; i < 256 * 8; i += blockDim.x) {
        int entry = i / 8, mask = (1 << BITS) - 1;
        uint32_t pair = half_pair(centroids[entry & mask], centroids[entry >> BITS & mask]);
        *(uint4 *)(table + entry * ENTRY + i % 8 * 16) = make_uint4(pair, pair, pair, pair);
    }
}

// A code -> half in the low 16 bits for lanes at 0, in the high 16 bits at 128.
template <int BITS> __device__ void build_singles(uint8_t *table, const half *centroids) {
    for (int i = threadIdx.x; i < 256 * 16; i += blockDim.x) {
        uint32_t bits = __half_as_ushort(centroids[i / 16 & ((1 << BITS) - 1)]);
        bits = i % 16 < 8 ? bits : bits << 16;
        *(uint4 *)(table + i * 16) = make_uint4(bits, bits, bits, bits);
    }
}

// ---- Streams ----

template <int BITS> struct Stream; // words for N values, place of bit b of value v, get

// Two codes to a byte.
template <> struct Stream<4> {
    static constexpr int table_bytes = 65536, values_per_round = 8, words_per_round = 1;
    __host__ __device__ static Place place(int v, int bit) {
        return {v / 8, v % 8 * 4 + bit};
    }
    __device__ static void build(uint8_t *table, const half *centroids) {
        build_pairs<4, 256>(table, centroids);
    }
    struct Lane {
        uint32_t low;
    };
    __device__ static Lane open(int lane) {
        return {(uint32_t)lane * 4};
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            out[r] = *(const uint32_t *)(table + entry256(words[STEP], r, l.low));
        }
    }
};

// The same codes by a table of half the size, one shift dearer: beside a large table of the other side.
struct SmallPairs : Stream<4> {
    static constexpr int table_bytes = 32768;
    __device__ static void build(uint8_t *table, const half *centroids) {
        build_pairs<4, 128>(table, centroids);
    }
    __device__ static Lane open(int lane) {
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
    __host__ __device__ static Place place(int v, int bit) {
        return {v / 4, v % 4 * 8 + bit};
    }
    __device__ static void build(uint8_t *table, const half *centroids) {
        build_singles<8>(table, centroids);
    }
    struct Lane {
        uint32_t low, high;
    };
    __device__ static Lane open(int lane) {
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

// Sixteen values in three words: singles in bytes with spare bits.
template <> struct Stream<6> {
    static constexpr int table_bytes = 65536;
    __host__ __device__ static Place place(int v, int bit) {
        int word, at = spare_field_bit(v % 16, bit, &word);
        return {v / 16 * 3 + word, at};
    }
    __device__ static void build(uint8_t *table, const half *centroids) {
        build_singles<6>(table, centroids);
    }
    using Lane = Stream<8>::Lane;
    __device__ static Lane open(int lane) {
        return Stream<8>::open(lane);
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        const uint32_t *w = words + STEP / 2 * 3;
        uint32_t two[2] = {STEP % 2 ? w[2] : w[0], STEP % 2 ? spare_word(w[0], w[1], w[2]) : w[1]};
        Stream<8>::get<0>(two, table, l, out);
    }
};

// Thirty-two values in three words: pairs in bytes with spare bits.
template <> struct Stream<3> {
    static constexpr int table_bytes = 65536;
    __host__ __device__ static Place place(int v, int bit) {
        int word, at = spare_field_bit(v % 32 / 2, v % 2 * 3 + bit, &word);
        return {v / 32 * 3 + word, at};
    }
    __device__ static void build(uint8_t *table, const half *centroids) {
        build_pairs<3, 256>(table, centroids);
    }
    using Lane = Stream<4>::Lane;
    __device__ static Lane open(int lane) {
        return Stream<4>::open(lane);
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        const uint32_t *w = words + STEP / 4 * 3;
        uint32_t one = STEP % 4 == 3 ? spare_word(w[0], w[1], w[2]) : w[STEP % 4];
        Stream<4>::get<0>(&one, table, l, out);
    }
};

// Four codes to a byte -> two half2 in one load of 8 bytes; entries of 128 bytes, 16 copies.
template <> struct Stream<2> {
    static constexpr int table_bytes = 32768;
    __host__ __device__ static Place place(int v, int bit) {
        return {v / 16, v % 16 * 2 + bit};
    }
    __device__ static void build(uint8_t *table, const half *centroids) {
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
    __device__ static Lane open(int lane) {
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

// Nibbles hold code / 2 and give the middle and half the gap of two neighboring centroids; bits of a plane choose.
// 32 values: four words of nibbles, then one of bits: bit 4 * step' + register is the first value's, 16 more the
// second's.
template <> struct Stream<5> {
    static constexpr int table_bytes = 32768;
    __host__ __device__ static Place place(int v, int bit) {
        int round = v / 32, in = v % 32;
        if (bit > 0) {
            return {round * 5 + in / 8, in % 8 * 4 + bit - 1};
        }
        return {round * 5 + 4, in / 8 * 4 + in % 8 / 2 + in % 2 * 16};
    }
    __device__ static void build(uint8_t *table, const half *centroids) {
        for (int i = threadIdx.x; i < 256 * 8; i += blockDim.x) {
            int a = i / 8 % 16, b = i / 128;
            float a0 = __half2float(centroids[2 * a]), a1 = __half2float(centroids[2 * a + 1]);
            float b0 = __half2float(centroids[2 * b]), b1 = __half2float(centroids[2 * b + 1]);
            uint32_t middle = half_pair(__float2half_rn(0.5f * (a0 + a1)), __float2half_rn(0.5f * (b0 + b1)));
            uint32_t gap = half_pair(__float2half_rn(0.5f * (a0 - a1)), __float2half_rn(0.5f * (b0 - b1)));
            *(uint4 *)(table + i * 16) = make_uint4(middle, gap, middle, gap); // a 1 flips the gap's sign: up
        }
    }
    using Lane = Stream<2>::Lane;
    __device__ static Lane open(int lane) {
        return Stream<2>::open(lane);
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        const uint32_t *w = words + STEP / 4 * 5;
#pragma unroll
        for (int r = 0; r < 4; r++) {
            uint2 two = *(const uint2 *)(table + (entry256(w[STEP % 4], r, l.low) >> 1));
            uint32_t flip = w[4] << (15 - (STEP % 4 * 4 + r)) & 0x80008000u;
            uint32_t gap = two.y ^ flip;
            half2 sum = __hadd2(*(half2 *)&two.x, *(half2 *)&gap);
            out[r] = *(uint32_t *)&sum;
        }
    }
};

// A dense stream of singles, for the widths that nobody tuned.
template <int BITS> struct DenseStream {
    static constexpr int table_bytes = (1 << BITS) * 256;
    __host__ __device__ static Place place(int v, int bit) {
        return {(v * BITS + bit) / 32, (v * BITS + bit) % 32};
    }
    __device__ static void build(uint8_t *table, const half *centroids) {
        for (int i = threadIdx.x; i < (1 << BITS) * 64; i += blockDim.x) {
            uint32_t bits = __half_as_ushort(centroids[i / 64]);
            *(uint32_t *)(table + i * 4) = i % 64 < 32 ? bits : bits << 16;
        }
    }
    using Lane = Stream<8>::Lane;
    __device__ static Lane open(int lane) {
        return Stream<8>::open(lane);
    }
    template <int V> __device__ static uint32_t address(const uint32_t *words) {
        constexpr int at = V * BITS, word = at / 32, bit = at % 32;
        uint32_t field = bit + BITS <= 32 ? words[word] >> bit : __funnelshift_r(words[word], words[word + 1], bit);
        return (field & ((1u << BITS) - 1)) << 8;
    }
    template <int R, int STEP> __device__ static uint32_t pair(const uint32_t *words, const uint8_t *table, Lane l) {
        return *(const uint32_t *)(table + (address<8 * STEP + 2 * R>(words) | l.low)) |
               *(const uint32_t *)(table + (address<8 * STEP + 2 * R + 1>(words) | l.high));
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        out[0] = pair<0, STEP>(words, table, l);
        out[1] = pair<1, STEP>(words, table, l);
        out[2] = pair<2, STEP>(words, table, l);
        out[3] = pair<3, STEP>(words, table, l);
    }
};
template <> struct Stream<1> : DenseStream<1> {};
template <> struct Stream<7> : DenseStream<7> {};

// ---- Blocks and tiles ----

// One side's block of 16 tokens: `words` of each lane, four at a time, then two, then one, lane after lane.
template <int BITS, int DIM> struct Block {
    static constexpr int words = DIM / 2 * BITS / 32, bytes = words * 128;
    static_assert(DIM / 2 * BITS % 32 == 0, "whole words");
    __host__ __device__ static int offset(int lane, int word) { // bytes
        constexpr int fours = words / 4, twos = words % 4 / 2;
        if (word < fours * 4) {
            return word / 4 * 512 + lane * 16 + word % 4 * 4;
        }
        if (word < fours * 4 + twos * 2) {
            return fours * 512 + lane * 8 + word % 4 * 4;
        }
        return fours * 512 + twos * 256 + lane * 4;
    }
    __device__ static void load(const uint8_t *block, int lane, uint32_t *w) {
        constexpr int fours = words / 4, twos = words % 4 / 2;
#pragma unroll
        for (int i = 0; i < fours; i++) {
            uint4 v = *(const uint4 *)(block + i * 512 + lane * 16);
            w[4 * i] = v.x, w[4 * i + 1] = v.y, w[4 * i + 2] = v.z, w[4 * i + 3] = v.w;
        }
        if (twos) {
            uint2 v = *(const uint2 *)(block + fours * 512 + lane * 8);
            w[4 * fours] = v.x, w[4 * fours + 1] = v.y;
        }
        if (words % 2) {
            w[words - 1] = *(const uint32_t *)(block + fours * 512 + twos * 256 + lane * 4);
        }
    }
    // Where bit `bit` of the code of (token, dim) lies: byte offset of its word, and the bit in it.
    __host__ __device__ static Place place(int token, int dim, int bit, bool is_value) {
        int row = is_value ? dim % 16 : token, column = is_value ? token : dim % 16, step = dim / 16;
        int lane = row % 8 * 4 + column % 8 / 2, reg = row / 8 + column / 8 * 2;
        Place p = Stream<BITS>::place(8 * step + 2 * reg + column % 2, bit);
        return {offset(lane, p.word), p.bit};
    }
};

// A tile of TOKENS tokens: K blocks, V blocks, then the scales of rows of equal number mod 8: K's, then V's.
template <int KBITS, int VBITS, int DIM, int TOKENS> struct Tile {
    using K = Block<KBITS, DIM>;
    using V = Block<VBITS, DIM>;
    static constexpr int blocks = TOKENS / 16, values = blocks * K::bytes, scales = values + blocks * V::bytes;
    static constexpr int bytes = scales + TOKENS * 4;
    static_assert(bytes % 16 == 0, "bulk copies are of 16 bytes");
    __host__ __device__ static int scale_offset(int token, bool is_value) {
        return scales + token % 8 * (TOKENS / 2) + (is_value ? TOKENS / 4 : 0) + token / 8 * 2;
    }
};

} // namespace kvb
