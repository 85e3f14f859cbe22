/* What holds for a call of kvb_attend as a whole, on every backend: batches, workers, splits, memory, odd values. */
#include "attend_case.h"
#include "guard.h"
#include "threads.h"

#include <math.h>

/* Shapes that differ in all that a batch may mix. */
static const attend_shape shapes[] = {
    {.k_bits = 4,
     .v_bits = 4,
     .k_rotation = 2,
     .v_rotation = 2,
     .k_dim = 64,
     .v_dim = 64,
     .group = 3,
     .n_tokens = 1337},
    {.k_bits = 6, .v_bits = 3, .k_dim = 128, .v_dim = 128, .n_kv_heads = 2, .group = 4, .n_tokens = 70, .n_q = 7},
    {.k_dim = 80, .v_dim = 40, .n_kv_heads = 3, .n_tokens = 200, .n_q = 5, .window = 33, .has_sinks = 1},
    {.k_bits = 8,
     .v_bits = 5,
     .k_rotation = 1,
     .v_rotation = 1,
     .k_dim = 96,
     .v_dim = 64,
     .n_tokens = 530,
     .exact_first = 3,
     .exact_last = 20,
     .slots = 21,
     .softcap = 5.0f,
     .peak = 4.0f},
    {.k_bits = 7, .is_latent = 1, .k_dim = 576, .v_dim = 512, .group = 16, .n_tokens = 45, .has_tree = 1, .n_q = 4},
    {.k_bits = 2, .v_bits = 1, .k_dim = 72, .v_dim = 8, .group = 70, .n_tokens = 300, .n_q = 3, .dense = KVB_BF16},
    {.k_bits = 5,
     .v_bits = 7,
     .k_rotation = 2,
     .v_rotation = 2,
     .k_dim = 192,
     .v_dim = 128,
     .group = 16,
     .n_q = 64,
     .n_tokens = 777,
     .page_tokens = 64},
    {.k_bits = 3,
     .v_bits = 4,
     .k_rotation = 2,
     .v_rotation = 2,
     .k_dim = 128,
     .v_dim = 128,
     .first_token = 1048576,
     .n_tokens = 100,
     .window = 77,
     .n_q = 2},
    {.k_bits = 5,
     .v_bits = 3,
     .k_states = 16,
     .v_states = 64,
     .k_rotation = 2,
     .v_rotation = 2,
     .k_dim = 128,
     .v_dim = 64,
     .group = 4,
     .n_tokens = 555,
     .exact_first = 4,
     .exact_last = 9,
     .slots = 10},
};
enum { n_shapes = sizeof shapes / sizeof shapes[0] };

static void create_all(attend_case cases[n_shapes], kvb_precision precision, const attend_memory *memory) {
    for (int k = 0; k < n_shapes; k++) {
        attend_shape shape = shapes[k];
        shape.seed = 500 + (uint64_t)k;
        attend_case_create(&cases[k], &shape, memory);
        cases[k].item.precision = precision;
    }
}

static void destroy_all(attend_case cases[n_shapes]) {
    for (int k = 0; k < n_shapes; k++) {
        attend_case_destroy(&cases[k]);
    }
}

/* All outputs one after another; the caller frees them. */
static uint8_t *results(const attend_case *cases, size_t n, size_t *bytes) {
    size_t floats = 0, at = 0;
    for (size_t k = 0; k < n; k++) {
        floats += attend_case_rows(&cases[k]) * ((size_t)cases[k].shape.v_dim + 1);
    }
    uint8_t *all = malloc(floats * sizeof(float));
    assert_non_null(all);
    for (size_t k = 0; k < n; k++) {
        at += attend_case_result(&cases[k], (float *)(void *)(all + at));
    }
    *bytes = at;
    return all;
}

static void compare(const attend_case *cases, size_t n, const uint8_t *expected) {
    size_t bytes;
    uint8_t *got = results(cases, n, &bytes);
    assert_memory_equal(got, expected, bytes);
    free(got);
}

