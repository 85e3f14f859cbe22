/* Attention on pages against the oracle, every backend, over all pairs of choices: each two values of two different
 * factors below meet in some case; then choices at random. All follows from the seed alone. */
#include "attend_case.h"
#include "oracle.h"

#include <math.h>

enum { seed = 20260, n_candidates = 24, n_more = 300 };

enum factor {
    K_BITS,
    V_BITS,
    DIMS,
    GROUP,
    QUERIES,
    TOKENS,
    WINDOW,
    EXACT,
    MASK,
    RANGE,
    SOFTCAP,
    SINKS,
    PEAK,
    K_ROTATION,
    V_ROTATION,
    PAGE_TOKENS,
    KV_HEADS,
    Q_DTYPE,
    DENSE,
    SCALES,
    HALF_BITS,
    n_factors
};
enum { most_levels = 21 };

static const int levels[n_factors] = {
    [K_BITS] = 9,     [V_BITS] = 9,      [DIMS] = 21,    [GROUP] = 8,   [QUERIES] = 4, [TOKENS] = 4, [WINDOW] = 5,
    [EXACT] = 7,      [MASK] = 4,        [RANGE] = 2,    [SOFTCAP] = 2, [SINKS] = 2,   [PEAK] = 3,   [K_ROTATION] = 3,
    [V_ROTATION] = 3, [PAGE_TOKENS] = 3, [KV_HEADS] = 3, [Q_DTYPE] = 3, [DENSE] = 2,   [SCALES] = 2, [HALF_BITS] = 3};

/* ---- All pairs ---- */

typedef struct pairs {
    uint8_t is_met[n_factors][most_levels][n_factors][most_levels];
    int n_left;
} pairs;

static int count_new(const pairs *p, const int *choice) {
    int n = 0;
    for (int a = 0; a < n_factors; a++) {
        for (int b = a + 1; b < n_factors; b++) {
            n += !p->is_met[a][choice[a]][b][choice[b]];
        }
    }
    return n;
}

static void meet(pairs *p, const int *choice) {
    p->n_left -= count_new(p, choice);
    for (int a = 0; a < n_factors; a++) {
        for (int b = a + 1; b < n_factors; b++) {
            p->is_met[a][choice[a]][b][choice[b]] = 1;
        }
    }
}

static void draw_choice(oracle_random *random, int *choice) {
    for (int f = 0; f < n_factors; f++) {
        choice[f] = (int)(oracle_next(random) % (uint64_t)levels[f]);
    }
}

/* The first pair that has not met, and the rest at random: the best of some candidates. */
static void choose(const pairs *p, oracle_random *random, int *best) {
    int fixed[4] = {0}, most = -1;
    for (int at = 0, found = 0; at < n_factors * n_factors && !found; at++) {
        int a = at / n_factors, b = at % n_factors;
        for (int k = 0; a < b && k < levels[a] * levels[b] && !found; k++) {
            if (!p->is_met[a][k / levels[b]][b][k % levels[b]]) {
                found = 1;
                memcpy(fixed, (int[]){a, k / levels[b], b, k % levels[b]}, sizeof fixed);
            }
        }
    }
    for (int k = 0; k < n_candidates; k++) {
        int choice[n_factors];
        draw_choice(random, choice);
        choice[fixed[0]] = fixed[1];
        choice[fixed[2]] = fixed[3];
        if (count_new(p, choice) > most) {
            most = count_new(p, choice);
            memcpy(best, choice, sizeof choice);
        }
    }
}

/* ---- From choices to a case ---- */

