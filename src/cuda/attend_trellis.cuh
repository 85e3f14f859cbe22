// Trellis codes for the tensor cores: a lane works the subsets of its run of coordinates out of words of inputs, lays
// them beside the places, and looks levels up (fragments.h has the order): pairs of them up to 4 bits, from 5 bits on
// one by one.
#pragma once
#include "attend_streams.cuh"

#include <type_traits>

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
        const int place = BITS == 2 ? byte >> (6 + i) & 1 : byte >> (4 + 2 * i) & 3;
        level[i] = centroids[4 * (place | (third >> i & 1) << 2) + subset];
    }
    return half_pair(level[0], level[1]);
}

// Entries of 128 bytes, copies for 32 lanes, two of them to a byte of a pair. With 2 and 3 bits the second is for bytes
// whose nibbles are swapped, as those of odd steps come. With 4 bits the third bits of the places choose: at bits 7 and
// 16 of an address. A small table has half the copies.
template <int BITS, bool IS_VALUE, bool IS_SMALL = false> struct TrellisPairs {
    static_assert(BITS >= 2 && BITS <= 4, "a pair of levels is an entry of a table");
    static constexpr bool has_thirds = BITS == 4;
    static constexpr int copies = IS_SMALL ? 16 : 32, table_bytes = (has_thirds ? 1024 : 512) * copies * 4;
    static_assert(!IS_SMALL || has_thirds, "others are small enough");
    __device__ static void build(uint8_t *table, const __half *centroids) {
        for (int i = threadIdx.x; i < table_bytes / 16; i += blockDim.x) {
            const int entry = i / (copies / 4), second = entry % 2, byte = entry / 2 % 256, high = entry / 512;
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
        return {(uint32_t)(lane % copies) * (IS_SMALL ? 0x0808u : has_thirds ? 0x0404u : 4)};
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
                const uint32_t at = permute(pairs, ends, byte % 2 ? selector + 0x1101u : selector);
                out[r] = *(const uint32_t *)(table + (IS_SMALL ? at >> 1 : at));
            } else {
                out[r] = *(const uint32_t *)(table + entry256(pairs, byte, l.low) + is_odd * 128);
            }
        }
    }
};

// A level by its byte: of the first element of a pair, four bits of the place above a nibble of inputs that it shares
// with the second element, whose byte has them below. Bit 0 (of the second element, bit 1) of the nibble is of the
// subset, bit 2 (3) its other one, and bit 1 (0) the fifth of the place.
template <int BITS> __device__ int trellis_level(int byte, bool is_second) {
    const int nibble = is_second ? byte >> 4 : byte & 15, place = is_second ? byte & 15 : byte >> 4,
              subset = (nibble >> is_second & 1) | (nibble >> (2 + is_second) & 1) << 1,
              fifth = BITS == 6 ? nibble >> (is_second ? 0 : 1) & 1 : 0;
    return 4 * (place | fifth << 4) + subset;
}

