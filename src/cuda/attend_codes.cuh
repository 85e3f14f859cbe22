// How a kernel reads a pair of codes: each side's blocks and streams, and their look-up tables.
#pragma once
#include "attend_trellis.cuh"

namespace kvb {

// ONE_TABLE: bytes that there are for a table which both sides use.
template <int KBITS, int VBITS, int DK, int DV, int ONE_TABLE = 131072> struct Codes {
    using KR = Reader<KBITS, DK, false>;
    using VR = Reader<VBITS, DV, true>;
    using K = typename KR::In;
    using V = typename VR::In;
    static constexpr bool one_table = KBITS == VBITS; // used when both sides have one codebook
    static constexpr int large_tables = KR::Out::table_bytes + VR::Out::table_bytes;
    static constexpr bool are_small = one_table ? KR::Out::table_bytes > ONE_TABLE : large_tables > 98304;
    using KS = std::conditional_t<are_small, typename SmallOf<typename KR::Out>::Type, typename KR::Out>;
    using VS = std::conditional_t<are_small, typename SmallOf<typename VR::Out>::Type, typename VR::Out>;
    static constexpr int k_steps = DK / 16, v_steps = DV / 16;
    static constexpr int k_levels = KR::is_trellis ? 2 << (KBITS - KVB_FRAGMENT_TRELLIS) : 1 << KBITS,
                         v_levels = VR::is_trellis ? 2 << (VBITS - KVB_FRAGMENT_TRELLIS) : 1 << VBITS;
    static constexpr int tables = KS::table_bytes + (one_table ? 0 : VS::table_bytes);

    __device__ static uint8_t *v_table(uint8_t *tables_at) {
        return one_table ? tables_at : tables_at + KS::table_bytes;
    }
    // By all threads of the block.
    __device__ static void build(uint8_t *tables_at, const uint16_t *k_centroids, const uint16_t *v_centroids) {
        KS::build(tables_at, (const __half *)k_centroids);
        if (!one_table) {
            VS::build(v_table(tables_at), (const __half *)v_centroids);
        }
    }
    // Of place `place` of a value's row in the operands: its coordinate.
    __device__ static __forceinline__ int v_dim(int place) {
        return VR::is_trellis ? place % 8 * 2 * v_steps + place / 16 * 2 + place % 16 / 8 : place;
    }
    // Where a key's coordinate lies in the operands: what k_dim turns back; `odd`: the second of the two.
    struct KeyPlace {
        int step, t, second, odd;
    };
    __device__ static __forceinline__ KeyPlace k_place(int dim) {
        const int run = dim % (4 * k_steps);
        return KR::is_trellis ? KeyPlace{run / 4, dim / (4 * k_steps), run % 4 / 2, dim % 2}
                              : KeyPlace{dim / 16, dim % 8 / 2, dim % 16 / 8, dim % 2};
    }
    // Of a key's step, the coordinate of columns 2t, 2t + 1 (second 0) or 2t + 8, 2t + 9 (1): the first of the two.
    __device__ static __forceinline__ int k_dim(int step, int t, int second) {
        return KR::is_trellis ? t * 4 * k_steps + 4 * step + 2 * second : 16 * step + 2 * t + 8 * second;
    }
};

} // namespace kvb
