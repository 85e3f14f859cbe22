// Encoding rows into pages: signs, rotation, scale, codes and bits in one kernel, in the order and with the roundings
// of docs/format.md. A block of threads owns 16 tokens of one side of one KV head, so that nobody else writes the words
// that tokens share; half a warp has a row, and its lanes are the lanes of the format's summation tree.
#include "encode_trellis.cuh"
#include "jobs.h"
#include "pack.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace kvb {

constexpr int THREADS = LANES * KVB_BLOCK_TOKENS;
static __constant__ const float search_factors[KVB_SEARCH_FACTORS] = {KVB_EACH_SEARCH_FACTOR};

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

// Lanes of a row meet here. Both rows of a warp go the same way whatever they hold, so the whole warp does.
__device__ __forceinline__ void meet() {
    __syncwarp();
}

__device__ void rotate(const kvb_cuda_format &f, float *row, int lane) {
    const int d = f.head_dim, n = d / f.hadamard_order;
    for (int i = lane; i < d; i += LANES) {
        row[i] = __uint_as_float(__float_as_uint(row[i]) ^ (f.signs[i / 32] >> i % 32 & 1) << 31);
    }
    meet();
    for (int h = 1; h < n; h *= 2) {
        for (int i = lane; i < d / 2; i += LANES) {
            float *a = row + i / h * 2 * h + i % h, *b = a + h;
            const float x = *a, y = *b;
            *a = __fadd_rn(x, y);
            *b = __fsub_rn(x, y);
        }
        meet();
    }
    for (int c = lane; f.hadamard_order > 1 && c < n; c += LANES) { // columns are their lanes' own
        float column[36];
        for (int j = 0; j < f.hadamard_order; j++) {
            column[j] = row[j * n + c];
        }
        for (int a = 0; a < f.hadamard_order; a++) {
            const uint64_t negative = f.hadamard[a];
            float sum = column[0];
            for (int j = 1; j < f.hadamard_order; j++) {
                sum = negative >> j & 1 ? __fsub_rn(sum, column[j]) : __fadd_rn(sum, column[j]);
            }
            row[a * n + c] = sum;
        }
    }
    meet();
    for (int i = lane; i < d; i += LANES) {
        row[i] = __fmul_rn(row[i], f.inverse_sqrt_dim);
    }
    meet();
}

__device__ __forceinline__ float fold(float sum) {
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
        sum = __fadd_rn(sum, __shfl_down_sync(0xffffffffu, sum, lanes, LANES));
    }
    return __shfl_sync(0xffffffffu, sum, 0, LANES);
}

// A scale as it is stored: its bits, and its value through `value`.
__device__ uint32_t round_scale(float s, int bytes, float *value) {
    if (bytes == 2) {
        s = fabsf(s) > 65504.0f ? copysignf(65504.0f, s) : s;
        const __half half = __float2half_rn(s);
        *value = __half2float(half);
        return __half_as_ushort(half);
    }
    s = isinf(s) ? copysignf(3.402823466e+38f, s) : s;
    *value = s;
    return __float_as_uint(s);
}

// What a row's codes are chosen with: its sum of squares, the scale that follows from it, as stored where that is
// `norm`, and the factor.
struct Start {
    float sum, scale, r;
    uint32_t bits;
    bool has_codes;
};
__device__ __forceinline__ Start start_of(const kvb_cuda_format &f, float sum) {
    Start s = {sum, __fdiv_rn(__fsqrt_rn(sum), f.sqrt_dim), 0.0f, 0, false};
    if (f.scale_kind == KVB_SCALE_NORM) {
        s.bits = round_scale(s.scale, f.scale_bytes, &s.scale);
    }
    s.has_codes = isfinite(sum) && s.scale > 0.0f;
    s.r = __fdiv_rn(1.0f, s.scale);
    return s;
}

// The two sums of least squares: <row, c> and <c, c>.
struct Sums {
    float row_c, c_c;
};
__device__ __forceinline__ float least_squares(Sums s) {
    return s.c_c > 0.0f ? __fdiv_rn(s.row_c, s.c_c) : 0.0f;
}