// Entries of 256 bytes as Stream<8> has them. A pair's second element is always looked up in the upper half, which
// therefore has an order of bytes of its own.
template <int BITS, bool IS_VALUE> struct TrellisSingles {
    static constexpr int table_bytes = 65536;
    __device__ static void build(uint8_t *table, const __half *centroids) {
        for (int i = threadIdx.x; i < 256 * 16; i += blockDim.x) {
            const bool is_second = i % 16 >= 8;
            uint32_t level = __half_as_ushort(centroids[trellis_level<BITS>(i / 16, is_second)]);
            level = is_second ? level << 16 : level;
            *(uint4 *)(table + i * 16) = make_uint4(level, level, level, level);
        }
    }
    using Lane = Stream<8>::Lane;
    __device__ static Lane open(int lane, const uint8_t *table) {
        return Stream<8>::open(lane, table);
    }
    // words: as TrellisBlock gives them. First elements of pairs, in the low halves, and second ones.
    template <int STEP>
    __device__ static void get_apart(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *first,
                                     uint32_t *second) {
        constexpr int byte = STEP % 8 / 2;
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const int half = IS_VALUE ? r / 2 : r % 2, of_two = STEP % 2 * 2 + (IS_VALUE ? r % 2 : r / 2);
            const uint32_t *w = words + STEP / 8 * 16 + of_two * 4 + half * 2;
            first[r] = *(const uint32_t *)(table + entry256(w[0], byte, l.low));
            second[r] = *(const uint32_t *)(table + entry256(w[1], byte, l.high));
        }
    }
    template <int STEP> __device__ static void get(const uint32_t *words, const uint8_t *table, Lane l, uint32_t *out) {
        uint32_t second[4];
        get_apart<STEP>(words, table, l, out, second);
#pragma unroll
        for (int r = 0; r < 4; r++) {
            out[r] |= second[r];
        }
    }
};
// Few queries have tensor cores to spare: two products take fewer instructions than putting pairs together.
template <int BITS, bool IS_VALUE, int STEP, int N> struct Steps<TrellisSingles<BITS, IS_VALUE>, STEP, N> {
    using S = TrellisSingles<BITS, IS_VALUE>;
    template <class F>
    __device__ static __forceinline__ void run(const uint32_t *w, const uint8_t *table, typename S::Lane l, F f) {
        if constexpr (STEP < N) {
            uint32_t first[4], second[4];
            S::template get_apart<STEP>(w, table, l, first, second);
            f(STEP, first);
            f(STEP, second);
            Steps<S, STEP + 1, N>::run(w, table, l, f);
        }
    }
};

