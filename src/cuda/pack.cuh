// Codes of 16 tokens to a block of a page and back: shared by encoding, import, export and decoding.
#pragma once
#include "fragments.h"
#include "page_job.h"

namespace kvb {

// A sequence's row of tables, lengths and exact tokens.
__device__ __forceinline__ int row_of(const kvb_cuda_place &p, int sequence) {
    return p.sequences ? p.sequences[sequence] : sequence;
}
// The pages of a sequence, the one of token 0 first, which need not be there.
__device__ __forceinline__ const int32_t *pages_of(const kvb_cuda_place &p, int row) {
    return p.table + (size_t)row * p.table_stride - (p.first_page ? p.first_page[row] : 0);
}
// The page that holds a token, and the block in it: apart, so that a page's number can be on its way for a while.
__device__ inline int page_of(const kvb_cuda_place &p, int row, int token) {
    return pages_of(p, row)[token / 64];
}
__device__ inline uint8_t *block_in(const kvb_cuda_place &p, const kvb_cuda_format &f, int page, int head, int token) {
    return p.pool + (size_t)page * p.page_stride + (size_t)head * p.head_bytes +
           (size_t)(token % 64 / KVB_BLOCK_TOKENS) * f.block_bytes;
}
__device__ inline uint8_t *block_at(const kvb_cuda_place &p, const kvb_cuda_format &f, int row, int head, int token) {
    return block_in(p, f, page_of(p, row, token), head, token);
}

__device__ __forceinline__ int code_at(const kvb_cuda_format &f, bool is_value, const uint8_t *block, int token,
                                       int dim) {
    const int bits = kvb_fragment_code_part_at(f.head_dim, f.code, dim).bits;
    int code = 0;
    for (int bit = 0; bit < bits; bit++) {
        const kvb_place at = kvb_fragment_code_place(f.head_dim, f.code, token, dim, bit, is_value);
        code |= (*(const uint32_t *)(block + at.word) >> at.bit & 1) << bit;
    }
    return code;
}

// `codes` [16][head_dim] of tokens begin to end - 1 of a block, in shared memory, into the block; tokens before and
// behind keep theirs. `words` is shared memory for twice the block's codes. All threads of the block of threads take
// part.
__device__ inline void pack_block(const kvb_cuda_format &f, bool is_value, const uint8_t *codes, int begin, int end,
                                  uint32_t *words, uint8_t *block) {
    const int n_words = kvb_fragment_code_bytes(f.head_dim, f.code) / 4, n = (end - begin) * f.head_dim;
    uint32_t *fresh = words + n_words;
    for (int i = threadIdx.x; i < 2 * n_words; i += blockDim.x) {
        words[i] = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        const int token = begin + i / f.head_dim, dim = i % f.head_dim;
        const int bits = kvb_fragment_code_part_at(f.head_dim, f.code, dim).bits;
        const uint32_t code = codes[token * f.head_dim + dim];
        for (int bit = 0; bit < bits;) { // runs of bits that lie together
            const kvb_place at = kvb_fragment_code_place(f.head_dim, f.code, token, dim, bit, is_value);
            int run = 1;
            while (bit + run < bits) {
                const kvb_place next = kvb_fragment_code_place(f.head_dim, f.code, token, dim, bit + run, is_value);
                if (next.word != at.word || next.bit != at.bit + run) {
                    break;
                }
                run++;
            }
            const uint32_t mask = (1u << run) - 1;
            atomicOr(words + at.word / 4, (code >> bit & mask) << at.bit);
            atomicOr(fresh + at.word / 4, mask << at.bit);
            bit += run;
        }
    }
    __syncthreads();
    uint32_t *stored = (uint32_t *)block;
    const bool whole = begin == 0 && end == KVB_BLOCK_TOKENS;
    for (int i = threadIdx.x; i < n_words; i += blockDim.x) {
        stored[i] = whole ? words[i] : (stored[i] & ~fresh[i]) | words[i];
    }
}

// Where value `dim` of a token lies in a block of 16 bits: nobody else's bits are in its bytes.
__device__ inline uint16_t *dense_at(const kvb_cuda_format &f, bool is_value, uint8_t *block, int token, int dim) {
    const kvb_place at = kvb_fragment_code_place(f.head_dim, 16, token, dim, 0, is_value);
    return (uint16_t *)(block + at.word + at.bit / 8);
}

__device__ inline void store_scale(const kvb_cuda_format &f, uint8_t *block, int token, uint32_t bits) {
    uint8_t *at = block + f.code_bytes + kvb_fragment_scale_place(f.scale_bytes, token);
    if (f.scale_bytes == 2) {
        *(uint16_t *)at = (uint16_t)bits;
    } else {
        *(uint32_t *)at = bits;
    }
}

} // namespace kvb
