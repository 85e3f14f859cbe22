// Who asks for pages: a warp's bulk copies, some tiles ahead of its reading, through all segments of its block's share.
#pragma once
#include "attend_copies.cuh"
#include "attend_job.h"

namespace kvb {

__device__ __forceinline__ kvb_cuda_segment load_segment(const kvb_cuda_attend_job &p, int index) {
    kvb_cuda_segment s;
    const int4 *from = (const int4 *)(p.segments + index);
    *(int4 *)&s.sequence = __ldg(from);
    *(int4 *)&s.begin = __ldg(from + 1);
    *(int4 *)&s.n_q = __ldg(from + 2);
    s.next = __ldg(&p.segments[index].next);
    return s;
}

// A warp's copies, several tiles before they are used, through all segments of the block's share. All lanes keep the
// books, one issues. Where values lie behind keys, a tile is one copy: copies of 8 KB, some 64 to 100 KB of them in
// flight, come nearest to the memory's full speed.
template <class D> struct Producer {
    int segment;           // that `next` is of; -1: no more
    int next, end;         // tiles
    int pages, later, at;  // each lane's page of 32 of the ring's tiles, and of the 32 behind them; the next one's lane
    int sequence, kv_head; // of the segment
    bool together;

    // The pages of the lanes' tiles from `first` on. No entry behind the segment's is read.
    __device__ __forceinline__ int look_up(const kvb_cuda_attend_job &p, int first) const {
        const int before = p.first_page ? __ldg(p.first_page + sequence) : 0,
                  tile = min(first + (int)(threadIdx.x % 32) * D::RINGS, end - 1);
        return __ldg(p.table + sequence * p.table_stride + (tile - before));
    }
    __device__ __forceinline__ void take(const kvb_cuda_segment &s, int ring) {
        segment = s.next;
        next = s.begin / D::TOKENS + ring;
        end = s.end > s.begin ? (s.end + D::TOKENS - 1) / D::TOKENS : 0;
        sequence = s.sequence, kv_head = s.kv_head, at = -1;
    }
    // next is a tile whose page has been asked for, or there is none.
    __device__ __forceinline__ void settle(const kvb_cuda_attend_job &p, int ring) {
        while (next >= end && segment >= 0) {
            take(load_segment(p, segment), ring);
        }
        if (next < end && (at < 0 || at == 32)) { // behind many copies an answer takes a tile's time and more
            pages = at < 0 ? look_up(p, next) : later;
            later = look_up(p, next + 32 * D::RINGS);
            at = 0;
        }
    }
    __device__ static __forceinline__ const uint8_t *keys_of(const kvb_cuda_attend_job &p, uint32_t page,
                                                             uint32_t head) {
        return p.k.pages + (uint64_t)page * (uint32_t)p.k.page_stride + head * (uint64_t)(uint32_t)p.k.head_stride;
    }
    __device__ static __forceinline__ const uint8_t *values_of(const kvb_cuda_attend_job &p, uint32_t page,
                                                               uint32_t head) {
        return p.v.pages + (uint64_t)page * (uint32_t)p.v.page_stride + head * (uint64_t)(uint32_t)p.v.head_stride;
    }
    // Whether the next tile, of the block's first segment, has no token from `unsettled` on.
    __device__ __forceinline__ bool is_settled(const kvb_cuda_segment &first, int unsettled) const {
        return segment == first.next && (next + 1) * D::TOKENS <= unsettled;
    }
    // Has the L2 ask for the tile behind those of the ring.
    __device__ __forceinline__ void look_ahead(const kvb_cuda_attend_job &p, int unsettled, bool one) const {
        const uint32_t page = __shfl_sync(0xffffffffu, pages, max(at, 0)), head = kv_head;
        if (one && next < end && (next + 1) * D::TOKENS <= unsettled) {
            prefetch_bulk(keys_of(p, page, head), together ? D::k_bytes + D::v_bytes : D::k_bytes);
            if (!together) {
                prefetch_bulk(values_of(p, page, head), D::v_bytes);
            }
        }
    }
    __device__ __forceinline__ void issue(const kvb_cuda_attend_job &p, uint8_t *stage, uint64_t *full, uint64_t policy,
                                          int ring, bool one) {
        if (next >= end) {
            return;
        }
        const uint32_t page = __shfl_sync(0xffffffffu, pages, at), head = kv_head;
        if (one) {
            barrier_expect(full, D::k_bytes + D::v_bytes);
            bulk_copy(stage, keys_of(p, page, head), together ? D::k_bytes + D::v_bytes : D::k_bytes, full, policy);
            if (!together) {
                bulk_copy(stage + D::k_bytes, values_of(p, page, head), D::v_bytes, full, policy);
            }
        }
        next += D::RINGS, at++;
        settle(p, ring);
    }
};

} // namespace kvb
