// How the general kernel's lanes turn their words of packed codes (fragments.h) into floats: eight values of a step of
// 16 x 16, four steps, a group, at a time. A reader is made for a group of one block and gives its steps.
#pragma once
#include "attend_rows.cuh"
#include "fragments.h"

#include <type_traits>

namespace kvb {

// Calls f with the numbers 0 to N - 1 as types.
template <int N, int I = 0, class F> __device__ __forceinline__ void repeat(F f) {
    if constexpr (I < N) {
        f(std::integral_constant<int, I>{});
        repeat<N, I + 1>(f);
    }
}

// By offset: functions that are called see shared memory as such, and not as any memory.
template <class T> __device__ __forceinline__ T *shared_at(uint32_t offset) {
    extern __shared__ __align__(128) uint8_t memory[];
    return (T *)(memory + offset);
}
__device__ __forceinline__ uint32_t address_of(uint32_t offset) { // the hardware's
    return (uint32_t)__cvta_generic_to_shared(shared_at<uint8_t>(offset));
}
__device__ __forceinline__ float load_level(uint32_t address) {
    float x;
    asm("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(address));
    return x;
}

// Levels in shared memory, from the lane's copy of the first on: up to 32 lie in as many banks and are there once, at a
// multiple of 128, more have copies, so that fewer lanes meet in a bank.
struct Lut {
    uint32_t levels, stride; // address; bytes from a level to the next
    __device__ __forceinline__ float operator()(uint32_t code) const {
        return load_level(code * stride + levels);
    }
};
// Whether levels have copies.
__host__ __device__ constexpr bool has_copies(int code) {
    return code > 5 && code != 16;
}

// What a reader knows of its block, beside the group: of a part of its coordinates that has one code.
struct From {
    const kvb_cuda_attend_side &side;
    const uint8_t *codes;
    int code, steps, lane;
};

// Scalar codes of 1 to 8 bits: a group is as many words as a code has bits.
template <int BITS> struct Scalar {
    static constexpr bool is_dense = false, is_trellis = false;
    uint32_t words[BITS];

    __device__ __forceinline__ Scalar(const From &from, int group) {
        const int n = kvb_fragment_words(from.steps, BITS), first = group * BITS;
        auto at = [&](int i) { return from.codes + kvb_fragment_word_offset(n, from.lane, first + i); };
        if (BITS % 4 == 0 && first + BITS <= n / 4 * 4) {
#pragma unroll
            for (int i = 0; i + 3 < BITS; i += 4) {
                const uint4 four = __ldg((const uint4 *)at(i));
                words[i] = four.x, words[i + 1] = four.y, words[i + 2] = four.z, words[i + 3] = four.w;
            }
        } else if (BITS % 2 == 0 && first + BITS <= n / 2 * 2) {
#pragma unroll
            for (int i = 0; i + 1 < BITS; i += 2) {
                const uint2 two = __ldg((const uint2 *)at(i));
                words[i] = two.x, words[i + 1] = two.y;
            }
        } else {
#pragma unroll
            for (int i = 0; i < BITS; i++) {
                words[i] = first + i < n ? __ldg((const uint32_t *)at(i)) : 0;
            }
        }
    }

    // Bits of value V's code from LOW up, shifted left by UP: of each word that has some, all at once.
    template <int V, int LOW, int UP> __device__ __forceinline__ uint32_t bits() const {
        constexpr kvb_place at = kvb_fragment_place(BITS, V, LOW);
        constexpr int n = together(V, LOW), right = at.bit - LOW - UP;
        const uint32_t word = words[at.word];
        const uint32_t some = (right >= 0 ? word >> (right & 31) : word << (-right & 31)) & ((1u << n) - 1)
                                                                                                << (LOW + UP);
        if constexpr (LOW + n < BITS) {
            return some | bits<V, LOW + n, UP>();
        } else {
            return some;
        }
    }
    __device__ static constexpr int together(int v, int low) {
        int n = 1;
        const kvb_place first = kvb_fragment_place(BITS, v, low);
        for (; low + n < BITS; n++) {
            const kvb_place next = kvb_fragment_place(BITS, v, low + n);
            if (next.word != first.word || next.bit != first.bit + n) {
                break;
            }
        }
        return n;
    }

    template <int FIRST> __device__ __forceinline__ void two_steps(const Lut &lut, int, float (&x)[2][8]) const {
        step<FIRST>(lut, x[0]);
        step<FIRST + 1>(lut, x[1]);
    }
    template <int STEP> __device__ __forceinline__ void step(const Lut &lut, float (&x)[8]) const {
        repeat<8>([&](auto i) {
            constexpr int v = 8 * STEP + decltype(i)::value;
            if constexpr (has_copies(BITS)) {
                x[v % 8] = lut(bits<v, 0, 0>());
            } else {
                x[v % 8] = load_level(bits<v, 0, 2>() | lut.levels);
            }
        });
    }
};

// Halves or bfloats. Where no token is there may be anything; behind the row's end are zeros.
template <bool IS_BFLOAT, bool IS_VALUE> struct Dense {
    static constexpr bool is_dense = true, is_trellis = false;
    const uint4 *words;
    int dim;

    __device__ __forceinline__ Dense(const From &from, int group)
        : words((const uint4 *)from.codes + group * 4 * 32 + from.lane), dim(from.side.head_dim) {
    }
    template <int FIRST> __device__ __forceinline__ void two_steps(const Lut &, int group, float (&x)[2][8]) const {
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const int at = 16 * (4 * group + FIRST + k);
            uint4 four = at < dim ? __ldg(words + (FIRST + k) * 32) : make_uint4(0, 0, 0, 0);
            if (!IS_VALUE && at + 8 >= dim) {
                four.z = four.w = 0;
            }
            const uint32_t word[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int i = 0; i < 8; i++) {
                x[k][i] = value_of((uint16_t)(word[i / 2] >> i % 2 * 16), IS_BFLOAT ? KVB_BF16 : KVB_F16);
            }
        }
    }
};

// Trellis codes of any bits and states. A half of the lane's stream (fragments.h) is 16 coordinates of a group, of
// which the numbers of the levels are put together, a byte each: words[4 * half + step] has the step's two pairs.
template <bool IS_VALUE> struct Trellis {
    static constexpr bool is_dense = false, is_trellis = true;
    static constexpr int unit = IS_VALUE ? 2 : 1; // bits of inputs between coordinates that follow each other
    uint32_t words[8];

    // Four bits to the lowest bits of four bytes.
    __device__ static __forceinline__ uint32_t spread(uint32_t bits) {
        return (bits & 15) * 0x204081u & 0x01010101u;
    }

    struct Stream {
        const From &from;
        int n; // words of a lane
        __device__ __forceinline__ uint32_t word(int lane, int i) const {
            return i < n ? __ldg((const uint32_t *)(from.codes + kvb_fragment_word_offset(n, lane, i))) : 0;
        }
        __device__ __forceinline__ uint32_t bits_at(int lane, int bit) const { // 32
            return __funnelshift_r(word(lane, bit / 32), word(lane, bit / 32 + 1), bit % 32);
        }
    };

    // 16 bits of inputs of a half, above the 16 bits before. A row begins after zeros; before the lane's first are the
    // last of the lane before, or of several where runs are short.
    __device__ static __forceinline__ uint32_t inputs_of(const Stream &s, int half, int group) {
        const int run = 4 * s.from.steps, lane = s.from.lane, begin = half * run;
        if (group > 0) {
            return s.bits_at(lane, begin + 16 * group - 16);
        }
        uint32_t inputs = s.bits_at(lane, begin) << 16;
        int before = IS_VALUE ? lane / 4 : lane % 4;
        for (int have = 0; have < 16 && before > 0; before--) {
            const int n = min(run, 16 - have), of = IS_VALUE ? before * 4 - 4 + lane % 4 : lane / 4 * 4 + before - 1;
            inputs |= (s.bits_at(of, begin + run - n) & ((1u << n) - 1)) << (16 - have - n);
            have += n;
        }
        return inputs;
    }

    __device__ __forceinline__ Trellis(const From &from, int group) {
        const int steps = from.steps, lane = from.lane, bits = from.code - KVB_FRAGMENT_TRELLIS;
        const Stream s = {from, kvb_fragment_words(steps, from.code)};
        const int width = kvb_fragment_place_width(bits), even = (steps + 1) / 2 * 2,
                  places = 32 * kvb_fragment_plane_words(steps, 1);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const uint32_t inputs = inputs_of(s, half, group);
#pragma unroll
            for (int k = 0; k < 2; k++) {
                uint32_t subsets = 0;
                for (uint32_t taps = from.side.taps[k]; taps; taps &= taps - 1) {
                    subsets ^= inputs << (__ffs((int)taps) - 1) * unit;
                }
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const uint32_t some = spread(subsets >> (16 + 4 * i)) << k;
                    words[4 * half + i] = k == 0 ? some : words[4 * half + i] | some;
                }
            }
            uint32_t *to = words + 4 * half;
            if (width == 4) {
#pragma unroll
                for (int of_two = 0; of_two < 4; of_two++) {
                    const int byte = kvb_fragment_pair_byte(steps, half, of_two) + 2 * group;
                    const uint32_t pairs = s.bits_at(lane, places + 8 * byte);
#pragma unroll
                    for (int k = 0; k < 2; k++) {
                        const uint32_t x = pairs >> 8 * k & 0xff;
                        to[2 * k + of_two / 2] |= ((x >> 4) | (x << 8 & 0x0f00)) << (of_two % 2 * 16 + 2);
                    }
                }
            } else if (width == 2) {
                const uint32_t first = s.bits_at(lane, places + 8 * half * even + 16 * group),
                               second = s.bits_at(lane, places + (8 * half + 4) * even + 16 * group);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int at = i / 2 * 8 + (i % 2 ? 0 : 4);
                    uint32_t x = (first >> at & 15) | (second >> at & 15) << 16;
                    to[i] |= ((x | x << 6) & 0x03030303u) << 2;
                }
            } else {
                const uint32_t first = s.bits_at(lane, places + 4 * half * even + 16 * group);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    to[i] |= spread(first >> (i / 2 * 8 + (i % 2 ? 0 : 4))) << 2;
                }
            }
            if (bits == 6) { // the last plane, the elements of a pair swapped
                const uint32_t last =
                    s.bits_at(lane, 32 * kvb_fragment_trellis_words(steps, bits, 0) + 4 * half * steps + 16 * group);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const uint32_t x = spread(last >> 4 * i);
                    to[i] |= ((x >> 8 & 0x00010001u) | (x & 0x00010001u) << 8) << 6;
                }
            } else if (bits - 1 > width) { // that of pairs, sixteen to a word
                const int begin = half * 2 * steps + 8 * group,
                          word = kvb_fragment_trellis_words(steps, bits, 0) + begin / 16;
                const uint32_t low = s.word(lane, word), high = s.word(lane, word + 1);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    const int n = begin % 16 + j;
                    const uint32_t of = n < 16 ? low : high;
                    const uint32_t turned = __funnelshift_r(of, of, 7 + 2 * (n % 4) + 8 * (n / 4 % 4));
                    to[j / 2] |= ((turned & 1) | (turned >> 1 & 0x100)) << (j % 2 * 16 + 2 + width);
                }
            }
        }
    }

    template <int FIRST> __device__ __forceinline__ void two_steps(const Lut &lut, int, float (&x)[2][8]) const {
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const int reg = i % 8 / 2, half = IS_VALUE ? reg / 2 : reg % 2, second = IS_VALUE ? reg % 2 : reg / 2;
            x[i / 8][i % 8] = lut(words[4 * half + FIRST + i / 8] >> (16 * second + i % 2 * 8) & 0xff);
        }
    }
};

// Calls f with the type of what reads `code`; 16 bits are of the type `dense`.
template <class R> struct ReaderOf { using Type = R; };
template <bool IS_VALUE, class F> __device__ __forceinline__ void with_reader(int code, int dense, F f) {
    switch (code) {
    case 1:
        return f(ReaderOf<Scalar<1>>{});
    case 2:
        return f(ReaderOf<Scalar<2>>{});
    case 3:
        return f(ReaderOf<Scalar<3>>{});
    case 4:
        return f(ReaderOf<Scalar<4>>{});
    case 5:
        return f(ReaderOf<Scalar<5>>{});
    case 6:
        return f(ReaderOf<Scalar<6>>{});
    case 7:
        return f(ReaderOf<Scalar<7>>{});
    case 8:
        return f(ReaderOf<Scalar<8>>{});
    case 16:
        return dense == KVB_BF16 ? f(ReaderOf<Dense<true, IS_VALUE>>{}) : f(ReaderOf<Dense<false, IS_VALUE>>{});
    default:
        return f(ReaderOf<Trellis<IS_VALUE>>{});
    }
}

} // namespace kvb
