/* kvbits info: what a cache takes, from kvb_layer_cost_of alone. */
#include <inttypes.h>
#include <stdio.h>

#include "commands.h"
#include "exit_code.h"
#include "info_devices.h"
#include "info_options.h"
#include "kvbits/eval.h"
#include "parse.h"
#include "width_name.h"

enum { MOST_WIDTHS = 2 * KVB_MAX_BITS };

typedef struct width_list {
    kvb_width at[MOST_WIDTHS];
    int n;
} width_list;

typedef struct pair_cost {
    kvb_width k, v;
    double bits_per_value;
    uint64_t bytes; /* of all layers */
    double bytes_per_token, ratio;
} pair_cost;

static kvb_status find_bytes(const kvb_info_options *options, const kvb_layer_spec *layer, pair_cost *cost,
                             kvb_error *error) {
    kvb_layer_cost one;
    const kvb_status status = kvb_layer_cost_of(layer, options->page_tokens, options->n_tokens, &one, error);
    if (status != KVB_OK)
        return status;
    if (one.bytes > UINT64_MAX / (uint64_t)options->n_layers)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%d layers of %zu bytes each are more than 2^64 bytes",
                             options->n_layers, one.bytes);
    cost->bytes = (uint64_t)options->n_layers * one.bytes;
    cost->bits_per_value = one.bits_per_value;
    return KVB_OK;
}

static void set_widths(kvb_layer_spec *layer, kvb_width k, kvb_width v) {
    layer->k.bits = k.bits;
    layer->k.half_bit = k.half;
    layer->v.bits = v.bits;
    layer->v.half_bit = v.half;
}

static width_list list_widths(const kvb_info_options *options) {
    width_list list = {.n = 0};
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
        list.at[list.n++] = (kvb_width){bits, 0};
        if (options->half_bits && bits < KVB_MAX_BITS)
            list.at[list.n++] = (kvb_width){bits, 1};
    }
    list.at[list.n++] = (kvb_width){KVB_DENSE_BITS, 0};
    return list;
}

/* Against halves with the same window, which need no exact tokens. */
static kvb_status find_cost(const kvb_info_options *options, kvb_width k, kvb_width v, pair_cost *cost,
                            kvb_error *error) {
    kvb_layer_spec layer = options->layer, halves = options->layer;
    pair_cost dense = {.bytes = 0};
    set_widths(&layer, k, v);
    set_widths(&halves, (kvb_width){KVB_DENSE_BITS, 0}, (kvb_width){KVB_DENSE_BITS, 0});
    halves.exact_first = halves.exact_last = 0;
    *cost = (pair_cost){.k = k, .v = v};
    kvb_status status = find_bytes(options, &layer, cost, error);
    if (status == KVB_OK)
        status = find_bytes(options, &halves, &dense, error);
    if (status == KVB_OK) {
        cost->bytes_per_token = (double)cost->bytes / (double)options->n_tokens;
        cost->ratio = (double)dense.bytes / (double)cost->bytes;
    }
    return status;
}

/* ---- Text ---- */

static void print_shape(const kvb_info_options *options) {
    const kvb_layer_spec *layer = &options->layer;
    printf("%d layer%s of %d KV head%s, head_dim %d", options->n_layers, options->n_layers == 1 ? "" : "s",
           layer->n_kv_heads, layer->n_kv_heads == 1 ? "" : "s", layer->k.head_dim);
    if (layer->v.head_dim != layer->k.head_dim)
        printf(" for keys and %d for values", layer->v.head_dim);
    printf("; %" PRId64 " tokens in pages of %d", options->n_tokens, options->page_tokens);
    if (layer->window > 0)
        printf(", window %d", layer->window);
    if (layer->exact_first > 0)
        printf(", first %d exact", layer->exact_first);
    if (layer->exact_last > 0)
        printf(", last %d exact", layer->exact_last);
    printf("; scales %s\n", layer->k.scale_dtype == KVB_F16 ? "f16" : "f32");
}