static void set_dims(attend_shape *s, const int *choice) {
    static const int dims[][3] = {
        {32, 32, 0},   {64, 64, 0},   {80, 80, 0},   {96, 96, 0},   {128, 128, 0}, {192, 128, 0}, {256, 256, 0},
        {512, 512, 0}, {576, 512, 1}, {8, 24, 0},    {40, 72, 0},   {64, 32, 1},   {48, 56, 0},   {112, 112, 0},
        {144, 160, 0}, {192, 192, 0}, {224, 288, 0}, {320, 384, 0}, {448, 576, 0}, {104, 88, 0},  {136, 520, 0},
    };
    static const int groups[] = {1, 2, 3, 4, 5, 7, 8, 16}, queries[] = {1, 2, 7, 64}, pages[] = {16, 32, 64};
    s->k_dim = dims[choice[DIMS]][0];
    s->v_dim = dims[choice[DIMS]][1];
    s->is_latent = dims[choice[DIMS]][2];
    s->group = groups[choice[GROUP]];
    s->n_q = queries[choice[QUERIES]];
    s->n_kv_heads = s->n_q * s->group > 64 ? 1 : choice[KV_HEADS] + 1;
    s->page_tokens = pages[choice[PAGE_TOKENS]];
    s->k_bits = choice[K_BITS];
    s->v_bits = choice[V_BITS];
    s->k_rotation =
        kvb_head_dim_supported(s->k_dim, choice[K_ROTATION]) ? (kvb_rotation)choice[K_ROTATION] : KVB_ROTATION_NONE;
    s->v_rotation =
        kvb_head_dim_supported(s->v_dim, choice[V_ROTATION]) ? (kvb_rotation)choice[V_ROTATION] : KVB_ROTATION_NONE;
    s->has_float_scales = choice[SCALES];
    s->has_half_bits = choice[HALF_BITS] == 1;
    s->dense = choice[DENSE] ? KVB_BF16 : KVB_F16;
    s->q_dtype = (kvb_dtype)choice[Q_DTYPE];
}

/* Long only as far as the work stays small: `rows` of queries times tokens times dims. */
static void set_tokens(attend_shape *s, const int *choice, oracle_random *random) {
    static const int least[] = {1, 65, 520, 1030}, most[] = {40, 300, 700, 1100};
    int kind = choice[TOKENS];
    int64_t rows = (int64_t)s->n_q * s->group * s->n_kv_heads, cost = rows * (s->k_dim + s->v_dim);
    while (kind > 1 && cost * least[kind] > 4000000) {
        kind--;
    }
    int range = cost * most[kind] > 8000000 ? 15 : most[kind] - least[kind];
    s->n_tokens = least[kind] + (int)(oracle_next(random) % (uint64_t)range);
    s->n_tokens += s->n_tokens % 16 == 0; /* no multiple of a page */
    if (choice[MASK] >= 2 && s->n_tokens < s->n_q) {
        s->n_tokens = s->n_q + 1;
    }
}

static int least(int a, int b) {
    return a < b ? a : b;
}

static void set_sight(attend_shape *s, const int *choice, oracle_random *random) {
    int windows[] = {0, 5, s->n_tokens / 2 + 1, s->page_tokens * 2, s->n_tokens + 100}, n = s->n_tokens;
    s->window = windows[choice[WINDOW]];
    int first = least(n, 1 + (int)(oracle_next(random) % 40)), last = least(n, 1 + (int)(oracle_next(random) % 40));
    s->exact_first = choice[EXACT] == 1 || choice[EXACT] >= 4 ? first : 0;
    s->exact_last = choice[EXACT] >= 2 ? last : 0;
    s->slots = choice[EXACT] == 3 || choice[EXACT] == 5 ? last + (int)(oracle_next(random) % 3) : 0;
    if (choice[EXACT] == 6) {
        s->exact_first = n / 3;
        s->exact_last = n - n / 3;
    }
    s->has_positions = choice[MASK] & 1;
    s->has_tree = choice[MASK] >= 2;
    if (choice[RANGE]) {
        s->kv_begin = (int64_t)(oracle_next(random) % (uint64_t)n);
        s->kv_end = n - (int64_t)(oracle_next(random) % (uint64_t)(n - s->kv_begin));
    }
    s->softcap = choice[SOFTCAP] ? 3.0f : 0.0f;
    s->has_sinks = choice[SINKS];
    s->peak = (float[]){1.0f, 0.02f, 6.0f}[choice[PEAK]];
    s->has_no_pages_unseen = (int)(oracle_next(random) & 1);
}

/* By the case's number, whatever else is chosen; states count where the bits allow a trellis, means where keys are
 * packed. */
