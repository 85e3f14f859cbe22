/* Exact tokens, positions, tree masks, dense sides and centered keys in a cache that grows, beside the CPU's. */
#include "gpu_cache_check.h"

#define TUNED(K, V, D, HEADS, GROUP)                                                                                   \
    .k_bits = K, .v_bits = V, .k_dim = D, .v_dim = D, .n_kv_heads = HEADS, .group = GROUP, .bound = 5e-4
#define GENERAL(K, V, DK, DV, HEADS, GROUP)                                                                            \
    .k_bits = K, .v_bits = V, .k_dim = DK, .v_dim = DV, .n_kv_heads = HEADS, .group = GROUP, .bound = 1e-5,            \
    .is_general = 1
/* Lengths of the prompts, steps and the most tokens of one, queries of each sequence. */
#define GROWS(A, B, C, STEPS, MOST, QA, QB, QC)                                                                        \
    .prompt = {A, B, C}, .steps = STEPS, .most_new = MOST, .n_q = {QA, QB, QC}
#define EXACTS(FIRST, LAST, SPARE) .exact_first = FIRST, .exact_last = LAST, .spare_slots = SPARE
#define TYPES(DENSE, ROWS) .dense = KVB_##DENSE, .dtype = KVB_##ROWS

/* clang-format off */
/* Lengths around every border: none, fewer than are exact, ends of blocks and of pages. */
static const cache_case exact_cases[] = {
    {.name = "first and last", TUNED(4, 4, 128, 2, 4), GROWS(0, 3, 150, 30, 9, 1, 1, 1), TYPES(F16, F32), EXACTS(4, 77, 0)},
    {.name = "one last", TUNED(4, 4, 128, 1, 1), GROWS(1, 63, 65, 20, 3, 1, 1, 1), TYPES(F16, F16), EXACTS(0, 1, 0)},
    {.name = "first longer than most", TUNED(6, 4, 128, 2, 2), GROWS(0, 5, 130, 18, 12, 2, 1, 1), TYPES(BF16, F32), EXACTS(100, 0, 0)},
    {.name = "all are last", TUNED(3, 3, 64, 3, 3), GROWS(0, 1, 100, 10, 20, 3, 1, 2), TYPES(F16, BF16), EXACTS(0, 1000, 0)},
    {.name = "first and last, split", TUNED(4, 4, 128, 2, 4), GROWS(500, 3, 81, 9, 9, 1, 1, 1), TYPES(F16, F16), EXACTS(4, 77, 0),
     .split = 1},
    {.name = "exact and the rest", TUNED(5, 5, 256, 1, 11), GROWS(300, 20, 129, 9, 40, 3, 1, 0), TYPES(BF16, BF16), EXACTS(7, 50, 3),
     .window = 45, .has_sinks = 1, .softcap = 20},
    {.name = "general, first and last", GENERAL(4, 7, 128, 128, 2, 4), GROWS(0, 3, 150, 12, 20, 2, 1, 1), TYPES(F16, F32), EXACTS(4, 77, 5)},
    {.name = "general, all are exact", GENERAL(4, 7, 64, 64, 1, 2), GROWS(0, 3, 30, 9, 5, 2, 1, 0), TYPES(F16, F32), EXACTS(5, 1000, 0)},
    {.name = "general, first longer", GENERAL(5, 3, 40, 72, 3, 3), GROWS(0, 7, 64, 12, 9, 3, 1, 1), TYPES(BF16, F32), EXACTS(70, 16, 0),
     .window = 60, .has_sinks = 1},
};

static const cache_case cases_taken_back[] = {
    {.name = "taken back from the ring", TUNED(4, 4, 128, 2, 4), GROWS(0, 40, 150, 24, 9, 1, 1, 1), TYPES(F16, F32), EXACTS(6, 40, 11),
     .takes_back = 11},
    {.name = "taken back from pages", TUNED(4, 4, 128, 2, 4), GROWS(0, 63, 150, 24, 5, 1, 1, 1), TYPES(F16, F32), .takes_back = 20},
};

