// Codes of a row to halves by tables in shared memory, replicated over the banks so that no two lanes meet.
//
// Reader<BITS>: from a word of the widest plane and the aligned words of the others (rows.cuh), index() makes words
// whose bytes are entries; a reader of pairs then makes the half2 of every element by pairs(), a reader of singles the
// half of one coordinate, in the low or the high half of a register, by low() and high().
#pragma once
#include <cstdint>
#include <cuda_fp16.h>

namespace kvb {

__device__ __forceinline__ uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
    uint32_t r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector)); // __byte_perm masks the selector
    return r;
}

// byte << 8 | low: an address into entries of 256 bytes, or twice one into entries of 128.
__device__ __forceinline__ uint32_t entry(uint32_t word, int byte, uint32_t low) {
    return permute(word, low, 0x5504u | (uint32_t)byte << 4);
}

__device__ __forceinline__ uint32_t half_pair(half low, half high) {
    return (uint32_t)__half_as_ushort(low) | (uint32_t)__half_as_ushort(high) << 16;
}

__device__ __forceinline__ uint32_t load_entry(const uint8_t *table, uint32_t address) {
    return *(const uint32_t *)(table + address);
}

// Entries of 256 (the first 128 bytes are used) or 128 bytes: the half2 of `pair(entry)` for 32 lanes.
template <int ENTRY, class F> __device__ void fill_pairs(uint8_t *table, F pair) {
    for (int i = threadIdx.x; i < 256 * 8; i += blockDim.x) {
        uint32_t x = pair(i / 8);
        *(uint4 *)(table + i / 8 * ENTRY + i % 8 * 16) = make_uint4(x, x, x, x);
    }
}

// N entries of 128 bytes: two half2 for 16 lanes.
template <int N, class F> __device__ void fill_quads(uint8_t *table, F pair) {
    for (int i = threadIdx.x; i < N * 8; i += blockDim.x) {
        uint32_t x = pair(i / 8, 0), y = pair(i / 8, 1);
        *(uint4 *)(table + i * 16) = make_uint4(x, y, x, y);
    }
}

// N entries of 256 bytes: a half in the low 16 bits for 32 lanes, then in the high 16 bits.
template <int N> __device__ void fill_singles(uint8_t *table, const half *centroids) {
    for (int i = threadIdx.x; i < N * 16; i += blockDim.x) {
        uint32_t bits = __half_as_ushort(centroids[i / 16]);
        bits = i % 16 < 8 ? bits : bits << 16;
        *(uint4 *)(table + i * 16) = make_uint4(bits, bits, bits, bits);
    }
}

template <int BITS> struct Reader;

template <> struct Reader<1> { // nibbles are quads
    static constexpr bool singles = false;
    static constexpr int table_bytes = 16 * 128;
    struct Index {
        uint32_t low, high;
    };
    __device__ static void build(uint8_t *table, const half *c) {
        fill_quads<16>(table,
                       [=](int e, int pair) { return half_pair(c[e >> 2 * pair & 1], c[e >> (2 * pair + 1) & 1]); });
    }
    __device__ static uint32_t open(int lane) {
        return (uint32_t)(lane & 15) * 16;
    }
    __device__ static Index index(const uint32_t *planes) {
        return {planes[0] & 0x0f0f0f0fu, planes[0] >> 4 & 0x0f0f0f0fu};
    }
    __device__ static void pairs(const uint8_t *table, uint32_t lane, Index x, uint32_t *out) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint2 two = *(const uint2 *)(table + (entry(i % 2 ? x.high : x.low, i / 2, lane) >> 1));
            out[2 * i] = two.x, out[2 * i + 1] = two.y;
        }
    }
};

template <> struct Reader<2> { // bytes are quads
    static constexpr bool singles = false;
    static constexpr int table_bytes = 256 * 128;
    using Index = uint32_t;
    __device__ static void build(uint8_t *table, const half *c) {
        fill_quads<256>(table,
                        [=](int e, int pair) { return half_pair(c[e >> 4 * pair & 3], c[e >> (4 * pair + 2) & 3]); });
    }
    __device__ static uint32_t open(int lane) {
        return (uint32_t)(lane & 15) * 16;
    }
    __device__ static Index index(const uint32_t *planes) {
        return planes[0];
    }
    __device__ static void pairs(const uint8_t *table, uint32_t lane, Index x, uint32_t *out) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint2 two = *(const uint2 *)(table + (entry(x, i, lane) >> 1));
            out[2 * i] = two.x, out[2 * i + 1] = two.y;
        }
    }
};

template <>
struct Reader<3> { // bits 0-3 of an entry are two fields of the wide plane, bits 4 and 6 those of the narrow one
    static constexpr bool singles = false;
    static constexpr int table_bytes = 65536;
    struct Index {
        uint32_t low, high;
    };
    __device__ static void build(uint8_t *table, const half *c) {
        fill_pairs<256>(table,
                        [=](int e) { return half_pair(c[(e & 3) | (e >> 2 & 4)], c[(e >> 2 & 3) | (e >> 4 & 4)]); });
    }
    __device__ static uint32_t open(int lane) {
        return (uint32_t)lane * 4;
    }
    __device__ static Index index(const uint32_t *planes) {
        return {(planes[0] & 0x0f0f0f0fu) | (planes[1] << 4 & 0x50505050u),
                (planes[0] >> 4 & 0x0f0f0f0fu) | (planes[1] & 0x50505050u)};
    }
    __device__ static void pairs(const uint8_t *table, uint32_t lane, Index x, uint32_t *out) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            out[i] = load_entry(table, entry(i % 2 ? x.high : x.low, i / 2, lane));
        }
    }
};

