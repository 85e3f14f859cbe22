#include "plan_options.h"

#include <string.h>

#include "option_loop.h"
#include "parse.h"
#include "threads.h"

enum {
    TRACE = 1,
    BITS,
    BYTES_PER_TOKEN,
    BYTES,
    TOKENS,
    ERROR,
    TRELLIS,
    SCALE_KIND,
    QUERIES,
    EXACT,
    K_MEAN,
    HALF_BITS,
    KL,
    TEXT,
    TRACE_TOKENS,
    PROBE,
    PROBE_TOKENS,
    PROBE_WINDOW,
    OUTPUT,
    THREADS,
    QUIET,
    HELP
};

static const struct option table[] = {
    {"trace", required_argument, NULL, TRACE},
    {"bits", required_argument, NULL, BITS},
    {"bytes-per-token", required_argument, NULL, BYTES_PER_TOKEN},
    {"bytes", required_argument, NULL, BYTES},
    {"tokens", required_argument, NULL, TOKENS},
    {"error", required_argument, NULL, ERROR},
    {"trellis", required_argument, NULL, TRELLIS},
    {"scale-kind", required_argument, NULL, SCALE_KIND},
    {"queries", required_argument, NULL, QUERIES},
    {"exact", required_argument, NULL, EXACT},
    {"k-mean", no_argument, NULL, K_MEAN},
    {"half-bits", no_argument, NULL, HALF_BITS},
    {"kl", required_argument, NULL, KL},
    {"text", required_argument, NULL, TEXT},
    {"trace-tokens", required_argument, NULL, TRACE_TOKENS},
    {"probe", required_argument, NULL, PROBE},
    {"probe-tokens", required_argument, NULL, PROBE_TOKENS},
    {"probe-window", required_argument, NULL, PROBE_WINDOW},
    {"output", required_argument, NULL, OUTPUT},
    {"threads", required_argument, NULL, THREADS},
    {"quiet", no_argument, NULL, QUIET},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static kvb_status parse_above_0(const char *option, const char *text, double most, double *out, kvb_error *error) {
    kvb_status status = kvb_parse_real(option, text, out, error);
    if (status == KVB_OK && !(*out > 0.0 && *out <= most))
        status =
            kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is %.20s; legal: above 0, up to %g", option, text, most);
    return status;
}

static kvb_status parse_scale_kind(const char *text, kvb_scale_kind *out, kvb_error *error) {
    int choice = 0;
    kvb_status status = kvb_parse_choice("scale-kind", text, "norm|lsq|search", &choice, error);
    *out = (kvb_scale_kind)choice;
    return status;
}

/* "none", or "4+0,4+32". */
static kvb_status parse_exact(const char *text, kvb_plan_options *options, kvb_error *error) {
    const char *p = text;
    options->request.n_exact = 0;
    if (strcmp(text, "none") == 0)
        return KVB_OK;
    for (;;) {
        kvb_exact_tokens *exact = &options->exact[options->request.n_exact];
        if (options->request.n_exact == KVB_MAX_EXACT_CHOICES || !kvb_scan_number(&p, &exact->first) || *p++ != '+' ||
            !kvb_scan_number(&p, &exact->last) || (*p && *p != ','))
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "--exact is '%.80s'; legal: none, or 1 to %d times FIRST+LAST with commas between, "
                                 "each 0-65536",
                                 text, KVB_MAX_EXACT_CHOICES);
        options->request.n_exact++;
        if (*p++ == 0)
            return KVB_OK;
    }
}

