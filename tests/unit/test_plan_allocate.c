/* The allocation of bytes to widths against every combination there is, on small random instances. */
#include "check.h"

#include "plan_allocate.h"

enum { GROUPS = 5, OPTIONS = 5, CASES = 5000 };

static uint64_t state = 0xC25EED;

static int draw(int below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)below);
}

typedef struct outcome {
    int64_t bytes;
    double damage;
} outcome;

/* Option number `code`, read in base n_options, of every group. */
static outcome sum_of(const kvb_plan_option *options, int groups, int n_options, int code) {
    outcome sum = {0, 0};
    for (int g = 0; g < groups; g++, code /= n_options) {
        sum.bytes += options[g * n_options + code % n_options].bytes;
        sum.damage += options[g * n_options + code % n_options].damage;
    }
    return sum;
}

static void allocation_equals_brute_force(void **unused) {
    (void)unused;
    int feasible = 0, refused = 0;
    for (int c = 0; c < CASES; c++) {
        kvb_plan_option options[GROUPS * OPTIONS];
        int groups = 1 + draw(GROUPS), n = 1 + draw(OPTIONS), unit = 1 + draw(8), all = 1, found = 0, chosen[GROUPS];
        for (int i = 0; i < groups * n; i++)
            options[i] = (kvb_plan_option){(int64_t)unit * draw(12) + 3, draw(1000)};
        int64_t budget = draw(groups * unit * 12 + 1);
        outcome best = {0, 0}, got = {0, 0};
        for (int g = 0; g < groups; g++)
            all *= n;
        for (int code = 0; code < all; code++) {
            outcome sum = sum_of(options, groups, n, code);
            if (sum.bytes > budget)
                continue;
            if (found && (sum.damage > best.damage || (sum.damage == best.damage && sum.bytes >= best.bytes)))
                continue;
            best = sum;
            found = 1;
        }
        kvb_status status = kvb_plan_allocate(options, groups, n, budget, chosen);
        assert_int_equal(status, found ? KVB_OK : KVB_ERROR_ARGUMENT);
        refused += !found;
        if (!found)
            continue;
        feasible++;
        for (int g = 0; g < groups; g++) {
            got.bytes += options[g * n + chosen[g]].bytes;
            got.damage += options[g * n + chosen[g]].damage;
        }
        assert_true(got.damage == best.damage);
        assert_true(got.bytes == best.bytes);
    }
    assert_true(feasible > 1000 && refused > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(allocation_equals_brute_force)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