static const cache_case asked_cases[] = {
    {.name = "positions", TUNED(4, 4, 128, 2, 4), GROWS(0, 64, 700, 12, 9, 5, 1, 0), TYPES(F16, F32), .has_positions = 1},
    {.name = "positions in a window", TUNED(4, 4, 128, 1, 3), GROWS(290, 310, 700, 12, 9, 6, 2, 0), TYPES(F16, F32), .has_positions = 1,
     .window = 70, .has_sinks = 1, .pages_gone = 3},
    {.name = "tree", TUNED(8, 8, 128, 2, 2), GROWS(10, 100, 1000, 12, 12, 12, 9, 1), TYPES(F16, F16), .has_tree = 1},
    {.name = "tree with positions", TUNED(4, 4, 128, 3, 3), GROWS(300, 0, 90, 12, 20, 17, 1, 0), TYPES(F16, F32), EXACTS(4, 30, 2),
     .has_tree = 1, .has_positions = 1, .softcap = 15},
    {.name = "tree in a window, split", TUNED(4, 4, 96, 2, 4), GROWS(600, 70, 129, 12, 8, 8, 3, 1), TYPES(BF16, BF16), .has_tree = 1,
     .window = 33, .split = 1},
    {.name = "tree of more than there are", TUNED(4, 4, 64, 1, 2), GROWS(3, 0, 1, 12, 1, 9, 9, 9), TYPES(F16, F32), .has_tree = 1},
    {.name = "general, positions", GENERAL(4, 7, 128, 128, 2, 5), GROWS(290, 310, 500, 9, 9, 5, 1, 0), TYPES(F16, F32), .has_positions = 1,
     .window = 70, .pages_gone = 3},
    {.name = "general, tree", GENERAL(2, 6, 320, 320, 1, 3), GROWS(30, 0, 90, 9, 20, 11, 1, 0), TYPES(F16, F32), EXACTS(4, 30, 0),
     .has_tree = 1, .has_positions = 1, .has_sinks = 1},
};

/* Sides of 16 bits. */
static const cache_case dense_cases[] = {
    {.name = "dense halves", GENERAL(16, 16, 128, 128, 2, 4), GROWS(0, 30, 150, 9, 20, 2, 1, 1), TYPES(F16, F32)},
    {.name = "dense bfloats", GENERAL(16, 16, 72, 40, 3, 1), GROWS(5, 64, 129, 9, 9, 3, 1, 0), TYPES(BF16, F16), EXACTS(4, 20, 2),
     .has_positions = 1, .has_tree = 1},
    {.name = "dense keys", GENERAL(16, 3, 64, 64, 1, 9), GROWS(1, 100, 15, 9, 20, 1, 1, 1), TYPES(F16, F16), .window = 50},
    {.name = "dense values", GENERAL(5, 16, 576, 512, 1, 3), GROWS(16, 80, 17, 6, 20, 2, 1, 1), TYPES(BF16, BF16), EXACTS(2, 9, 0),
     .has_sinks = 1, .softcap = 30},
};

