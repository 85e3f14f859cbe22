// Codes of a block, in registers of a warp, to its words: no lane reads what another wrote.
#pragma once
#include "fragments.h"

#include <stdint.h>

namespace kvb {

// A lane's codes as bytes, four to a word, in the order of its stream (fragments.h), become the words of its stream.
// Words[i], with bytes of codes below 2^BITS, for whole rounds of 32 codes.

// Codes two by two: bytes of twice the bits, of two words one.
template <int BITS> __device__ __forceinline__ uint32_t pair_up(uint32_t first, uint32_t second) {
    return __byte_perm(first, second, 0x6420) + (__byte_perm(first, second, 0x7531) << BITS); // an operation for both
}

// Bytes of 6 or 7 bits: the last of a round go to the spare bits of the others.
template <int BITS> __device__ __forceinline__ void fill_spare(const uint32_t *bytes, uint32_t *words) {
    constexpr int spare = 8 - BITS, n = BITS / spare;
    constexpr uint32_t mask = 0x01010101u * ((1u << spare) - 1);
#pragma unroll
    for (int i = 0; i < n; i++) {
        words[i] = bytes[i] | (bytes[n] >> spare * i & mask) << BITS;
    }
}

// The lowest bits of 32 codes: the first of a pair's in the low half of a word, the second's in the high one.
__device__ __forceinline__ uint32_t lowest_bits(const uint32_t *bytes) {
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint32_t twos = (bytes[i] & 0x01010101u) | (bytes[i] & 0x01010101u) >> 15;
        word |= (__byte_perm(twos, 0, 0x4140) & 0x00030003u) << 2 * i;
    }
    return word;
}

// Of one round: 32 codes, BITS words.
template <int BITS> __device__ __forceinline__ void pack_round(const uint32_t *bytes, uint32_t *words) {
    if constexpr (BITS == 1) {
        words[0] = lowest_bits(bytes);
    } else if constexpr (BITS == 2) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            words[i] =
                pair_up<4>(pair_up<2>(bytes[4 * i], bytes[4 * i + 1]), pair_up<2>(bytes[4 * i + 2], bytes[4 * i + 3]));
        }
    } else if constexpr (BITS == 3) {
        uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            pairs[i] = pair_up<3>(bytes[2 * i], bytes[2 * i + 1]);
        }
        fill_spare<6>(pairs, words);
    } else if constexpr (BITS == 4) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            words[i] = pair_up<4>(bytes[2 * i], bytes[2 * i + 1]);
        }
    } else if constexpr (BITS == 5) {
        words[0] = lowest_bits(bytes);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            words[1 + i] = pair_up<4>(bytes[2 * i] >> 1 & 0x0f0f0f0fu, bytes[2 * i + 1] >> 1 & 0x0f0f0f0fu);
        }
    } else if constexpr (BITS == 6) {
        fill_spare<6>(bytes, words);
        fill_spare<6>(bytes + 4, words + 3);
    } else if constexpr (BITS == 7) {
        fill_spare<7>(bytes, words);
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            words[i] = bytes[i];
        }
    }
}

