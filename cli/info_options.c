#include "info_options.h"

#include <string.h>

#include "option_loop.h"
#include "parse.h"

enum {
    LAYERS = 1,
    KV_HEADS,
    HEAD_DIM,
    V_HEAD_DIM,
    TOKENS,
    K_BITS,
    V_BITS,
    PAGE_TOKENS,
    WINDOW,
    EXACT_FIRST,
    EXACT_LAST,
    SCALE_DTYPE,
    PLAN,
    HALF_BITS,
    JSON,
    HELP
};

static const struct option table[] = {
    {"layers", required_argument, NULL, LAYERS},
    {"kv-heads", required_argument, NULL, KV_HEADS},
    {"head-dim", required_argument, NULL, HEAD_DIM},
    {"v-head-dim", required_argument, NULL, V_HEAD_DIM},
    {"tokens", required_argument, NULL, TOKENS},
    {"k-bits", required_argument, NULL, K_BITS},
    {"v-bits", required_argument, NULL, V_BITS},
    {"page-tokens", required_argument, NULL, PAGE_TOKENS},
    {"window", required_argument, NULL, WINDOW},
    {"exact-first", required_argument, NULL, EXACT_FIRST},
    {"exact-last", required_argument, NULL, EXACT_LAST},
    {"scale-dtype", required_argument, NULL, SCALE_DTYPE},
    {"plan", required_argument, NULL, PLAN},
    {"half-bits", no_argument, NULL, HALF_BITS},
    {"json", no_argument, NULL, JSON},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static kvb_status parse_dim(const char *option, const char *text, int *out, kvb_error *error) {
    int dim;
    kvb_status status = kvb_parse_int(option, text, &dim, error);
    if (status == KVB_OK && !kvb_head_dim_supported(dim, KVB_ROTATION_NONE))
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is %d; legal: multiples of 8 from %d to %d", option,
                               dim, KVB_MIN_HEAD_DIM, KVB_MAX_HEAD_DIM);
    if (status == KVB_OK)
        *out = dim;
    return status;
}

static kvb_status parse_side(const char *option, const char *text, kvb_codec_spec *side, kvb_error *error) {
    kvb_width width;
    kvb_status status = kvb_parse_width(option, text, &width, error);
    if (status == KVB_OK) {
        side->bits = width.bits;
        side->half_bit = width.half;
    }
    return status;
}

static kvb_status parse_page_tokens(const char *text, int *out, kvb_error *error) {
    int tokens;
    kvb_status status = kvb_parse_int("page-tokens", text, &tokens, error);
    if (status == KVB_OK && (tokens < 16 || tokens > 1024 || (tokens & (tokens - 1))))
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "--page-tokens is %d; legal: powers of two from 16 to 1024",
                               tokens);
    if (status == KVB_OK)
        *out = tokens;
    return status;
}

static kvb_status parse_scale_dtype(const char *text, kvb_layer_spec *layer, kvb_error *error) {
    int choice = 0;
    kvb_status status = kvb_parse_choice("scale-dtype", text, "f16|f32", &choice, error);
    layer->k.scale_dtype = layer->v.scale_dtype = choice == 0 ? KVB_F16 : KVB_F32;
    return status;
}

