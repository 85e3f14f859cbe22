// Attention for every job that no tuned kernel serves: any two widths, head_dims and codebooks, float scales, 16 bits.
// Same plan and same shares as the tuned kernels; floats throughout, so there is nothing to split. Simple, and many
// times slower.
#include "attend_general.cuh"
#include "attend_launch.h"

namespace kvb {

constexpr int COLUMNS = 8, STEP = KVB_BLOCK_TOKENS, MOST = (KVB_MAX_HEAD_DIM + 31) / 32;

// What a block of threads shares. A warp has a column.
struct Shared {
    float *queries, *tile, *temporary, *values; // [column][k dim], [token][row], [warp][row], [column][v dim]
    int row;
};
__device__ __host__ inline int row_of(const kvb_cuda_attend_job &p) {
    return (p.k.head_dim > p.v.head_dim ? p.k.head_dim : p.v.head_dim) + 1; // odd: tokens in different banks
}
static size_t shared_bytes(const kvb_cuda_attend_job &p) {
    return sizeof(float) * ((size_t)COLUMNS * (p.k.head_dim + p.v.head_dim) + (size_t)(STEP + COLUMNS) * row_of(p));
}

// A column's state: the softmax so far, and the sums of values in its lanes.
struct State {
    float top, sum, values[MOST];
};

__device__ __forceinline__ float warp_sum(float x) {
    for (int h = 16; h > 0; h /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, h);
    }
    return x;
}
__device__ __forceinline__ float warp_most(float x) {
    for (int h = 16; h > 0; h /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, h));
    }
    return x;
}

// The column's logits of 16 keys in `tile`, in units of log2(e): lane t gets token t's, before any mask. `mean` is the
// product of what was taken off them with the query.
__device__ float logits_of(const kvb_cuda_attend_job &p, const Shared &m, int column, int lane, float scale,
                           float mean) {
    const float *q = m.queries + column * p.k.head_dim;
    float dots[STEP], x = 0.0f;
    for (int t = 0; t < STEP; t++) {
        dots[t] = 0.0f;
    }
    for (int i = lane; i < p.k.head_dim; i += 32) {
#pragma unroll
        for (int t = 0; t < STEP; t++) {
            dots[t] += q[i] * m.tile[t * m.row + i];
        }
    }
#pragma unroll
    for (int t = 0; t < STEP; t++) {
        const float dot = warp_sum(dots[t]);
        x = lane == t ? dot : x;
    }
    x = (x * scale + mean) * p.scale;
    return (p.softcap > 0.0f ? p.softcap * tanhf(x / p.softcap) : x) * 1.4426950408889634f;
}

// 16 more tokens: lane t knows whether token t is seen. `load` fills the tile, keys or values, and returns lane t's
// scale. Of a latent layer the keys' tile is the values' too.
template <class Load>
__device__ void take(const kvb_cuda_attend_job &p, const Shared &m, State &state, int column, int lane, bool sees,
                     float mean, Load load) {
    float scale = load(false);
    const float logit = logits_of(p, m, column, lane, scale, mean), x = sees ? logit : -INFINITY;
    const float higher = fmaxf(state.top, warp_most(x)), factor = exp2f(state.top - higher);
    const float weight = sees ? exp2f(x - higher) : 0.0f;
    const uint32_t seen = __ballot_sync(0xffffffffu, sees);
    state.top = higher;
    state.sum = state.sum * factor + warp_sum(weight);
    if (!p.v_prefix_of_k) {
        __syncthreads();
        scale = load(true);
    }
    const float of_values = sees ? weight * scale : 0.0f;
    float weights[STEP];
#pragma unroll
    for (int t = 0; t < STEP; t++) {
        weights[t] = __shfl_sync(0xffffffffu, of_values, t);
    }
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        const int i = j * 32 + lane;
        if (i < p.v.head_dim) {
            float sum = state.values[j] * factor;
#pragma unroll
            for (int t = 0; t < STEP; t++) { // what nobody sees may be NaN
                sum += seen >> t & 1 ? weights[t] * m.tile[t * m.row + i] : 0.0f;
            }
            state.values[j] = sum;
        }
    }
    __syncthreads();
}

