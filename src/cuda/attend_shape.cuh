// What a kernel for few queries is made of: its codes, warps and rings, and what lies where in its shared memory.
#pragma once
#include "attend_codes.cuh"
#include "attend_job.h"

namespace kvb {

// A tile is a page. SHARE warps share a tile and its place in a ring, a few blocks of 16 tokens each.
// SPLIT: queries and weights as two halves each, so that what is left of the error is float's.
// FOLD: items have at most four columns, and the other four are those of the block of tokens behind: one softmax for
// two blocks.
template <int KBITS_, int VBITS_, int DK_, int DV_, int SHARE_, int WARPS_, int STAGES_, bool SPLIT_,
          bool FOLD_ = false>
struct Decode {
    static constexpr int KBITS = KBITS_, VBITS = VBITS_, DK = DK_, DV = DV_, SHARE = SHARE_, WARPS = WARPS_,
                         STAGES = STAGES_;
    static constexpr int TOKENS = KVB_CUDA_PAGE_TOKENS, RINGS = WARPS / SHARE;
    static constexpr bool SPLIT = SPLIT_, FOLD = FOLD_;
    using C = Codes<KBITS, VBITS, DK, DV>;
    using K = typename C::K;
    using V = typename C::V;
    using KS = typename C::KS;
    using VS = typename C::VS;
    static constexpr int columns = 8, tile_blocks = TOKENS / 16, blocks = tile_blocks / SHARE, k_steps = C::k_steps,
                         v_steps = C::v_steps;
    static constexpr int folds = FOLD ? 2 : 1, score_blocks = blocks / folds; // of scores, for blocks of tokens
    static constexpr int k_bytes = tile_blocks * K::bytes, v_bytes = tile_blocks * V::bytes,
                         stage_bytes = (k_bytes + v_bytes + 127) / 128 * 128;
    static constexpr bool looks_ahead = stage_bytes >= TOKENS * (DK + DV) / 2; // where memory is what limits
    static constexpr int tables = C::tables;
    static constexpr int ring = RINGS * STAGES * stage_bytes;
    static constexpr bool is_tight = tables + ring >= 212992; // which leaves little to merge in
    static constexpr int pass_steps = DK > 128 || DV > 128 ? 2
                                      : v_steps < 4        ? v_steps
                                      : is_tight           ? 1
                                                           : 4,
                         pass_dims = pass_steps * 16, pass_stride = pass_dims + 4;
    static constexpr int row = DK > DV ? DK : DV;
    static constexpr int chunk = 64; // of exact tokens
    static constexpr int merge_floats = WARPS * columns * pass_stride > columns *(chunk + 1)
                                            ? WARPS *columns *pass_stride
                                            : columns *(chunk + 1);
    static constexpr int merge = (merge_floats > WARPS * row ? merge_floats : WARPS * row) * 4;
    static constexpr int states = (WARPS + 2) * columns * 2 * 4;
    static constexpr int k_words = C::k_levels / 2,
                         v_words = C::one_table ? 0 : C::v_levels / 2, // centroids, two a word
        k_sign_words = (DK + 31) / 32, v_sign_words = (DV + 31) / 32,
                         early_words = k_words + v_words + k_sign_words + v_sign_words;
    static constexpr int q_stride = DK + 8; // halves: columns in different banks
    static constexpr int queries = columns * q_stride * 2 * (SPLIT ? 2 : 1);
    // Where rows are rotated without memory of their own, nothing lies in the merge's yet when queries do.
    static constexpr bool merge_has_queries = (DK & (DK - 1)) == 0 && (DV & (DV - 1)) == 0 && queries <= merge;
    static constexpr int shared_bytes = tables + ring + merge + states + 2 * columns * row * 4 +
                                        (merge_has_queries ? 0 : queries) + RINGS * STAGES * 8 + early_words * 4;
    static_assert(tile_blocks % SHARE == 0 && WARPS % SHARE == 0, "whole blocks, whole rings");
    static_assert(blocks % folds == 0 && !(FOLD && SPLIT), "blocks are folded in pairs, of whole queries");
    static_assert(SHARE == 1 || RINGS < 16, "a barrier for each ring, of sixteen");
};

} // namespace kvb
