/* Where the bits of a row lie in device memory: the one statement of it, for host and device.
 *
 * A block is 16 tokens of one side (K or V) of one KV head: codes in the order in which tensor cores' operands want
 * them, then 16 scales. A page side is page_tokens / 16 blocks, one after another, so that any tile of whole blocks is
 * contiguous. A step is one 16 x 16 operand, of which lane l (g = l / 4, t = l % 4) holds eight values, two to a
 * register, values 8 * step + 2 * register + (0, 1) of its stream; each width says how a stream lies in 32-bit words:
 *     keys (of a latent layer the values, too): row = token, column = dim      values: row = dim, column = token
 *     0: (g, 2t), (g, 2t+1)   1: (g+8, 2t), (g+8, 2t+1)   2: (g, 2t+8), (g, 2t+9)   3: (g+8, 2t+8), (g+8, 2t+9)
 * Rows are padded to whole steps. Trellis codes have another order of coordinates (below).
 *
 * Of half a bit the codes of a block are those of the first half of the coordinates, as if they were rows of their own,
 * then those of the second half; the scales stay behind both. */
#ifndef KVB_CUDA_FRAGMENTS_H
#define KVB_CUDA_FRAGMENTS_H

#include <stdint.h>

#if defined(__CUDACC__)
#define KVB_FRAGMENT_FUNCTION static inline __host__ __device__ constexpr
#elif defined(__cplusplus)
#define KVB_FRAGMENT_FUNCTION static inline constexpr
#else
#define KVB_FRAGMENT_FUNCTION static inline
#endif

#define KVB_BLOCK_TOKENS 16

/* What a side's values are, in the arguments `code` below: the bits of a scalar code (1-8), 16 for halves, or this and
 * the bits of a trellis code (2-6), whose bit 0 is the input and whose others are the place (docs/format.md). */
#define KVB_FRAGMENT_TRELLIS 32
/* More on either, of up to 7 or 5 bits: half a bit; the first half of the coordinates has a code of a bit more. */
#define KVB_FRAGMENT_HALF 64

KVB_FRAGMENT_FUNCTION int kvb_fragment_code(int bits, int is_trellis, int half_bit) {
    return bits + (is_trellis ? KVB_FRAGMENT_TRELLIS : 0) + (half_bit ? KVB_FRAGMENT_HALF : 0);
}

/* Bit `bit` of word `word` of a lane's stream. */
typedef struct kvb_place {
    int word, bit;
} kvb_place;

KVB_FRAGMENT_FUNCTION int kvb_fragment_steps(int head_dim) {
    return (head_dim + 15) / 16;
}

/* Trellis codes. Subsets are worked out of a run of inputs, so a lane has coordinates that follow each other: of four
 * lanes that share a token's keys each has a quarter of the row, of eight that share a token's values an eighth. Half
 * h of a lane's stream are the keys of one token (g or g + 8), or the values of two (2t and 2t + 1, or 8 more); pair j
 * of it are coordinates 2j and 2j + 1 of a key, or coordinate j of both values, and goes to step j / 2. That is another
 * order of a row's coordinates in the operand, which queries and outputs take as well:
 *     keys:    column of step s: (2t, 2t + 1, 2t + 8, 2t + 9) is coordinate t * 4 * steps + 4 s + (0, 1, 2, 3)
 *     values:  row of step s:    (g, g + 8) is coordinate g * 2 * steps + 2 s + (0, 1)
 * A lane's words are planes, one after another: the inputs as they follow each other, then places, of which the last
 * bit of codes of 4 and 6 bits lies in a plane of its own. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_plane_words(int steps, int width) {
    return (steps * width + 3) / 4;
}
/* Bits of places in the first of their planes. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_place_width(int bits) {
    return bits == 2 ? 1 : (bits - 1) / 2 * 2;
}
/* Words of a lane before a trellis code's last plane of places, and with it. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_trellis_words(int steps, int bits, int with_last) {
    int first = kvb_fragment_place_width(bits), words = kvb_fragment_plane_words(steps, 1);
    words += kvb_fragment_plane_words(steps, first);
    return words + (with_last && bits - 1 > first ? kvb_fragment_plane_words(steps, 1) : 0);
}
/* Of a half's places of four bits: the byte of the first step's pair `of_two` (0-3) of two steps; the next two steps'
 * is the next. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_pair_byte(int steps, int half, int of_two) {
    return half * 2 * steps + of_two * (steps / 2) + (steps % 2 ? (of_two < 2 ? of_two : 2) : 0);
}
/* Where bit `bit` of the code of element `of_pair` (0 or 1) of a half's pair lies. Planes of places are in the order in
 * which kernels put subsets beside them. Of one and two bits: a byte has the pairs of two steps, the second step's in
 * its low bits. Of four: a pair to a byte, its second element in the low bits, and a plane for each of two steps' four
 * pairs. The last plane of 4 bits has the bits of two pairs, four bits, 2k and maybe 16 around the word from bits 7,
 * 16, 15 and 24, where kernels turn them to; of 6 bits it is as the inputs are, the elements of a pair swapped. */