// Codes by choose(r); where the scale is searched, by the factor of r whose codes lower the squared error most, the
// first among equals, which is tried again at the end.
template <class Choose> __device__ __forceinline__ Sums choose_best(const kvb_cuda_format &f, float r, Choose choose) {
    const int tries = f.scale_kind == KVB_SCALE_SEARCH ? KVB_SEARCH_FACTORS : 0;
    float most = 0.0f, best = 1.0f;
    Sums sums = {0.0f, 0.0f};
#pragma unroll 1
    for (int i = 0; i <= tries; i++) {
        const float factor = i < tries ? search_factors[i] : best;
        sums = choose(__fmul_rn(r, factor));
        const float gain = __fmul_rn(least_squares(sums), sums.row_c);
        if (i == 0 || gain > most) {
            most = gain;
            best = factor;
        }
    }
    return sums;
}

// The bits of the scale, and whether the row keeps its codes.
struct Stored {
    uint32_t bits;
    bool has_codes;
};
__device__ __forceinline__ Stored stored_scale(const kvb_cuda_format &f, const Start &s, Sums sums) {
    float scale = s.scale;
    uint32_t bits = s.bits;
    if (f.scale_kind != KVB_SCALE_NORM) {
        bits = round_scale(least_squares(sums), f.scale_bytes, &scale);
    }
    const bool is_finite = isfinite(s.sum), is_zero = s.sum == 0.0f || scale == 0.0f;
    return {!is_finite ? (f.scale_bytes == 2 ? 0x7e00 : 0x7fc00000) : is_zero ? 0 : bits, is_finite && !is_zero};
}

// What the kernel finds paths through: no trellis, those of 8 and 16 states, any.
enum Paths { NO_PATHS, SHORT_PATHS, ALL_PATHS };

// Tables in shared memory, and the warp's words for the ways of a path.
struct Tables {
    const float *midpoints, *centroids;
    uint32_t *ways;
};

// A row's codes when its coordinates are multiplied by r: levels, of a trellis code with inputs.
template <Paths PATHS>
__device__ Sums choose(const kvb_cuda_format &f, const float *row, const Tables &tables, float r, bool has_codes,
                       uint8_t *codes, int lane) {
    Sums s = {0.0f, 0.0f};
    int mask = 0xff;
    for (int i = lane; i < f.head_dim; i += LANES) {
        const float value = __fmul_rn(row[i], r);
        int code = 0;
        for (int step = f.levels / 2; step > 0; step /= 2) {
            code += value > tables.midpoints[code + step - 1] ? step : 0;
        }
        codes[i] = (uint8_t)code;
    }
    if (PATHS != NO_PATHS && f.trellis_states) {
        mask = LEVEL;
        meet();
        if (f.trellis_states <= LANES) {
            find_path<1>(f, row, r, tables.centroids, codes, tables.ways, lane);
        } else if constexpr (PATHS == ALL_PATHS) {
            if (f.trellis_states == 4 * LANES) {
                find_path<4>(f, row, r, tables.centroids, codes, nullptr, lane);
            } else {
                find_path<16>(f, row, r, tables.centroids, codes, nullptr, lane);
            }
        }
    }
    for (int i = lane; i < f.head_dim; i += LANES) {
        const float c = tables.centroids[has_codes ? codes[i] & mask : 0];
        s.row_c = __fadd_rn(s.row_c, __fmul_rn(row[i], c));
        s.c_c = __fadd_rn(s.c_c, __fmul_rn(c, c));
    }
    s.row_c = fold(s.row_c);
    s.c_c = fold(s.c_c);
    return s;
}

// The rotated row becomes codes as they are stored; returns the bits of its scale.
template <Paths PATHS>
__device__ uint32_t encode_row(const kvb_cuda_format &f, const float *row, const Tables &tables, uint8_t *codes,
                               int lane) {
    float sum = 0.0f;
    for (int i = lane; i < f.head_dim; i += LANES) {
        sum = __fadd_rn(sum, __fmul_rn(row[i], row[i]));
    }
    const Start start = start_of(f, fold(sum));
    const Sums sums = choose_best(
        f, start.r, [&](float r) { return choose<PATHS>(f, row, tables, r, start.has_codes, codes, lane); });
    const Stored stored = stored_scale(f, start, sums);
    for (int i = lane; i < f.head_dim; i += LANES) {
        const int code = codes[i];
        const int own = PATHS != NO_PATHS && f.trellis_states ? code >> INPUT | (code & LEVEL) / 4 << 1 : code;
        codes[i] = (uint8_t)(stored.has_codes ? own : 0);
    }
    return stored.bits;
}