static void a_batch_gives_each_item_the_bits_that_it_gets_alone(void **state) {
    (void)state;
    test_backends all = open_backends();
    attend_case cases[n_shapes];
    for (kvb_precision p = KVB_PRECISION_FAST; p <= KVB_PRECISION_PRECISE; p++) {
        create_all(cases, p, NULL);
        for (size_t b = 0; b < all.n; b++) {
            attend_cases_run(cases, n_shapes, all.list[b], NULL);
            size_t bytes;
            uint8_t *batch = results(cases, n_shapes, &bytes);
            for (int k = 0; k < n_shapes; k++) {
                attend_case_check(&cases[k], all.list[b], (attend_precision)p);
                attend_cases_run(&cases[k], 1, all.list[b], NULL);
            }
            compare(cases, n_shapes, batch);
            free(batch);
        }
        destroy_all(cases);
    }
}

static void the_number_of_workers_changes_no_bit(void **state) {
    (void)state;
    static const int workers[] = {2, 3, 7};
    test_backends all = open_backends();
    attend_case cases[n_shapes];
    create_all(cases, KVB_PRECISION_FAST, NULL);
    for (size_t b = 0; b < all.n; b++) {
        attend_cases_run(cases, n_shapes, all.list[b], NULL);
        size_t bytes;
        uint8_t *alone = results(cases, n_shapes, &bytes);
        for (int w = 0; w < 3; w++) {
            kvb_threads *threads;
            kvb_error error;
            assert_ok(kvb_threads_create(workers[w], &threads, &error), error);
            kvb_parallel parallel = kvb_threads_parallel(threads);
            attend_cases_run(cases, n_shapes, all.list[b], &parallel);
            compare(cases, n_shapes, alone);
            kvb_threads_destroy(threads);
        }
        free(alone);
    }
    destroy_all(cases);
}

/* Attends to each range apart and merges what came out by the public calls. */
static void attend_in_ranges(attend_case *c, const kvb_backend *backend, const int64_t *ends, int n) {
    size_t rows = attend_case_rows(c), dim = (size_t)c->shape.v_dim, floats = rows * (dim + 1);
    float *part = malloc(floats * sizeof *part), *merged = malloc(floats * sizeof *merged);
    assert_true(part && merged);
    for (int k = 0; k < n; k++) {
        c->item.kv_begin = k > 0 ? ends[k - 1] : 0;
        c->item.kv_end = ends[k];
        attend_cases_run(c, 1, backend, NULL);
        attend_case_result(c, part);
        for (size_t r = 0; r < rows; r++) {
            float lse = part[rows * dim + r], *sums = merged + r * dim;
            kvb_softmax_state into = {merged[rows * dim + r], 1.0f, sums}, from = {lse, 1.0f, part + r * dim};
            if (k == 0 || into.max == -INFINITY) {
                kvb_softmax_begin(&into, sums, (int)dim);
            }
            if (lse != -INFINITY) {
                kvb_softmax_merge(&into, &from, (int)dim);
            }
            merged[rows * dim + r] = kvb_softmax_finish(&into, -INFINITY, sums, (int)dim);
        }
    }
    c->item.kv_begin = c->item.kv_end = 0;
    for (size_t r = 0; r < rows; r++) {
        size_t heads = (size_t)c->item.n_heads;
        memcpy(c->item.out + r / heads * c->item.out_token_stride + r % heads * c->item.out_head_stride,
               merged + r * dim, dim * sizeof *merged);
        c->item.lse[r] = merged[rows * dim + r];
    }
    free(part);
    free(merged);
}

static void ranges_of_tokens_merge_to_the_whole(void **state) {
    (void)state;
    test_backends all = open_backends();
    attend_shape shape = shapes[3];
    shape.n_q = 7;
    shape.group = 2;
    attend_case c;
    attend_case_create(&c, &shape, NULL);
    for (size_t b = 0; b < all.n; b++) {
        attend_in_ranges(&c, all.list[b], (const int64_t[]){2, 100, 511, 512, 529, 530}, 6);
        attend_case_check(&c, all.list[b], ATTEND_PRECISE);
    }
    attend_case_destroy(&c);
}