__device__ void take_packed(const kvb_cuda_attend_job &p, const Shared &m, const Levels &levels,
                            const kvb_cuda_segment &work, const Sequence &s, int query, float mean, State &state,
                            int column, int lane) {
    const Visible visible = Visible::of(p, s, query);
    const int32_t *table = p.table + work.sequence * p.table_stride - (p.first_page ? p.first_page[work.sequence] : 0);
    // An empty range may begin inside a block, of a page that is not there.
    for (int first = work.begin / STEP * STEP; first < work.end && work.begin < work.end; first += STEP) {
        const int page = table[first / KVB_CUDA_PAGE_TOKENS], block = first % KVB_CUDA_PAGE_TOKENS / STEP,
                  token = first + lane;
        const bool sees = lane < STEP && token >= work.begin && token < work.end && token >= p.n_exact_first &&
                          visible.sees(p, s, query, token);
        take(p, m, state, column, lane, sees, mean, [&](bool is_value) {
            return load_block(is_value ? p.v : p.k, is_value, page, work.kv_head, block, levels, m.tile, m.row, lane);
        });
    }
}

// Exact tokens are rotated as they are read, and then are tokens like others.
__device__ void take_exact(const kvb_cuda_attend_job &p, const Shared &m, const kvb_cuda_segment &work,
                           const Sequence &s, int query, State &state, int column, int lane) {
    const Visible visible = Visible::of(p, s, query);
    const int first_end = min(p.n_exact_first, s.n_tokens),
              last_begin = max(exact_last_begin(p, s, work.sequence), first_end);
    const int n = first_end + s.n_tokens - last_begin;
    for (int first = 0; first < n; first += STEP) {
        auto token_at = [&](int i) {
            const int j = min(first + i, n - 1);
            return j < first_end ? j : last_begin + j - first_end;
        };
        const bool sees = lane < STEP && first + lane < n && visible.sees(p, s, query, token_at(lane));
        take(p, m, state, column, lane, sees, 0.0f, [&](bool is_value) {
            const kvb_cuda_attend_side &side = is_value ? p.v : p.k;
            const int warp = threadIdx.x / 32;
            for (int t = warp; t < STEP; t += COLUMNS) {
                const void *array;
                const size_t at = exact_row(p, side, s, work.sequence, work.kv_head, token_at(t), &array);
                for (int i = lane; i < side.head_dim; i += 32) {
                    m.tile[t * m.row + i] = load_value(array, at + i, p.exact_type);
                }
                __syncwarp();
                rotate_any(m.tile + t * m.row, m.temporary + warp * m.row, side, lane, false);
            }
            __syncthreads();
            return 1.0f;
        });
    }
}

// The item's parts, in order, of one column.
__device__ void add_parts(const kvb_cuda_attend_job &p, const kvb_cuda_segment &work, State &state, int column,
                          int lane) {
    const int dim = p.v.head_dim;
    for (int pass = 0; pass < 2; pass++) { // the highest first: then nothing is scaled twice
        for (int part = 0; part < work.n_parts; part++) {
            const float *from = p.partials + (size_t)((work.first_part + part) * 2 + (part == 0)) * COLUMNS * (dim + 2);
            const float top = __ldcg(from + column), factor = exp2f(top - state.top);
            if (pass == 0) {
                state.top = part == 0 ? top : fmaxf(state.top, top);
                continue;
            }
            state.sum = (part == 0 ? 0.0f : state.sum) + __ldcg(from + COLUMNS + column) * factor;
#pragma unroll
            for (int j = 0; j < MOST; j++) {
                const int i = j * 32 + lane;
                const float more = i < dim ? __ldcg(from + 2 * COLUMNS + column * dim + i) * factor : 0.0f;
                state.values[j] = (part == 0 ? 0.0f : state.values[j]) + more;
            }
        }
    }
}