// The same for a row whose rotation is a power of two long, its values in registers: value 16 * j + lane is x[j], so
// that the first four butterflies are shuffles, the others are a lane's own, and a row's searches run beside each
// other.
template <int N> struct Row {
    float x[N];
    int code[N];
};

template <int N, class T> __device__ __forceinline__ void load_row(Row<N> &row, const T *from, int lane) {
#pragma unroll
    for (int j = 0; j < N; j++) {
        row.x[j] = (float)from[LANES * j + lane];
    }
}

template <int N> __device__ __forceinline__ void rotate_row(const kvb_cuda_format &f, Row<N> &row, int lane) {
#pragma unroll
    for (int j = 0; j < N; j++) {
        const int i = LANES * j + lane;
        row.x[j] = __uint_as_float(__float_as_uint(row.x[j]) ^ (f.signs[i / 32] >> i % 32 & 1) << 31);
    }
#pragma unroll
    for (int h = 1; h < LANES; h *= 2) {
        const float sign = lane & h ? -1.0f : 1.0f; // times it is exact: one rounding, that of the sum
#pragma unroll
        for (int j = 0; j < N; j++) {
            row.x[j] = __fmaf_rn(row.x[j], sign, __shfl_xor_sync(0xffffffffu, row.x[j], h));
        }
    }
#pragma unroll
    for (int h = 1; h < N; h *= 2) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            if ((j & h) == 0) {
                const float x = row.x[j], y = row.x[j + h];
                row.x[j] = __fadd_rn(x, y);
                row.x[j + h] = __fsub_rn(x, y);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
        row.x[j] = __fmul_rn(row.x[j], f.inverse_sqrt_dim);
    }
}

template <int N>
__device__ __forceinline__ Sums choose_row(const kvb_cuda_format &f, Row<N> &row, const float *midpoints,
                                           const float *centroids, float r, bool has_codes) {
#pragma unroll
    for (int j = 0; j < N; j++) {
        row.code[j] = 0;
    }
    for (int step = 1 << (f.bits - 1); step > 0; step /= 2) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            row.code[j] += __fmul_rn(row.x[j], r) > midpoints[row.code[j] + step - 1] ? step : 0;
        }
    }
    Sums s = {0.0f, 0.0f};
#pragma unroll
    for (int j = 0; j < N; j++) {
        row.code[j] = has_codes ? row.code[j] : 0;
        const float c = centroids[row.code[j]];
        s.row_c = __fadd_rn(s.row_c, __fmul_rn(row.x[j], c));
        s.c_c = __fadd_rn(s.c_c, __fmul_rn(c, c));
    }
    s.row_c = fold(s.row_c);
    s.c_c = fold(s.c_c);
    return s;
}

template <int N>
__device__ __forceinline__ uint32_t encode_registers(const kvb_cuda_format &f, Row<N> &row, const float *midpoints,
                                                     const float *centroids, uint8_t *codes, int lane) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < N; j++) {
        sum = __fadd_rn(sum, __fmul_rn(row.x[j], row.x[j]));
    }
    const Start start = start_of(f, fold(sum));
    const Sums sums =
        choose_best(f, start.r, [&](float r) { return choose_row(f, row, midpoints, centroids, r, start.has_codes); });
    const Stored stored = stored_scale(f, start, sums);
#pragma unroll
    for (int j = 0; j < N; j++) {
        codes[LANES * j + lane] = (uint8_t)(stored.has_codes ? row.code[j] : 0);
    }
    return stored.bits;
}

// Codes lie so far apart in shared memory where rows stay in registers: tokens in different banks.
__host__ __device__ constexpr int stride_of(int dim) {
    return dim + 4;
}