static void print_cell_bytes(const pair_cost *cost) {
    printf(" %9.*f", cost->bytes_per_token < 1e5 ? 1 : 0, cost->bytes_per_token);
}

static void print_cell_total(const pair_cost *cost) {
    printf(" %9.3f", (double)cost->bytes / (1 << 30));
}

static void print_cell_ratio(const pair_cost *cost) {
    printf(" %9.3f", cost->ratio);
}

static void print_table(const char *title, const width_list *list, const pair_cost *costs,
                        void print_cell(const pair_cost *)) {
    printf("\n%s\n  K \\ V", title);
    for (int v = 0; v < list->n; v++)
        printf(" %9g", kvb_width_bits(list->at[v]));
    for (int i = 0; i < list->n * list->n; i++) {
        if (i % list->n == 0)
            printf("\n  %5g", kvb_width_bits(costs[i].k));
        print_cell(&costs[i]);
    }
    putchar('\n');
}

static void print_text(const kvb_info_options *options, const pair_cost *chosen, const width_list *list,
                       const pair_cost *costs) {
    print_shape(options);
    printf("K %g bits, V %g bits: %.6g bits per value, scales included\n", kvb_width_bits(chosen->k),
           kvb_width_bits(chosen->v), chosen->bits_per_value);
    printf("  per token     %.1f bytes\n", chosen->bytes_per_token);
    printf("  total         %" PRIu64 " bytes (%.3f GiB)\n", chosen->bytes, (double)chosen->bytes / (1 << 30));
    printf("  against f16   %.3f times smaller\n", chosen->ratio);
    print_table("Bytes per token", list, costs, print_cell_bytes);
    print_table("Total, GiB", list, costs, print_cell_total);
    print_table("Times smaller than f16", list, costs, print_cell_ratio);
    kvb_info_print_devices();
}

/* ---- JSON ---- */

static void print_pair(const pair_cost *cost) {
    printf("{\"k_bits\": %g, \"v_bits\": %g, \"bits_per_value\": %.9g, \"bytes_per_token\": %.15g, \"bytes\": %" PRIu64
           ", \"ratio_to_f16\": %.9g}",
           kvb_width_bits(cost->k), kvb_width_bits(cost->v), cost->bits_per_value, cost->bytes_per_token, cost->bytes,
           cost->ratio);
}

static void print_json(const kvb_info_options *options, const pair_cost *chosen, const width_list *list,
                       const pair_cost *costs) {
    const kvb_layer_spec *layer = &options->layer;
    printf("{\n \"layers\": %d, \"kv_heads\": %d, \"head_dim\": %d, \"v_head_dim\": %d, \"tokens\": %" PRId64
           ", \"page_tokens\": %d,\n \"window\": %d, \"exact_first\": %d, \"exact_last\": %d, \"scale_dtype\": "
           "\"%s\",\n \"chosen\": ",
           options->n_layers, layer->n_kv_heads, layer->k.head_dim, layer->v.head_dim, options->n_tokens,
           options->page_tokens, layer->window, layer->exact_first, layer->exact_last,
           layer->k.scale_dtype == KVB_F16 ? "f16" : "f32");
    print_pair(chosen);
    printf(",\n \"cuda\": ");
    kvb_info_print_devices_json();
    printf(",\n \"pairs\": [");
    for (int i = 0; i < list->n * list->n; i++) {
        printf("%s\n  ", i > 0 ? "," : "");
        print_pair(&costs[i]);
    }
    printf("\n ]\n}\n");
}

/* ---- Plans ---- */

