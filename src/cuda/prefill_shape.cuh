// Attention of many queries on packed pages: 128 columns (queries x heads of a group) of a KV head to a block of
// threads. A warpgroup reads pages and lays their values as halves into shared memory, each once; two multiply.
//
// What is free is spent on wide stores: contraction does not ask for an order, so that a lane's eight values of two
// steps of a key, or of two blocks of tokens of a value, lie together in 16 bytes.
//     keys:    row n, 64 coordinates to a panel of 128-byte rows; its piece 2t + i holds what lane t of a step has of
//              the panel's steps 2i and 2i + 1
//     values:  row = place of a coordinate, 64 tokens; its piece 2t + i holds what lane t has of blocks 2i and 2i + 1
// so that token 16 b + (2t, 2t + 1, 2t + 8, 2t + 9) of a page is column n = 8 (2t + b / 2) + 4 (b % 2) + (0, 1, 2, 3)
// of the logits. Pieces are swapped as operand_at (warpgroup.cuh) wants them.
//     Heads of 256 coordinates leave room for half a page of keys at a time, and in registers none for queries, which
// lie in shared memory as keys do. Then the values' pieces are 4i + t, and n = 8t + 4 (b % 2) + (0, 1, 2, 3).
#pragma once
#include "attend_codes.cuh"
#include "attend_rows.cuh"

namespace kvb {

template <int KBITS, int VBITS, int DK_, int DV_, bool SPLIT_> struct Prefill {
    static constexpr int DK = DK_, DV = DV_;
    static constexpr bool SPLIT = SPLIT_, is_large = DK > 128 || DV > 128;
    using C = Codes<KBITS, VBITS, DK, DV, is_large ? 65536 : 131072>;
    // Queries in two halves leave registers for one warpgroup that multiplies.
    static constexpr int readers = 4, multipliers = SPLIT ? 4 : 8, warps = readers + multipliers,
                         ROWS = 16 * multipliers;
    static constexpr int TOKENS = is_large ? 32 : 64, per_page = KVB_CUDA_PAGE_TOKENS / TOKENS; // of a tile
    static constexpr int panels = (DK + 63) / 64, panel_bytes = TOKENS * 128, k_bytes = panels * panel_bytes,
                         v_bytes = DV * 128; // of a tile's keys, of a page's values
    // A tile's scales of keys and of values, then the largest of the latter in each half of a page.
    static constexpr int scale_floats = 2 * TOKENS + 4;
    static constexpr int query_bytes = is_large ? (SPLIT ? 2 : 1) * ROWS * DK * 2 : 0;
    static constexpr int barrier_bytes = 2 * 8, most = 232448;
    static constexpr int room =
        is_large ? (most - query_bytes - C::tables - 2 * (k_bytes + scale_floats * 4 + barrier_bytes)) /
                       (v_bytes + 2 * barrier_bytes)
                 : (most - C::tables) / (k_bytes + v_bytes + scale_floats * 4 + 2 * barrier_bytes);
    static constexpr int V_STAGES = room < 4 ? room : 4, K_SLOTS = is_large ? 2 : V_STAGES,
                         V_SLOTS = V_STAGES * per_page, stages_bytes = K_SLOTS * k_bytes + V_STAGES * v_bytes;
    static constexpr int shared_bytes =
        query_bytes + stages_bytes + C::tables + K_SLOTS * scale_floats * 4 + (K_SLOTS + V_SLOTS) * barrier_bytes;
    // Is the panel of a key's step a whole one? Of a half one, of two steps, piece t is lane t's.
    __host__ __device__ static constexpr bool is_whole(int step) {
        return step / 4 * 4 + 4 <= C::k_steps;
    }
    // What lies in the stages before the first tile and after the last: columns' states, then queries, or what exact
    // tokens gave, or outputs (of large heads those take the place of queries).
    static constexpr bool takes_exact = !is_large;
    static constexpr int q_stride = DK + 8, q_bytes = is_large ? 0 : (SPLIT ? 2 : 1) * ROWS * q_stride * 2,
                         out_bytes = (takes_exact ? ROWS : ROWS / 2) * DV * 4,
                         rows_bytes = is_large              ? 0
                                      : q_bytes > out_bytes ? q_bytes
                                                            : out_bytes,
                         state_bytes = 4 * ROWS * 4, row = DK > DV ? DK : DV, temporary_bytes = warps * 2 * row * 4,
                         chunk = 64, exact_bytes = takes_exact ? (8 * DK + 8 * (chunk + 1) + 8 * DV) * 4 : 0;
    static_assert(V_STAGES >= 1 && (is_large || V_STAGES >= 2) && DK % 32 == 0, "whole panels, or halves of them");
    static_assert(!is_large || DK % 64 == 0, "queries in whole panels");
    static_assert(!is_large || out_bytes <= query_bytes, "outputs fit");
    static_assert(state_bytes + rows_bytes + temporary_bytes + exact_bytes <= stages_bytes, "they fit");
};

// What a block of threads works on.
struct Tile {
    Sequence sequence;
    int row, kv_head, first_column, n_columns; // row: the sequence's, of the tables
    int packed_end;                            // tokens from here on are exact last ones
    int begin, end;                            // packed tokens that some column sees
    int first_page, pages_end;                 // of this block's part
    int part, n_parts;                         // of the cluster's blocks, which share the pages
};

// Where the parts of shared memory lie. Those behind `barriers` lie in the stages, before the first tile and after the
// last.
template <class D> struct PrefillMemory {
    uint8_t *queries, *stages, *k_table, *v_table;
    float *scales;
    uint64_t *barriers;   // keys' slots: full, empty; values': full, empty
    float *units, *means; // of a column's logits
    float *tops, *sums;   // of a column's exact tokens
    float *rows, *temporary, *exact;

    __device__ explicit PrefillMemory(uint8_t *shared) {
        queries = shared;
        stages = queries + D::query_bytes;
        k_table = stages + D::stages_bytes;
        v_table = D::C::v_table(k_table);
        scales = (float *)(k_table + D::C::tables);
        barriers = (uint64_t *)(scales + D::K_SLOTS * D::scale_floats);
        units = (float *)stages;
        means = units + D::ROWS;
        tops = means + D::ROWS;
        sums = tops + D::ROWS;
        rows = D::is_large ? (float *)queries : sums + D::ROWS;
        temporary = sums + D::ROWS + D::rows_bytes / 4;
        exact = temporary + D::temporary_bytes / 4;
    }
    __device__ uint8_t *keys(int slot) const {
        return stages + slot * D::k_bytes;
    }
    __device__ uint8_t *values(int stage) const {
        return stages + D::K_SLOTS * D::k_bytes + stage * D::v_bytes;
    }
    __device__ uint64_t *full(bool is_value, int slot) const {
        return barriers + (is_value ? 2 * D::K_SLOTS : 0) + slot;
    }
    __device__ uint64_t *empty(bool is_value, int slot) const {
        return full(is_value, slot) + (is_value ? D::V_SLOTS : D::K_SLOTS);
    }
};

struct Ring { // a place among slots
    int slot = 0;
    uint32_t parity = 0;
    template <int SLOTS> __device__ __forceinline__ void step() {
        if (++slot == SLOTS) {
            slot = 0;
            parity ^= 1;
        }
    }
};

} // namespace kvb