static kvb_status store(int option, const char *text, void *context, kvb_error *error) {
    kvb_info_options *options = context;
    kvb_layer_spec *layer = &options->layer;
    switch (option) {
    case LAYERS:
        return kvb_parse_int_from("layers", text, 1, KVB_MAX_LAYERS, &options->n_layers, error);
    case KV_HEADS:
        return kvb_parse_int_from("kv-heads", text, 1, 1024, &layer->n_kv_heads, error);
    case HEAD_DIM:
        return parse_dim("head-dim", text, &layer->k.head_dim, error);
    case V_HEAD_DIM:
        return parse_dim("v-head-dim", text, &layer->v.head_dim, error);
    case TOKENS:
        return kvb_parse_count("tokens", text, 1, KVB_MAX_TOKENS, &options->n_tokens, error);
    case K_BITS:
        return parse_side("k-bits", text, &layer->k, error);
    case V_BITS:
        return parse_side("v-bits", text, &layer->v, error);
    case PAGE_TOKENS:
        return parse_page_tokens(text, &options->page_tokens, error);
    case WINDOW:
        return kvb_parse_int_from("window", text, 0, 1 << 30, &layer->window, error);
    case EXACT_FIRST:
        return kvb_parse_int_from("exact-first", text, 0, 65536, &layer->exact_first, error);
    case EXACT_LAST:
        return kvb_parse_int_from("exact-last", text, 0, 65536, &layer->exact_last, error);
    case SCALE_DTYPE:
        return parse_scale_dtype(text, layer, error);
    case PLAN:
        options->plan = text;
        return KVB_OK;
    case HALF_BITS:
        options->half_bits = 1;
        return KVB_OK;
    case JSON:
        options->json = 1;
        return KVB_OK;
    default:
        options->help = 1;
        return KVB_OK;
    }
}

kvb_status kvb_info_options_parse(int argc, char **argv, kvb_info_options *options, kvb_error *error) {
    unsigned given;
    *options = (kvb_info_options){.n_layers = 32, .n_tokens = 131072, .page_tokens = 64};
    options->layer = kvb_layer_spec_default(8, 128, 6, 4);
    /* A rotation changes no byte count, and none takes every head_dim. */
    options->layer.k.rotation = options->layer.v.rotation = KVB_ROTATION_NONE;
    options->layer.v.head_dim = 0;
    kvb_status status = kvb_options_read(argc, argv, table, store, options, &given, error);
    if (status != KVB_OK)
        return status;
    const unsigned with_plan = 1U << PLAN | 1U << TOKENS | 1U << PAGE_TOKENS | 1U << JSON | 1U << HELP;
    if (options->plan && (given & ~with_plan) != 0)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--plan says what the layers are; legal beside it: --tokens, --page-tokens and --json");
    if (options->layer.v.head_dim == 0)
        options->layer.v.head_dim = options->layer.k.head_dim;
    return KVB_OK;
}

void kvb_info_options_help(FILE *stream) {
    fputs(
        "Usage: kvbits info [OPTION...]\n"
        "Prints what a packed KV cache takes: bytes per token, in total, and how many times less than halves; for the\n"
        "widths asked for, and for every pair of them. Nothing is estimated: these are the bytes that a cache holds\n"
        "when all tokens are committed, pages' padding and exact tokens included. Then this machine's GPUs, where\n"
        "kvbits was built with CUDA.\n\n"
        "  --layers N                1-1024 (default 32)\n"
        "  --kv-heads N              of each layer, 1-1024 (default 8)\n"
        "  --head-dim D              a multiple of 8, 8-576 (default 128)\n"
        "  --v-head-dim D            of the values (default --head-dim)\n"
        "  --tokens N                1-2^40 (default 131072)\n"
        "  --k-bits B, --v-bits B    1-8 in steps of 0.5, or 16 for halves (default 6 and 4); head_dims of half bits "
        "are\n"
        "                            multiples of 16\n"
        "  --half-bits               every pair of half bits, too\n"
        "  --page-tokens N           a power of two, 16-1024 (default 64)\n"
        "  --window N                tokens that a query sees; pages behind it are given back; 0: all (default 0)\n"
        "  --exact-first N           first tokens kept as halves, 0-65536 (default 0)\n"
        "  --exact-last N            last tokens kept as halves, 0-65536 (default 0)\n"
        "  --scale-dtype f16|f32     type of a row's scale (default f16)\n"
        "  --plan FILE               of the layers of a plan (kvbits plan), instead of all of the above but --tokens\n"
        "                            and --page-tokens\n"
        "  --json                    the same as JSON\n"
        "  --help                    this text\n\n"
        "Exit codes: 0 done, 2 bad input, 3 input/output error.\n",
        stream);
}