/* The sum of all layers of `plan`, as they are or as halves. */
static kvb_status find_plan_bytes(const kvb_info_options *options, const kvb_plan *plan, int as_halves, uint64_t *bytes,
                                  kvb_error *error) {
    *bytes = 0;
    for (int l = 0; l < plan->n_layers; l++) {
        kvb_layer_spec layer = plan->layers[l].spec;
        kvb_layer_cost cost;
        if (as_halves) {
            set_widths(&layer, (kvb_width){KVB_DENSE_BITS, 0}, (kvb_width){KVB_DENSE_BITS, 0});
            layer.exact_first = layer.exact_last = 0;
        }
        const kvb_status status = kvb_layer_cost_of(&layer, options->page_tokens, options->n_tokens, &cost, error);
        if (status != KVB_OK)
            return status;
        if (cost.bytes > UINT64_MAX - *bytes)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%d layers are more than 2^64 bytes", plan->n_layers);
        *bytes += cost.bytes;
    }
    return KVB_OK;
}

static void print_plan(const kvb_info_options *options, const kvb_plan *plan, uint64_t bytes, uint64_t halves) {
    const double tokens = (double)options->n_tokens, ratio = (double)halves / (double)bytes;
    if (options->json) {
        printf("{\n \"layers\": %d, \"tokens\": %" PRId64 ", \"page_tokens\": %d, \"bits_per_value\": %.9g, "
               "\"bytes_per_token\": %.15g, \"bytes\": %" PRIu64 ", \"ratio_to_f16\": %.9g\n}\n",
               plan->n_layers, options->n_tokens, options->page_tokens, plan->bits_per_value, (double)bytes / tokens,
               bytes, ratio);
        return;
    }
    printf("%d layers, %" PRId64 " tokens in pages of %d\n  layer      K      V\n", plan->n_layers, options->n_tokens,
           options->page_tokens);
    for (int l = 0; l < plan->n_layers; l++) {
        printf("  %5d %6s %6s\n", plan->layers[l].index, kvb_width_name_of(&plan->layers[l].spec.k).text,
               kvb_width_name_of(&plan->layers[l].spec.v).text);
    }
    printf("%.6g bits per value, scales included\n", plan->bits_per_value);
    printf("  per token     %.1f bytes\n", (double)bytes / tokens);
    printf("  total         %" PRIu64 " bytes (%.3f GiB)\n", bytes, (double)bytes / (1 << 30));
    printf("  against f16   %.3f times smaller\n", ratio);
}

static kvb_status price_plan(const kvb_info_options *options, kvb_error *error) {
    kvb_plan *plan = NULL;
    uint64_t bytes = 0, halves = 0;
    kvb_status status = kvb_plan_read(options->plan, &plan, error);
    if (status == KVB_OK)
        status = find_plan_bytes(options, plan, 0, &bytes, error);
    if (status == KVB_OK)
        status = find_plan_bytes(options, plan, 1, &halves, error);
    if (status == KVB_OK)
        print_plan(options, plan, bytes, halves);
    kvb_plan_free(plan);
    return status;
}

int kvb_cmd_info(int argc, char **argv) {
    kvb_info_options options;
    kvb_error error = {{0}};
    pair_cost chosen, costs[MOST_WIDTHS * MOST_WIDTHS];
    kvb_status status = kvb_info_options_parse(argc, argv, &options, &error);
    if (status == KVB_OK && options.help) {
        kvb_info_options_help(stdout);
        return KVB_EXIT_OK;
    }
    if (status == KVB_OK && options.plan) {
        status = price_plan(&options, &error);
        if (status != KVB_OK)
            fprintf(stderr, "kvbits info: %s\n", error.text);
        return kvb_exit_code(status);
    }
    if (status == KVB_OK)
        status = find_cost(&options, (kvb_width){options.layer.k.bits, options.layer.k.half_bit},
                           (kvb_width){options.layer.v.bits, options.layer.v.half_bit}, &chosen, &error);
    const width_list list = list_widths(&options);
    for (int i = 0; i < list.n * list.n && status == KVB_OK; i++)
        status = find_cost(&options, list.at[i / list.n], list.at[i % list.n], &costs[i], &error);
    if (status != KVB_OK) {
        fprintf(stderr, "kvbits info: %s\n", error.text);
        return kvb_exit_code(status);
    }
    if (options.json)
        print_json(&options, &chosen, &list, costs);
    else
        print_text(&options, &chosen, &list, costs);
    return KVB_EXIT_OK;
}
