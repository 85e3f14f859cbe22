// Attention of many queries: the kernel. prefill_shape.cuh says how it is done.
#pragma once
#include "prefill_multipliers.cuh"
#include "prefill_queries.cuh"
#include "prefill_readers.cuh"

namespace kvb {

// Blocks of the last queries first: they see the most. Heads beside each other share nothing but the moment.
template <class D>
__global__ void __launch_bounds__(D::warps * 32, 1)
    prefill(const __grid_constant__ kvb_cuda_attend_job p, int tiles_per_head, int n_parts) {
#if KVB_HAS_WARPGROUPS
    extern __shared__ __align__(1024) uint8_t shared[];
    static_assert(D::shared_bytes <= 232448, "fits the shared memory of a multiprocessor");
    const PrefillMemory<D> m(shared);
    const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
    const int item = blockIdx.x / n_parts, per_sequence = p.n_kv_heads * tiles_per_head, rest = item % per_sequence;
    Tile work;
    work.part = blockIdx.x % n_parts, work.n_parts = n_parts;
    work.kv_head = rest % p.n_kv_heads;
    work.first_column = (tiles_per_head - 1 - rest / p.n_kv_heads) * D::ROWS;
    work.row = row_at(p, item / per_sequence);
    work.sequence = sequence_at(p, item / per_sequence);
    work.packed_end = exact_last_begin(p, work.sequence, work.row);
    work.n_columns = min(D::ROWS, work.sequence.n_q * p.group - work.first_column);
    if (work.n_columns <= 0) {
        return;
    }
    if (threadIdx.x == 0) {
        for (int s = 0; s < D::K_SLOTS + D::V_SLOTS; s++) {
            const bool is_value = s >= D::K_SLOTS;
            const int slot = is_value ? s - D::K_SLOTS : s;
            barrier_init_of(m.full(is_value, slot), 2 / D::per_page);
            barrier_init_of(m.empty(is_value, slot), D::multipliers);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    // Every warp finds what its item's queries see: they follow each other, and are few.
    {
        int begin = 0x7fffffff, end = 0;
        const int first = work.first_column / p.group, last = (work.first_column + work.n_columns - 1) / p.group;
        for (int query = first + lane; query <= last; query += 32) {
            const Visible v = Visible::of(p, work.sequence, query);
            if (v.begin < v.end) {
                begin = min(begin, v.begin);
                end = max(end, v.end);
            }
        }
        work.begin = max(__reduce_min_sync(0xffffffffu, begin), p.n_exact_first);
        work.end = min(__reduce_max_sync(0xffffffffu, end), work.packed_end);
        if (work.begin >= work.end) { // nothing is seen: no page is looked up
            work.begin = work.end = 0;
        }
        const int page = work.begin / KVB_CUDA_PAGE_TOKENS,
                  n_pages = (work.end + KVB_CUDA_PAGE_TOKENS - 1) / KVB_CUDA_PAGE_TOKENS - page;
        work.first_page = page + (int)((long long)n_pages * work.part / work.n_parts);
        work.pages_end = page + (int)((long long)n_pages * (work.part + 1) / work.n_parts);
    }
    D::C::build(m.k_table, p.k.centroids, p.v.centroids);
    stage_queries<D>(p, work, m, warp, lane);
    if constexpr (D::is_large) {
        publish_to_tensor_cores();
    }
    __syncthreads();
    uint32_t q[D::is_large ? 1 : D::C::k_steps][4], q_rest[D::SPLIT && !D::is_large ? D::C::k_steps : 1][4];
    const bool has_exact = D::takes_exact && p.n_exact_first + p.n_exact_last > 0 && work.part == 0;
    if constexpr (!D::is_large) {
        const int row = (warp < D::multipliers ? warp : 0) * 16 + lane / 4; // readers load what they do not use
        load_operand<D>(q, (const __half *)m.rows, row, lane % 4);
        if constexpr (D::SPLIT) {
            load_operand<D>(q_rest, (const __half *)m.rows + D::ROWS * D::q_stride, row, lane % 4);
        }
        __syncthreads();
    }
    if constexpr (D::takes_exact) {
        if (has_exact) {
            begin_exact<D>(p, work, m, warp, lane);
        }
    }
    if (warp >= D::multipliers) {
        if constexpr (D::multipliers == 8) {
            give_registers<88>(); // what a block began with is shared out: 4 x 88 + 8 x 208 = 12 x 168
        }
        meet<D::warps * 32>(2); // the multipliers have read what lies in the stages
        read_pages<D>(p, work, m, warp - D::multipliers, lane);
    } else {
        if constexpr (D::multipliers == 8) {
            take_registers<208>();
        }
        multiply_tiles<D>(p, work, m, q, q_rest, has_exact, warp, lane);
    }
#else
    __trap(); // only a device of 9.0 is given this kernel, and it has other code
#endif
}

} // namespace kvb