KVB_FRAGMENT_FUNCTION kvb_place kvb_fragment_trellis_place(int steps, int bits, int half, int pair, int of_pair,
                                                           int bit) {
    kvb_place p = {0, 0};
    int step = pair / 2, second = pair % 2, even = (steps + 1) / 2 * 2, n = half * 4 * steps + 2 * pair + of_pair;
    int width = kvb_fragment_place_width(bits), words = kvb_fragment_plane_words(steps, 1), at = n;
    if (bit > width && bits == 6) {
        p.word = kvb_fragment_trellis_words(steps, bits, 0) + n / 32;
        p.bit = (n ^ 1) % 32;
        return p;
    }
    if (bit > width) {
        n = half * 2 * steps + pair; /* of a block's pairs, sixteen to a word */
        step = n % 16 / 2;
        second = n % 2;
        p.word = kvb_fragment_trellis_words(steps, bits, 0) + n / 16;
        p.bit = (7 + 9 * of_pair + 8 * (step / 2 % 2) + 2 * (step % 2 * 2 + second) + step / 4 * 16) % 32;
        return p;
    }
    if (bit > 0) {
        switch (width) {
        case 1:
            at = half * 4 * even + step / 2 * 8 + (step % 2 ? 0 : 4) + 2 * second + of_pair;
            break;
        case 2:
            at = (2 * half + second) * 4 * even + step / 2 * 8 + (step % 2 ? 0 : 4) + 2 * of_pair + bit - 1;
            break;
        default:
            at = 8 * (kvb_fragment_pair_byte(steps, half, step % 2 * 2 + second) + step / 2) + 4 * !of_pair + bit - 1;
        }
    }
    p.word = (bit > 0 ? words : 0) + at / 32;
    p.bit = at % 32;
    return p;
}

/* Words of a lane for a block of `steps` steps. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_words(int steps, int code) {
    int rest = 0;
    if (code > KVB_FRAGMENT_TRELLIS) {
        return kvb_fragment_trellis_words(steps, code - KVB_FRAGMENT_TRELLIS, 1);
    }
    switch (code) {
    case 1:
        return (steps + 3) / 4;
    case 2:
        return (steps + 1) / 2;
    case 3:
        rest = steps % 4;
        return steps / 4 * 3 + rest;
    case 5:
        rest = steps % 4;
        return steps / 4 * 5 + (rest > 0 ? rest + 1 : 0);
    case 6:
        return steps / 2 * 3 + steps % 2 * 2;
    case 7:
        rest = steps % 4;
        return steps / 4 * 7 + rest * 2;
    default: /* 4, 8, 16 */
        return steps * code / 4;
    }
}

/* Where bit `bit` of the scalar code of value `v` of a lane's stream lies.
 * 3, 6, 7 bits: bytes hold 6 (two codes), 6 and 7 bits; what would be a fourth, fourth and eighth word of a round lies
 * in the spare bits of the others. 5 bits: a word of low bits, then nibbles code / 2. 1 bit: bit 4 * step' + register
 * is the first value's of a pair, 16 more the second's. */
