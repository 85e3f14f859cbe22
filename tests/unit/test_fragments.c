/* Where the GPU's pages keep their bits (src/cuda/fragments.h), which is plain C: every bit has a place of its own
 * inside its block, places do not depend on the compiler of the device, and they are those that the tensor cores'
 * operands want. */
#include "check.h"
#include "cuda/fragments.h"

#include <stdlib.h>
#include <string.h>

static const int dims[] = {8,   16,  32,  40,  48,  56,  64,  72,  80,  96,  112, 128,
                           144, 160, 192, 224, 256, 288, 320, 384, 448, 512, 576, 0};
enum { trellis = KVB_FRAGMENT_TRELLIS, half = KVB_FRAGMENT_HALF, half_trellis = half + trellis };
static const int codes[] = {1,  2,           3,           4,           5,           6,           7, 8,
                            16, trellis + 2, trellis + 3, trellis + 4, trellis + 5, trellis + 6, 0};
static const int half_codes[] = {half + 1,         half + 2,         half + 3,         half + 4,
                                 half + 5,         half + 6,         half + 7,         half_trellis + 2,
                                 half_trellis + 3, half_trellis + 4, half_trellis + 5, 0};

/* Of the side's code; the first half of half a bit has one bit more. */
static void check_places(int d, int code, int is_value) {
    const int bytes = kvb_fragment_code_bytes(d, code), bits = code % trellis;
    unsigned char *taken = calloc((size_t)bytes, 8);
    assert_non_null(taken);
    for (int i = 0; i < KVB_BLOCK_TOKENS * d * (bits + 1); i++) {
        const int bit = i % (bits + 1), dim = i / (bits + 1) % d, token = i / (bits + 1) / d;
        if (bit == bits && !(code >= half && dim < d / 2)) {
            continue;
        }
        const kvb_place at = kvb_fragment_code_place(d, code, token, dim, bit, is_value);
        assert_in_range(at.bit, 0, 31);
        assert_in_range(at.word, 0, bytes - 4);
        assert_int_equal(at.word % 4, 0);
        unsigned char *mine = &taken[at.word * 8 + at.bit];
        if (*mine) {
            fail_msg("code %d x %d: bit %d of token %d, coordinate %d lies where another does", code, d, bit, token,
                     dim);
        }
        *mine = 1;
    }
    free(taken);
}

static void every_bit_has_a_place_of_its_own(void **state) {
    (void)state;
    for (const int *d = dims; *d; d++) {
        for (int is_value = 0; is_value < 2; is_value++) {
            for (const int *code = codes; *code; code++) {
                check_places(*d, *code, is_value);
            }
            for (const int *code = half_codes; *code && *d % 16 == 0; code++) {
                check_places(*d, *code, is_value);
            }
        }
    }
}

/* Of half a bit each half lies as a row of its own, the second behind the first, and the scales behind both. */
static void halves_lie_as_rows_of_their_own(void **state) {
    (void)state;
    for (const int *d = dims; *d; d++) {
        for (const int *code = half_codes; *code && *d % 16 == 0; code++) {
            const int second = *code - half, first_bytes = kvb_fragment_code_bytes(*d / 2, second + 1);
            const int bytes = first_bytes + kvb_fragment_code_bytes(*d / 2, second);
            assert_int_equal(kvb_fragment_code_bytes(*d, *code), bytes);
            assert_int_equal(kvb_fragment_block_bytes(*d, *code, 2), bytes + 2 * KVB_BLOCK_TOKENS);
            assert_int_equal(kvb_fragment_scale_offset(*d, *code, 4, 9), bytes + kvb_fragment_scale_place(4, 9));
            for (int i = 0; i < 2 * KVB_BLOCK_TOKENS * *d; i++) {
                const int is_value = i % 2, dim = i / 2 % *d, token = i / 2 / *d, is_second = dim >= *d / 2;
                const kvb_place at = kvb_fragment_code_place(*d, *code, token, dim, 0, is_value),
                                of = kvb_fragment_code_place(*d / 2, is_second ? second : second + 1, token,
                                                             dim % (*d / 2), 0, is_value);
                assert_int_equal(at.word, of.word + (is_second ? first_bytes : 0));
                assert_int_equal(at.bit, of.bit);
            }
        }
    }
}