// A lane's N words to where fragments.h has them. Bits that are not in `fresh` stay as they are, but for a block that
// is new as a whole.
template <int N>
__device__ __forceinline__ void store_words(uint32_t (&words)[N], bool whole, const uint32_t (&fresh)[N],
                                            uint8_t *block, int lane) {
    if (!whole) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const uint32_t old = *(const uint32_t *)(block + kvb_fragment_word_offset(N, lane, i));
            words[i] = (old & ~fresh[i]) | (words[i] & fresh[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        *(uint4 *)(block + kvb_fragment_word_offset(N, lane, 4 * i)) =
            make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
    }
    if constexpr (N % 4 >= 2) {
        *(uint2 *)(block + kvb_fragment_word_offset(N, lane, N / 4 * 4)) =
            make_uint2(words[N / 4 * 4], words[N / 4 * 4 + 1]);
    }
    if constexpr (N % 2 == 1) {
        *(uint32_t *)(block + kvb_fragment_word_offset(N, lane, N - 1)) = words[N - 1];
    }
}

// A lane's stream of STEPS steps; of the codes whose byte in `fresh` is not 0: fresh[0] and [1] are a step's, as those
// of `bytes` are.
template <int BITS, int STEPS>
__device__ __forceinline__ void store_stream(const uint32_t (&bytes)[2 * STEPS], bool whole, const uint32_t (&fresh)[2],
                                             uint8_t *block, int lane) {
    constexpr int rounds = STEPS / 4, n = rounds * BITS;
    static_assert(STEPS % 4 == 0 && n == kvb_fragment_words(STEPS, BITS), "whole rounds");
    uint32_t words[n], masks[n] = {};
#pragma unroll
    for (int i = 0; i < rounds; i++) {
        pack_round<BITS>(bytes + 8 * i, words + BITS * i);
    }
    if (!whole) {
        uint32_t all[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            all[i] = fresh[i % 2] & 0x01010101u * ((1u << BITS) - 1);
        }
#pragma unroll
        for (int i = 0; i < rounds; i++) {
            pack_round<BITS>(all, masks + BITS * i);
        }
    }
    store_words<n>(words, whole, masks, block, lane);
}

template <int STEPS>
__device__ __forceinline__ void store_codes(int bits, const uint32_t (&bytes)[2 * STEPS], bool whole,
                                            const uint32_t (&fresh)[2], uint8_t *block, int lane) {
    switch (bits) {
#define STORE(BITS)                                                                                                    \
    case BITS:                                                                                                         \
        return store_stream<BITS, STEPS>(bytes, whole, fresh, block, lane);
        STORE(1)
        STORE(2)
        STORE(3)
        STORE(4)
        STORE(5)
        STORE(6)
        STORE(7)
        STORE(8)
#undef STORE
    }
}

// Two by two, codes of 8 x 8 matrices are transposed.
__device__ __forceinline__ uint32_t transposed(uint32_t pairs) {
    uint32_t to;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(to) : "r"(pairs));
    return to;
}

// Codes as a warp works them out (encode_pairs.cuh), first[s] of the row's first slot, to the order of a lane's stream.
// Lane t wants coordinates 2t, 2t + 1, 2t + 8, 2t + 9 of tokens g and g + 8: it has one of the two, and lane t ^ 2 the
// other. For values that is the stream of other lanes.
template <int STEPS>
__device__ __forceinline__ void to_stream(bool is_value, const uint32_t (&first)[STEPS],
                                          const uint32_t (&second)[STEPS], uint32_t (&bytes)[2 * STEPS], int lane) {
    const uint32_t swap = lane & 2 ? 0x4444 : 0; // the first slot's is token g + 8
    uint32_t got[STEPS];
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        got[s] = __shfl_xor_sync(0xffffffffu, second[s], 2);
    }
    if (is_value) { // of both tokens: coordinates 2t and 2t + 1, then 8 more
        const uint32_t lower = 0x5140 ^ swap, upper = 0x7362 ^ swap;
#pragma unroll
        for (int s = 0; s < STEPS; s++) {
            const uint32_t low = transposed(__byte_perm(first[s], got[s], lower)),
                           high = transposed(__byte_perm(first[s], got[s], upper));
            bytes[2 * s] = __byte_perm(low, high, 0x6420);
            bytes[2 * s + 1] = __byte_perm(low, high, 0x7531);
        }
    } else {
        const uint32_t lower = 0x5410 ^ swap, upper = 0x7632 ^ swap;
#pragma unroll
        for (int s = 0; s < STEPS; s++) {
            bytes[2 * s] = __byte_perm(first[s], got[s], lower);
            bytes[2 * s + 1] = __byte_perm(first[s], got[s], upper);
        }
    }
}

// Bytes of a step whose codes are new, as to_stream orders them: tokens begin to end - 1.
__device__ __forceinline__ void fresh_bytes(bool is_value, int begin, int end, int lane, uint32_t (&fresh)[2]) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        fresh[i] = 0;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const int token = kvb_fragment_token(lane, 4 * i + k, is_value);
            fresh[i] |= token >= begin && token < end ? 0xffu << 8 * k : 0;
        }
    }
}

} // namespace kvb