// pack_block for whole steps: a thread gathers a word, and nobody meets.
template <int BITS, int DIM>
__device__ __forceinline__ void gather_block(bool is_value, const uint8_t *codes, int begin, int end, uint8_t *block) {
    constexpr int words = kvb_fragment_words(DIM / 16, BITS); // of a lane
    for (int i = threadIdx.x; i < 32 * words; i += THREADS) {
        const int lane = i % 32, at = i / 32;
        uint32_t word = 0, fresh = 0;
#pragma unroll
        for (int k = 0; k < kvb_fragment_parts(BITS); k++) {
            const kvb_part part = kvb_fragment_part(BITS, at, k);
            const int token = kvb_fragment_token(lane, part.v, is_value);
            if (part.n > 0 && token >= begin && token < end) {
                const uint32_t mask = (1u << part.n) - 1,
                               code = codes[token * stride_of(DIM) + kvb_fragment_dim(lane, part.v, is_value)];
                word |= (code >> part.low & mask) << part.bit;
                fresh |= mask << part.bit;
            }
        }
        uint32_t *to = (uint32_t *)(block + kvb_fragment_word_offset(words, lane, at));
        if (fresh) {
            *to = fresh == 0xffffffffu ? word : (*to & ~fresh) | word;
        }
    }
}

extern __shared__ __align__(16) unsigned char shared[];

// A sequence's row of tables, lengths and exact tokens.
__device__ __forceinline__ int row_of(const kvb_cuda_append_job &p, int sequence) {
    return p.places[0].sequences ? p.places[0].sequences[sequence] : sequence;
}

// Where tokens in pages end, or would once there are so many first ones.
__device__ __forceinline__ int packed_end(const kvb_cuda_append_job &p, int row, int n_tokens) {
    return max(max(n_tokens - p.n_exact_last, p.packed_ends ? p.packed_ends[row] : 0), p.n_exact_first);
}

// Coordinate i of the row that is to be packed as `token`: a new one, or, of the `before` older ones, from the ring.
// Where there are exact last tokens all rows are rounded as the ring's are, so that what is packed does not depend on
// how tokens were grouped.
__device__ __forceinline__ float source(const kvb_cuda_append_job &p, int is_value, int row_of_sequence, int head,
                                        int token, int before, int row_begin, int i) {
    const int dim = p.formats[is_value].head_dim;
    if (token < before) {
        const size_t slot = (size_t)row_of_sequence * p.exact_last_slots + token % p.exact_last_slots;
        return of_bits(p.exact_last[is_value][(slot * p.n_kv_heads + head) * dim + i], p.dense);
    }
    const size_t row = (size_t)(row_begin + token - before) * p.n_kv_heads + head;
    const float x = load(p.rows[is_value], row * dim + i, p.dtype);
    return p.n_exact_last > 0 ? of_bits(to_bits(x, p.dense), p.dense) : x;
}