/* Keys whose mean is larger than what is left. */
static const cache_case centered_cases[] = {
    {.name = "centered", TUNED(4, 4, 128, 2, 4), GROWS(0, 30, 700, 9, 20, 2, 1, 0), TYPES(F16, F32), .has_mean = 1},
    {.name = "centered and exact", TUNED(4, 4, 128, 2, 4), GROWS(0, 100, 150, 9, 20, 2, 1, 1), TYPES(F16, BF16), EXACTS(4, 30, 0),
     .has_mean = 1, .has_sinks = 1, .softcap = 5},
    {.name = "centered, split", TUNED(6, 4, 128, 1, 11), GROWS(3, 70, 400, 9, 20, 1, 1, 1), TYPES(F16, F32), .has_mean = 1, .split = 1,
     .window = 100},
    {.name = "centered, 96", TUNED(4, 4, 96, 2, 2), GROWS(3, 70, 400, 9, 20, 3, 1, 1), TYPES(F16, F16), .has_mean = 1, .has_tree = 1},
    {.name = "centered, general", GENERAL(4, 7, 128, 128, 2, 3), GROWS(0, 100, 150, 9, 20, 2, 1, 0), TYPES(BF16, F32), EXACTS(4, 30, 0),
     .has_mean = 1, .has_sinks = 1, .softcap = 5},
    {.name = "centered, dense values", GENERAL(3, 16, 72, 80, 2, 3), GROWS(0, 100, 150, 9, 20, 2, 1, 0), TYPES(F16, F32), .has_mean = 1},
};
/* Trellis codes, alone and with what else there is. */
#define STATES(K, V) .k_states = K, .v_states = V
static const cache_case trellis_cases[] = {
    {.name = "trellis", TUNED(4, 4, 128, 2, 4), STATES(16, 16), GROWS(0, 30, 700, 15, 9, 1, 1, 1), TYPES(F16, F32)},
    {.name = "trellis and exact", TUNED(3, 3, 128, 2, 4), STATES(8, 8), GROWS(0, 100, 150, 12, 20, 2, 1, 1), TYPES(F16, BF16),
     EXACTS(4, 30, 2), .has_mean = 1, .has_sinks = 1, .softcap = 5},
    {.name = "trellis, tree, split", TUNED(2, 2, 128, 1, 3), STATES(16, 16), GROWS(300, 0, 90, 12, 20, 17, 1, 0), TYPES(F16, F32),
     .has_tree = 1, .has_positions = 1, .split = 1},
    {.name = "trellis, taken back", TUNED(3, 3, 128, 2, 2), STATES(16, 16), GROWS(0, 63, 150, 18, 5, 1, 1, 1), TYPES(F16, F32),
     .takes_back = 20},
    {.name = "trellis, general", GENERAL(5, 3, 72, 80, 2, 3), STATES(64, 8), GROWS(0, 100, 150, 9, 20, 2, 1, 0), TYPES(BF16, F32),
     EXACTS(4, 30, 0), .has_mean = 1},
    {.name = "trellis of values, general", GENERAL(7, 5, 64, 64, 3, 3), STATES(0, 256), GROWS(3, 70, 150, 6, 9, 3, 1, 1),
     TYPES(F16, F16), .window = 60},
};
/* Codes of half a bit, beside each other and whole ones, with what else there is. */
#define HALVES(K, V) .k_half = K, .v_half = V
static const cache_case half_cases[] = {
    {.name = "halves", GENERAL(4, 3, 128, 128, 2, 4), HALVES(1, 1), GROWS(0, 30, 150, 9, 20, 2, 1, 1), TYPES(F16, F32)},
    {.name = "half keys, all else", GENERAL(7, 4, 96, 80, 2, 3), HALVES(1, 0), GROWS(30, 100, 150, 9, 20, 2, 1, 1), TYPES(BF16, F32),
     EXACTS(4, 30, 3), .has_mean = 1, .has_sinks = 1, .softcap = 5, .window = 60},
    {.name = "half values, tree", GENERAL(6, 1, 64, 48, 1, 9), HALVES(0, 1), GROWS(30, 0, 90, 9, 20, 11, 1, 0), TYPES(F16, F16),
     EXACTS(0, 30, 0), .has_tree = 1, .has_positions = 1, .has_sinks = 1},
    {.name = "trellis halves", GENERAL(5, 2, 128, 112, 2, 2), HALVES(1, 1), STATES(16, 8), GROWS(0, 63, 150, 9, 9, 1, 1, 1),
     TYPES(F16, BF16), EXACTS(6, 40, 11), .takes_back = 11, .has_mean = 1},
    {.name = "trellis half, dense values", GENERAL(3, 16, 160, 64, 1, 3), HALVES(1, 0), STATES(256, 0),
     GROWS(290, 310, 500, 6, 9, 5, 1, 0), TYPES(F16, F32), .has_positions = 1, .window = 70, .pages_gone = 3},
};