static void set_states(attend_shape *s) {
    static const int states[] = {0, 16, 0, 8, 64, 256};
    s->k_states = states[s->seed % 6];
    s->v_states = states[s->seed / 6 % 6];
    s->has_mean = s->seed / 36 % 3 == 0;
}

static void check_case(attend_case *c, const kvb_backend *backend, attend_precision precision, void *context) {
    (void)context;
    attend_case_check(c, backend, precision);
}

/* Runs a case with every backend and precision, and hands each to `look`. */
static void run_case(const test_backends *all, const int *choice, uint64_t case_seed, oracle_random *random,
                     void look(attend_case *, const kvb_backend *, attend_precision, void *), void *context) {
    attend_shape shape = {.seed = case_seed};
    set_dims(&shape, choice);
    set_tokens(&shape, choice, random);
    set_sight(&shape, choice, random);
    set_states(&shape);
    attend_case c;
    attend_case_create(&c, &shape, NULL);
    for (size_t b = 0; b < all->n; b++) {
        const attend_precision precisions[] = {ATTEND_PRECISE, ATTEND_FAST};
        for (size_t p = 0; p < 2; p++) {
            c.item.precision = (kvb_precision)precisions[p];
            attend_cases_run(&c, 1, all->list[b], NULL);
            look(&c, all->list[b], precisions[p], context);
        }
    }
    attend_case_destroy(&c);
}

static void every_pair_of_choices_agrees_with_the_oracle(void **state) {
    (void)state;
    test_backends all = open_backends();
    oracle_random random = {seed};
    pairs *p = calloc(1, sizeof *p);
    assert_non_null(p);
    for (int a = 0; a < n_factors; a++) {
        for (int b = a + 1; b < n_factors; b++) {
            p->n_left += levels[a] * levels[b];
        }
    }
    int n_pairs = p->n_left, n_cases = 0;
    while (p->n_left > 0) {
        int choice[n_factors];
        choose(p, &random, choice);
        meet(p, choice);
        run_case(&all, choice, (uint64_t)seed + (uint64_t)n_cases++, &random, check_case, NULL);
    }
    print_message("%d pairs in %d cases\n", n_pairs, n_cases);
    free(p);
}

static void choices_at_random_agree_with_the_oracle(void **state) {
    (void)state;
    test_backends all = open_backends();
    oracle_random random = {seed + 1};
    for (int k = 0; k < n_more; k++) {
        int choice[n_factors];
        draw_choice(&random, choice);
        run_case(&all, choice, 1000000 + (uint64_t)k, &random, check_case, NULL);
    }
}

/* ---- How far, instead of whether: KVB_ORACLE_SCAN=N prints the largest errors of N random cases ---- */

typedef struct largest {
    const kvb_backend *backend;
    attend_precision precision;
    attend_errors errors;
} largest;

static void note_case(attend_case *c, const kvb_backend *backend, attend_precision precision, void *context) {
    largest *at = context;
    while (at->backend && (at->backend != backend || at->precision != precision)) {
        at++;
    }
    const attend_errors e = attend_case_errors(c);
    at->backend = backend;
    at->precision = precision;
    at->errors.item = fmax(at->errors.item, e.item);
    at->errors.row = fmax(at->errors.row, e.row);
    at->errors.lse = fmax(at->errors.lse, e.lse);
}

static void scan(long n) {
    test_backends all = open_backends();
    oracle_random random = {seed + 1};
    largest found[2 * sizeof all.list / sizeof all.list[0] + 1] = {0};
    for (long k = 0; k < n; k++) {
        int choice[n_factors];
        draw_choice(&random, choice);
        run_case(&all, choice, 1000000 + (uint64_t)k, &random, note_case, found);
    }
    for (const largest *at = found; at->backend; at++) {
        printf("%-12s %-8s item %.2g row %.2g lse %.2g\n", kvb_backend_name(at->backend),
               at->precision == ATTEND_FAST ? "fast" : "precise", at->errors.item, at->errors.row, at->errors.lse);
    }
}

int main(void) {
    const char *n = getenv("KVB_ORACLE_SCAN");
    if (n) {
        scan(atol(n));
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_choices_agrees_with_the_oracle),
        cmocka_unit_test(choices_at_random_agree_with_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