// Grid: blocks of 16 tokens that the longest append touches, KV heads, 2 x sequences.
// DIM: head_dim of both sides where rows stay in registers, else 0.
template <int DIM, Paths PATHS>
__global__ void __launch_bounds__(THREADS) append(const __grid_constant__ kvb_cuda_append_job p) {
    const int sequence = blockIdx.z / 2, is_value = blockIdx.z % 2, head = blockIdx.y;
    const kvb_cuda_format &f = p.formats[is_value];
    const int own = row_of(p, sequence), before = p.lengths[own], row_begin = p.row_begin[sequence],
              n = p.row_begin[sequence + 1] - row_begin;
    const int packed_begin = packed_end(p, own, before), now_end = packed_end(p, own, before + n);
    const int first = (packed_begin / KVB_BLOCK_TOKENS + (int)blockIdx.x) * KVB_BLOCK_TOKENS; // token of the block
    if (n <= 0 || first >= now_end || packed_begin >= now_end) {
        return;
    }
    const int begin = max(packed_begin - first, 0), end = min(now_end - first, KVB_BLOCK_TOKENS), levels = f.levels;
    uint8_t *block = block_at(p.places[is_value], f, sequence, head, first);
    if (f.bits == 16) {
        for (int i = threadIdx.x; i < (end - begin) * f.head_dim; i += THREADS) {
            const int token = begin + i / f.head_dim, dim = i % f.head_dim;
            *dense_at(f, is_value, block, token, dim) =
                to_bits(source(p, is_value, own, head, first + token, before, row_begin, dim), f.dense);
        }
        return;
    }
    float *midpoints = (float *)shared, *centroids = midpoints + levels, *rows = centroids + levels;
    uint8_t *codes = (uint8_t *)(rows + KVB_BLOCK_TOKENS * ((f.head_dim + 15) / 16 * 16));
    for (int i = threadIdx.x; i < levels; i += THREADS) {
        midpoints[i] = f.midpoints[i];
        centroids[i] = f.centroids[i];
    }
    __syncthreads();
    const int token = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool is_new = token >= begin && token < end;
    const bool is_centered = p.k_mean && !is_value;
    if constexpr (DIM > 0) {
        constexpr int N = DIM / LANES;
        Row<N> mine = {};
        const size_t from = ((size_t)(row_begin + first + token - before) * p.n_kv_heads + head) * DIM;
        if (is_new && p.n_exact_last == 0 && p.dtype == KVB_BF16) {
            load_row<N>(mine, (const __nv_bfloat16 *)p.rows[is_value] + from, lane);
        } else if (is_new && p.n_exact_last == 0 && p.dtype == KVB_F16) {
            load_row<N>(mine, (const __half *)p.rows[is_value] + from, lane);
        } else if (is_new) {
#pragma unroll
            for (int j = 0; j < N; j++) {
                mine.x[j] = source(p, is_value, own, head, first + token, before, row_begin, LANES * j + lane);
            }
        }
        if (is_new && is_centered) {
#pragma unroll
            for (int j = 0; j < N; j++) {
                mine.x[j] = __fsub_rn(mine.x[j], p.k_mean[head * DIM + LANES * j + lane]);
            }
        }
        meet();
        if (f.rotates) {
            rotate_row<N>(f, mine, lane);
        }
        const uint32_t bits = encode_registers<N>(f, mine, midpoints, centroids, codes + token * stride_of(DIM), lane);
        if (is_new && lane == 0) {
            store_scale(f, block, token, bits);
        }
        __syncthreads();
        switch (f.bits) {
#define GATHER(BITS)                                                                                                   \
    case BITS:                                                                                                         \
        return gather_block<BITS, DIM>(is_value, codes, begin, end, block);
            GATHER(1)
            GATHER(2)
            GATHER(3)
            GATHER(4)
            GATHER(5)
            GATHER(6)
            GATHER(7)
            GATHER(8)
#undef GATHER
        }
        return;
    }
    float *row = rows + token * f.head_dim;
    for (int i = lane; i < f.head_dim; i += LANES) { // a row of another token is zeros, so that all lanes go one way
        row[i] = is_new ? source(p, is_value, own, head, first + token, before, row_begin, i) : 0.0f;
        if (is_new && is_centered) {
            row[i] = __fsub_rn(row[i], p.k_mean[head * f.head_dim + i]);
        }
    }
    meet();
    if (f.rotates) {
        rotate(f, row, lane);
    }
    uint32_t *ways = (uint32_t *)(codes + KVB_BLOCK_TOKENS * stride_of(f.head_dim)) + threadIdx.x / 32 * f.head_dim;
    const Tables tables = {midpoints, centroids, ways};
    const uint32_t scale = encode_row<PATHS>(f, row, tables, codes + token * f.head_dim, lane);
    if (is_new && lane == 0) {
        store_scale(f, block, token, scale);
    }
    __syncthreads(); // rows are read, codes are written: the rows' memory serves for words
    pack_block(f, is_value, codes, begin, end, (uint32_t *)rows, block);
}

