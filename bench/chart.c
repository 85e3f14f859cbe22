/* The chart: cold decode attention on one thread, time against stored bits, and the floor under it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

enum { WIDTH = 420, HEIGHT = 460, MAX_SHAPES = 8 };

/* Stored bits per value, scales included: bytes of a token are those of a key and of a value. */
static double stored_bits(const kvb_bench_row *row) {
    return row->bytes * 8.0 / (2.0 * row->head_dim);
}

/* The length that every shape is drawn at: the one nearest to 8192. */
static int drawn_length(const kvb_bench_result *result) {
    int best = 0;
    for (size_t i = 0; i < result->n_rows; i++) {
        const kvb_bench_row *row = &result->rows[i];
        if (strcmp(row->work, "attend") == 0 && (!best || abs(row->kv_len - 8192) < abs(best - 8192)))
            best = row->kv_len;
    }
    return best;
}

static int is_drawn(const kvb_bench_row *row, char shape, int kv_len) {
    return strcmp(row->work, "attend") == 0 && row->shape == shape && row->kv_len == kv_len && row->threads == 1 &&
           strcmp(row->temperature, "cold") == 0;
}

/* Which of the series a row belongs to; NULL: none. */
static int in_series(const kvb_bench_row *row, int series, const char *backend) {
    const int ours = strcmp(row->by, "kvbits") == 0;
    if (ours)
        return series < 2 && strcmp(row->backend, backend) == 0 &&
               strcmp(row->precision, series ? "precise" : "fast") == 0;
    return series >= 2 && strcmp(row->layout, series == 2 ? "head-major" : "token-major") == 0;
}

static const char *const titles[] = {"kvbits, fast", "kvbits, precise", "ggml, head-major", "ggml, token-major"};
static const char *const colors[] = {"#1f5fa8", "#5fa0d8", "#b8541a", "#e0a070"};
enum { N_SERIES = 4 };

/* Writes the data block of a series, or of the floors (series -1); returns the number of its points. */
static int print_points(kvb_bench_text *text, const kvb_bench_result *result, char shape, int kv_len, int series) {
    int n = 0;
    for (size_t i = 0; i < result->n_rows; i++) {
        const kvb_bench_row *row = &result->rows[i];
        if (!is_drawn(row, shape, kv_len) || !in_series(row, series < 0 ? 0 : series, result->backend))
            continue;
        if (n++ == 0)
            kvb_bench_print(text, "$%c%d << EOD\n", shape, series + 1);
        if (series < 0)
            kvb_bench_print(text, "%g %g\n", stored_bits(row), row->floor);
        else
            kvb_bench_print(text, "%g %g %g %g \"%s/%s\"\n", stored_bits(row), row->median, row->low_quartile,
                            row->high_quartile, row->k, row->v);
    }
    if (n)
        kvb_bench_print(text, "EOD\n");
    return n;
}

static void print_panel(kvb_bench_text *script, const kvb_bench_result *result, char shape, int kv_len) {
    const char *separator = "";
    int points[N_SERIES + 1];
    for (int series = -1; series < N_SERIES; series++)
        points[series + 1] = print_points(script, result, shape, kv_len, series);
    kvb_bench_print(script, "set title \"%c, kv\\\\_len %d, 1 thread, cold\"\nplot ", shape, kv_len);
    if (points[0]) {
        kvb_bench_print(script, "$%c0 using 1:2 smooth unique with lines lc rgb \"#888888\" dt 2 title \"floor\"",
                        shape);
        separator = ", ";
    }
    for (int series = 0; series < N_SERIES; series++)
        if (points[series + 1]) {
            kvb_bench_print(script, "%s$%c%d using 1:2:3:4 with yerrorbars pt %d ps 0.7 lc rgb \"%s\" title \"%s\"",
                            separator, shape, series + 1, series < 2 ? 7 : 5, colors[series], titles[series]);
            separator = ", ";
        }
    kvb_bench_print(script, "\n");
}

kvb_status kvb_bench_chart(const kvb_bench_result *result, char **svg, kvb_error *error) {
    kvb_bench_text script = {0};
    char *text = NULL, shapes[MAX_SHAPES + 1] = "";
    int n = 0;
    size_t bytes = 0;
    const int kv_len = drawn_length(result);
    *svg = NULL;
    for (size_t i = 0; i < result->n_rows; i++) {
        const kvb_bench_row *row = &result->rows[i];
        if (n < MAX_SHAPES && is_drawn(row, row->shape, kv_len) && !strchr(shapes, row->shape))
            shapes[n++] = row->shape;
    }
    if (!n)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "the chart shows cold decode attention on one thread, and none was measured; legal: with "
                             "attend, cold, 1 thread");
    kvb_bench_print(&script,
                    "set terminal svg size %d,%d font \"sans-serif,12\" background \"#ffffff\"\n"
                    "set multiplot layout 1,%d\nset logscale y\nset grid ytics\nset xrange [0:17]\n"
                    "set xlabel \"stored bits per value\"\nset ylabel \"ns per token and KV head\"\nset key outside "
                    "bottom center vertical samplen 1 width -2\n",
                    WIDTH * n, HEIGHT, n);
    for (int i = 0; i < n; i++)
        print_panel(&script, result, shapes[i], kv_len);
    kvb_bench_print(&script, "unset multiplot\n");
    kvb_status status = kvb_bench_text_take(&script, &text, error);
    if (status == KVB_OK)
        status = kvb_plotter_run(text, strlen(text), svg, &bytes, error);
    free(text);
    return status;
}
