// Who does what, from lengths on the device. An item is a tile of query columns of one KV head of one sequence; all items'
// tiles of tokens in a row are cut into equal shares, one per block of threads. When all sequences are of one length and
// fit, shares are cut so that none straddles items. An item of several shares is merged in their order.
#pragma once
#include "attend_rows.cuh"

namespace kvb {

struct Tiles { // of tokens, of one sequence
    int begin, end;
    __device__ static Tiles of(const kvb_cuda_attend &p, int sequence, int tile_tokens) {
        Range r = Range::of(p, Sequence::at(p, sequence));
        return r.end > r.begin ? Tiles{r.begin / tile_tokens, (r.end + tile_tokens - 1) / tile_tokens} : Tiles{0, 0};
    }
    __device__ int units() const { // an item without tiles is work too
        return max(end - begin, 1);
    }
};

// A share's walk through its segments: tiles [begin, end) of an item whose tiles are all.begin .. all.end - 1.
struct Walk {
    int sequence, rest; // rest: KV head * column tiles + column tile
    Tiles all;
    int begin, end;
    int unit; // of the segment's first tile, counted over all items
    int left; // units from there to the share's end
    __device__ void limit() {
        end = min(all.end, begin + left);
    }
    // To the next segment; false when there is none.
    __device__ bool advance(const kvb_cuda_attend &p, int items_per_sequence, int tile_tokens) {
        int done = max(end - begin, 1);
        left -= done;
        unit += done;
        if (left <= 0) {
            return false;
        }
        if (++rest == items_per_sequence) {
            rest = 0;
            sequence++;
            all = Tiles::of(p, sequence, tile_tokens);
        }
        begin = all.begin;
        limit();
        return true;
    }
};

struct Schedule {
    int splits; // of every item when they are equal; 0: shares of `share` units
    int share;
    // Blocks of an item, the first and how many.
    __device__ void parts(const Walk &w, int block, int *first, int *n) const {
        if (splits) {
            *first = block / splits * splits;
            *n = splits;
            return;
        }
        int begin = w.unit - (w.begin - w.all.begin), last = begin + w.all.units() - 1;
        *first = begin / share;
        *n = last / share - *first + 1;
    }
};

// By a whole warp; false when the block has nothing to do.
static __device__ bool schedule(const kvb_cuda_attend &p, int items_per_sequence, int tile_tokens, int least_share, Schedule *schedule, Walk *walk) {
    const int lane = threadIdx.x % 32, block = blockIdx.x, blocks = gridDim.x;
    int total = 0, least = 0x7fffffff, most = 0, mine = 0;
    for (int first = 0; first < p.n_sequences; first += 32) {
        mine = first + lane < p.n_sequences ? Tiles::of(p, first + lane, tile_tokens).units() : 0;
        if (mine) {
            total += mine;
            least = min(least, mine);
            most = max(most, mine);
        }
    }
    total = __reduce_add_sync(0xffffffffu, total) * items_per_sequence;
    least = __reduce_min_sync(0xffffffffu, least);
    most = __reduce_max_sync(0xffffffffu, most);
    const int items = p.n_sequences * items_per_sequence;
    const int even = items <= blocks ? blocks / items : 0, enough = (most + least_share - 1) / least_share;
    if (least == most && even && (even * items * 10 >= blocks * 9 || enough <= even)) {
        const int splits = min(even, enough), item = block / splits;
        *schedule = {splits, 0};
        if (item >= items) {
            return false;
        }
        const int split = block % splits;
        walk->sequence = item / items_per_sequence;
        walk->rest = item % items_per_sequence;
        walk->all = Tiles::of(p, walk->sequence, tile_tokens);
        const int n = walk->all.end - walk->all.begin;
        walk->begin = walk->all.begin + (int)((long long)n * split / splits);
        walk->end = walk->all.begin + (int)((long long)n * (split + 1) / splits);
        walk->unit = 0;
        walk->left = max(walk->end - walk->begin, 1);
        return true;
    }
    const int share = max((total + blocks - 1) / blocks, least_share), begin = block * share;
    *schedule = {0, share};
    if (begin >= total) {
        return false;
    }
    int before = 0; // units of the sequences before
    for (int first = 0; first < p.n_sequences; first += 32) {
        if (p.n_sequences > 32) {
            mine = first + lane < p.n_sequences ? Tiles::of(p, first + lane, tile_tokens).units() : 0;
        }
        int after = mine * items_per_sequence; // inclusive sum
        for (int i = 1; i < 32; i *= 2) {
            int x = __shfl_up_sync(0xffffffffu, after, i);
            after += lane >= i ? x : 0;
        }
        uint32_t behind = __ballot_sync(0xffffffffu, before + after > begin);
        if (behind) {
            const int at = __ffs((int)behind) - 1;
            const int sequence_begin = before + __shfl_sync(0xffffffffu, after - mine * items_per_sequence, at);
            walk->sequence = first + at;
            walk->all = Tiles::of(p, walk->sequence, tile_tokens);
            const int units = walk->all.units(), in = begin - sequence_begin;
            walk->rest = in / units;
            walk->begin = walk->all.begin + in % units;
            walk->unit = begin;
            walk->left = min(share, total - begin);
            walk->limit();
            return true;
        }
        before += __shfl_sync(0xffffffffu, after, 31);
    }
    return false;
}

} // namespace kvb
