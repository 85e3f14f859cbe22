// Trellis codes for the tensor cores: a lane works the subsets of its run of coordinates out of words of inputs, lays
// them beside the places, and looks pairs of levels up (fragments.h has the order).
#pragma once
#include "attend_streams.cuh"

namespace kvb {

// a where mask has ones, b elsewhere: in one instruction, which the compiler does not find.
__device__ __forceinline__ uint32_t choose_bits(uint32_t mask, uint32_t a, uint32_t b) {
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, 0xe4;" : "=r"(r) : "r"(a), "r"(b), "r"(mask));
    return r;
}

// A pair's levels by its byte: a nibble of inputs (bit 0 of both subsets, then bit 1 of both), in the upper nibble the
// places' first plane. `third`: the places' third bits.
template <int BITS> __device__ uint32_t trellis_pair(const __half *centroids, int byte, int third) {
    __half level[2];
    for (int i = 0; i < 2; i++) {
        const int subset = (byte >> i & 1) | (byte >> (2 + i) & 1) << 1;
        const int place = BITS == 2 ? byte >> (4 + i) & 1 : byte >> (4 + 2 * i) & 3;
        level[i] = centroids[4 * (place | (third >> i & 1) << 2) + subset];
    }
    return half_pair(level[0], level[1]);
}

// Entries of 128 bytes, copies for 32 lanes, two of them to a byte of a pair. With 2 and 3 bits the second is for bytes
// whose nibbles are swapped, as those of odd steps come. With 4 bits the third bits of the places choose: at bits 7 and
// 16 of an address.
template <int BITS, bool IS_VALUE> struct Trellis {
    static_assert(BITS >= 2 && BITS <= 4, "a pair of levels is an entry of a table");
    static constexpr bool has_thirds = BITS == 4;
    static constexpr int table_bytes = has_thirds ? 131072 : 65536;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        for (int i = threadIdx.x; i < table_bytes / 128 * 8; i += blockDim.x) {
            const int entry = i / 8, second = entry % 2, byte = entry / 2 % 256, high = entry / 512;
            const int swapped = byte >> 4 | (byte & 15) << 4;
            const uint32_t pair = has_thirds ? trellis_pair<BITS>(centroids, byte, second | high << 1)
                                             : trellis_pair<BITS>(centroids, second ? swapped : byte, 0);
            *(uint4 *)(table + i * 16) = make_uint4(pair, pair, pair, pair);
        }
    }
    struct Lane {
        uint32_t low;
    };
    __device__ static Lane open(int lane, const uint8_t *) {
        return {(uint32_t)lane * (has_thirds ? 0x0404u : 4)};
    }
    // words: as TrellisBlock gives them.
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        constexpr int group = STEP / 8 * 10, byte = STEP % 8 / 2, is_odd = STEP % 2;
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const int half = IS_VALUE ? r / 2 : r % 2, second = IS_VALUE ? r % 2 : r / 2;
            const uint32_t pairs = words[group + is_odd * 4 + half * 2 + second];
            if constexpr (has_thirds) { // two pairs' low bytes, then their third ones
                const uint32_t thirds = words[group + 8 + half];
                const uint32_t ends =
                    (__funnelshift_r(thirds, thirds, 2 * (2 * is_odd + second) + byte / 2 * 16) & 0x01018080u) | l.low;
                constexpr uint32_t selector = 0xe604u | byte << 4;
                out[r] = *(const uint32_t *)(table + permute(pairs, ends, byte % 2 ? selector + 0x1101u : selector));
            } else {
                out[r] = *(const uint32_t *)(table + entry256(pairs, byte, l.low) + is_odd * 128);
            }
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
                const uint32_t near = __funnelshift_l(before, inputs, unit),
                               low = __funnelshift_l(before, inputs, 2 * unit),
                               high = inputs ^ near ^ __funnelshift_l(before, inputs, memory * unit);
                before = inputs;
                // Nibbles, one of each step: first pairs, second pairs.
                const uint32_t subsets[2] = {choose_bits(0x33333333u, low, high << 2),
                                             choose_bits(0x33333333u, IS_VALUE ? near : inputs, high)};
                uint32_t *to = held_words + i * 10;
#pragma unroll
                for (int second = 0; second < 2; second++) {
                    // Of two bits, bits 2 and 3 beside the places' are noise.
                    const uint32_t places =
                        BITS == 2 ? w[(2 + half) * groups + i] >> 2 * second : w[(2 + 2 * half + second) * groups + i];
                    to[half * 2 + second] = choose_bits(0x0f0f0f0fu, subsets[second], places);
                    to[4 + half * 2 + second] = BITS == 4 ? choose_bits(0x0f0f0f0fu, subsets[second] >> 4, places << 4)
                                                          : choose_bits(0xf0f0f0f0u, subsets[second], places);
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