/* Whole rounds of steps leave no bit unused: 5 bits take 5 bits. */
static void blocks_are_dense(void **state) {
    (void)state;
    for (int bits = 1; bits <= 8; bits++) {
        for (int d = 64; d <= 576; d += 64) {
            assert_int_equal(kvb_fragment_code_bytes(d, bits), KVB_BLOCK_TOKENS * d * bits / 8);
            assert_int_equal(kvb_fragment_block_bytes(d, bits, 2), KVB_BLOCK_TOKENS * (d * bits / 8 + 2));
            if (bits >= 2 && bits <= 6) {
                assert_int_equal(kvb_fragment_code_bytes(d, trellis + bits), KVB_BLOCK_TOKENS * d * bits / 8);
            }
            if (bits < 8 && d % 128 == 0) {
                assert_int_equal(kvb_fragment_code_bytes(d, half + bits), KVB_BLOCK_TOKENS * d * (2 * bits + 1) / 16);
            }
        }
    }
    assert_int_equal(kvb_fragment_block_bytes(128, 16, 0), KVB_BLOCK_TOKENS * 128 * 2);
}

/* Bulk copies want multiples of 16 bytes, and pages' heads lie one behind the other. */
static void blocks_are_aligned(void **state) {
    (void)state;
    for (const int *d = dims; *d; d++) {
        for (const int *code = codes; *code; code++) {
            for (int scale = 0; scale <= 4; scale += 2) {
                assert_int_equal(kvb_fragment_block_bytes(*d, *code, scale) % 32, 0);
            }
        }
        for (const int *code = half_codes; *code && *d % 16 == 0; code++) {
            assert_int_equal(kvb_fragment_block_bytes(*d, *code, 2) % 32, 0);
        }
    }
}

static void every_scale_has_a_place_of_its_own(void **state) {
    (void)state;
    for (int bytes = 2; bytes <= 4; bytes += 2) {
        unsigned taken = 0;
        for (int token = 0; token < KVB_BLOCK_TOKENS; token++) {
            const int at = kvb_fragment_scale_offset(128, 4, bytes, token) - kvb_fragment_code_bytes(128, 4);
            assert_int_equal(at % bytes, 0);
            assert_in_range(at / bytes, 0, KVB_BLOCK_TOKENS - 1);
            taken |= 1u << at / bytes;
        }
        assert_int_equal(taken, (1u << KVB_BLOCK_TOKENS) - 1);
    }
}

/* mma.m16n8k16's first operand, as its manual draws it: lane 4 * (row % 8) + column / 2 % 4, register row / 8 + 2 *
 * (column / 8). At 8 bits a lane's stream is bytes in order, so a place tells the lane and the register. */
static void places_are_those_of_the_operand(void **state) {
    (void)state;
    for (int token = 0; token < KVB_BLOCK_TOKENS; token++) {
        for (int dim = 0; dim < 128; dim++) {
            for (int is_value = 0; is_value < 2; is_value++) {
                const kvb_place at = kvb_fragment_code_place(128, 8, token, dim, 0, is_value);
                const int row = is_value ? dim % 16 : token, column = is_value ? token : dim % 16;
                const int lane = at.word / 16 % 32, word = at.word / 512 * 4 + at.word % 16 / 4;
                const int value = word * 4 + at.bit / 8; /* of the lane's stream */
                assert_int_equal(lane, row % 8 * 4 + column / 2 % 4);
                assert_int_equal(value / 8, dim / 16);
                assert_int_equal(value % 8 / 2, row / 8 + column / 8 * 2);
                assert_int_equal(value % 2, column % 2);
            }
        }
    }
}