static kvb_status store(int option, const char *text, void *context, kvb_error *error) {
    kvb_plan_options *options = context;
    switch (option) {
    case TRACE:
        options->trace = text;
        return KVB_OK;
    case OUTPUT:
        options->out = text;
        return KVB_OK;
    case BITS:
        return parse_above_0("bits", text, 64.0, &options->request.bits_per_value, error);
    case BYTES_PER_TOKEN:
        return kvb_parse_count("bytes-per-token", text, 1, INT64_MAX, &options->request.bytes_per_token, error);
    case BYTES:
        return kvb_parse_count("bytes", text, 1, INT64_MAX, &options->bytes, error);
    case TOKENS:
        return kvb_parse_count("tokens", text, 1, KVB_PLAN_MAX_TOKENS, &options->request.tokens, error);
    case ERROR:
        return parse_above_0("error", text, 10.0, &options->request.error, error);
    case TRELLIS:
        return kvb_parse_states("trellis", text, &options->request.trellis_states, error);
    case SCALE_KIND:
        return parse_scale_kind(text, &options->request.scale, error);
    case QUERIES:
        return kvb_parse_int_from("queries", text, 0, 1 << 20, &options->request.queries, error);
    case EXACT:
        return parse_exact(text, options, error);
    case K_MEAN:
        options->request.k_mean = 1;
        return KVB_OK;
    case HALF_BITS:
        options->request.half_bits = 1;
        return KVB_OK;
    case KL:
        return parse_above_0("kl", text, 100.0, &options->request.kl, error);
    case TEXT:
        options->text = text;
        return KVB_OK;
    case TRACE_TOKENS:
        return kvb_parse_count("trace-tokens", text, 1, 1 << 20, &options->trace_tokens, error);
    case PROBE:
        return kvb_parse_probe("probe", text, &options->probe, error);
    case PROBE_TOKENS:
        return kvb_parse_count("probe-tokens", text, 16, 1 << 28, &options->probe_tokens, error);
    case PROBE_WINDOW:
        return kvb_parse_int_from("probe-window", text, 16, 1 << 20, &options->probe_window, error);
    case THREADS:
        return kvb_parse_int_from("threads", text, 1, KVB_MAX_THREADS, &options->threads, error);
    case QUIET:
        options->quiet = 1;
        return KVB_OK;
    default:
        options->help = 1;
        return KVB_OK;
    }
}

/* What a cache is likely to keep: attention sinks, and the tokens that a query looks at most. */
static const kvb_exact_tokens usual[] = {{4, 0}, {0, 32}, {4, 32}};

static kvb_status finish_model(kvb_plan_options *options, unsigned given, kvb_error *error) {
    const unsigned of_model =
        given & (1U << TEXT | 1U << TRACE_TOKENS | 1U << PROBE | 1U << PROBE_TOKENS | 1U << PROBE_WINDOW | 1U << KL);
    if (!options->model && !options->trace)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--trace FILE is missing (kvbits record makes one), or MODEL.gguf --text FILE");
    if (options->model && options->trace)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--trace and MODEL.gguf are two ways: give one of them");
    if (options->model && !options->text)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "which text? (kvbits plan MODEL.gguf --text FILE)");
    if (options->trace && of_model)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--text, --kl, --trace-tokens and the options of probes are for MODEL.gguf, not for "
                             "--trace");
    /* Between the widths of keys and of values that most budgets end at: with the plan's codes where these have them.
     */
    if (options->model && !(given & 1U << PROBE))
        options->probe = (kvb_uniform_scheme){.k = {4, 0}, .v = {3, 0}};
    else if (options->model && (options->probe.trellis_states || options->probe.search))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--probe gives widths alone; its codes are the plan's, --trellis and --scale-kind");
    return KVB_OK;
}

static kvb_status finish_limits(kvb_plan_options *options, unsigned given, kvb_error *error) {
    kvb_plan_request *request = &options->request;
    const unsigned limits = given & (1U << BITS | 1U << BYTES_PER_TOKEN | 1U << BYTES | 1U << ERROR | 1U << KL);
    if (options->bytes && !request->tokens)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--tokens is missing: --bytes is for so many tokens");
    if (limits == 0 || (limits & (limits - 1)) != 0)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%s; legal: one of --bits, --bytes-per-token, --bytes, --error and --kl",
                             limits ? "there is more than one limit" : "there is no limit");
    if (options->bytes && options->bytes < request->tokens)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--bytes %lld are less than one byte for each of %lld tokens",
                             (long long)options->bytes, (long long)request->tokens);
    if (options->bytes)
        request->bytes_per_token = options->bytes / request->tokens;
    if (request->n_exact && !request->tokens)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--tokens is missing: it says how long the context is whose bytes exact tokens share");
    if (request->tokens && !(given & 1U << EXACT)) {
        memcpy(options->exact, usual, sizeof usual);
        request->n_exact = sizeof usual / sizeof *usual;
    }
    request->exact = options->exact;
    return KVB_OK;
}

