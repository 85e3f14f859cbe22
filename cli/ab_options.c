#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ab_option_list.h"
#include "parse.h"
#include "threads.h"

static kvb_status refuse(const kvb_ab_option *o, const char *text, const char *legal, kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: %s", o->name, text, legal);
}

/* Where the lists' lengths are kept, by the list's own place. */
static int *length_of(kvb_ab_options *options, const kvb_ab_option *o) {
    return o->offset == offsetof(kvb_ab_options, bits)      ? &options->config.n_bits
           : o->offset == offsetof(kvb_ab_options, kv_lens) ? &options->config.n_kv_lens
                                                            : &options->config.n_round_trip_dims;
}

/* The config's negative and zero "as the trace says" are no values that a user may give. */
static kvb_status parse_count(const kvb_ab_option *o, const char *text, int *out, kvb_error *error) {
    int value;
    kvb_status status = kvb_parse_int(o->name, text, &value, error);
    if (status == KVB_OK && value < 0)
        return refuse(o, text, "a whole number of at least 0", error);
    if (status == KVB_OK)
        *out = value;
    return status;
}

static kvb_status parse_amount(const kvb_ab_option *o, const char *text, double *out, kvb_error *error) {
    double value;
    kvb_status status = kvb_parse_real(o->name, text, &value, error);
    if (status == KVB_OK && o->kind == KVB_AB_POSITIVE && !(value > 0.0))
        return refuse(o, text, "a number above 0", error);
    if (status == KVB_OK && value < 0.0)
        return refuse(o, text, "a number of at least 0", error);
    if (status == KVB_OK)
        *out = value;
    return status;
}

static kvb_status parse_thresholds(const kvb_ab_option *o, const char *text, double out[2], kvb_error *error) {
    const char *comma = strchr(text, ',');
    size_t length = comma ? (size_t)(comma - text) : 0;
    char first[64];
    if (comma && length < sizeof first) {
        memcpy(first, text, length);
        first[length] = '\0';
        if (kvb_parse_real(o->name, first, &out[0], NULL) == KVB_OK &&
            kvb_parse_real(o->name, comma + 1, &out[1], NULL) == KVB_OK)
            return KVB_OK;
    }
    return refuse(o, text, "two numbers, such as 0.1,0.15", error);
}

static kvb_status parse_codebook(const kvb_ab_option *o, kvb_ab_options *options, const char *text, kvb_error *error) {
    static const char *const names[] = {"default", "lloyd", "library", "beta"};
    if (*text == '\0')
        return refuse(o, text, o->legal, error);
    options->config.codebook = KVB_CODEBOOK_FILE;
    options->codebook_path = text;
    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0) {
            options->config.codebook = (kvb_codebook_source)i;
            options->codebook_path = NULL;
        }
    return KVB_OK;
}

static kvb_status parse_pairs(const kvb_ab_option *o, kvb_ab_options *options, const char *text, kvb_error *error) {
    options->pairs_grid = strcmp(text, "grid") == 0;
    options->config.pairs = options->pairs;
    options->config.n_pairs = 0;
    options->config.halves = NULL;
    if (options->pairs_grid)
        return KVB_OK;
    kvb_status status =
        kvb_parse_pairs(o->name, text, options->pairs, options->halves, KVB_LIST_MAX, &options->config.n_pairs, error);
    for (int i = 0; i < options->config.n_pairs && status == KVB_OK; i++)
        if (options->halves[i].k_bits || options->halves[i].v_bits)
            options->config.halves = options->halves;
    return status;
}

static kvb_status parse_choice(const kvb_ab_option *o, const char *text, void *place, kvb_error *error) {
    int chosen;
    kvb_status status = kvb_parse_choice(o->name, text, o->legal, &chosen, error);
    if (status == KVB_OK)
        memcpy(place, &chosen, sizeof chosen); /* every choice is an enumeration or an int, of the same size */
    return status;
}
_Static_assert(sizeof(kvb_rotation) == sizeof(int) && sizeof(kvb_generator) == sizeof(int),
               "choices are stored as int");

static kvb_status store(kvb_ab_options *options, const kvb_ab_option *o, const char *text, kvb_error *error) {
    void *place = (char *)options + o->offset;
    switch (o->kind) {
    case KVB_AB_FLAG:
    case KVB_AB_NO_FLAG:
        *(int *)place = o->kind == KVB_AB_FLAG;
        return KVB_OK;
    case KVB_AB_COUNT:
        return parse_count(o, text, place, error);
    case KVB_AB_SEED:
        return kvb_parse_seed(o->name, text, place, error);
    case KVB_AB_AMOUNT:
    case KVB_AB_POSITIVE:
        return parse_amount(o, text, place, error);
    case KVB_AB_COUNTS:
        return kvb_parse_ints(o->name, text, place, KVB_LIST_MAX, length_of(options, o), error);
    case KVB_AB_CHOICE:
        return parse_choice(o, text, place, error);
    case KVB_AB_TEXT:
        *(const char **)place = text;
        return *text ? KVB_OK : refuse(o, text, "a name of at least one byte", error);
    case KVB_AB_PAIRS:
        return parse_pairs(o, options, text, error);
    case KVB_AB_THRESHOLDS:
        return parse_thresholds(o, text, place, error);
    default:
        return parse_codebook(o, options, text, error);
    }
}

/* ---- All of them together ---- */

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