static void pages_come_in_any_order_through_a_block_table(void **state) {
    (void)state;
    enum { n_tokens = 300, page_tokens = 16, n_pages = (n_tokens + page_tokens - 1) / page_tokens };
    test_backends all = open_backends();
    attend_case c;
    attend_case_create(&c,
                       &(attend_shape){.seed = 77,
                                       .k_bits = 4,
                                       .v_bits = 6,
                                       .k_dim = 64,
                                       .v_dim = 64,
                                       .n_kv_heads = 2,
                                       .n_tokens = n_tokens,
                                       .window = 120},
                       NULL);
    size_t bytes = kvb_page_bytes(&c.format), stride = bytes + 64;
    uint8_t *pool = malloc(n_pages * stride);
    int32_t table[n_pages];
    const void *pages[n_pages];
    assert_non_null(pool);
    memset(pool, 0xff, n_pages * stride);
    for (int p = 0; p < n_pages; p++) {
        table[p] = p * 7 % n_pages; /* 19 pages */
        memcpy(pool + (size_t)table[p] * stride, c.view.pages[p], bytes);
    }
    for (int p = 0; p < (n_tokens - 120) / page_tokens; p++) {
        table[p] = -1; /* behind the window */
    }
    kvb_kv_view view = c.view;
    kvb_kv_view_from_table(&view, pages, pool, stride, table, n_pages);
    assert_null(pages[0]);
    c.item.kv = &view;
    for (size_t b = 0; b < all.n; b++) {
        attend_cases_run(&c, 1, all.list[b], NULL);
        attend_case_check(&c, all.list[b], ATTEND_PRECISE);
    }
    c.item.kv = &c.view;
    free(pool);
    attend_case_destroy(&c);
}

/* ---- Memory ---- */

static void *allocate_high(size_t bytes) {
    return guard_allocate_high(bytes, bytes % 8 ? bytes % 4 ? 2 : 4 : 8);
}

static void *allocate_low(size_t bytes) {
    return guard_allocate_low(bytes);
}

static void no_access_leaves_any_buffer(void **state) {
    (void)state;
    const attend_memory memories[] = {{allocate_high, guard_release_high}, {allocate_low, guard_release_low}};
    test_backends all = open_backends();
    attend_case cases[n_shapes];
    for (int m = 0; m < 2; m++) {
        for (kvb_precision p = KVB_PRECISION_FAST; p <= KVB_PRECISION_PRECISE; p++) {
            create_all(cases, p, &memories[m]);
            for (size_t b = 0; b < all.n; b++) {
                attend_cases_run(cases, n_shapes, all.list[b], NULL);
                for (int k = 0; k < n_shapes; k++) {
                    attend_cases_run(&cases[k], 1, all.list[b], NULL);
                    attend_case_check(&cases[k], all.list[b], (attend_precision)p);
                }
            }
            destroy_all(cases);
        }
    }
}

static void check_precisions(const test_backends *all, attend_case *c) {
    for (size_t b = 0; b < all->n; b++) {
        for (kvb_precision p = KVB_PRECISION_FAST; p <= KVB_PRECISION_PRECISE; p++) {
            c->item.precision = p;
            attend_cases_run(c, 1, all->list[b], NULL);
            attend_case_check(c, all->list[b], (attend_precision)p);
        }
    }
}

/* Every width and a head dim of every kind with its last page ending at the guard: look-ups of whole vectors must not
 * read on. */
static void no_width_reads_behind_its_page(void **state) {
    (void)state;
    static const int dims[] = {8, 24, 32, 40, 72, 80, 96, 112, 128, 160, 192, 224, 256, 320, 448, 576};
    const attend_memory memory = {allocate_high, guard_release_high};
    test_backends all = open_backends();
    for (int bits = 1; bits <= 8; bits++) {
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
            for (int n_q = 1; n_q <= 7; n_q += 2) { /* few rows and many, without a trellis and with */
                attend_shape shape = {.seed = (uint64_t)(bits * 1000 + dims[d]),
                                      .k_bits = bits,
                                      .v_bits = bits,
                                      .k_dim = dims[d],
                                      .v_dim = dims[d],
                                      .group = 2,
                                      .k_states = n_q & 2 ? 16 : 0,
                                      .v_states = n_q & 2 ? 256 : 0,
                                      .n_q = n_q,
                                      .n_tokens = 16};
                attend_case c;
                attend_case_create(&c, &shape, &memory);
                check_precisions(&all, &c);
                attend_case_destroy(&c);
            }
        }
    }
}

