#include "eval_options.h"

#include <stdlib.h>
#include <string.h>

#include "option_loop.h"
#include "parse.h"
#include "threads.h"

enum {
    TEXT = 1,
    TOKENS,
    WINDOW,
    SCHEMES,
    K_BITS,
    V_BITS,
    EXACT_FIRST,
    EXACT_LAST,
    ROTATION,
    PLAN,
    SENSITIVITY,
    ENGINE,
    OUT,
    THREADS,
    WEIGHTS,
    NEEDLE,
    NEEDLE_TOKENS,
    NEEDLE_DEPTHS,
    NEEDLE_COUNT,
    QUIET,
    NO_REPORT,
    HELP
};

static const struct option table[] = {
    {"text", required_argument, NULL, TEXT},
    {"tokens", required_argument, NULL, TOKENS},
    {"window", required_argument, NULL, WINDOW},
    {"schemes", required_argument, NULL, SCHEMES},
    {"k-bits", required_argument, NULL, K_BITS},
    {"v-bits", required_argument, NULL, V_BITS},
    {"exact-first", required_argument, NULL, EXACT_FIRST},
    {"exact-last", required_argument, NULL, EXACT_LAST},
    {"rotation", required_argument, NULL, ROTATION},
    {"plan", required_argument, NULL, PLAN},
    {"sensitivity", required_argument, NULL, SENSITIVITY},
    {"engine", required_argument, NULL, ENGINE},
    {"out", required_argument, NULL, OUT},
    {"threads", required_argument, NULL, THREADS},
    {"weights", required_argument, NULL, WEIGHTS},
    {"needle", no_argument, NULL, NEEDLE},
    {"needle-tokens", required_argument, NULL, NEEDLE_TOKENS},
    {"needle-depths", required_argument, NULL, NEEDLE_DEPTHS},
    {"needle-count", required_argument, NULL, NEEDLE_COUNT},
    {"quiet", no_argument, NULL, QUIET},
    {"no-report", no_argument, NULL, NO_REPORT},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

typedef struct state {
    kvb_eval_options *options;
    kvb_uniform_scheme one; /* of --k-bits and its like */
} state;

static kvb_status parse_schemes(const char *text, kvb_eval_options *options, kvb_error *error) {
    const char *p = text;
    options->n_uniform = 0;
    for (;;) {
        if (options->n_uniform == KVB_MAX_SCHEMES - 1 || !kvb_scan_scheme(&p, &options->uniform[options->n_uniform]) ||
            (*p && *p != ','))
            return kvb_error_set(
                error, KVB_ERROR_ARGUMENT,
                "--schemes is '%.80s'; legal: 1 to %d times K/V[tSTATES][s][+FIRST[+LAST]] with commas "
                "between, widths 1-8 in steps of 0.5 or 16, 8, 16, 64 or 256 states for 2-6 bits, exact tokens 0-65536",
                text, KVB_MAX_SCHEMES - 1);
        options->n_uniform++;
        if (*p++ == '\0')
            return KVB_OK;
    }
}

static kvb_status parse_depths(const char *text, kvb_eval_options *options, kvb_error *error) {
    kvb_status status =
        kvb_parse_ints("needle-depths", text, options->depths, KVB_MAX_NEEDLE_DEPTHS, &options->n_depths, error);
    for (int i = 0, least = 0; i < options->n_depths && status == KVB_OK; least = options->depths[i++] + 1)
        if (options->depths[i] < least || options->depths[i] > 100)
            status = kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                   "--needle-depths is '%.80s'; legal: percents from 0 to 100 in rising order", text);
    return status;
}

static kvb_status store(int option, const char *text, void *context, kvb_error *error) {
    state *s = context;
    kvb_eval_options *options = s->options;
    switch (option) {
    case TEXT:
        options->text = text;
        return KVB_OK;
    case TOKENS:
        return kvb_parse_count("tokens", text, 1, 1 << 28, &options->tokens, error);
    case WINDOW:
        return kvb_parse_int_from("window", text, 16, 1 << 20, &options->window, error);
    case SCHEMES:
        return parse_schemes(text, options, error);
    case K_BITS:
        return kvb_parse_width("k-bits", text, &s->one.k, error);
    case V_BITS:
        return kvb_parse_width("v-bits", text, &s->one.v, error);
    case EXACT_FIRST:
        return kvb_parse_int_from("exact-first", text, 0, 65536, &s->one.exact_first, error);
    case EXACT_LAST:
        return kvb_parse_int_from("exact-last", text, 0, 65536, &s->one.exact_last, error);
    case ROTATION:
        return kvb_parse_choice("rotation", text, "none|hadamard|signed", &options->rotation, error);
    case PLAN:
        options->plan = text;
        return KVB_OK;
    case SENSITIVITY:
        return kvb_parse_probe("sensitivity", text, &options->probe, error);
    case ENGINE:
        options->engine = text;
        return KVB_OK;
    case OUT:
        options->out = text;
        return KVB_OK;
    case THREADS:
        return kvb_parse_int_from("threads", text, 1, KVB_MAX_THREADS, &options->threads, error);
    case WEIGHTS:
        return kvb_parse_choice("weights", text, "float|stored", &options->weights_as_stored, error);
    case NEEDLE:
        options->needle = 1;
        return KVB_OK;
    case NEEDLE_TOKENS:
        return kvb_parse_int_from("needle-tokens", text, 16, 1 << 20, &options->needle_tokens, error);
    case NEEDLE_DEPTHS:
        return parse_depths(text, options, error);
    case NEEDLE_COUNT:
        return kvb_parse_int_from("needle-count", text, 1, KVB_MAX_NEEDLES_PER_DEPTH, &options->needles_per_depth,
                                  error);
    case QUIET:
        options->quiet = 1;
        return KVB_OK;
    case NO_REPORT:
        options->no_report = 1;
        return KVB_OK;
    default:
        options->help = 1;
        return KVB_OK;
    }
}

