#include "ab_options.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

/* What an option's value is, and how it is stored. */
typedef enum kind {
    FLAG,     /* sets an int to 1 */
    NO_FLAG,  /* sets an int to 0 */
    INTEGER,  /* int */
    SEED,     /* uint64_t, decimal or 0x */
    REAL,     /* double */
    INTEGERS, /* list of int, and its length */
    CHOICE,   /* one of `legal`, stored as its place */
    TEXT,     /* const char * */
    PAIRS,    /* K/V,... or grid */
    THRESHOLDS,
    CODEBOOK
} kind;

typedef struct spec {
    const char *name;
    kind kind;
    int synthetic; /* means nothing to a trace */
    size_t offset; /* into kvb_ab_options */
    const char *legal; /* CHOICE: names separated by '|'; else the metavariable */
    const char *help;
} spec;

#define AT(member) offsetof(kvb_ab_options, member)

static const spec specs[] = {
    {"bits", INTEGERS, 0, AT(bits), "LIST", "code widths, 1-8 (default 4,5,6; for a trace 2-8)"},
    {"pairs", PAIRS, 0, 0, "LIST|grid", "K/V widths, such as 7/5,6/4; grid: every K with every V of --bits (default: "
                                        "equal widths; for a trace grid)"},
    {"thresholds", THRESHOLDS, 0, AT(config.thresholds), "A,B", "NRMSE that attention may lose (default 0.1,0.15)"},
    {"rotation", CHOICE, 0, AT(config.rotation), "none|hadamard|signed",
     "before quantising (default none; for a trace signed)"},
    {"sign-seed", SEED, 0, AT(config.sign_seed), "N", "of the signed rotation (default 0x6b766269)"},
    {"scale-kind", CHOICE, 0, AT(config.scale_kind), "norm|lsq", "row scale (default norm; for a trace lsq)"},
    {"scale-dtype", CHOICE, 0, AT(config.scale_dtype), "f32|f16", "as stored (default f32; for a trace f16)"},
    {"codebook", CODEBOOK, 0, 0, "default|lloyd|library|beta|FILE",
     "default: fixed-point Lloyd-Max up to 6 bits, library tables above (for a trace: library); lloyd: the iteration at "
     "every width; beta: the optimum for head_dim; FILE: JSON {\"codebooks\": {\"4_bit\": [...]}}"},
    {"cdf", CHOICE, 0, AT(config.cdf), "erfc|as26.2.17", "normal CDF of the iteration (default erfc)"},
    {"baselines", FLAG, 0, AT(config.baselines), NULL,
     "q4_0, q8_0, fp8 e4m3 and int4 groups of 32 beside, each with and without rotation"},
    {"redraws", INTEGER, 1, AT(config.redraws), "N",
     "repeat under N random rotations of the same data; reports mean and deviation (default 0)"},
    {"generator", CHOICE, 1, AT(config.generator), "gaussian|student-t|outliers|sink|low-rank",
     "synthetic data (default gaussian)"},
    {"student-dof", INTEGER, 1, AT(config.student_dof), "N", "degrees of freedom of student-t (default 4)"},
    {"outlier-channels", INTEGER, 1, AT(config.outlier_channels), "N", "channels that are larger (default 4)"},
    {"outlier-factor", REAL, 1, AT(config.outlier_factor), "X", "by this factor (default 20)"},
    {"outliers", CHOICE, 1, AT(config.outliers_spread), "clustered|spread", "where they lie (default clustered)"},
    {"sink-strength", REAL, 1, AT(config.sink_strength), "X", "how much queries like the sink token (default 4)"},
    {"rank", INTEGER, 1, AT(config.low_rank), "N", "of low-rank (default head_dim / 4)"},
    {"low-rank-noise", REAL, 1, AT(config.low_rank_noise), "X", "noise beside it (default 0.25)"},
    {"heads", INTEGER, 1, AT(config.n_heads), "N", "query heads (default 16)"},
    {"kv-heads", INTEGER, 1, AT(config.n_kv_heads), "N", "KV heads (default 8)"},
    {"head-dim", INTEGER, 1, AT(config.head_dim), "N", "of the attention test (default 256)"},
    {"kv-lens", INTEGERS, 1, AT(kv_lens), "LIST", "cache lengths (default 64,512,1024)"},
    {"trials", INTEGER, 1, AT(config.trials), "N", "per kv_len (default 100)"},
    {"head-dims", INTEGERS, 1, AT(dims), "LIST", "of the round-trip test (default 128,256,512)"},
    {"vectors", INTEGER, 1, AT(config.vectors), "N", "per round-trip cell (default 1000)"},
    {"seed", SEED, 1, AT(config.seed), "N", "of all data (default 0xC25EED)"},
    {"scale", REAL, 0, AT(config.scale), "X", "softmax scale (default 1; for a trace what it says)"},
    {"softmax", CHOICE, 1, AT(flat), "peaked|flat", "flat: scale 1/sqrt(head_dim) (default peaked: --scale)"},
    {"softcap", REAL, 0, AT(config.softcap), "X", "softcap * tanh(logit / softcap); 0: none"},
    {"window", INTEGER, 0, AT(config.window), "N", "sliding window in tokens; 0: none"},
    {"sums", CHOICE, 0, AT(config.sums), "lanes|index-order",
     "index-order: plain scalar sums, the reference run's arithmetic, slow (default lanes)"},
    {"no-skip", NO_FLAG, 0, AT(config.skip), NULL, "make and add every value, however small its weight (same figures)"},
    {"trace", TEXT, 0, AT(trace), "FILE", "ask a recorded trace (safetensors) instead of synthetic data"},
    {"queries", INTEGER, 0, AT(config.queries), "N", "of a trace: evenly spaced query positions per layer (default all)"},
    {"threads", INTEGER, 0, AT(threads), "N", "worker threads (default: all processors)"},
    {"out", TEXT, 0, AT(out), "DIR", "result.json, result.md and report.html go here (default kvbits-ab)"},
    {"json", TEXT, 0, AT(json), "FILE", "the JSON here; - : on standard output instead of tables, and no folder unless "
                                        "--out names one"},
    {"no-report", NO_FLAG, 0, AT(report), NULL, "leave report.html out (needs no gnuplot)"},
    {"quiet", FLAG, 0, AT(quiet), NULL, "no tables on standard output"},
    {"help", FLAG, 0, AT(help), NULL, "this text"},
};
enum { N_SPECS = sizeof specs / sizeof specs[0] };