/* Values that are prefixes of keys. */
#define LATENT(K, DK, DV, HEADS, GROUP) GENERAL(K, 0, DK, DV, HEADS, GROUP), .is_latent = 1
static const cache_case latent_cases[] = {
    {.name = "latent", LATENT(8, 576, 512, 1, 16), GROWS(0, 30, 300, 9, 20, 2, 2, 1), TYPES(BF16, BF16)},
    {.name = "latent, exact", LATENT(4, 576, 512, 1, 9), GROWS(0, 100, 150, 9, 20, 2, 1, 1), TYPES(F16, F32), EXACTS(4, 30, 2),
     .has_sinks = 1, .softcap = 20},
    {.name = "latent, window", LATENT(5, 96, 64, 2, 3), GROWS(290, 310, 500, 9, 9, 5, 1, 0), TYPES(F16, F16), EXACTS(3, 20, 0),
     .window = 70, .has_positions = 1, .pages_gone = 3},
    {.name = "latent, tree", LATENT(4, 128, 128, 2, 4), GROWS(30, 0, 90, 9, 20, 11, 1, 0), TYPES(F16, F32), EXACTS(0, 9, 0),
     .has_tree = 1, .has_positions = 1},
    {.name = "latent, dense", LATENT(16, 576, 512, 1, 3), GROWS(16, 80, 17, 6, 20, 2, 2, 1), TYPES(BF16, F32), EXACTS(2, 9, 0),
     .has_sinks = 1},
    {.name = "latent, dense halves", LATENT(16, 64, 64, 3, 11), GROWS(0, 30, 150, 9, 20, 2, 1, 1), TYPES(F16, F16)},
    {.name = "latent, trellis", LATENT(3, 96, 64, 2, 12), .k_states = 16, GROWS(3, 70, 150, 9, 9, 3, 1, 1), TYPES(F16, F32),
     EXACTS(70, 16, 0), .window = 60},
    {.name = "latent, taken back", LATENT(6, 64, 40, 1, 2), GROWS(0, 63, 150, 12, 5, 1, 1, 1), TYPES(BF16, F32), EXACTS(6, 40, 11),
     .takes_back = 11},
};
/* clang-format on */

static void exact_tokens(void **state) {
    (void)state;
    run_cases(exact_cases, sizeof exact_cases / sizeof *exact_cases);
}
static void tokens_taken_back(void **state) {
    (void)state;
    run_cases(cases_taken_back, sizeof cases_taken_back / sizeof *cases_taken_back);
}
static void positions_and_trees(void **state) {
    (void)state;
    run_cases(asked_cases, sizeof asked_cases / sizeof *asked_cases);
}

static void dense_sides(void **state) {
    (void)state;
    run_cases(dense_cases, sizeof dense_cases / sizeof *dense_cases);
}

static void centered_keys(void **state) {
    (void)state;
    run_cases(centered_cases, sizeof centered_cases / sizeof *centered_cases);
}

static void trellis_codes(void **state) {
    (void)state;
    run_cases(trellis_cases, sizeof trellis_cases / sizeof *trellis_cases);
}

static void half_bits(void **state) {
    (void)state;
    run_cases(half_cases, sizeof half_cases / sizeof *half_cases);
}

static void latent_layers(void **state) {
    (void)state;
    run_cases(latent_cases, sizeof latent_cases / sizeof *latent_cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_tokens), cmocka_unit_test(tokens_taken_back), cmocka_unit_test(positions_and_trees),
        cmocka_unit_test(dense_sides),  cmocka_unit_test(centered_keys),     cmocka_unit_test(trellis_codes),
        cmocka_unit_test(half_bits),    cmocka_unit_test(latent_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
