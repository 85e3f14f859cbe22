/* Goals against what was measured. */
#include <math.h>
#include <string.h>

#include "goals.h"
#include "text.h"

/* The one row that a selector means; NULL when none was measured, and `several` when it means more than one. */
static const kvb_bench_row *find(const kvb_bench_result *result, const json_t *selector, int *several) {
    const kvb_bench_row *found = NULL;
    for (size_t i = 0; i < result->n_rows; i++)
        if (kvb_bench_selects(selector, &result->rows[i], result->backend)) {
            *several |= found != NULL;
            found = &result->rows[i];
        }
    return found;
}

static kvb_status judge(const kvb_bench_goal *goal, const kvb_bench_result *result, kvb_bench_text *text,
                        kvb_bench_verdict *verdict, kvb_error *error) {
    int several = 0;
    const kvb_bench_row *row = find(result, goal->row, &several);
    const kvb_bench_row *over = goal->over ? find(result, goal->over, &several) : NULL;
    if (several)
        return kvb_error_set(error, KVB_ERROR_FORMAT, "goal '%.80s' means more than one row; name more of its fields",
                             goal->name);
    if (row && goal->unit && strcmp(row->unit, goal->unit) != 0)
        return kvb_error_set(error, KVB_ERROR_FORMAT, "goal '%.80s' is in '%.40s', but the row in '%s'", goal->name,
                             goal->unit, row->unit);
    const char *limit_word = goal->at_least ? "at least" : "at most", *unit = goal->unit ? goal->unit : "times";
    if (!row || (goal->over && !over)) {
        verdict->not_measured++;
        kvb_bench_print(text, "NOT MEASURED  %-58s %10s  %s %.4g %s\n", goal->name, "-", limit_word, goal->limit, unit);
        return KVB_OK;
    }
    double value = kvb_bench_row_value(row, row->median);
    if (over)
        value /= kvb_bench_row_value(over, over->median);
    const int met = goal->at_least ? value >= goal->limit : value <= goal->limit;
    verdict->met += met;
    verdict->missed += !met;
    kvb_bench_print(text, "%-12s  %-58s %10.4g  %s %.4g %s\n", met ? "met" : "MISSED", goal->name, value, limit_word,
                    goal->limit, unit);
    return KVB_OK;
}

kvb_status kvb_bench_goals_check(const kvb_bench_goals *goals, const kvb_bench_result *result, char **out,
                                 kvb_bench_verdict *verdict, kvb_error *error) {
    kvb_bench_text text = {0};
    kvb_status status = KVB_OK;
    *out = NULL;
    *verdict = (kvb_bench_verdict){0};
    kvb_bench_print(&text, "\n%-12s  %-58s %10s  %s\n", "goal", "", "measured", "limit");
    for (size_t i = 0; i < goals->n && status == KVB_OK; i++)
        status = judge(&goals->goals[i], result, &text, verdict, error);
    kvb_bench_print(&text, "%d goals met, %d missed, %d not measured\n", verdict->met, verdict->missed,
                    verdict->not_measured);
    if (status != KVB_OK) {
        kvb_bench_text_drop(&text);
        return status;
    }
    return kvb_bench_text_take(&text, out, error);
}
