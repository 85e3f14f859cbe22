// Where the rows come from that an append packs: new ones, or older ones that leave the ring of exact tokens.
#pragma once
#include "pack.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace kvb {

__device__ __forceinline__ float load(const void *rows, size_t i, int dtype) {
    switch (dtype) {
    case KVB_F16:
        return __half2float(((const __half *)rows)[i]);
    case KVB_BF16:
        return __bfloat162float(((const __nv_bfloat16 *)rows)[i]);
    default:
        return ((const float *)rows)[i];
    }
}

__device__ __forceinline__ uint16_t to_bits(float x, int dtype) { // of 16-bit types
    return dtype == KVB_F16 ? __half_as_ushort(__float2half_rn(x)) : __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
__device__ __forceinline__ float of_bits(uint16_t bits, int dtype) {
    return dtype == KVB_F16 ? __half2float(__ushort_as_half(bits)) : __bfloat162float(__ushort_as_bfloat16(bits));
}

// Where tokens in pages end, or would once there are so many first ones. `row`: of the tables.
__device__ __forceinline__ int packed_end(const kvb_cuda_append_job &p, int row, int n_tokens) {
    return max(max(n_tokens - p.n_exact_last, p.packed_ends ? p.packed_ends[row] : 0), p.n_exact_first);
}

// What is to be packed of a sequence: tokens begin to end - 1.
struct Span {
    int row, before, row_begin; // of the tables; tokens that were there, the first new row
    int begin, end;
};
// Begin and end are those of the new rows.
__device__ __forceinline__ Span rows_of(const kvb_cuda_append_job &p, int sequence) {
    const int row = row_of(p.places[0], sequence);
    return {row, p.lengths[row], p.row_begin[sequence], p.row_begin[sequence], p.row_begin[sequence + 1]};
}
__device__ __forceinline__ Span span_of(const kvb_cuda_append_job &p, Span s) {
    const int n = s.end - s.begin;
    s.begin = n > 0 ? packed_end(p, s.row, s.before) : 0;
    s.end = n > 0 ? packed_end(p, s.row, s.before + n) : 0;
    return s;
}
__device__ __forceinline__ Span span_of(const kvb_cuda_append_job &p, int sequence) {
    return span_of(p, rows_of(p, sequence));
}

// The first value of a new token's row.
__device__ __forceinline__ size_t row_at(const kvb_cuda_append_job &p, const Span &s, int is_value, int head,
                                         int token) {
    return ((size_t)(s.row_begin + token - s.before) * p.n_kv_heads + head) * p.formats[is_value].head_dim;
}

// Coordinate i of the row that is to be packed as `token`, keys less their mean: a new one, or an older one from the
// ring. Where there are exact last tokens all rows are rounded as the ring's are, so that what is packed does not
// depend on how tokens were grouped.
__device__ __forceinline__ float source(const kvb_cuda_append_job &p, const Span &s, int is_value, int head, int token,
                                        int i) {
    const int dim = p.formats[is_value].head_dim;
    float x;
    if (token < s.before) {
        const size_t slot = (size_t)s.row * p.exact_last_slots + token % p.exact_last_slots;
        x = of_bits(p.exact_last[is_value][(slot * p.n_kv_heads + head) * dim + i], p.dense);
    } else {
        x = load(p.rows[is_value], row_at(p, s, is_value, head, token) + i, p.dtype);
        x = p.n_exact_last > 0 ? of_bits(to_bits(x, p.dense), p.dense) : x;
    }
    return p.k_mean && !is_value ? __fsub_rn(x, p.k_mean[head * dim + i]) : x;
}

// A row of a side of 16 bits as it is: its threads `i`, every `step`-th value.
__device__ __forceinline__ void keep_dense(const kvb_cuda_append_job &p, const Span &s, int is_value, int head,
                                           int first, int begin, int end, uint8_t *block, int i, int step) {
    const kvb_cuda_format &f = p.formats[is_value];
    for (; i < (end - begin) * f.head_dim; i += step) {
        const int token = begin + i / f.head_dim, dim = i % f.head_dim;
        *dense_at(f, is_value, block, token, dim) = to_bits(source(p, s, is_value, head, first + token, dim), f.dense);
    }
}

} // namespace kvb
