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
        return kvb_parse_count("tokens", text, 1, KVB_MAX_TOKENS, &options->tokens, error);
    case ERROR:
        return parse_above_0("error", text, 10.0, &options->request.error, error);
    case TRELLIS:
        return kvb_parse_states("trellis", text, &options->request.trellis_states, error);
    case SCALE_KIND:
        return parse_scale_kind(text, &options->request.scale, error);
    case QUERIES:
        return kvb_parse_int_from("queries", text, 0, 1 << 20, &options->request.queries, error);
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

kvb_status kvb_plan_options_parse(int argc, char **argv, kvb_plan_options *options, kvb_error *error) {
    unsigned given;
    *options = (kvb_plan_options){.request = {.scale = KVB_SCALE_LSQ}};
    kvb_status status = kvb_options_read(argc, argv, table, store, options, &given, error);
    if (status != KVB_OK || options->help)
        return status;
    if (!options->trace)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--trace FILE is missing (kvbits record makes one)");
    if ((options->bytes != 0) != (options->tokens != 0))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is missing: --bytes and --tokens go together",
                             options->bytes ? "tokens" : "bytes");
    const unsigned limits = given & (1U << BITS | 1U << BYTES_PER_TOKEN | 1U << BYTES | 1U << ERROR);
    if (limits == 0 || (limits & (limits - 1)) != 0)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%s; legal: one of --bits, --bytes-per-token, --bytes and "
                             "--error",
                             limits ? "there is more than one limit" : "there is no limit");
    if (options->bytes && options->bytes < options->tokens)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--bytes %lld are less than one byte for each of %lld tokens",
                             (long long)options->bytes, (long long)options->tokens);
    if (options->bytes)
        options->request.bytes_per_token = options->bytes / options->tokens;
    return KVB_OK;
}

void kvb_plan_options_help(FILE *stream) {
    fputs("Usage: kvbits plan --trace FILE (--bits B | --bytes-per-token N | --bytes N --tokens T | --error E) "
          "[OPTION...]\n"
          "Which widths should each layer's keys and values have? Measures each side of each layer of the trace at "
          "every\n"
          "width, and chooses what the limit buys at the least sum of squared errors of attention, exactly\n"
          "(docs/plan.md).\n\n"
          "  --trace FILE              queries, keys and values of a model (kvbits record)\n"
          "  --bits B                  at most B bits per value on average, scales included\n"
          "  --bytes-per-token N       at most N bytes for a token's rows in all layers of the trace\n"
          "  --bytes N --tokens T      at most N bytes for the rows of T tokens\n"
          "  --error E                 the fewest bytes with a predicted error (NRMSE) of at most E\n"
          "  --output FILE             the plan as JSON, written whole or not at all; - is standard output, instead\n"
          "                            of the table\n"
          "  --trellis N               trellis codes of 8, 16, 64 or 256 states where a side has 2-6 bits (default 0)\n"
          "  --scale-kind norm|lsq|search   (default lsq)\n"
          "  --queries N               of each layer, evenly spaced (default 0: all)\n"
          "  --threads N               1-1024 (default: every processor that may be used)\n"
          "  --quiet                   no table\n"
          "  --help                    this text\n\n"
          "Exit codes: 0 done, 2 bad input or a limit that nothing meets, 3 input/output error.\n",
          stream);
}