template <> struct Reader<4> { // bytes are pairs
    static constexpr bool singles = false;
    static constexpr int table_bytes = 65536;
    using Index = uint32_t;
    __device__ static void build(uint8_t *table, const half *c) {
        fill_pairs<256>(table, [=](int e) { return half_pair(c[e & 15], c[e >> 4]); });
    }
    __device__ static uint32_t open(int lane) {
        return (uint32_t)lane * 4;
    }
    __device__ static Index index(const uint32_t *planes) {
        return planes[0];
    }
    __device__ static void pairs(const uint8_t *table, uint32_t lane, Index x, uint32_t *out) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            out[i] = load_entry(table, entry(x, i, lane));
        }
    }
};

// The same by a table of half the size, one shift dearer: beside a large table of the other side.
struct SmallPairs : Reader<4> {
    static constexpr int table_bytes = 32768;
    __device__ static void build(uint8_t *table, const half *c) {
        fill_pairs<128>(table, [=](int e) { return half_pair(c[e & 15], c[e >> 4]); });
    }
    __device__ static uint32_t open(int lane) {
        return (uint32_t)lane * 8;
    }
    __device__ static void pairs(const uint8_t *table, uint32_t lane, Index x, uint32_t *out) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            out[i] = load_entry(table, entry(x, i, lane) >> 1);
        }
    }
};

// An odd codebook: the top bit chooses the sign, the nibble (complemented where it is 0) the magnitude.
template <> struct Reader<5> {
    static constexpr bool singles = false;
    static constexpr int table_bytes = 65536;
    struct Index {
        uint32_t magnitudes, first, second; // top bits of the first and second coordinates in the bytes' sign bits
    };
    __device__ static void build(uint8_t *table, const half *c) {
        fill_pairs<256>(table, [=](int e) { return half_pair(c[16 + (e & 15)], c[16 + (e >> 4)]); });
    }
    __device__ static uint32_t open(int lane) {
        return (uint32_t)lane * 4;
    }
    __device__ static Index index(const uint32_t *planes) {
        uint32_t top = planes[1] & 0x11111111u;
        return {planes[0] ^ ~(top * 15), top << 7, top << 3};
    }
    __device__ static void pairs(const uint8_t *table, uint32_t lane, Index x, uint32_t *out) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t positive = permute(x.first, x.second, 0xcc88u + 0x1111u * i); // all ones where the top bit is 1
            out[i] = load_entry(table, entry(x.magnitudes, i, lane)) ^ (~positive & 0x80008000u);
        }
    }
};

template <int N> struct Singles {
    static constexpr bool singles = true;
    static constexpr int table_bytes = N * 256;
    struct Index {
        uint32_t first, second; // entries of the elements' coordinates
    };
    __device__ static void build(uint8_t *table, const half *c) {
        fill_singles<N>(table, c);
    }
    __device__ static uint32_t open(int lane) {
        return (uint32_t)lane * 4;
    }
    template <class I>
    __device__ static uint32_t low(const uint8_t *table, uint32_t lane, I x, int element, int second) {
        return load_entry(table, entry(second ? x.second : x.first, element, lane));
    }
    template <class I>
    __device__ static uint32_t high(const uint8_t *table, uint32_t lane, I x, int element, int second) {
        return load_entry(table, entry(second ? x.second : x.first, element, lane + 128));
    }
};

template <> struct Reader<6> : Singles<64> {
    __device__ static Index index(const uint32_t *planes) {
        return {(planes[0] & 0x0f0f0f0fu) | (planes[1] << 4 & 0x30303030u),
                (planes[0] >> 4 & 0x0f0f0f0fu) | (planes[1] & 0x30303030u)};
    }
};

template <> struct Reader<7> : Singles<128> {
    __device__ static Index index(const uint32_t *planes) {
        return {(planes[0] & 0x0f0f0f0fu) | (planes[1] << 4 & 0x30303030u) | (planes[2] << 6 & 0x40404040u),
                (planes[0] >> 4 & 0x0f0f0f0fu) | (planes[1] & 0x30303030u) | (planes[2] << 2 & 0x40404040u)};
    }
};

template <> struct Reader<8> : Singles<256> { // a byte is a coordinate: an element is two bytes
    using Index = uint32_t;
    __device__ static Index index(const uint32_t *planes) {
        return planes[0];
    }
    __device__ static uint32_t low(const uint8_t *table, uint32_t lane, Index x, int element, int second) {
        return load_entry(table, entry(x, 2 * element + second, lane));
    }
    __device__ static uint32_t high(const uint8_t *table, uint32_t lane, Index x, int element, int second) {
        return load_entry(table, entry(x, 2 * element + second, lane + 128));
    }
};

} // namespace kvb