static kvb_status add_grid(kvb_ab_options *options, kvb_error *error) {
    kvb_ab_config *config = &options->config;
    if (config->n_bits > KVB_MAX_BITS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--bits lists %d widths; legal: at most %d", config->n_bits,
                             KVB_MAX_BITS);
    for (int k = 0; k < config->n_bits; k++)
        for (int v = 0; v < config->n_bits; v++)
            options->pairs[config->n_pairs++] = (kvb_pair){options->bits[k], options->bits[v]};
    return KVB_OK;
}
_Static_assert(KVB_MAX_BITS *KVB_MAX_BITS <= KVB_LIST_MAX, "a grid fits");

/* What an option of that scope is for, NULL where it may be given. */
static const char *other_purpose(const kvb_ab_options *options, kvb_ab_scope scope) {
    const kvb_ab_config *config = &options->config;
    int iterated = config->codebook == KVB_CODEBOOK_DEFAULT || config->codebook == KVB_CODEBOOK_LLOYD;
    int random_signs = config->rotation == KVB_ROTATION_SIGNED || config->baselines || config->redraws;
    switch (scope) {
    case KVB_AB_SYNTHETIC:
        return options->trace ? "synthetic data" : NULL;
    case KVB_AB_OF_TRACE:
        return options->trace ? NULL : "--trace";
    case KVB_AB_STUDENT_T:
        return config->generator == KVB_GENERATOR_STUDENT_T ? NULL : "--generator student-t";
    case KVB_AB_OUTLIERS:
        return config->generator == KVB_GENERATOR_OUTLIERS ? NULL : "--generator outliers";
    case KVB_AB_SINK:
        return config->generator == KVB_GENERATOR_SINK ? NULL : "--generator sink";
    case KVB_AB_LOW_RANK:
        return config->generator == KVB_GENERATOR_LOW_RANK ? NULL : "--generator low-rank";
    case KVB_AB_ITERATED:
        return iterated ? NULL : "--codebook default and lloyd";
    case KVB_AB_SIGNED:
        return random_signs ? NULL : "--rotation signed, --baselines and --redraws";
    default:
        return NULL;
    }
}

/* An option that would be ignored is a mistake of the user's, who is told so. Bit i of `given`: option i. */
static kvb_status check_scopes(const kvb_ab_options *options, uint64_t given, kvb_error *error) {
    int scaled = 0;
    for (int i = 0; kvb_ab_option_at(i); i++) {
        const kvb_ab_option *o = kvb_ab_option_at(i);
        const char *purpose = given >> i & 1 ? other_purpose(options, o->scope) : NULL;
        if (purpose)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is for %s only", o->name, purpose);
        scaled |= (given >> i & 1) && o->kind == KVB_AB_POSITIVE;
    }
    if (options->flat && scaled)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--softmax flat sets the scale; leave it or --scale out");
    return KVB_OK;
}

static kvb_status finish(kvb_ab_options *options, uint64_t given, kvb_error *error) {
    kvb_status status = check_scopes(options, given, error);
    if (status != KVB_OK)
        return status;
    if (options->effort && !options->frontier)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--effort is for --frontier only");
    if (options->effort < 0 || options->effort > 2)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "effort is %d; legal: 0 to 2", options->effort);
    if (options->threads > KVB_MAX_THREADS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--threads is %d; legal: 1 to %d, or 0 for all processors",
                             options->threads, KVB_MAX_THREADS);
    if (options->flat && options->config.head_dim > 0)
        options->config.scale = 1.0 / sqrt((double)options->config.head_dim);
    return options->pairs_grid ? add_grid(options, error) : KVB_OK;
}

/* What getopt_long did not like about `argument`. */
static kvb_status refuse_argument(const char *argument, kvb_error *error) {
    if (strncmp(argument, "--", 2) == 0 && optopt > 0) /* the number of a flag */
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "'%.80s': --%s takes no value", argument,
                             kvb_ab_option_at(optopt - 1)->name);
    return kvb_error_set(error, KVB_ERROR_ARGUMENT, "unknown or ambiguous option '%.80s'; --help lists the legal ones",
                         argument);
}

static kvb_status parse_all(int argc, char **argv, kvb_ab_options *options, uint64_t *given, kvb_error *error) {
    struct option table[KVB_AB_MAX_OPTIONS + 1] = {{0}};
    for (int i = 0; kvb_ab_option_at(i); i++) {
        kvb_ab_kind kind = kvb_ab_option_at(i)->kind;
        int flag = kind == KVB_AB_FLAG || kind == KVB_AB_NO_FLAG;
        table[i] = (struct option){kvb_ab_option_at(i)->name, flag ? no_argument : required_argument, NULL, i + 1};
    }
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    *given = 0;
    for (;;) { /* '+': in order, so that an error names the argument at fault */
        int at = optind ? optind : 1, found = getopt_long(argc, argv, "+:", table, NULL);
        if (found == -1)
            break;
        if (found == ':')
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%.80s needs a value; --help lists the legal ones",
                                 argv[at]);
        if (found == '?')
            return refuse_argument(argv[at], error);
        kvb_status status = store(options, kvb_ab_option_at(found - 1), optarg, error);
        if (status != KVB_OK)
            return status;
        *given |= (uint64_t)1 << (found - 1);
    }
    if (optind < argc)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "'%.80s' is no option; every option begins with --",
                             argv[optind]);
    return KVB_OK;
}

kvb_status kvb_ab_options_parse(int argc, char **argv, kvb_ab_options *options, kvb_error *error) {
    uint64_t given;
    set_defaults(options, 0);
    kvb_status status = parse_all(argc, argv, options, &given, error);
    if (status == KVB_OK && options->trace) { /* known only now, whatever its place and abbreviation: other defaults */
        set_defaults(options, 1);
        status = parse_all(argc, argv, options, &given, error);
    }
    return status != KVB_OK || options->help ? status : finish(options, given, error);
}