/* ---- Odd values ---- */

/* Runs the item and says what it is: 0 all finite, 1 all NaN, -1 anything else, per row. */
static void classify(attend_case *c, const kvb_backend *backend, int *kinds) {
    attend_cases_run(c, 1, backend, NULL);
    size_t rows = attend_case_rows(c), dim = (size_t)c->shape.v_dim;
    float *result = malloc(rows * (dim + 1) * sizeof *result);
    assert_non_null(result);
    attend_case_result(c, result);
    for (size_t r = 0; r < rows; r++) {
        size_t n_nan = 0, n_finite = 0;
        for (size_t i = 0; i < dim; i++) {
            n_nan += isnan(result[r * dim + i]) != 0;
            n_finite += isfinite(result[r * dim + i]) != 0;
        }
        kinds[r] = n_finite == dim ? 0 : n_nan == dim ? 1 : -1;
    }
    free(result);
}

static void a_row_of_nan_reaches_those_who_see_it_and_no_one_else(void **state) {
    (void)state;
    enum { most_q = 5, n_tokens = 40, bad = 37 }; /* seen by the queries at positions 37, 38, 39 */
    test_backends all = open_backends();
    for (int way = 0; way < 12; way++) { /* packed, dense, trellis; with many query rows and with few */
        int side = way % 2, kind = way / 2 % 3, n_q = way < 6 ? most_q : 4;
        attend_shape shape = {.seed = 91,
                              .k_bits = kind == 1 ? 0 : 4,
                              .v_bits = kind == 1 ? 0 : 4,
                              .k_states = kind == 2 ? 16 : 0,
                              .v_states = kind == 2 ? 16 : 0,
                              .k_dim = 64,
                              .v_dim = 64,
                              .group = 2,
                              .n_q = n_q,
                              .n_tokens = n_tokens};
        attend_case c;
        attend_case_create(&c, &shape, NULL);
        uint16_t *block = (uint16_t *)(uintptr_t)kvb_page_block(&c.format, c.view.pages[bad / 16], 0, side);
        block[kind == 1 ? bad % 16 * 64 + 5 : bad % 16] = 0x7e00; /* a value, or the scale of the row */
        for (size_t b = 0; b < all.n; b++) {
            for (kvb_precision p = KVB_PRECISION_FAST; p <= KVB_PRECISION_PRECISE; p++) {
                int kinds[most_q * 2];
                c.item.precision = p;
                classify(&c, all.list[b], kinds);
                for (int r = 0; r < n_q * 2; r++) {
                    int sees = n_tokens - n_q + r / 2 >= bad;
                    int one_value = kind == 1 && side == 1; /* a NaN in one coordinate of a value stays there */
                    assert_int_equal(kinds[r], sees ? one_value ? -1 : 1 : 0);
                }
            }
        }
        attend_case_destroy(&c);
    }
}

/* Queries of zeros see all keys alike; huge ones see one key; both must agree with the oracle. */
static void flat_and_one_hot_softmax_agree_with_the_oracle(void **state) {
    (void)state;
    static const float peaks[] = {1e-30f, 1e-12f, 12.0f, 3000.0f};
    test_backends all = open_backends();
    for (int k = 0; k < 4; k++) {
        attend_shape shape = {.seed = 60 + (uint64_t)k,
                              .k_bits = 4,
                              .v_bits = 3,
                              .k_rotation = 2,
                              .v_rotation = 2,
                              .k_dim = 128,
                              .v_dim = 128,
                              .group = 4,
                              .n_tokens = 1100,
                              .peak = peaks[k]};
        attend_case c;
        attend_case_create(&c, &shape, NULL);
        for (size_t b = 0; b < all.n; b++) {
            c.item.precision = KVB_PRECISION_PRECISE;
            attend_cases_run(&c, 1, all.list[b], NULL);
            if (k < 3) { /* a float cannot tell logits of thousands apart well enough for the bound */
                attend_case_check(&c, all.list[b], ATTEND_PRECISE);
            }
            int kinds[4];
            c.item.precision = KVB_PRECISION_FAST;
            classify(&c, all.list[b], kinds);
            assert_true(kinds[0] == 0 && kinds[1] == 0 && kinds[2] == 0 && kinds[3] == 0);
        }
        attend_case_destroy(&c);
    }
}

