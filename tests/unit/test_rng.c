/* The random numbers of the experiment: published vectors, jumps, and streams that survive a redraw. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "stream.h"

static void seed_fills_the_published_state(void **state) {
    (void)state;
    static const uint64_t words[] = {UINT64_C(0x1d81f9262cd391db), UINT64_C(0xccf6719c77de8680),
                                     UINT64_C(0xe112a50b19b43d62), UINT64_C(0x7b1b7ba68a351eaf)};
    static const uint64_t outputs[] = {UINT64_C(0xa8fc40890ed24000), UINT64_C(0xe484145d463606b8),
                                       UINT64_C(0xc699eb9bc39bb4be), UINT64_C(0x02cceeab2c156ced)};
    kvb_rng rng = kvb_rng_seed(0xC25EED);
    assert_memory_equal(rng.s, words, sizeof words);
    for (int i = 0; i < 4; i++)
        assert_int_equal(kvb_rng_next(&rng), outputs[i]);
}

static void normals_match_the_published_ones(void **state) {
    (void)state;
    static const double first[] = {.7118212,   -.5692462, .7108879,  .0489400,
                                   -1.8682512, 1.2963920, 1.1236910, -.9987176};
    static const double with_11[] = {-.5883464, .0030229}, with_22[] = {.5791427, 1.2417198};
    float x[8];
    kvb_rng rng = kvb_rng_seed(0xC25EED);
    kvb_rng_normals(&rng, x, 8);
    for (int i = 0; i < 8; i++)
        assert_float_equal(x[i], first[i], 5.1e-8);
    rng = kvb_rng_seed(0xC25EED ^ 0x11);
    kvb_rng_normals(&rng, x, 2);
    for (int i = 0; i < 2; i++)
        assert_float_equal(x[i], with_11[i], 5.1e-8);
    rng = kvb_rng_seed(0xC25EED ^ 0x22);
    kvb_rng_normals(&rng, x, 2);
    for (int i = 0; i < 2; i++)
        assert_float_equal(x[i], with_22[i], 1.1e-7);
}

static void odd_vector_drops_its_last_sine(void **state) {
    (void)state;
    float odd[3], even[4], next_odd, next_even;
    kvb_rng a = kvb_rng_seed(7), b = a;
    kvb_rng_normals(&a, odd, 3);
    kvb_rng_normals(&b, even, 4);
    assert_memory_equal(odd, even, sizeof odd);
    kvb_rng_normals(&a, &next_odd, 1);
    kvb_rng_normals(&b, &next_even, 1);
    assert_true(next_odd == next_even);
}

static void jump_equals_steps(void **state) {
    (void)state;
    for (uint64_t steps = 0; steps < 5000; steps = steps * 3 + 1) {
        kvb_rng walked = kvb_rng_seed(steps), jumped = walked, tabulated = walked;
        static kvb_jump jump;
        for (uint64_t i = 0; i < steps; i++)
            (void)kvb_rng_next(&walked);
        kvb_rng_jump(&jumped, steps);
        kvb_jump_make(&jump, steps);
        tabulated = kvb_jump_apply(&jump, tabulated);
        assert_memory_equal(&walked, &jumped, sizeof walked);
        assert_memory_equal(&walked, &tabulated, sizeof walked);
    }
}

/* ---- Forged generators: a state that meets u1 = 0 after a chosen number of draws ---- */

static uint64_t rotate_right(uint64_t x, int k) {
    return (x >> k) | (x << (64 - k));
}

/* Undoes one step of xoshiro256**. */
static void step_back(kvb_rng *rng) {
    uint64_t *s = rng->s, a3 = rotate_right(s[3], 45), x = s[1] ^ s[2];
    uint64_t s1 = x ^ (x << 17) ^ (x << 34) ^ (x << 51), a2 = s[1] ^ s1, s0 = s[0] ^ a3;
    s[0] = s0;
    s[1] = s1;
    s[2] = a2 ^ s0;
    s[3] = a3 ^ s1;
}

/* The output is a function of s[1] alone and is 0 when that is 0. */
static kvb_rng forge(uint64_t draws_before) {
    kvb_rng rng = {{UINT64_C(0x0123456789abcdef), 0, UINT64_C(0xfedcba9876543210), UINT64_C(0x5555aaaa3333cccc)}};
    for (uint64_t i = 0; i < draws_before; i++)
        step_back(&rng);
    return rng;
}

