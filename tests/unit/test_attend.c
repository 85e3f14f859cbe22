/* Attention on variants against double precision, with every switch: softcap, skipping, the online order. */
#include "backends.h"

#include <math.h>

#include "attend.h"

enum { N_Q = 2, N_K = 3, N_V = 2, N_COMBOS = 5, LEN = 77, DIM = 24 };

static const kvb_combo combos[N_COMBOS] = {{0, 0}, {1, 1}, {2, 1}, {1, 0}, {0, 1}};
static float raw_scores[N_Q][N_K][LEN], values[N_V][LEN][DIM];

static void fill(double spread) {
    kvb_rng rng = kvb_rng_seed(99);
    kvb_rng_normals(&rng, &raw_scores[0][0][0], N_Q * N_K * LEN);
    kvb_rng_normals(&rng, &values[0][0][0], N_V * LEN * DIM);
    for (int q = 0; q < N_Q; q++)
        for (int k = 0; k < N_K; k++)
            for (int j = 0; j < LEN; j++) /* variants stay near the exact scores */
                raw_scores[q][k][j] = (float)(spread * raw_scores[q][0][j] + (k ? 0.3 * raw_scores[q][k][j] : 0.0));
}

typedef struct oracle {
    double score[LEN], weight[LEN], lse;
} oracle;

static oracle softmax(const float *scores, double scale, double softcap) {
    oracle o;
    double max = -INFINITY, sum = 0.0;
    for (int j = 0; j < LEN; j++) {
        o.score[j] = softcap > 0.0 ? softcap * tanh(scores[j] * scale / softcap) : scores[j] * scale;
        max = fmax(max, o.score[j]);
    }
    for (int j = 0; j < LEN; j++)
        sum += exp(o.score[j] - max);
    o.lse = max + log(sum);
    for (int j = 0; j < LEN; j++)
        o.weight[j] = exp(o.score[j] - o.lse);
    return o;
}

static double output_of(const oracle *o, int v, int c) {
    double sum = 0.0;
    for (int j = 0; j < LEN; j++)
        sum += o->weight[j] * values[v][j][c];
    return sum;
}

/* The i-th largest score's position. */
static int ranked(const oracle *o, int rank) {
    for (int j = 0; j < LEN; j++) {
        int above = 0;
        for (int i = 0; i < LEN; i++)
            above += o->score[i] > o->score[j] || (o->score[i] == o->score[j] && i < j);
        if (above == rank)
            return j;
    }
    return -1;
}

static void check_logits(const kvb_logit_sums *got, double scale, double softcap) {
    for (int k = 0; k < N_K; k++) {
        double squared = 0.0, kl = 0.0, top1 = 0.0, top5 = 0.0;
        for (int q = 0; q < N_Q; q++) {
            oracle exact = softmax(raw_scores[q][0], scale, softcap), other = softmax(raw_scores[q][k], scale, softcap);
            for (int j = 0; j < LEN; j++) {
                squared += (exact.score[j] - other.score[j]) * (exact.score[j] - other.score[j]);
                kl += exact.weight[j] * ((exact.score[j] - exact.lse) - (other.score[j] - other.lse));
            }
            top1 += ranked(&exact, 0) != ranked(&other, 0);
            for (int i = 0; i < 5; i++) {
                int kept = 0;
                for (int j = 0; j < 5; j++)
                    kept |= ranked(&exact, i) == ranked(&other, j);
                top5 += !kept / 5.0;
            }
        }
        assert_float_equal(got[k].squared, squared, 1e-4 * squared + 1e-9);
        assert_float_equal(got[k].kl, kl, 2e-5 * (1.0 + kl));
        assert_float_equal(got[k].top1, top1, 1e-12);
        assert_float_equal(got[k].top5, top5, 1e-12);
        assert_float_equal(got[k].count, N_Q * LEN, 0.0);
        assert_float_equal(got[k].queries, N_Q, 0.0);
    }
}

static void check_outputs(const kvb_output_sums *got, double scale, double softcap) {
    for (int i = 0; i < N_COMBOS; i++) {
        double difference = 0.0, reference = 0.0, dot = 0.0, output = 0.0;
        for (int q = 0; q < N_Q; q++) {
            oracle exact = softmax(raw_scores[q][0], scale, softcap);
            oracle other = softmax(raw_scores[q][combos[i].k], scale, softcap);
            for (int c = 0; c < DIM; c++) {
                double r = output_of(&exact, 0, c), o = output_of(&other, combos[i].v, c);
                difference += (o - r) * (o - r);
                reference += r * r;
                dot += o * r;
                output += o * o;
            }
        }
        assert_float_equal(got[i].difference, difference, 1e-5 * difference + 1e-9);
        assert_float_equal(got[i].reference, reference, 1e-5 * reference);
        assert_float_equal(got[i].dot, dot, 1e-5 * reference);
        assert_float_equal(got[i].output, output, 1e-5 * output);
    }
}

static size_t run(const kvb_arithmetic *arithmetic, double scale, double softcap, int skip, int online) {
    kvb_attend_shape shape = {arithmetic,     N_Q,  N_K,   N_COMBOS, combos, LEN + 3, DIM, (float)scale,
                              (float)softcap, skip, online};
    kvb_attend_variants attend;
    kvb_logit_sums logits[N_K] = {{0}};
    kvb_output_sums errors[N_COMBOS] = {{0}};
    void *memory = malloc(kvb_attend_bytes(&shape));
    size_t added = 0;
    kvb_attend_init(&attend, &shape, memory);
    for (int q = 0; q < N_Q; q++)
        for (int k = 0; k < N_K; k++)
            memcpy(attend.scores + (size_t)(q * N_K + k) * shape.max_len, raw_scores[q][k], LEN * sizeof(float));
    kvb_attend_softmax(&attend, LEN, logits);
    for (size_t j = 0; j < LEN; j++) {
        const float *at[N_V] = {values[0][j], values[1][j]};
        if (!attend.needed[j])
            continue;
        kvb_attend_add(&attend, &j, 1, at);
        added++;
    }
    kvb_attend_finish(&attend, errors);
    check_logits(logits, scale, softcap);
    check_outputs(errors, scale, softcap);
    free(memory);
    return added;
}

static void every_order_agrees_with_double_precision(void **state) {
    (void)state;
    test_backends backends = open_backends();
    for (size_t b = 0; b <= backends.n; b++) {
        kvb_arithmetic arithmetic = {b < backends.n ? backends.list[b] : NULL, kvb_vec_best()};
        for (int way = 0; way < 4; way++) {
            fill(2.0);
            run(&arithmetic, 1.0, 0.0, way & 1, way >> 1);
            run(&arithmetic, 0.25, 0.0, way & 1, way >> 1);
            run(&arithmetic, 1.0, 3.0, way & 1, way >> 1);
        }
    }
}

static void negligible_values_are_left_out_and_others_not(void **state) {
    (void)state;
    kvb_arithmetic arithmetic;
    kvb_error error;
    assert_ok(kvb_arithmetic_open(KVB_SUMS_LANES, &arithmetic, &error), error);
    fill(2.0);
    assert_int_equal(run(&arithmetic, 1.0, 0.0, 1, 0), LEN);
    fill(30.0); /* logits spread over 150 units: most weights are below 2^-30 / len */
    size_t needed = run(&arithmetic, 1.0, 0.0, 1, 0);
    assert_true(needed > 0 && needed < LEN / 2);
    assert_int_equal(run(&arithmetic, 1.0, 0.0, 0, 0), LEN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order_agrees_with_double_precision),
        cmocka_unit_test(negligible_values_are_left_out_and_others_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
