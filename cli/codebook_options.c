#include "codebook_options.h"

#include <string.h>

#include "option_loop.h"
#include "parse.h"

enum { BITS = 1, CODEBOOK, DIM, CDF, STOP, ROUND_LIMIT, FACTOR, FORMAT, CHECK, TOLERANCE, HELP };

static const struct option table[] = {
    {"bits", required_argument, NULL, BITS},
    {"codebook", required_argument, NULL, CODEBOOK},
    {"source", required_argument, NULL, CODEBOOK},
    {"dim", required_argument, NULL, DIM},
    {"cdf", required_argument, NULL, CDF},
    {"stop", required_argument, NULL, STOP},
    {"round-limit", required_argument, NULL, ROUND_LIMIT},
    {"factor", required_argument, NULL, FACTOR},
    {"format", required_argument, NULL, FORMAT},
    {"check", required_argument, NULL, CHECK},
    {"tolerance", required_argument, NULL, TOLERANCE},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static kvb_status parse_bits(const char *text, kvb_codebook_options *options, kvb_error *error) {
    kvb_status status = kvb_parse_ints("bits", text, options->bits, KVB_MAX_BITS, &options->n_bits, error);
    for (int i = 0; status == KVB_OK && i < options->n_bits; i++) {
        if (options->bits[i] < 1 || options->bits[i] > KVB_MAX_BITS)
            status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "--bits lists %d; legal: 1 to %d", options->bits[i],
                                   KVB_MAX_BITS);
        for (int j = 0; status == KVB_OK && j < i; j++)
            if (options->bits[i] == options->bits[j])
                status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "--bits lists %d twice; legal: each width once",
                                       options->bits[i]);
    }
    return status;
}

static void set_origin(const char *text, kvb_codebook_options *options) {
    static const char *const names[] = {"library", "lloyd", "optimum", "beta"};
    options->origin = KVB_ORIGIN_FILE;
    options->path = text;
    for (int i = KVB_ORIGIN_LIBRARY; i < KVB_ORIGIN_FILE; i++)
        if (strcmp(text, names[i]) == 0) {
            options->origin = (kvb_codebook_origin)i;
            options->path = NULL;
        }
}

static kvb_status parse_positive(const char *option, const char *text, double *out, kvb_error *error) {
    double value;
    kvb_status status = kvb_parse_real(option, text, &value, error);
    if (status == KVB_OK && !(value >= 1e-30 && value <= 1e30))
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: 1e-30 to 1e30", option, text);
    if (status == KVB_OK)
        *out = value;
    return status;
}

static kvb_status store(int option, const char *text, void *context, kvb_error *error) {
    kvb_codebook_options *options = context;
    int choice = 0;
    kvb_status status = KVB_OK;
    switch (option) {
    case BITS:
        return parse_bits(text, options, error);
    case CODEBOOK:
        set_origin(text, options);
        return KVB_OK;
    case DIM:
        return kvb_parse_int_from("dim", text, 2, 1 << 20, &options->dim, error);
    case CDF:
        status = kvb_parse_choice("cdf", text, "erfc|as26.2.17", &choice, error);
        options->cdf = (kvb_cdf)choice;
        return status;
    case STOP:
        return parse_positive("stop", text, &options->stop, error);
    case ROUND_LIMIT:
        return kvb_parse_int_from("round-limit", text, 1, 100000000, &options->round_limit, error);
    case FACTOR:
        return parse_positive("factor", text, &options->factor, error);
    case FORMAT:
        status = kvb_parse_choice("format", text, "text|json|c", &choice, error);
        options->format = (kvb_codebook_format)choice;
        return status;
    case CHECK:
        options->check = text;
        return KVB_OK;
    case TOLERANCE:
        return parse_positive("tolerance", text, &options->tolerance, error);
    default:
        options->help = 1;
        return KVB_OK;
    }
}

/* An option that would be ignored is a mistake of the user's, and gets told so. `given` has bit n for option n. */
static kvb_status check_combination(const kvb_codebook_options *options, unsigned given, kvb_error *error) {
    static const struct {
        int option;
        const char *name;
    } of_lloyd[] = {{CDF, "cdf"}, {STOP, "stop"}, {ROUND_LIMIT, "round-limit"}};
    const int lloyd = !options->check && options->origin == KVB_ORIGIN_LLOYD;
    const int beta = !options->check && options->origin == KVB_ORIGIN_BETA;
    for (size_t i = 0; i < sizeof of_lloyd / sizeof of_lloyd[0]; i++)
        if (!lloyd && given >> of_lloyd[i].option & 1)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is for --codebook lloyd only", of_lloyd[i].name);
    if (!beta && given >> DIM & 1)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--dim is for --codebook beta only");
    if (beta && !options->dim)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--codebook beta needs --dim; legal: 2 to %d", 1 << 20);
    if (!options->check && given >> TOLERANCE & 1)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--tolerance is for --check only");
    if (options->check && given >> CODEBOOK & 1)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--check takes its tables from its file; leave --codebook out");
    if (options->check && options->format == KVB_FORMAT_C)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--check has no --format c; legal: text|json");
    return KVB_OK;
}

kvb_status kvb_codebook_options_parse(int argc, char **argv, kvb_codebook_options *options, kvb_error *error) {
    unsigned given;
    *options = (kvb_codebook_options){.stop = 1e-8};
    kvb_status status = kvb_options_read(argc, argv, table, store, options, &given, error);
    if (status != KVB_OK)
        return status;
    return options->help ? KVB_OK : check_combination(options, given, error);
}

void kvb_codebook_options_help(FILE *stream) {
    fputs(
        "Usage: kvbits codebook [OPTION...]\n"
        "       kvbits codebook --check FILE [OPTION...]\n"
        "Prints codebooks with their mean squared error, SQNR and distance to the rate-distortion bound; or tells of\n"
        "the tables in a file whether they are Lloyd-Max fixed points, and what it costs if they are not.\n\n"
        "  --bits LIST               widths, 1-8, such as 4,5,6 (default: all that there are)\n"
        "  --codebook library|lloyd|optimum|beta|FILE\n"
        "                            library: what the codec uses, the optimum rounded for binary16 (default);\n"
        "                            lloyd: the fixed-point iteration; optimum: the same limit, solved exactly;\n"
        "                            beta: the optimum for the coordinate of a unit vector in --dim dimensions;\n"
        "                            FILE: JSON {\"codebooks\": {\"4_bit\": [...]}}. --source means the same\n"
        "  --dim D                   of beta, 2-1048576\n"
        "  --cdf erfc|as26.2.17      normal CDF of lloyd (default erfc)\n"
        "  --stop X                  lloyd ends when no centroid moves by X or more (default 1e-8)\n"
        "  --round-limit N           lloyd fails after N rounds (default 10000 up to 6 bits, 100000 above)\n"
        "  --factor G                prints the centroids times G; with --check: the factor the tables are used\n"
        "                            with, whose loss is reported beside that of the factor that fits best\n"
        "  --format text|json|c      json can be read back by --codebook and --check (default text)\n"
        "  --check FILE              fits each table's factor and compares it with the optimum\n"
        "  --tolerance X             largest distance from the optimum that --check still calls rounding (default\n"
        "                            2^-13 + 2^-11 * |centroid|, binary16 rounding)\n"
        "  --help                    this text\n\n"
        "Exit codes: 0 done, 1 a table is no fixed point or the iteration did not converge, 2 bad input,\n"
        "3 input/output error.\n",
        stream);
}