KVB_FRAGMENT_FUNCTION kvb_place kvb_fragment_place(int bits, int v, int bit) {
    kvb_place p = {0, 0};
    int in = 0, byte = 0;
    switch (bits) {
    case 1:
        in = v % 32;
        p.word = v / 32;
        p.bit = in / 2 + in % 2 * 16;
        return p;
    case 5:
        in = v % 32;
        p.word = v / 32 * 5 + (bit > 0 ? 1 + in / 8 : 0);
        p.bit = bit > 0 ? in % 8 * 4 + bit - 1 : in / 2 + in % 2 * 16;
        return p;
    case 3:
        in = v % 32 / 2;
        bit += v % 2 * 3;
        p.word = v / 32 * 3;
        break;
    case 6:
        in = v % 16;
        p.word = v / 16 * 3;
        break;
    case 7:
        in = v % 32;
        p.word = v / 32 * 7;
        if (in < 28) {
            p.word += in / 4;
            p.bit = in % 4 * 8 + bit;
        } else {
            p.word += bit;
            p.bit = (in - 28) * 8 + 7;
        }
        return p;
    default: /* 2, 4, 8, 16: fields that do not straddle words */
        p.word = v / (32 / bits);
        p.bit = v % (32 / bits) * bits + bit;
        return p;
    }
    /* 6-bit field `in` of 16 in three words */
    if (in < 12) {
        p.word += in / 4;
        byte = in % 4;
        p.bit = byte * 8 + bit;
    } else {
        p.word += bit / 2;
        p.bit = (in - 12) * 8 + 6 + bit % 2;
    }
    return p;
}

/* The same from a word's side, for scalar codes of 1-8 bits: its k-th run of bits, of so many at most, is bits `low` to
 * low + n - 1 of the code of value v, from `bit` up; n is 0 where there is none. */
typedef struct kvb_part {
    int v, low, n, bit;
} kvb_part;
KVB_FRAGMENT_FUNCTION int kvb_fragment_parts(int bits) {
    return bits == 1 || bits == 5 ? 32 : bits == 3 ? 16 : bits >= 6 && bits <= 7 ? 8 : 32 / bits;
}
KVB_FRAGMENT_FUNCTION kvb_part kvb_fragment_part(int bits, int word, int k) {
    kvb_part p = {0, 0, bits, 0};
    int values = bits == 6 ? 16 : 32, words = values * bits / 32, in = word % words, spare = 0, bit = 0;
    switch (bits) {
    case 3:
        spare = k - 8;
        bit = 2 * in + spare % 2; /* of a field of two codes */
        p.v = word / words * values + (spare < 0 ? 8 * in + k : 24 + spare / 2 * 2 + bit / 3);
        p.low = spare < 0 ? 0 : bit % 3;
        p.n = spare < 0 ? 3 : 1;
        p.bit = spare < 0 ? k / 2 * 8 + k % 2 * 3 : spare / 2 * 8 + 6 + spare % 2;
        return p;
    case 6:
    case 7:
        spare = k - 4;
        p.v = word / words * values + (spare < 0 ? 4 * in + k : values - 4 + spare);
        p.low = spare < 0 ? 0 : in * (8 - bits);
        p.n = spare < 0 ? bits : 8 - bits;
        p.bit = spare < 0 ? 8 * k : 8 * spare + bits;
        return p;
    case 5:
        if (in > 0) {
            p.v = word / words * values + 8 * (in - 1) + k % 8;
            p.low = 1;
            p.n = k < 8 ? 4 : 0;
            p.bit = 4 * (k % 8);
            return p;
        }
        p.v = word / words * values + k;
        p.n = 1;
        p.bit = k / 2 + k % 2 * 16;
        return p;
    case 1:
        p.v = word * 32 + k;
        p.bit = k / 2 + k % 2 * 16;
        return p;
    default:
        p.v = word * (32 / bits) + k;
        p.bit = k * bits;
        return p;
    }
}

/* Words of all lanes in a block: four of a lane together, lane after lane, then two, then one. Byte offset of one. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_word_offset(int words, int lane, int word) {
    int fours = words / 4, twos = words % 4 / 2;
    if (word < fours * 4) {
        return word / 4 * 512 + lane * 16 + word % 4 * 4;
    }
    if (word < fours * 4 + twos * 2) {
        return fours * 512 + lane * 8 + word % 4 * 4;
    }
    return fours * 512 + twos * 256 + lane * 4;
}

/* One of the codes that a row is made of: one, of all coordinates, or with half a bit two, one behind the other. `code`
 * has no half bit. */
typedef struct kvb_code_part {
    int code, bits;
    int first, dim;          /* coordinates */
    int offset;              /* bytes of a block before its words */
    int first_level, levels; /* of the codes' levels, which lie one behind the other, too */
} kvb_code_part;