static kvb_status finish(state *s, unsigned given, kvb_error *error) {
    kvb_eval_options *options = s->options;
    const int k = (given >> K_BITS) & 1, v = (given >> V_BITS) & 1,
              exact = ((given >> EXACT_FIRST) & 1) | ((given >> EXACT_LAST) & 1);
    if (options->help)
        return KVB_OK;
    if (!options->model)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "which MODEL.gguf? (kvbits eval MODEL.gguf --text FILE)");
    if (!options->text)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "which text? (--text FILE)");
    if (k != v || (exact && !k))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--k-bits and --v-bits come together, and --exact-first and --exact-last with them");
    if (!options->needle && (given & (1u << NEEDLE_TOKENS | 1u << NEEDLE_DEPTHS | 1u << NEEDLE_COUNT)))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--needle-tokens, --needle-depths and --needle-count come with --needle");
    if (options->needle && (given & (1u << WINDOW | 1u << SENSITIVITY)))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--window and --sensitivity have no use with --needle; legal: --needle-tokens for the "
                             "length of a sequence");
    if (k)
        options->uniform[options->n_uniform++] = s->one;
    return KVB_OK;
}

kvb_status kvb_eval_options_parse(int argc, char **argv, kvb_eval_options *options, kvb_error *error) {
    unsigned given;
    state s = {.options = options};
    *options = (kvb_eval_options){.window = 1024,
                                  .rotation = KVB_ROTATION_SIGNED,
                                  .engine = "f16,q8_0,q5_1,q5_0,q4_1,q4_0,iq4_nl",
                                  .depths = {0, 25, 50, 75, 100},
                                  .n_depths = 5,
                                  .needles_per_depth = 3};
    options->model = kvb_options_operand(&argc, &argv);
    kvb_status status = kvb_options_read(argc, argv, table, store, &s, &given, error);
    return status == KVB_OK ? finish(&s, given, error) : status;
}

void kvb_eval_options_help(FILE *stream) {
    fputs(
        "Usage: kvbits eval MODEL.gguf --text FILE [OPTION...]\n"
        "Runs the model on the text with kvbits' packed cache and attention in the place of the engine's, and with "
        "the\n"
        "engine's own quantized caches, and says how far the next-token distributions move. Needs llama.cpp\n"
        "(docs/eval.md). A self-check comes first: attention on exact keys and values must be the engine's.\n\n"
        "  --text FILE               UTF-8 text\n"
        "  --tokens N                at most, 1-2^28 (default: the whole text)\n"
        "  --window N                tokens of a sequence, 16 up to what the model was trained for (default 1024)\n"
        "  --schemes LIST            K/V[tSTATES][s][+FIRST[+LAST]]: widths 1-8 in steps of 0.5 (16: halves), "
        "trellis\n"
        "                            codes (8, 16, 64 or 256 states, 2-6 bits), searched scales, exact tokens:\n"
        "                            4/4,6/4.5t64s,4/4+4+32\n"
        "  --k-bits B --v-bits B     one more such scheme\n"
        "  --exact-first N, --exact-last N   its exact tokens, 0-65536 (default 0)\n"
        "  --rotation none|hadamard|signed   of every kvbits scheme but the plan's (default signed)\n"
        "  --plan FILE               the widths of kvbits plan, which has every layer of the model\n"
        "  --sensitivity K/V[tSTATES][s]   also what the keys and the values of each layer do alone at these widths:\n"
        "                            two runs for each layer\n"
        "  --engine LIST             the engine's caches, or none (default f16,q8_0,q5_1,q5_0,q4_1,q4_0,iq4_nl)\n"
        "  --weights float|stored    expand quantized weights to floats first, or run the engine's integer products,\n"
        "                            whose rounding hides small differences (default float)\n"
        "  --needle                  instead: hide a sentence in a long text, and ask for it at the end. How probable "
        "the\n"
        "                            right answer is, and the divergence over its tokens, by the sentence's depth\n"
        "  --needle-tokens N         tokens of text, needle, question and answer (default: what the model was trained "
        "for,\n"
        "                            at most what the text fills)\n"
        "  --needle-depths LIST      percents of the text before it, 0-100 in rising order (default 0,25,50,75,100)\n"
        "  --needle-count N          different needles at each depth, 1-100 (default 3)\n"
        "  --out FOLDER              also write result.json, result.md and report.html (by gnuplot) there; with "
        "--needle\n"
        "                            needle.json and needle.md\n"
        "  --no-report               no report.html\n"
        "  --threads N               1-1024 (default: every processor that may be used)\n"
        "  --quiet                   do not print the tables\n"
        "  --help                    this text\n\n"
        "Exit codes: 0 done, 2 bad input, 3 input/output error or no llama.cpp.\n",
        stream);
}