/* What a word's side says of it is what its bits' side does, and no bit is left out. */
static void parts_are_the_places_inverted(void **state) {
    (void)state;
    enum { d = 128 };
    for (int bits = 1; bits <= 8; bits++) {
        for (int is_value = 0; is_value < 2; is_value++) {
            for (int lane = 0; lane < 32; lane++) {
                const int words = kvb_fragment_words(d / 16, bits);
                for (int word = 0; word < words; word++) {
                    int n = 0;
                    for (int k = 0; k < kvb_fragment_parts(bits); k++) {
                        const kvb_part part = kvb_fragment_part(bits, word, k);
                        for (int i = 0; i < part.n; i++) {
                            const kvb_place at = kvb_fragment_code_place(
                                d, bits, kvb_fragment_token(lane, part.v, is_value),
                                kvb_fragment_dim(lane, part.v, is_value), part.low + i, is_value);
                            assert_int_equal(at.word, kvb_fragment_word_offset(words, lane, word));
                            assert_int_equal(at.bit, part.bit + i);
                        }
                        n += part.n;
                    }
                    assert_int_equal(n, 32);
                }
            }
        }
    }
}

/* Of a trellis code a lane has coordinates that follow each other, and their inputs do so in its words: of keys bit by
 * bit, of values two tokens side by side. The lane before has the coordinates before. */
static void inputs_follow_each_other(void **state) {
    (void)state;
    for (int d = 128; d <= 256; d += 128) {
        for (int token = 0; token < KVB_BLOCK_TOKENS; token++) {
            for (int dim = 1; dim < d; dim++) {
                for (int is_value = 0; is_value < 2; is_value++) {
                    const kvb_place before = kvb_fragment_code_place(d, trellis + 3, token, dim - 1, 0, is_value),
                                    at = kvb_fragment_code_place(d, trellis + 3, token, dim, 0, is_value);
                    const int lane = at.word / 16 % 32, lane_before = before.word / 16 % 32;
                    const int n = at.word % 16 / 4 * 32 + at.bit, n_before = before.word % 16 / 4 * 32 + before.bit;
                    if (dim % (d / (is_value ? 8 : 4))) {
                        assert_int_equal(lane, lane_before);
                        assert_int_equal(n, n_before + (is_value ? 2 : 1));
                    } else {
                        assert_int_equal(lane, lane_before + (is_value ? 4 : 1));
                    }
                }
            }
        }
    }
}

/* Of 5 and 6 bits the places of a pair are a byte of a word that has the same pair of every second step; the fifth bits
 * of 6 lie as the inputs do, the elements of a pair swapped. */
static void places_of_pairs_are_bytes(void **state) {
    (void)state;
    enum { steps = 8 };
    for (int bits = 5; bits <= 6; bits++) {
        for (int i = 0; i < 8 * steps; i++) {
            const int half = i % 2, of_pair = i / 2 % 2, pair = i / 4;
            const kvb_place input = kvb_fragment_trellis_place(steps, bits, half, pair, of_pair, 0);
            for (int bit = 1; bit < bits; bit++) {
                const kvb_place p = kvb_fragment_trellis_place(steps, bits, half, pair, of_pair, bit);
                const int is_last = bit == 5;
                assert_int_equal(p.word, is_last ? 10 + half : 2 + 4 * half + pair % 4);
                assert_int_equal(p.bit, is_last ? input.bit ^ 1 : pair / 4 * 8 + (of_pair ? 0 : 4) + bit - 1);
            }
            assert_int_equal(input.word, half);
            assert_int_equal(input.bit, 2 * pair + of_pair);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bit_has_a_place_of_its_own),
        cmocka_unit_test(halves_lie_as_rows_of_their_own),
        cmocka_unit_test(blocks_are_dense),
        cmocka_unit_test(blocks_are_aligned),
        cmocka_unit_test(every_scale_has_a_place_of_its_own),
        cmocka_unit_test(places_are_those_of_the_operand),
        cmocka_unit_test(parts_are_the_places_inverted),
        cmocka_unit_test(inputs_follow_each_other),
        cmocka_unit_test(places_of_pairs_are_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
