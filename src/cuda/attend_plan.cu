// Who does what, from lengths on the device: all items' pages in a row are cut into equal shares, one per block of
// threads. When all sequences are of one length and fit, shares are cut so that none straddles items. An item of
// several shares is merged in their order.
#include "attend_launch.h"
#include "attend_rows.cuh"

namespace kvb {

// What an item costs beside its pages, in pages.
constexpr int item_cost = 4;
constexpr int least_share = 4;

struct Range { // packed tokens that some query of a sequence may see
    int begin, end;
    __device__ int first_page() const {
        return begin / KVB_CUDA_PAGE_TOKENS;
    }
    __device__ int pages() const {
        return end > begin ? (end + KVB_CUDA_PAGE_TOKENS - 1) / KVB_CUDA_PAGE_TOKENS - first_page() : 0;
    }
};

__device__ Range range_of(const kvb_cuda_attend_job &p, int sequence, const Sequence &s) {
    Range r = {s.end, 0};
    // Without positions later queries begin and end later: the first that stands at a token and the last one tell.
    const int first = p.positions ? 0 : min(max(s.n_q - s.n_tokens, 0), s.n_q),
              step = p.positions ? 1 : max(s.n_q - 1 - first, 1);
    for (int i = first; i < s.n_q; i += step) {
        const Visible v = Visible::of(p, s, i);
        if (v.begin < v.end) { // who sees nothing asks for no page, which may be gone
            r.begin = min(r.begin, v.begin);
            r.end = max(r.end, v.end);
        }
    }
    if (p.tree_mask && s.n_q > 0) {
        r.begin = min(r.begin, max(s.n_tokens - s.n_q, p.kv_begin));
        r.begin = max(r.begin, 0);
        r.end = s.end;
    }
    r.begin = max(r.begin, p.n_exact_first);
    r.end = max(min(r.end, exact_last_begin(p, s, row_at(p, sequence))), r.begin);
    return r;
}

struct Sums {
    long long total;
    int least, most;
};

// The pages of every sequence into unit_begin, then their sums.
__device__ Sums measure(const kvb_cuda_attend_job &p, int32_t *unit_begin) {
    __shared__ int least, most, carry, warp_sums[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (threadIdx.x == 0) {
        least = 0x7fffffff;
        most = carry = 0;
    }
    __syncthreads();
    for (int first = 0; first < p.n_sequences; first += blockDim.x) {
        const int i = first + threadIdx.x;
        int pages = i < p.n_sequences ? range_of(p, i, sequence_at(p, i)).pages() : 0;
        if (i < p.n_sequences) {
            atomicMin(&least, pages);
            atomicMax(&most, pages);
        }
        const int units = i < p.n_sequences ? pages + item_cost : 0;
        int sum = units;
        for (int d = 1; d < 32; d *= 2) {
            const int x = __shfl_up_sync(0xffffffffu, sum, d);
            sum += lane >= d ? x : 0;
        }
        if (lane == 31) {
            warp_sums[warp] = sum;
        }
        __syncthreads();
        int before = carry;
        for (int w = 0; w < warp; w++) {
            before += warp_sums[w];
        }
        if (i < p.n_sequences) {
            unit_begin[i] = before + sum - units; // of one item of each sequence
        }
        __syncthreads();
        if (threadIdx.x == blockDim.x - 1) {
            carry = before + sum;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        unit_begin[p.n_sequences] = carry;
    }
    __syncthreads();
    return {carry, least, most};
}

// A block of threads makes a plan.
__global__ void __launch_bounds__(1024) plan(const __grid_constant__ kvb_cuda_attend_job p) {
    const bool is_second = blockIdx.x > 0;
    kvb_cuda_segment *segments = is_second ? p.second.segments : p.segments;
    int32_t *shares = is_second ? p.second.shares : p.shares,
            *unit_begin = is_second ? p.second.unit_begin : p.unit_begin;
    const int n_blocks = is_second ? p.second.n_blocks : p.n_blocks;
    const int column_tiles = (p.max_n_q * p.group + 7) / 8, per_sequence = p.n_kv_heads * column_tiles;
    const int items = p.n_sequences * per_sequence;
    const Sums sums = measure(p, unit_begin);
    const int even = items <= n_blocks ? n_blocks / items : 0,
              enough = max((sums.most + least_share - 1) / least_share, 1);
    const int splits = sums.least == sums.most && even && (even * items * 10 >= n_blocks * 9 || enough <= even)
                           ? min(even, enough)
                           : 0;
    const long long total = sums.total * per_sequence;
    const long long share = max((total + n_blocks - 1) / n_blocks, (long long)(least_share + item_cost));
    for (int block = threadIdx.x; block < n_blocks; block += blockDim.x) {
        int first = 0, n = 0;
        if (splits) {
            first = block;
            n = block < items * splits;
        } else if (block * share < total) {
            const long long end = min((block + 1) * share, total);
            int at[2]; // items of the share's first and last unit
            for (int k = 0; k < 2; k++) {
                const long long unit = k ? end - 1 : block * share;
                int low = 0, high = p.n_sequences - 1; // the last sequence that begins at or before the unit
                while (low < high) {
                    const int middle = (low + high + 1) / 2;
                    if ((long long)unit_begin[middle] * per_sequence <= unit) {
                        low = middle;
                    } else {
                        high = middle - 1;
                    }
                }
                const int units = unit_begin[low + 1] - unit_begin[low];
                const int rest = (int)((unit - (long long)unit_begin[low] * per_sequence) / units);
                at[k] = low * per_sequence + rest;
                // An item's cost without a page is nobody's; an empty item is where its cost begins.
                const long long in = unit - (long long)unit_begin[low] * per_sequence - (long long)rest * units;
                if (k && units > item_cost && in < item_cost) {
                    at[k]--;
                }
                if (!k && units == item_cost && in > 0) {
                    at[k]++;
                }
            }
            first = at[0] + block;
            n = max(at[1] - at[0] + 1, 0);
        }
        if (n == 0) {
            segments[block].begins = -1;
        }
        shares[2 * block] = first;
        shares[2 * block + 1] = n;
    }
    __syncthreads();
    for (int item = threadIdx.x; item < items; item += blockDim.x) {
        const int i = item / per_sequence, rest = item % per_sequence;
        const Sequence s = sequence_at(p, i);
        const Range r = range_of(p, i, s);
        const int pages = r.pages(), units = pages + item_cost;
        p.counters[item] = 0; // a plan of a batch of another size had something else there
        const long long begin = (long long)unit_begin[i] * per_sequence + (long long)rest * units;
        // The first block has the item's first page.
        const int first = splits ? item * splits : (int)((begin + (pages ? item_cost : 0)) / share);
        const int last = splits ? first + splits - 1 : pages ? (int)((begin + units - 1) / share) : first;
        for (int block = first; block <= last; block++) {
            int from, to; // pages
            if (splits) {
                from = (int)((long long)pages * (block - first) / splits);
                to = (int)((long long)pages * (block - first + 1) / splits);
            } else {
                from = max((int)(max(block * share - begin, 0ll)) - item_cost, 0);
                to = pages ? (int)min(max((block + 1) * share - begin - item_cost, 0ll), (long long)pages) : 0;
            }
            kvb_cuda_segment g;
            g.sequence = row_at(p, i), g.item = item, g.kv_head = rest / column_tiles,
            g.first_column = rest % column_tiles * 8;
            g.begin = from == 0 ? r.begin : (r.first_page() + from) * KVB_CUDA_PAGE_TOKENS;
            g.end = to == pages ? max(r.end, g.begin) : (r.first_page() + to) * KVB_CUDA_PAGE_TOKENS;
            if (g.first_column >= s.n_q * p.group) { // columns of queries that the sequence does not have
                g.end = g.begin;
            }
            g.n_tokens = s.n_tokens, g.first_row = s.first_row, g.n_q = s.n_q;
            g.first_part = first, g.n_parts = last - first + 1, g.begins = block == first;
            const int index = splits ? block : item + block, share_begin = shares[2 * block];
            g.next = index + 1 < share_begin + shares[2 * block + 1] ? n_blocks + index + 1 : -1;
            segments[index == share_begin ? block : n_blocks + index] = g;
        }
    }
}

} // namespace kvb

extern "C" int kvb_cuda_launch_plan(const kvb_cuda_attend_job *job, void *stream) {
    const int n_plans = job->second.n_blocks ? 2 : 1;
    kvb::plan<<<n_plans, 1024, 0, (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}