kvb_status kvb_plan_options_parse(int argc, char **argv, kvb_plan_options *options, kvb_error *error) {
    unsigned given;
    *options = (kvb_plan_options){
        .request = {.scale = KVB_SCALE_LSQ}, .trace_tokens = 512, .probe_tokens = 1024, .probe_window = 512};
    options->model = kvb_options_operand(&argc, &argv);
    kvb_status status = kvb_options_read(argc, argv, table, store, options, &given, error);
    if (status != KVB_OK || options->help)
        return status;
    status = finish_model(options, given, error);
    return status == KVB_OK ? finish_limits(options, given, error) : status;
}

void kvb_plan_options_help(FILE *stream) {
    fputs("Usage: kvbits plan --trace FILE LIMIT [OPTION...]\n"
          "       kvbits plan MODEL.gguf --text FILE LIMIT [OPTION...]\n"
          "Which widths should each layer's keys and values have? Measures each side of each layer of the trace at "
          "every\n"
          "width, and chooses exactly what the limit buys at the least damage: the sum of squared errors of attention, "
          "or with\n"
          "a model (which needs llama.cpp) the KL divergence of its predictions, for which each side of each layer is "
          "also\n"
          "stored alone while the model runs (docs/plan.md).\n\n"
          "  --trace FILE              queries, keys and values of a model (kvbits record)\n"
          "  --text FILE               UTF-8 text for the model\n\n"
          "Limits, one of them:\n"
          "  --bits B                  at most B bits per value on average, scales included\n"
          "  --bytes-per-token N       at most N bytes for a token's rows in all layers of the trace\n"
          "  --bytes N                 at most N bytes for --tokens T tokens\n"
          "  --error E                 the fewest bytes with a predicted error (NRMSE) of at most E\n"
          "  --kl D                    the fewest bytes with a predicted mean KL divergence of at most D (a model "
          "only)\n\n"
          "  --tokens T                length of the context that the bytes are counted for, up to 2147483647\n"
          "  --exact LIST              none, or FIRST+LAST,...: exact tokens to choose among beside none, which "
          "--tokens\n"
          "                            tokens pay for (default with --tokens 4+0,0+32,4+32, else none)\n"
          "  --k-mean                  store packed keys less their mean over the first half of the trace, which the "
          "plan\n"
          "                            then holds; queries of the second half judge\n"
          "  --half-bits               1.5-7.5 bits, too, where head_dims are multiples of 16; three to four times the "
          "work\n"
          "  -o, --output FILE         the plan as JSON, written whole or not at all; - is standard output, instead\n"
          "                            of the table\n"
          "  --trellis N               trellis codes of 8, 16, 64 or 256 states where a side has 2-6 bits (default 0)\n"
          "  --scale-kind norm|lsq|search   (default lsq)\n"
          "  --queries N               of each layer, evenly spaced (default 0: all)\n"
          "  --trace-tokens N          of the text, recorded (default 512; a model only, as what follows)\n"
          "  --probe K/V               widths at which each side is stored alone (default 4/3)\n"
          "  --probe-tokens N, --probe-window N   on so many tokens of the text, in sequences of that length (default\n"
          "                            1024, 512)\n"
          "  --threads N               1-1024 (default: every processor that may be used)\n"
          "  --quiet                   no table\n"
          "  --help                    this text\n\n"
          "Exit codes: 0 done, 2 bad input or a limit that nothing meets, 3 input/output error or no llama.cpp.\n",
          stream);
}