/* Where the lists' lengths are kept, by the list's own place. */
static int *length_of(kvb_ab_options *options, const spec *s) {
    return s->offset == AT(bits)      ? &options->config.n_bits
           : s->offset == AT(kv_lens) ? &options->config.n_kv_lens
                                      : &options->config.n_round_trip_dims;
}

static kvb_status parse_thresholds(const char *option, const char *text, double out[2], kvb_error *error) {
    const char *comma = strchr(text, ',');
    char first[64];
    if (!comma || comma == text || (size_t)(comma - text) >= sizeof first)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%s'; legal: two numbers, such as 0.1,0.15", option, text);
    memcpy(first, text, (size_t)(comma - text));
    first[comma - text] = '\0';
    kvb_status status = kvb_parse_real(option, first, &out[0], error);
    return status == KVB_OK ? kvb_parse_real(option, comma + 1, &out[1], error) : status;
}

static kvb_status parse_codebook(kvb_ab_options *options, const char *text) {
    static const char *const names[] = {"default", "lloyd", "library", "beta"};
    options->config.codebook = KVB_CODEBOOK_FILE;
    options->codebook_path = text;
    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0) {
            options->config.codebook = (kvb_codebook_source)i;
            options->codebook_path = NULL;
        }
    return KVB_OK;
}

static kvb_status parse_pairs(kvb_ab_options *options, const char *text, kvb_error *error) {
    options->pairs_grid = strcmp(text, "grid") == 0;
    options->config.pairs = options->pairs;
    options->config.n_pairs = 0;
    if (options->pairs_grid)
        return KVB_OK;
    return kvb_parse_pairs("pairs", text, options->pairs, KVB_LIST_MAX, &options->config.n_pairs, error);
}

static kvb_status store(kvb_ab_options *options, const spec *s, const char *text, kvb_error *error) {
    void *place = (char *)options + s->offset;
    switch (s->kind) {
    case FLAG:
    case NO_FLAG:
        *(int *)place = s->kind == FLAG;
        return KVB_OK;
    case INTEGER:
        return kvb_parse_int(s->name, text, place, error);
    case SEED:
        return kvb_parse_seed(s->name, text, place, error);
    case REAL:
        return kvb_parse_real(s->name, text, place, error);
    case INTEGERS:
        return kvb_parse_ints(s->name, text, place, KVB_LIST_MAX, length_of(options, s), error);
    case CHOICE: { /* every choice is an enumeration or an int, of the same size */
        int chosen;
        kvb_status status = kvb_parse_choice(s->name, text, s->legal, &chosen, error);
        if (status == KVB_OK)
            memcpy(place, &chosen, sizeof chosen);
        return status;
    }
    case TEXT:
        *(const char **)place = text;
        return KVB_OK;
    case PAIRS:
        return parse_pairs(options, text, error);
    case THRESHOLDS:
        return parse_thresholds(s->name, text, place, error);
    default:
        return parse_codebook(options, text);
    }
}
_Static_assert(sizeof(kvb_rotation) == sizeof(int) && sizeof(kvb_generator) == sizeof(int), "choices are stored as int");

