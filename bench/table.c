/* The table for people. */
#include <stdio.h>
#include <string.h>

#include "text.h"

static void print_machine(kvb_bench_text *text, const kvb_bench_result *result) {
    const kvb_bench_machine *m = &result->machine;
    kvb_bench_print(text, "kvbits %s, %s, %s\n", kvb_version(), m->compiler, m->system);
    kvb_bench_print(text, "%d x %s (family %d, model %d), caches %zu KiB, %zu KiB, %zu MiB; load before the run %.1f\n",
                    m->processors, m->processor, m->family, m->model, m->caches[0] >> 10, m->caches[1] >> 10,
                    m->caches[2] >> 20, m->load);
    if (result->others > 0.15)
        kvb_bench_print(text, "NOT IDLE: other processes took %.0f %% of the processors; do not trust these figures.\n",
                        100.0 * result->others);
    if (result->peers[0])
        kvb_bench_print(text, "peers: %s\n", result->peers);
    if (result->peers_missing)
        kvb_bench_print(text, "INCOMPLETE: the peers are missing (%s).\n", result->peers_missing);
    kvb_bench_print(text, "One run of %.0f s, all rows interleaved; median, quartiles, %s.\n", result->seconds,
                    "and the floor as percent of the median");
}

/* A heading wherever the kind of work or its shape changes. */
static void print_heading(kvb_bench_text *text, const kvb_bench_row *row, const kvb_bench_row *before) {
    const int ceiling = row->floor == 0.0;
    if (before && ceiling == (before->floor == 0.0) && (ceiling || strcmp(row->unit, before->unit) == 0) &&
        row->shape == before->shape)
        return;
    kvb_bench_print(text, "\n%-17s%4s%7s  %-28s%-6s%4s%10s  %-19s%9s%7s  %s\n", ceiling ? "ceiling" : "work",
                    ceiling ? "" : "dim", ceiling ? "" : "kv_len", ceiling ? "" : "K/V, kernel",
                    ceiling ? "level" : "from", "thr", "median", "quartiles", ceiling ? "" : "floor",
                    ceiling ? "" : "%", "unit");
}

static void print_row(kvb_bench_text *text, const kvb_bench_row *row) {
    char subject[64], work[32], dim[16] = "", length[16] = "", quartiles[48], floor[32] = "", share[16] = "";
    const double low = kvb_bench_row_value(row, row->rate ? row->high_quartile : row->low_quartile);
    const double high = kvb_bench_row_value(row, row->rate ? row->low_quartile : row->high_quartile);
    kvb_bench_row_subject(row, subject, sizeof subject);
    if (row->shape)
        snprintf(work, sizeof work, "%s %c%s%s", row->work, row->shape, row->mask ? " " : "",
                 row->mask ? row->mask : "");
    else
        snprintf(work, sizeof work, "%s", row->work);
    if (row->head_dim)
        snprintf(dim, sizeof dim, "%d", row->head_dim);
    if (row->kv_len)
        snprintf(length, sizeof length, "%d", row->kv_len);
    snprintf(quartiles, sizeof quartiles, "[%.4g, %.4g]", low, high);
    if (row->floor > 0.0) {
        snprintf(floor, sizeof floor, "%.4g", kvb_bench_row_value(row, row->floor));
        snprintf(share, sizeof share, "%.0f%c", 100.0 * row->floor / row->median,
                 row->floor_bytes > row->floor_slots ? 'b' : 'o');
    }
    kvb_bench_print(text, "%-17s%4s%7s  %-28s%-6s%4d%10.4g  %-19s%9s%7s  %s\n", work, dim, length,
                    row->floor > 0.0 || row->backend ? subject : "", row->temperature ? row->temperature : "",
                    row->threads, kvb_bench_row_value(row, row->median), quartiles, floor, share, row->unit);
}

/* A cold row whose pages came back sooner than promised may have found some of them in a cache. */
static void print_reuse(kvb_bench_text *text, const kvb_bench_result *result) {
    int n = 0;
    const kvb_bench_row *soonest = NULL;
    for (size_t i = 0; i < result->n_rows; i++) {
        const kvb_bench_row *row = &result->rows[i];
        if (row->reuse > 0.0 && row->reuse < result->memory) {
            soonest = n++ && soonest->reuse <= row->reuse ? soonest : row;
        }
    }
    if (n) {
        char subject[64];
        kvb_bench_row_subject(soonest, subject, sizeof subject);
        kvb_bench_print(text,
                        "%d cold rows used a page again after less than %.0f MB, the soonest (%s %c, %d tokens, %s) "
                        "after %.0f MB; a larger --memory helps.\n",
                        n, result->memory * 1e-6, soonest->work, soonest->shape, soonest->kv_len, subject,
                        soonest->reuse * 1e-6);
    }
}

kvb_status kvb_bench_table(const kvb_bench_result *result, char **out, kvb_error *error) {
    kvb_bench_text text = {0};
    if (result->gpu.backend[0]) {
        kvb_bench_print_gpu(&text, result);
        return kvb_bench_text_take(&text, out, error);
    }
    print_machine(&text, result);
    for (size_t i = 0; i < result->n_rows; i++) {
        print_heading(&text, &result->rows[i], i ? &result->rows[i - 1] : NULL);
        print_row(&text, &result->rows[i]);
    }
    kvb_bench_print(&text,
                    "\n%%: of the floor, which is set by bytes (b) or by operations (o); docs/benchmarking.md.\n");
    if (result->prefill_queries)
        kvb_bench_print(&text, "prefill: %d queries at the end of kv_len tokens.\n", result->prefill_queries);
    print_reuse(&text, result);
    return kvb_bench_text_take(&text, out, error);
}
