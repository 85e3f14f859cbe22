// What the general kernel reads and writes: a block of codes of any width as floats, rows of any type, rotations of any
// length, one column's result.
#pragma once
#include "attend_exact.cuh"
#include "fragments.h"
#include "jobs.h"

namespace kvb {

// Centroids as floats; 16 bits are their own.
struct Levels {
    const float *of[2]; // K, V
};
__device__ inline void fill_levels(const kvb_cuda_attend_side &side, float *levels) {
    const kvb_code_part last = kvb_fragment_code_part(side.head_dim, side.code, 1);
    for (int i = threadIdx.x; i < last.first_level + last.levels; i += blockDim.x) {
        levels[i] = __half2float(((const __half *)side.centroids)[i]);
    }
}

__device__ __forceinline__ float load_value(const void *array, size_t i, int type) {
    return type == KVB_F32 ? ((const float *)array)[i] : Raw<false>::value(((const uint16_t *)array)[i], type);
}

__device__ inline void load_dense(const uint8_t *block, int dim, bool is_value, int dtype, float *tile, int row) {
    for (int i = threadIdx.x; i < KVB_BLOCK_TOKENS * dim; i += blockDim.x) {
        const kvb_place at = kvb_fragment_code_place(dim, 16, i / dim, i % dim, 0, is_value);
        tile[i / dim * row + i % dim] = Raw<false>::value(*(const uint16_t *)(block + at.word + at.bit / 8), dtype);
    }
}

template <int BITS>
__device__ void load_codes(const uint8_t *block, int dim, bool is_value, const float *levels, float *tile, int row) {
    for (int i = threadIdx.x; i < KVB_BLOCK_TOKENS * dim; i += blockDim.x) {
        const int token = i / dim, x = i % dim;
        uint32_t code = 0;
#pragma unroll
        for (int bit = 0; bit < BITS; bit++) {
            const kvb_place at = kvb_fragment_code_place(dim, BITS, token, x, bit, is_value);
            code |= (*(const uint32_t *)(block + at.word) >> at.bit & 1) << bit;
        }
        tile[token * row + x] = levels[code];
    }
}

// Of a trellis code, whatever its states: the subset from the inputs so far, bit by bit.
__device__ inline void load_trellis(const kvb_cuda_attend_side &side, const kvb_code_part &part, const uint8_t *block,
                                    bool is_value, const float *levels, float *tile, int row) {
    const int dim = part.dim;
    for (int i = threadIdx.x; i < KVB_BLOCK_TOKENS * dim; i += blockDim.x) {
        const int token = i / dim, x = i % dim;
        auto bit_at = [&](int of, int bit) {
            const kvb_place at = kvb_fragment_code_place(dim, part.code, token, of, bit, is_value);
            return *(const uint32_t *)(block + at.word) >> at.bit & 1;
        };
        uint32_t inputs = 0, place = 0;
        for (int lag = 0; lag <= side.trellis_memory && lag <= x; lag++) {
            inputs |= bit_at(x - lag, 0) << lag;
        }
        for (int bit = 1; bit < part.bits; bit++) {
            place |= bit_at(x, bit) << (bit - 1);
        }
        tile[token * row + x] =
            levels[4 * place + (__popc(inputs & side.taps[0]) & 1) + 2 * (__popc(inputs & side.taps[1]) & 1)];
    }
}

// A part of a block's coordinates.
__device__ inline void load_part(const kvb_cuda_attend_side &side, const kvb_code_part &part, const uint8_t *block,
                                 bool is_value, const float *table, float *tile, int row) {
    const int dim = part.dim;
    block += part.offset;
    table += part.first_level;
    tile += part.first;
    switch (part.code) {
    case 1:
        load_codes<1>(block, dim, is_value, table, tile, row);
        break;
    case 2:
        load_codes<2>(block, dim, is_value, table, tile, row);
        break;
    case 3:
        load_codes<3>(block, dim, is_value, table, tile, row);
        break;
    case 4:
        load_codes<4>(block, dim, is_value, table, tile, row);
        break;
    case 5:
        load_codes<5>(block, dim, is_value, table, tile, row);
        break;
    case 6:
        load_codes<6>(block, dim, is_value, table, tile, row);
        break;
    case 7:
        load_codes<7>(block, dim, is_value, table, tile, row);
        break;
    case 8:
        load_codes<8>(block, dim, is_value, table, tile, row);
        break;
    case 16:
        load_dense(block, dim, is_value, side.dense, tile, row);
        break;
    default:
        load_trellis(side, part, block, is_value, table, tile, row);
    }
}

// A block of 16 tokens into `tile` [16][row], without scales; lane t < 16 gets token t's. All threads; ends at a
// barrier.
__device__ inline float load_block(const kvb_cuda_attend_side &side, bool is_value, int page, int kv_head, int index,
                                   const Levels &levels, float *tile, int row, int lane) {
    const int dim = side.head_dim;
    const uint8_t *block = side.pages + page * side.page_stride + kv_head * side.head_stride +
                           (size_t)index * kvb_fragment_block_bytes(dim, side.code, side.scale_bytes);
    for (int i = 0; i < kvb_fragment_code_parts(side.code); i++) {
        load_part(side, kvb_fragment_code_part(dim, side.code, i), block, is_value, levels.of[is_value], tile, row);
    }
    const uint8_t *scale = block + kvb_fragment_scale_offset(dim, side.code, side.scale_bytes, lane % KVB_BLOCK_TOKENS);
    const float of_lane = side.scale_bytes == 2   ? __half2float(*(const __half *)scale)
                          : side.scale_bytes == 4 ? *(const float *)scale
                                                  : 1.0f;
    __syncthreads();
    return of_lane;
}

// One row of any length in shared memory, by one warp: as rotate_row.
__device__ inline void rotate_any(float *row, float *temporary, const kvb_cuda_attend_side &side, int lane,
                                  bool inverse) {
    if (!side.signs) {
        return;
    }
    const float factor = rsqrtf((float)side.head_dim);
    for (int i = lane; i < side.head_dim; i += 32) {
        row[i] = negated_if(row[i] * factor, inverse ? 0 : side.signs[i / 32], i % 32);
    }
    __syncwarp();
    rotate_slowly(row, temporary, side.head_dim, side.hadamard_order, side.hadamard, lane, inverse);
    for (int i = lane; inverse && i < side.head_dim; i += 32) {
        row[i] = negated_if(row[i], side.signs[i / 32], i % 32);
    }
    __syncwarp();
}

// Sink, division, log-sum-exp, the rotation back: one column, whose values lie in registers, by one warp.
template <int MOST>
__device__ void finish(const kvb_cuda_attend_job &p, int row, int head, float top, float sum,
                       const float (&values)[MOST], float *out, float *temporary, int lane) {
    const int dim = p.v.head_dim;
    float factor = 1.0f;
    if (p.sinks) {
        const float sink = p.sinks[head] * 1.4426950408889634f, higher = fmaxf(top, sink);
        factor = exp2f(top - higher);
        sum = sum * factor + exp2f(sink - higher);
        top = higher;
    }
    factor = sum == 0.0f ? 0.0f : factor / sum; // nothing was seen
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        if (j * 32 + lane < dim) {
            out[j * 32 + lane] = values[j] * factor;
        }
    }
    __syncwarp();
    rotate_any(out, temporary, p.v, lane, true);
    for (int i = lane; i < dim; i += 32) {
        store_value(p.out, row * p.out_row_stride + head * p.out_head_stride + i, p.out_type, out[i]);
    }
    if (p.lse && lane == 0) {
        p.lse[(size_t)row * p.n_kv_heads * p.group + head] =
            sum == 0.0f ? -INFINITY : (top + log2f(sum)) * 0.6931471805599453f;
    }
}

} // namespace kvb