static void forged_generator_meets_a_redraw(void **state) {
    (void)state;
    kvb_rng rng = forge(100), back = forge(100);
    for (int i = 0; i < 100; i++)
        (void)kvb_rng_next(&rng);
    assert_int_equal(kvb_rng_next(&rng), 0);
    kvb_rng once = back;
    (void)kvb_rng_next(&once);
    step_back(&once);
    assert_memory_equal(&once, &back, sizeof once);
}

enum { ROWS = 3 * KVB_STREAM_ITEM_ROWS + 37 };

typedef struct got {
    size_t n;
    float *rows;
} got;

static void keep(void *context, size_t first, size_t n, float *rows, int worker) {
    got *g = context;
    (void)worker;
    memcpy(g->rows + first * g->n, rows, n * g->n * sizeof *rows);
}

/* Two batches by the stream, against one sequential generator. */
static void compare_with_sequential(const kvb_vec *vec, kvb_rng start, size_t n) {
    static kvb_stream stream, skipping;
    size_t first = ROWS - 50, total = ROWS;
    got g = {n, malloc(total * n * sizeof(float))};
    float *expected = malloc(total * n * sizeof(float)), *buffer = malloc(KVB_STREAM_ITEM_ROWS * n * sizeof(float));
    kvb_rng *starts = malloc((ROWS / KVB_STREAM_ITEM_ROWS + 2) * sizeof *starts),
            *states = malloc(total * sizeof *states);
    kvb_rng *expected_states = malloc(total * sizeof *states);
    assert_true(g.rows && expected && buffer && starts && states && expected_states);
    kvb_rng rng = start;
    for (size_t row = 0; row < total; row++) {
        expected_states[row] = rng;
        kvb_rng_normals(&rng, expected + row * n, n);
    }
    kvb_stream_open(&stream, start, n, vec);
    kvb_stream_rows(&stream, first, NULL, starts, &buffer, keep, &g);
    got rest = {n, g.rows + first * n};
    kvb_stream_rows(&stream, total - first, NULL, starts, &buffer, keep, &rest);
    assert_memory_equal(g.rows, expected, total * n * sizeof(float));
    kvb_stream_open(&skipping, start, n, vec);
    kvb_stream_states(&skipping, first, NULL, starts, states);
    kvb_stream_states(&skipping, total - first, NULL, starts, states + first);
    assert_memory_equal(states, expected_states, total * sizeof *states);
    for (size_t row = 0; row + 5 <= total; row += 5) {
        const kvb_rng *at[5];
        float made[KVB_STREAM_LANES * 40];
        for (size_t i = 0; i < 5; i++)
            at[i] = &states[row + i];
        kvb_stream_from_states(vec, at, 5, n, made);
        assert_memory_equal(made, expected + row * n, 5 * n * sizeof(float));
    }
    free(g.rows);
    free(expected);
    free(buffer);
    free(starts);
    free(states);
    free(expected_states);
}

static const char *const sets[] = {"generic", "sse2", "avx2", "avx512", "neon"};

static void stream_equals_one_sequential_generator(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 7, 8, 24, 33};
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++)
        for (size_t i = 0; kvb_vec_named(sets[s]) && i < sizeof lengths / sizeof lengths[0]; i++)
            compare_with_sequential(kvb_vec_named(sets[s]), kvb_rng_seed(i), lengths[i]);
}

static void stream_survives_redraws(void **state) {
    (void)state;
    enum { N = 24 };
    static const uint64_t places[] = {
        0, 2, 22, 24 * 15, 24 * 16, 24 * 127 + 22, 24 * 128, 24 * 300 + 10, 24 * (ROWS - 1) + 22};
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++)
        for (size_t i = 0; kvb_vec_named(sets[s]) && i < sizeof places / sizeof places[0]; i++) {
            compare_with_sequential(kvb_vec_named(sets[s]), forge(places[i]), N);
            compare_with_sequential(kvb_vec_named(sets[s]), forge(places[i]), N - 1);
        }
}

static void zero_second_uniform_is_no_redraw(void **state) {
    (void)state;
    compare_with_sequential(kvb_vec_best(), forge(24 * 3 + 5), 24);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seed_fills_the_published_state),  cmocka_unit_test(normals_match_the_published_ones),
        cmocka_unit_test(odd_vector_drops_its_last_sine),  cmocka_unit_test(jump_equals_steps),
        cmocka_unit_test(forged_generator_meets_a_redraw), cmocka_unit_test(stream_equals_one_sequential_generator),
        cmocka_unit_test(stream_survives_redraws),         cmocka_unit_test(zero_second_uniform_is_no_redraw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
