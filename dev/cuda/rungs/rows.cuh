// Packed rows as docs/format.md stores them, straight into mma.m16n8k16's A operand: no second order of bytes.
//
// In a plane of width w byte j of a row holds coordinates j, j + S, ..., S = dim * w / 8. Which coordinate is which k
// or m of an MMA is free as long as q, or the output, agrees; so a lane takes the coordinates that lie together in its
// bytes.
//
// An element is a pair of coordinates that decode to one half2. Keys: A is tokens x dims; lane (g, t), g = lane / 4,
// t = lane % 4, holds rows g and g + 8 of a block of 16 tokens and a quarter of each row's elements, two to a step.
// Values: A is dims x tokens; lane (g, t) holds rows 2t, 2t+1, 2t+8, 2t+9 and an eighth of each row's elements, one to
// a step, whose two coordinates are rows g and g + 8 of A.
//
// Planes narrower than the widest align with it: the bits of a lane's coordinates lie in as many bytes, `offset` bytes
// into the row, at the same places after one shift; both depend on t or g alone.
#pragma once
#include "tables.cuh"

namespace kvb {

// `BYTES` consecutive ones from shared memory into words, in the largest pieces that their number allows.
template <int BYTES> __device__ __forceinline__ void load_bytes(const uint8_t *from, uint32_t *words) {
    if constexpr (BYTES % 16 == 0) {
#pragma unroll
        for (int i = 0; i < BYTES / 16; i++) {
            uint4 v = *(const uint4 *)(from + 16 * i);
            words[4 * i] = v.x, words[4 * i + 1] = v.y, words[4 * i + 2] = v.z, words[4 * i + 3] = v.w;
        }
    } else if constexpr (BYTES % 8 == 0) {
#pragma unroll
        for (int i = 0; i < BYTES / 8; i++) {
            uint2 v = *(const uint2 *)(from + 8 * i);
            words[2 * i] = v.x, words[2 * i + 1] = v.y;
        }
    } else if constexpr (BYTES % 4 == 0) {
#pragma unroll
        for (int i = 0; i < BYTES / 4; i++) {
            words[i] = *(const uint32_t *)(from + 4 * i);
        }
    } else {
        static_assert(BYTES == 2, "2 bytes or whole words");
        words[0] = *(const uint16_t *)from;
    }
}

// Planes of a code, low bits first, as layout.h cuts them.
template <int BITS> struct Planes {
    static constexpr int n = BITS == 8 ? 1 : (BITS & 1) + (BITS >> 1 & 1) + (BITS >> 2 & 1);
    __host__ __device__ static constexpr int width(int p) {
        // No array: the compiler would keep it, on the stack, inside the loop.
        return BITS == 8 ? 8 : p == 0 ? (BITS & 4 ? 4 : BITS & 2 ? 2 : 1) : p == 1 && (BITS & 6) == 6 ? 2 : 1;
    }
    static constexpr int widest = width(0), fields = 8 / widest;
    // Elements of a word of the widest plane: 4 / widest ... halves of its coordinates.
    static constexpr int elements = 4 * fields / 2;
};

// One side's rows of a tile in shared memory: scales of `rows` rows, then the planes, as a block of so many rows.
template <int BITS, int DIM> struct Side {
    using P = Planes<BITS>;
    static constexpr int pieces = 1 + P::n;
    __host__ __device__ static constexpr int piece_bytes(int i) { // a row
        return i == 0 ? 2 : DIM * P::width(i - 1) / 8;
    }
    __host__ __device__ static constexpr int piece_offset(int i, int rows) {
        int at = 0;
        for (int k = 0; k < i; k++) {
            at += rows * piece_bytes(k);
        }
        return at;
    }
    __host__ __device__ static constexpr int block_bytes(int rows) { // up to the next block
        return (piece_offset(pieces, rows) + 63) / 64 * 64;
    }
    // Of the widest plane, a lane's share of a row: SHARE is 4 for keys, 8 for values.
    template <int SHARE> struct Lane {
        static constexpr int bytes = DIM * P::widest / 8 / SHARE, words = (bytes + 3) / 4, elements = DIM / 2 / SHARE;
        static constexpr int stride = DIM * P::widest / 8;
        // The coordinates of element e of the lane whose index (t or g) is `at`.
        __host__ __device__ static int coordinate(int at, int e, int second) {
            if (BITS == 8) {
                return at * bytes + 2 * e + second;
            }
            constexpr int pairs = P::fields > 1 ? P::fields / 2 : 1; // of a byte
            return at * bytes + e / pairs + (e % pairs * 2 + second) * stride;
        }
        // Offset and shift of plane p.
        __device__ static int offset(int p, int at) {
            int shares = 8 * P::width(p) / P::widest * SHARE / 8; // of the plane's row
            return at % shares * bytes;
        }
        __device__ static int shift(int p, int at) {
            int shares = 8 * P::width(p) / P::widest * SHARE / 8;
            return p == 0 ? 0 : P::width(p) * (at / shares);
        }
    };
};

} // namespace kvb