/* For few rows and for many, which backends read in different ways; of 72 and of 128 values likewise. */
static void codebooks_without_symmetry_agree_with_the_oracle(void **state) {
    (void)state;
    test_backends all = open_backends();
    for (int bits = 1; bits <= 8; bits++) {
        for (int n_q = 1; n_q <= 13; n_q += n_q == 3 ? 8 : 2) {
            int dims[2] = {bits % 2 ? 72 : 128, bits % 2 ? 128 : 72}, is_trellis = n_q == 3 || n_q == 13;
            attend_shape shape = {.seed = 90 + (uint64_t)bits,
                                  .k_bits = bits,
                                  .v_bits = 9 - bits,
                                  .is_uneven = 1,
                                  .k_states = is_trellis ? 16 : 0,
                                  .v_states = is_trellis ? 8 : 0,
                                  .k_dim = dims[n_q > 4],
                                  .v_dim = dims[n_q <= 4],
                                  .page_tokens = 64,
                                  .group = 2,
                                  .n_tokens = 61,
                                  .n_q = n_q};
            attend_case c;
            attend_case_create(&c, &shape, NULL);
            check_precisions(&all, &c);
            attend_case_destroy(&c);
        }
    }
}

/* Scales from the smallest subnormal half to the largest, in one tile. */
static void rows_of_all_magnitudes_agree_with_the_oracle(void **state) {
    (void)state;
    static const uint16_t scales[] = {0x0000, 0x0001, 0x03ff, 0x0400, 0x3c00, 0x8001, 0xbc00, 0x4400};
    test_backends all = open_backends();
    for (int n_q = 1; n_q <= 13; n_q += n_q == 3 ? 8 : 2) {
        attend_shape shape = {.seed = 71,
                              .k_states = n_q == 3 || n_q == 13 ? 16 : 0,
                              .v_states = n_q == 3 || n_q == 13 ? 16 : 0,
                              .k_bits = 5,
                              .v_bits = 5,
                              .k_dim = 64,
                              .v_dim = 64,
                              .group = 2,
                              .n_tokens = 61,
                              .n_q = n_q,
                              .peak = 0.5f};
        attend_case c;
        attend_case_create(&c, &shape, NULL);
        for (int token = 0; token < shape.n_tokens; token++) {
            for (int side = 0; side < 2; side++) {
                uint16_t *block = (uint16_t *)(uintptr_t)kvb_page_block(&c.format, c.view.pages[token / 16], 0, side);
                block[token % 16] = scales[(token * 5 + side * 3) % 8];
            }
        }
        attend_case_expect(&c);
        check_precisions(&all, &c);
        attend_case_destroy(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_gives_each_item_the_bits_that_it_gets_alone),
        cmocka_unit_test(the_number_of_workers_changes_no_bit),
        cmocka_unit_test(ranges_of_tokens_merge_to_the_whole),
        cmocka_unit_test(pages_come_in_any_order_through_a_block_table),
        cmocka_unit_test(no_access_leaves_any_buffer),
        cmocka_unit_test(no_width_reads_behind_its_page),
        cmocka_unit_test(a_row_of_nan_reaches_those_who_see_it_and_no_one_else),
        cmocka_unit_test(flat_and_one_hot_softmax_agree_with_the_oracle),
        cmocka_unit_test(codebooks_without_symmetry_agree_with_the_oracle),
        cmocka_unit_test(rows_of_all_magnitudes_agree_with_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
