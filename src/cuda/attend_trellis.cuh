// Trellis codes for the tensor cores: a lane works the subsets of its run of coordinates out of words of inputs, lays
// them beside the places, and looks pairs of levels up (fragments.h has the order).
#pragma once
#include "attend_streams.cuh"

namespace kvb {

__device__ __forceinline__ uint32_t choose_bits(uint32_t mask, uint32_t a, uint32_t b) { // one instruction
    return (a & mask) | (b & ~mask);
}

// A pair's byte: inputs' nibble (bit 0 of both subsets, then bit 1 of both) and the places' first plane above it. Where
// a place has three bits, the third ones choose among four tables of 256, at bits 7 and 16 of an address.
template <int BITS> __device__ uint32_t trellis_pair(const __half *centroids, int byte, int third) {
    __half level[2];
    for (int i = 0; i < 2; i++) {
        const int subset = (byte >> i & 1) | (byte >> (2 + i) & 1) << 1;
        const int place = BITS == 2 ? byte >> (4 + i) & 1 : byte >> (4 + 2 * i) & 3;
        level[i] = centroids[4 * (place | (third >> i & 1) << 2) + subset];
    }
    return half_pair(level[0], level[1]);
}

template <int BITS, bool IS_VALUE> struct Trellis {
    static_assert(BITS >= 2 && BITS <= 4, "a pair of levels is an entry of a table");
    static constexpr int table_bytes = BITS == 4 ? 131072 : 65536;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        for (int i = threadIdx.x; i < table_bytes / 256 * 8; i += blockDim.x) {
            const int byte = i / 8 % 256, high = i / 2048;
#pragma unroll
            for (int low = 0; low < (BITS == 4 ? 2 : 1); low++) {
                const uint32_t pair = trellis_pair<BITS>(centroids, byte, low | high << 1);
                *(uint4 *)(table + high * 65536 + byte * 256 + low * 128 + i % 8 * 16) =
                    make_uint4(pair, pair, pair, pair);
            }
        }
    }
    struct Lane {
        uint32_t low;
    };
    __device__ static Lane open(int lane, const uint8_t *) {
        return {(uint32_t)lane * 4};
    }
    // words: as TrellisBlock gives them.
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            constexpr int group = STEP / 8, step = STEP % 8;
            const int half = IS_VALUE ? r / 2 : r % 2, second = IS_VALUE ? r % 2 : r / 2;
            uint32_t at = entry256(words[group * 10 + step % 2 * 4 + half * 2 + second], step / 2, l.low);
            if constexpr (BITS == 4) {
                const int turn = (7 - 18 * (2 * step + second)) & 31; // its two bits to 7 and 16
                const uint32_t thirds = words[group * 10 + 8 + half];
                at |= __funnelshift_l(thirds, thirds, turn) & 0x10080u;
            }
            out[r] = *(const uint32_t *)(table + at);
        }
    }
};

// A block's words as Trellis reads them, ten for each eight steps: pairs' bytes of even steps, of odd ones, each of
// half 0's first and second pair of a step and of half 1's; then the halves' third bits of places.
template <int BITS, int DIM, bool IS_VALUE> struct TrellisBlock : Block<KVB_FRAGMENT_TRELLIS + BITS, DIM> {
    using Stored = Block<KVB_FRAGMENT_TRELLIS + BITS, DIM>;
    static constexpr int groups = Stored::steps / 8, held = groups * 10;
    static_assert(Stored::steps % 8 == 0, "halves are whole words");
    __device__ static void load(const uint8_t *block, int lane, int memory, uint32_t *held_words) {
        constexpr int unit = IS_VALUE ? 2 : 1; // bits of inputs between coordinates that follow each other
        constexpr int third_at = kvb_fragment_trellis_words(Stored::steps, BITS, 0);
        uint32_t w[Stored::words];
        Stored::load(block, lane, memory, w);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint32_t before = __shfl_up_sync(0xffffffffu, w[half * groups + groups - 1], IS_VALUE ? 4 : 1);
            before = (IS_VALUE ? lane / 4 : lane % 4) == 0 ? 0 : before;
#pragma unroll
            for (int i = 0; i < groups; i++) {
                const uint32_t inputs = w[half * groups + i];
                const uint32_t low = __funnelshift_l(before, inputs, 2 * unit),
                               high = inputs ^ __funnelshift_l(before, inputs, unit) ^
                                      __funnelshift_l(before, inputs, memory * unit);
                before = inputs;
                // Nibbles, one of each step: first pairs, second pairs.
                const uint32_t subsets[2] = {choose_bits(0x33333333u, low, high << 2),
                                             choose_bits(0x33333333u, low >> 2, high)};
                uint32_t *to = held_words + i * 10;
#pragma unroll
                for (int second = 0; second < 2; second++) {
                    uint32_t even, odd;        // places of even steps' pairs, of odd ones'
                    if constexpr (BITS == 2) { // bits 6 and 7 of a byte are noise
                        const uint32_t places = w[2 * groups + half * groups + i];
                        even = places >> 2 * second;
                        odd = places << (4 - 2 * second);
                    } else {
                        even = w[2 * groups + (2 * half + second) * groups + i];
                        odd = even << 4;
                    }
                    to[half * 2 + second] = choose_bits(0x0f0f0f0fu, subsets[second], even);
                    to[4 + half * 2 + second] = choose_bits(0x0f0f0f0fu, subsets[second] >> 4, odd);
                }
                if constexpr (BITS == 4) {
                    to[8 + half] = w[third_at + half * groups + i];
                }
            }
        }
    }
};

// What a side's code is read by.
template <int CODE, int DIM, bool IS_VALUE> struct Reader {
    using In = Block<CODE, DIM>;
    using Out = Stream<CODE>;
    static constexpr bool is_trellis = false;
};
template <int BITS, int DIM, bool IS_VALUE> struct TrellisReader {
    using In = TrellisBlock<BITS, DIM, IS_VALUE>;
    using Out = Trellis<BITS, IS_VALUE>;
    static constexpr bool is_trellis = true;
};
template <int DIM, bool IS_VALUE>
struct Reader<KVB_FRAGMENT_TRELLIS + 2, DIM, IS_VALUE> : TrellisReader<2, DIM, IS_VALUE> {};
template <int DIM, bool IS_VALUE>
struct Reader<KVB_FRAGMENT_TRELLIS + 3, DIM, IS_VALUE> : TrellisReader<3, DIM, IS_VALUE> {};
template <int DIM, bool IS_VALUE>
struct Reader<KVB_FRAGMENT_TRELLIS + 4, DIM, IS_VALUE> : TrellisReader<4, DIM, IS_VALUE> {};

} // namespace kvb