static kvb_status add_grid(kvb_ab_options *options, kvb_error *error) {
    const kvb_ab_config *config = &options->config;
    if (config->n_bits * config->n_bits > KVB_LIST_MAX)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--bits lists %d widths; legal: at most 8", config->n_bits);
    for (int k = 0; k < config->n_bits; k++)
        for (int v = 0; v < config->n_bits; v++)
            options->pairs[options->config.n_pairs++] = (kvb_pair){config->bits[k], config->bits[v]};
    return KVB_OK;
}

/* A trace has its own defaults, so it must be known before the other options are stored. */
static int asks_for_trace(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--trace", 7) == 0 && (argv[i][7] == '\0' || argv[i][7] == '='))
            return 1;
    return 0;
}

static void set_defaults(kvb_ab_options *options, int trace) {
    *options = (kvb_ab_options){.report = 1};
    options->config = trace ? kvb_ab_config_trace() : kvb_ab_config_default();
    kvb_ab_config *config = &options->config;
    memcpy(options->bits, config->bits, (size_t)config->n_bits * sizeof(int));
    memcpy(options->kv_lens, config->kv_lens, (size_t)config->n_kv_lens * sizeof(int));
    memcpy(options->dims, config->round_trip_dims, (size_t)config->n_round_trip_dims * sizeof(int));
    config->bits = options->bits;
    config->kv_lens = options->kv_lens;
    config->round_trip_dims = options->dims;
    if (trace) {
        options->pairs_grid = 1;
        config->pairs = options->pairs;
        config->n_pairs = 0;
    }
}

static kvb_status finish(kvb_ab_options *options, kvb_error *error) {
    kvb_ab_config *config = &options->config;
    if (options->trace && options->synthetic_only)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s says nothing about a trace; leave it or --trace out",
                             options->synthetic_only);
    if (options->threads < 0 || options->threads > 1024)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--threads is %d; legal: 1 to 1024", options->threads);
    if (options->flat && config->head_dim > 0)
        config->scale = 1.0 / sqrt((double)config->head_dim);
    return options->pairs_grid ? add_grid(options, error) : KVB_OK;
}

static kvb_status parse_all(int argc, char **argv, kvb_ab_options *options, kvb_error *error) {
    struct option table[N_SPECS + 1] = {{0}};
    for (int i = 0; i < N_SPECS; i++) {
        int flag = specs[i].kind == FLAG || specs[i].kind == NO_FLAG;
        table[i] = (struct option){specs[i].name, flag ? no_argument : required_argument, NULL, i + 1};
    }
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    for (;;) {
        int at = optind ? optind : 1, found = getopt_long(argc, argv, ":", table, NULL);
        if (found == -1)
            break;
        if (found == ':')
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s needs a value; --help lists the legal ones", argv[optind - 1]);
        if (found == '?')
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "unknown or ambiguous option '%s'; --help lists the legal ones",
                                 at < argc ? argv[at] : "");
        const spec *s = &specs[found - 1];
        kvb_status status = store(options, s, optarg, error);
        if (status != KVB_OK)
            return status;
        if (s->synthetic && !options->synthetic_only)
            options->synthetic_only = s->name;
    }
    if (optind < argc)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "'%s' is no option; every option begins with --", argv[optind]);
    return KVB_OK;
}

kvb_status kvb_ab_options_parse(int argc, char **argv, kvb_ab_options *options, kvb_error *error) {
    set_defaults(options, asks_for_trace(argc, argv));
    kvb_status status = parse_all(argc, argv, options, error);
    if (status != KVB_OK || options->help)
        return status;
    return finish(options, error);
}

/* Wraps `text` at column 100 behind `indent` blanks. */
static void print_wrapped(FILE *stream, const char *text, int indent) {
    int column = indent;
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (column + word > 100) {
            fprintf(stream, "\n%*s", indent, "");
            column = indent;
        }
        fprintf(stream, "%.*s", word, text);
        column += word + 1;
        text += word;
        if (*text == ' ') {
            fputc(' ', stream);
            text++;
        }
    }
    fputc('\n', stream);
}

void kvb_ab_options_help(FILE *stream) {
    fputs("Usage: kvbits ab [OPTION...]\n"
          "How few bits can keys and values take before attention notices? Runs the bit-width A/B on synthetic data,\n"
          "or on a recorded trace (--trace), and writes result.json, result.md and report.html.\n\n",
          stream);
    for (int i = 0; i < N_SPECS; i++) {
        int used = fprintf(stream, "  --%s%s%s", specs[i].name, specs[i].legal ? " " : "",
                           specs[i].legal ? specs[i].legal : "");
        if (used > 27)
            fprintf(stream, "\n%*s", 28, "");
        else
            fprintf(stream, "%*s", 28 - used, "");
        print_wrapped(stream, specs[i].help, 28);
    }
    fputs("\nExit codes: 0 every check holds, 1 a check failed, 2 bad input, 3 input/output error.\n"
          "docs/evaluation.md defines every figure.\n",
          stream);
}