KVB_FRAGMENT_FUNCTION int kvb_fragment_code_parts(int code) {
    return code >= KVB_FRAGMENT_HALF ? 2 : 1;
}
KVB_FRAGMENT_FUNCTION int kvb_fragment_part_bytes(int dim, int code) {
    return kvb_fragment_words(kvb_fragment_steps(dim), code) * 128;
}
KVB_FRAGMENT_FUNCTION int kvb_fragment_part_levels(int code) {
    return code > KVB_FRAGMENT_TRELLIS ? 2 << (code - KVB_FRAGMENT_TRELLIS) : code <= 8 ? 1 << code : 0;
}
KVB_FRAGMENT_FUNCTION kvb_code_part kvb_fragment_code_part(int head_dim, int code, int i) {
    kvb_code_part p = {code, code % KVB_FRAGMENT_TRELLIS, 0, head_dim, 0, 0, 0};
    if (code >= KVB_FRAGMENT_HALF) {
        p.code = code - KVB_FRAGMENT_HALF + 1;
        p.dim = head_dim / 2;
        if (i > 0) {
            p.first = p.dim;
            p.offset = kvb_fragment_part_bytes(p.dim, p.code);
            p.first_level = kvb_fragment_part_levels(p.code);
            p.code--;
        }
        p.bits = p.code % KVB_FRAGMENT_TRELLIS;
    }
    p.levels = kvb_fragment_part_levels(p.code);
    return p;
}
/* The one that has coordinate `dim`. */
KVB_FRAGMENT_FUNCTION kvb_code_part kvb_fragment_code_part_at(int head_dim, int code, int dim) {
    return kvb_fragment_code_part(head_dim, code, dim >= head_dim / 2);
}

/* Bytes of a block's codes, and of a block; scale_bytes is 2, 4, or 0 for 16 bits. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_code_bytes(int head_dim, int code) {
    const kvb_code_part last = kvb_fragment_code_part(head_dim, code, 1);
    return last.offset + kvb_fragment_part_bytes(last.dim, last.code);
}
KVB_FRAGMENT_FUNCTION int kvb_fragment_block_bytes(int head_dim, int code, int scale_bytes) {
    return kvb_fragment_code_bytes(head_dim, code) + KVB_BLOCK_TOKENS * scale_bytes;
}

/* Byte offset in a block of the word that holds bit `bit` of the code of (token 0-15, dim), and the bit in it. */
KVB_FRAGMENT_FUNCTION kvb_place kvb_fragment_code_place(int head_dim, int code, int token, int dim, int bit,
                                                        int is_value) {
    const kvb_code_part part = kvb_fragment_code_part_at(head_dim, code, dim);
    int steps = kvb_fragment_steps(part.dim), x = dim - part.first, row = is_value ? x % 16 : token;
    int column = is_value ? token : x % 16, lane = row % 8 * 4 + column % 8 / 2, reg = row / 8 + column / 8 * 2;
    int run = (is_value ? 2 : 4) * steps;
    kvb_place p = {0, 0};
    if (part.code > KVB_FRAGMENT_TRELLIS) {
        lane = is_value ? x / run * 4 + token % 8 / 2 : token % 8 * 4 + x / run;
        p = kvb_fragment_trellis_place(steps, part.bits, token / 8, is_value ? x % run : x % run / 2,
                                       (is_value ? token : x) % 2, bit);
    } else {
        p = kvb_fragment_place(part.code, 8 * (x / 16) + 2 * reg + column % 2, bit);
    }
    p.word = part.offset + kvb_fragment_word_offset(kvb_fragment_words(steps, part.code), lane, p.word);
    return p;
}

/* Token (0-15) and coordinate of value v of a lane's stream, of scalar codes. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_token(int lane, int v, int is_value) {
    int reg = v / 2 % 4;
    return is_value ? lane % 4 * 2 + v % 2 + reg / 2 * 8 : lane / 4 + reg % 2 * 8;
}
KVB_FRAGMENT_FUNCTION int kvb_fragment_dim(int lane, int v, int is_value) {
    return v / 8 * 16 + kvb_fragment_token(lane, v, !is_value);
}

/* Byte offset of token's scale behind a block's codes, and in the block. */
KVB_FRAGMENT_FUNCTION int kvb_fragment_scale_place(int scale_bytes, int token) {
    return (token % 8 * 2 + token / 8) * scale_bytes;
}
KVB_FRAGMENT_FUNCTION int kvb_fragment_scale_offset(int head_dim, int code, int scale_bytes, int token) {
    return kvb_fragment_code_bytes(head_dim, code) + kvb_fragment_scale_place(scale_bytes, token);
}

#endif