// A block's words as they are looked up. Pairs: ten for each eight steps, pairs' bytes of even steps, of odd ones, each
// of half 0's first and second pair of a step and of half 1's; then the halves' third bits of places. Singles: sixteen,
// of the four pairs of two steps, of each half 0's first elements, second ones, half 1's.
template <int BITS, int DIM, bool IS_VALUE> struct TrellisBlock : Block<KVB_FRAGMENT_TRELLIS + BITS, DIM> {
    using Stored = Block<KVB_FRAGMENT_TRELLIS + BITS, DIM>;
    static constexpr bool has_pairs = BITS <= 4;
    static constexpr int groups = Stored::steps / 8, each = has_pairs ? 10 : 16, held = groups * each;
    static constexpr int last_at = kvb_fragment_trellis_words(Stored::steps, BITS, 0);
    static_assert(Stored::steps % 8 == 0, "halves are whole words");
    // From a lane's words, and nibbles of inputs, one of each step: first pairs, second pairs.
    __device__ static __forceinline__ void lay_pairs(const uint32_t *w, int half, int group, const uint32_t *subsets,
                                                     uint32_t *to) {
#pragma unroll
        for (int second = 0; second < 2; second++) {
            // Of two bits, bits 0 and 1 beside the places' are noise.
            const uint32_t places = BITS == 2 ? w[(2 + half) * groups + group] << 2 * (1 - second)
                                              : w[(2 + 2 * half + second) * groups + group];
            to[half * 2 + second] = choose_bits(0x0f0f0f0fu, subsets[second], places);
            to[4 + half * 2 + second] = BITS == 4 ? choose_bits(0x0f0f0f0fu, subsets[second] >> 4, places << 4)
                                                  : choose_bits(0xf0f0f0f0u, subsets[second], places);
        }
        if constexpr (BITS == 4) {
            to[8 + half] = w[last_at + half * groups + group];
        }
    }
    __device__ static __forceinline__ void lay_singles(const uint32_t *w, int half, int group, const uint32_t *subsets,
                                                       uint32_t *to) {
#pragma unroll
        for (int second = 0; second < 2; second++) {
            uint32_t nibbles[2] = {subsets[second], subsets[second]};
            if constexpr (BITS == 6) {
                const uint32_t last = w[last_at + half * groups + group] >> 2 * second;
                nibbles[0] = choose_bits(0x55555555u, nibbles[0], last);
                nibbles[1] = choose_bits(0xaaaaaaaau, nibbles[1], last);
            }
#pragma unroll
            for (int is_odd = 0; is_odd < 2; is_odd++) { // the step
                const uint32_t places = w[(2 + 4 * half + 2 * is_odd + second) * groups + group];
                uint32_t *pair = to + (2 * is_odd + second) * 4 + half * 2;
                pair[0] = choose_bits(0x0f0f0f0fu, is_odd ? nibbles[0] >> 4 : nibbles[0], places);
                pair[1] = choose_bits(0xf0f0f0f0u, is_odd ? nibbles[1] : nibbles[1] << 4, places);
            }
        }
    }
    // Each half's last inputs. A load takes less than shuffles do.
    __device__ static __forceinline__ void load_tails(const uint8_t *block, int lane, uint32_t *tails) {
        static_assert(2 * groups <= 4 && Stored::words >= 4, "they are of a lane's first four words");
        const uint32_t *first = (const uint32_t *)(block + lane * 16);
        if constexpr (groups == 1) {
            const uint2 two = *(const uint2 *)first;
            tails[0] = two.x, tails[1] = two.y;
        } else {
            tails[0] = first[groups - 1], tails[1] = first[2 * groups - 1];
        }
    }
    __device__ static void load(const uint8_t *block, int lane, int memory, uint32_t *held_words) {
        constexpr int unit = IS_VALUE ? 2 : 1; // bits of inputs between coordinates that follow each other
        uint32_t w[Stored::words], tails[2];
        Stored::load(block, lane, memory, w);
        // The lane before has the inputs before a lane's; where there is none, they are 0. A product, for the units of
        // logic have more to do than those of products.
        const uint32_t follows = IS_VALUE ? (lane + 28) / 32 : (lane % 4 + 3) / 4;
        load_tails(block, max(lane - (IS_VALUE ? 4 : 1), 0), tails);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint32_t before = tails[half] * follows;
#pragma unroll
            for (int i = 0; i < groups; i++) {
                const uint32_t inputs = w[half * groups + i];
                const uint32_t near = __funnelshift_l(before, inputs, unit),
                               low = __funnelshift_l(before, inputs, 2 * unit),
                               high = inputs ^ near ^ __funnelshift_l(before, inputs, memory * unit);
                before = inputs;
                const uint32_t subsets[2] = {choose_bits(0x33333333u, low, high << 2),
                                             choose_bits(0x33333333u, IS_VALUE ? near : inputs, high)};
                if constexpr (has_pairs) {
                    lay_pairs(w, half, i, subsets, held_words + i * each);
                } else {
                    lay_singles(w, half, i, subsets, held_words + i * each);
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
    using Out = std::conditional_t<In::has_pairs, TrellisPairs<In::has_pairs ? BITS : 2, IS_VALUE>,
                                   TrellisSingles<BITS, IS_VALUE>>;
    static constexpr bool is_trellis = true;
};
#define KVB_TRELLIS_READER(BITS)                                                                                       \
    template <int DIM, bool IS_VALUE>                                                                                  \
    struct Reader<KVB_FRAGMENT_TRELLIS + BITS, DIM, IS_VALUE> : TrellisReader<BITS, DIM, IS_VALUE> {};
KVB_TRELLIS_READER(2)
KVB_TRELLIS_READER(3)
KVB_TRELLIS_READER(4)
KVB_TRELLIS_READER(5)
KVB_TRELLIS_READER(6)
#undef KVB_TRELLIS_READER

// What takes the place of a stream beside another large table.
template <class S> struct SmallOf { using Type = S; };
template <> struct SmallOf<Stream<4>> { using Type = SmallPairs; };
template <bool IS_VALUE> struct SmallOf<TrellisPairs<4, IS_VALUE>> { using Type = TrellisPairs<4, IS_VALUE, true>; };

} // namespace kvb
