/* The table of a GPU: microseconds, and percent of a ceiling. */
#include <stdio.h>
#include <string.h>

#include "text.h"

static void print_machine(kvb_bench_text *text, const kvb_bench_result *result) {
    const kvb_bench_gpu *gpu = &result->gpu;
    kvb_bench_print(text, "kvbits %s, %s, %s\n", kvb_version(), gpu->compiler, result->machine.system);
    kvb_bench_print(text, "%s: %s, compute capability %d.%d, %d multiprocessors, %.0f GiB; driver %s, runtime %s\n",
                    gpu->backend, gpu->name, gpu->major, gpu->minor, gpu->multiprocessors, gpu->memory / (1 << 30),
                    gpu->driver, gpu->runtime);
    kvb_bench_print(text,
                    "One run of %.0f s, all rows interleaved, the L2 full of foreign lines before each launch; "
                    "medians and quartiles.\n\n",
                    result->seconds);
}

static void print_ceilings(kvb_bench_text *text, const kvb_bench_result *result) {
    kvb_bench_print(text, "%-8s%10s  %s\n", "ceiling", "median", "quartiles");
    for (size_t i = 0; i < result->n_rows; i++) {
        const kvb_bench_row *row = &result->rows[i];
        if (row->rate)
            kvb_bench_print(text, "%-8s%10.4g  [%.4g, %.4g] %s\n", row->work, kvb_bench_row_value(row, row->median),
                            kvb_bench_row_value(row, row->high_quartile), kvb_bench_row_value(row, row->low_quartile),
                            row->unit);
    }
}

/* Of which ceiling a row's percents are. */
static char ceiling_of(const kvb_bench_row *row) {
    return row->floor_slots > row->floor_bytes ? 'm' : row->copies ? 'c' : 'r';
}

static void print_row(kvb_bench_text *text, const kvb_bench_row *row) {
    char codes[24], quartiles[32], rate[16] = "", share[16] = "";
    snprintf(codes, sizeof codes, "%s/%s", row->k, row->v);
    snprintf(quartiles, sizeof quartiles, "[%.1f, %.1f]", row->low_quartile * 1e-3, row->high_quartile * 1e-3);
    if (row->bytes > 0.0)
        snprintf(rate, sizeof rate, "%.0f", row->bytes / row->median);
    if (row->floor > 0.0)
        snprintf(share, sizeof share, "%.1f%c", 100.0 * row->floor / row->median, ceiling_of(row));
    kvb_bench_print(text, "%-7s %c%6d%8d  %-11s%-8s%-8s%-10s%10.1f  %-18s%6s%8s\n", row->work, row->shape, row->batch,
                    row->kv_len, codes, row->kernel ? row->kernel : "", row->precision ? row->precision : "",
                    row->variant ? row->variant : "", row->median * 1e-3, quartiles, rate, share);
}

void kvb_bench_print_gpu(kvb_bench_text *text, const kvb_bench_result *result) {
    const char *before = "";
    print_machine(text, result);
    print_ceilings(text, result);
    for (size_t i = 0; i < result->n_rows; i++) {
        const kvb_bench_row *row = &result->rows[i];
        if (row->rate)
            continue;
        if (!before[0] || (strcmp(before, "append") == 0) != (strcmp(row->work, "append") == 0))
            kvb_bench_print(text, "\n%-7s  %6s%8s  %-11s%-8s%-8s%-10s%10s  %-18s%6s%8s\n", "work", "batch",
                            strcmp(row->work, "append") == 0 ? "tokens" : "kv_len", "K/V", "kernel", "queries", "pages",
                            "us", "quartiles", "GB/s", "%");
        print_row(text, row);
        before = row->work;
    }
    kvb_bench_print(text, "\n%%: of the read ceiling (r), the copy ceiling (c) or the tensor cores' (m); "
                          "docs/benchmarking.md.\n");
}