// New rows that stay exact, as they come: into the first tokens, and into the ring as many as it has slots. Behind
// append, which reads from the ring what leaves it.
// Grid: tokens, 2 x sequences.
__global__ void __launch_bounds__(THREADS) keep_exact(const __grid_constant__ kvb_cuda_append_job p) {
    const int sequence = blockIdx.y / 2, is_value = blockIdx.y % 2, dim = p.formats[is_value].head_dim;
    const int own = row_of(p, sequence), before = p.lengths[own], row_begin = p.row_begin[sequence],
              after = before + p.row_begin[sequence + 1] - row_begin, row = p.n_kv_heads * dim;
    const int n_first = max(min(p.n_exact_first, after) - before, 0),
              last_begin = max(max(after - p.exact_last_slots, p.n_exact_first), before);
    const int i = blockIdx.x, token = i < n_first ? before + i : last_begin + i - n_first;
    if (token >= after) {
        return;
    }
    const size_t slot = i < n_first ? (size_t)own * p.n_exact_first + token
                                    : (size_t)own * p.exact_last_slots + token % p.exact_last_slots;
    uint16_t *to = (i < n_first ? p.exact_first : p.exact_last)[is_value] + slot * row;
    const size_t from = (size_t)(row_begin + token - before) * row;
    for (int j = threadIdx.x; j < row; j += THREADS) {
        to[j] = to_bits(load(p.rows[is_value], from + j, p.dtype), p.dense);
    }
}

__global__ void advance(int32_t *lengths, const int32_t *sequences, const int32_t *row_begin, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        lengths[sequences ? sequences[i] : i] += row_begin[i + 1] - row_begin[i];
    }
}

static size_t shared_bytes(const kvb_cuda_format &f) {
    if (f.bits == 16) {
        return 0;
    }
    const size_t ways = f.trellis_states ? (size_t)THREADS / 32 * f.head_dim * sizeof(uint32_t) : 0;
    return 2 * sizeof(float) * f.levels + (size_t)KVB_BLOCK_TOKENS * ((f.head_dim + 15) / 16 * 16) * sizeof(float) +
           (size_t)KVB_BLOCK_TOKENS * stride_of(f.head_dim) + ways;
}

static void (*append_for(const kvb_cuda_format f[2]))(kvb_cuda_append_job) {
    const int dim = f[0].head_dim, states = max(f[0].trellis_states, f[1].trellis_states);
    if (states) {
        return states <= LANES ? append<0, SHORT_PATHS> : append<0, ALL_PATHS>;
    }
    for (int side = 0; side < 2; side++) {
        if (f[side].head_dim != dim || (f[side].rotates && f[side].hadamard_order > 1)) {
            return append<0, NO_PATHS>;
        }
    }
    return dim == 64    ? append<64, NO_PATHS>
           : dim == 128 ? append<128, NO_PATHS>
           : dim == 256 ? append<256, NO_PATHS>
                        : append<0, NO_PATHS>;
}

} // namespace kvb

int kvb_cuda_launch_append(const kvb_cuda_append_job *job, void *stream) {
    const size_t k = kvb::shared_bytes(job->formats[0]), v = kvb::shared_bytes(job->formats[1]), bytes = k > v ? k : v;
    // The largest rows take 49 KB, with a trellis 68; every call asks, since the attribute belongs to the current
    // device.
    const auto append = kvb::append_for(job->formats);
    const cudaError_t error = cudaFuncSetAttribute(append, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (error != cudaSuccess) {
        return (int)error;
    }
    const int blocks = (job->most_rows + KVB_BLOCK_TOKENS - 2) / KVB_BLOCK_TOKENS + 1;
    append<<<dim3(blocks, job->n_kv_heads, 2 * job->n_sequences), kvb::THREADS, bytes, (cudaStream_t)stream>>>(*job);
    const long long most = (long long)job->n_exact_first + job->exact_last_slots;
    if (most > 0) {
        const int tokens = job->most_rows < most ? job->most_rows : (int)most;
        kvb::keep_exact<<<dim3(tokens, 2 * job->n_sequences), kvb::THREADS, 0, (cudaStream_t)stream>>>(*job);
    }
    return (int)cudaGetLastError();
}

int kvb_cuda_launch_advance(int32_t *lengths, const int32_t *sequences, const int32_t *row_begin, int n_sequences,
                            void *stream) {
    kvb::advance<<<(n_sequences + 255) / 256, 256, 0, (cudaStream_t)stream>>>(lengths, sequences, row_begin,
                                                                              n_sequences);
    return (int)cudaGetLastError();
}