__global__ void __launch_bounds__(COLUMNS * 32) general(const __grid_constant__ kvb_cuda_attend_job p) {
    extern __shared__ float memory[];
    __shared__ float k_levels[KVB_MAX_LEVELS], v_levels[KVB_MAX_LEVELS];
    __shared__ bool is_last;
    const int column = threadIdx.x / 32, lane = threadIdx.x % 32, dim = p.v.head_dim;
    Shared m = {memory, nullptr, nullptr, nullptr, row_of(p)};
    m.tile = m.queries + COLUMNS * p.k.head_dim;
    m.temporary = m.tile + STEP * m.row;
    m.values = m.temporary + COLUMNS * m.row;
    const Levels levels = {{k_levels, v_levels}};
    fill_levels(p.k, k_levels);
    fill_levels(p.v, v_levels);
    for (int next = blockIdx.x; next >= 0;) {
        const kvb_cuda_segment work = p.segments[next];
        if (work.begins < 0) {
            return;
        }
        next = work.next;
        const Sequence s = {work.n_tokens, work.first_row, work.n_q,
                            p.kv_end > 0 ? min(work.n_tokens, p.kv_end) : work.n_tokens};
        const int n_columns = max(min(COLUMNS, work.n_q * p.group - work.first_column), 0),
                  at = n_columns > 0 ? work.first_column + min(column, n_columns - 1) : 0;
        const int query = at / p.group, row = s.first_row + query, head = work.kv_head * p.group + at % p.group;
        float *q = m.queries + column * p.k.head_dim;
        for (int i = lane; i < p.k.head_dim; i += 32) {
            q[i] = column < n_columns ? load_value(p.q, row * p.q_row_stride + head * p.q_head_stride + i, p.q_type)
                                      : 0.0f;
        }
        __syncwarp();
        float mean = 0.0f;
        for (int i = lane; p.k.mean && i < p.k.head_dim; i += 32) {
            mean += q[i] * p.k.mean[(size_t)work.kv_head * p.k.head_dim + i];
        }
        mean = warp_sum(mean);
        rotate_any(q, m.temporary + column * m.row, p.k, lane, false);
        __syncthreads();
        State state = {-1e30f, 0.0f, {0.0f}};
        if (n_columns > 0) {
            take_packed(p, m, levels, work, s, query, mean, state, column, lane);
        }
        if (n_columns > 0 && work.begins) {
            take_exact(p, m, work, s, query, state, column, lane);
        }
        bool finishes = work.n_parts == 1;
        if (!finishes) {
            float *mine = p.partials + (size_t)(blockIdx.x * 2 + work.begins) * COLUMNS * (dim + 2);
            if (lane == 0) {
                mine[column] = state.top;
                mine[COLUMNS + column] = state.sum;
            }
#pragma unroll
            for (int j = 0; j < MOST; j++) {
                if (j * 32 + lane < dim) {
                    mine[2 * COLUMNS + column * dim + j * 32 + lane] = state.values[j];
                }
            }
            __threadfence();
            __syncthreads();
            if (threadIdx.x == 0) {
                is_last = atomicAdd(p.counters + work.item, 1u) == (uint32_t)work.n_parts - 1;
            }
            __syncthreads();
            finishes = is_last;
            if (finishes) {
                __threadfence();
                add_parts(p, work, state, column, lane);
                if (threadIdx.x == 0) {
                    p.counters[work.item] = 0;
                }
            }
            __syncthreads();
        }
        if (finishes && column < n_columns) {
            finish(p, row, head, state.top, state.sum, state.values, m.values + column * dim,
                   m.temporary + column * m.row, lane);
        }
        __syncthreads();
    }
}

static int prepare() {
    kvb_cuda_attend_job most = {};
    most.k.head_dim = most.v.head_dim = KVB_MAX_HEAD_DIM;
    return (int)cudaFuncSetAttribute(general, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes(most));
}
static int launch(const kvb_cuda_attend_job *job, void *stream) {
    general<<<job->n_blocks, COLUMNS * 32, shared_bytes(*job), (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}

} // namespace kvb

extern "C" const kvb_cuda_attend_kernel kvb_cuda_attend_general = {0,           0,       0,       0, 1, kvb::prepare,
                                                                   kvb::launch, nullptr, nullptr, 0, 0};
