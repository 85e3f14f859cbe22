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
    int segment;          // that `next` is of; -1: no more
    int next, end, page;  // tiles; the page that the next one lies in, read ahead
    const int32_t *table; // entry of tile 0's page
    const uint8_t *k_pages, *v_pages;
    bool together;

    __device__ __forceinline__ void look_up() {
        page = __ldg(table + next);
    }
    __device__ __forceinline__ void take(const kvb_cuda_attend_job &p, const kvb_cuda_segment &s, int ring) {
        segment = s.next;
        next = s.begin / D::TOKENS + ring;
        end = s.end > s.begin ? (s.end + D::TOKENS - 1) / D::TOKENS : 0;
        table = p.table + s.sequence * p.table_stride - (p.first_page ? __ldg(p.first_page + s.sequence) : 0);
        k_pages = p.k.pages + (uint64_t)(uint32_t)s.kv_head * p.k.head_stride;
        v_pages = p.v.pages + (uint64_t)(uint32_t)s.kv_head * p.v.head_stride;
    }
    // next is a tile, or there is none.
    __device__ __forceinline__ void settle(const kvb_cuda_attend_job &p, int ring) {
        while (next >= end && segment >= 0) {
            take(p, load_segment(p, segment), ring);
        }
        if (next < end) {
            look_up();
        }
    }
    __device__ __forceinline__ void issue(const kvb_cuda_attend_job &p, uint8_t *stage, uint64_t *full, uint64_t policy,
                                          int ring, bool one) {
        if (next >= end) {
            return;
        }
        const uint8_t *keys = k_pages + (uint64_t)(uint32_t)page * (uint32_t)p.k.page_stride;
        if (one) {
            barrier_expect(full, D::k_bytes + D::v_bytes);
            bulk_copy(stage, keys, together ? D::k_bytes + D::v_bytes : D::k_bytes, full, policy);
        }
        if (!together) {
            const uint8_t *values = v_pages + (uint64_t)(uint32_t)page * (uint32_t)p.v.page_stride;
            if (one) {
                bulk_copy(stage + D::k_bytes, values, D::v_bytes, full, policy);
            }
        }
        next += D::RINGS;
        settle(p, ring);
    }
};

} // namespace kvb
