#include "bench_options.h"

#include <string.h>

#include "option_loop.h"
#include "parse.h"
#include "threads.h"

enum {
    BACKEND = 1,
    SHAPES,
    KV_LEN,
    BATCH,
    BITS,
    THREADS,
    COLD,
    WARM,
    SECONDS,
    ROUNDS,
    TRELLIS,
    QUICK,
    ONLY,
    PRECISION,
    PREFILL,
    MEMORY,
    NO_PEERS,
    JSON,
    CHART,
    GOALS,
    GOALS_ONLY,
    QUIET,
    HELP
};

static const struct option table[] = {
    {"backend", required_argument, NULL, BACKEND},
    {"shapes", required_argument, NULL, SHAPES},
    {"kv-len", required_argument, NULL, KV_LEN},
    {"batch", required_argument, NULL, BATCH},
    {"bits", required_argument, NULL, BITS},
    {"threads", required_argument, NULL, THREADS},
    {"cold", no_argument, NULL, COLD},
    {"warm", no_argument, NULL, WARM},
    {"seconds", required_argument, NULL, SECONDS},
    {"rounds", required_argument, NULL, ROUNDS},
    {"trellis", required_argument, NULL, TRELLIS},
    {"quick", no_argument, NULL, QUICK},
    {"only", required_argument, NULL, ONLY},
    {"precision", required_argument, NULL, PRECISION},
    {"prefill", required_argument, NULL, PREFILL},
    {"memory", required_argument, NULL, MEMORY},
    {"no-peers", no_argument, NULL, NO_PEERS},
    {"json", required_argument, NULL, JSON},
    {"chart", required_argument, NULL, CHART},
    {"goals", required_argument, NULL, GOALS},
    {"goals-only", no_argument, NULL, GOALS_ONLY},
    {"quiet", no_argument, NULL, QUIET},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

/* The next word of a list, cut at its comma; *text moves behind it, and is NULL after the last one. */
static int next_word(const char **text, char *word, size_t size) {
    const size_t length = strcspn(*text, ",");
    if (length == 0 || length >= size)
        return 0;
    memcpy(word, *text, length);
    word[length] = '\0';
    *text = (*text)[length] ? *text + length + 1 : NULL;
    return 1;
}

static kvb_status bad_list(const char *option, const char *text, const char *legal, kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: %s", option, text, legal);
}

/* "cuda:0": a GPU, alone. */
static kvb_status parse_gpu(const char *text, kvb_bench_config *config, kvb_error *error) {
    if (strncmp(text, "cuda:", 5) != 0 || kvb_parse_int("backend", text + 5, &config->gpu, NULL) != KVB_OK ||
        config->gpu < 0)
        return bad_list("backend", text, "names of processors' backends, or one GPU alone: cuda:0, cuda:1, ...", error);
    return KVB_OK;
}

static kvb_status parse_backends(const char *text, kvb_bench_config *config, kvb_error *error) {
    const char *rest = text;
    config->gpu = -1;
    if (strstr(text, "cuda"))
        return parse_gpu(text, config, error);
    char word[32];
    config->n_backends = 0;
    while (rest) {
        if (config->n_backends == KVB_BENCH_LIST || !next_word(&rest, word, sizeof word))
            return bad_list("backend", text, "names of backends separated by commas", error);
        kvb_status status = kvb_backend_open(word, &config->backends[config->n_backends], error);
        if (status != KVB_OK)
            return status;
        for (int i = 0; i < config->n_backends; i++)
            if (config->backends[i] == config->backends[config->n_backends])
                return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--backend lists %s twice; legal: each once", word);
        config->n_backends++;
    }
    return KVB_OK;
}

static kvb_status parse_shapes(const char *text, kvb_bench_config *config, kvb_error *error) {
    const char *rest = text;
    char word[8];
    config->n_shapes = 0;
    while (rest) {
        const kvb_bench_shape *shape = NULL;
        if (config->n_shapes < KVB_BENCH_LIST && next_word(&rest, word, sizeof word) && strlen(word) == 1)
            for (int i = 0; (shape = kvb_bench_shape_at(i)) != NULL && shape->name != word[0]; i++) {
            }
        for (int i = 0; shape && i < config->n_shapes; i++)
            if (config->shapes[i].name == shape->name)
                return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--shapes lists %c twice; legal: each once",
                                     shape->name);
        if (!shape)
            return bad_list("shapes", text, "A, B, C and D, separated by commas", error);
        config->shapes[config->n_shapes++] = *shape;
    }
    return KVB_OK;
}

static kvb_status parse_counts(const char *option, const char *text, int most, int *list, int *n, kvb_error *error) {
    kvb_status status = kvb_parse_ints(option, text, list, KVB_BENCH_LIST, n, error);
    for (int i = 0; i < *n && status == KVB_OK; i++)
        if (list[i] < 1 || list[i] > most)
            status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s lists %d; legal: 1 to %d", option, list[i], most);
    return status;
}

/* "4", "4.5" or "16"; 1 when it is one of those. */
static int parse_width(const char *text, double *bits) {
    kvb_width width;
    if (!kvb_scan_width(&text, &width) || *text)
        return 0;
    *bits = kvb_width_bits(width);
    return 1;
}

/* "4,6/4.5,16": K and V alike, or K/V. */
static kvb_status parse_bits(const char *text, kvb_bench_config *config, kvb_error *error) {
    static const char legal[] = "widths N or pairs K/V of 1 to 8 or 16 bits, halves such as 4.5 included, separated by "
                                "commas, such as 4,6/4.5,16";
    const char *rest = text;
    char word[32];
    config->n_pairs = 0;
    while (rest) {
        kvb_bench_pair pair = {0.0, 0.0};
        if (config->n_pairs == KVB_BENCH_LIST || !next_word(&rest, word, sizeof word))
            return bad_list("bits", text, legal, error);
        char *slash = strchr(word, '/');
        if (slash)
            *slash = '\0';
        if (!parse_width(word, &pair.k_bits) || !parse_width(slash ? slash + 1 : word, &pair.v_bits))
            return bad_list("bits", text, legal, error);
        for (int i = 0; i < config->n_pairs; i++)
            if (config->pairs[i].k_bits == pair.k_bits && config->pairs[i].v_bits == pair.v_bits)
                return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--bits lists %g/%g twice; legal: each pair once",
                                     pair.k_bits, pair.v_bits);
        config->pairs[config->n_pairs++] = pair;
    }
    return KVB_OK;
}

static kvb_status parse_threads(const char *text, kvb_bench_options *options, kvb_error *error) {
    static const char legal[] = "numbers from 1 to 1024 or all, separated by commas, such as 1,all";
    const char *rest = text;
    char word[16];
    options->n_threads = 0;
    while (rest) {
        int n = 0;
        if (options->n_threads == KVB_BENCH_LIST || !next_word(&rest, word, sizeof word))
            return bad_list("threads", text, legal, error);
        if (strcmp(word, "all") == 0)
            n = kvb_threads_available();
        else if (kvb_parse_int("threads", word, &n, NULL) != KVB_OK || n < 1 || n > KVB_MAX_THREADS)
            return bad_list("threads", text, legal, error);
        int seen = 0; /* where there is one processor, all is 1 */
        for (int i = 0; i < options->n_threads; i++)
            seen |= options->threads[i] == n;
        if (!seen)
            options->threads[options->n_threads++] = n;
    }
    return KVB_OK;
}

/* Several of the names in `legal`, as a set of bits in their order. */
static kvb_status parse_set(const char *option, const char *text, const char *legal, unsigned *set, kvb_error *error) {
    const char *rest = text;
    char word[32];
    *set = 0;
    while (rest) {
        int place = 0;
        if (!next_word(&rest, word, sizeof word))
            return bad_list(option, text, legal, error);
        kvb_status status = kvb_parse_choice(option, word, legal, &place, error);
        if (status != KVB_OK)
            return status;
        *set |= 1u << place;
    }
    return KVB_OK;
}

static kvb_status parse_precisions(const char *text, kvb_bench_config *config, kvb_error *error) {
    unsigned set = 0;
    kvb_status status = parse_set("precision", text, "fast|precise", &set, error);
    config->n_precisions = 0;
    for (int i = 0; i < 2; i++)
        if (set >> i & 1)
            config->precisions[config->n_precisions++] = (kvb_precision)i;
    return status;
}

static kvb_status parse_real(const char *option, const char *text, double least, double most, double *out,
                             kvb_error *error) {
    kvb_status status = kvb_parse_real(option, text, out, error);
    if (status == KVB_OK && !(*out >= least && *out <= most))
        status =
            kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: %g to %g", option, text, least, most);
    return status;
}

static kvb_status parse_numbers(int option, const char *text, kvb_bench_config *config, kvb_error *error) {
    double value = 0.0;
    kvb_status status = KVB_OK;
    if (option == SECONDS)
        return parse_real("seconds", text, 0.0001, 3600.0, &config->seconds, error);
    if (option == MEMORY) {
        status = parse_real("memory", text, 1.0, 1e6, &value, error);
        config->memory = (size_t)(value * 1e6);
        return status;
    }
    status = kvb_parse_int("rounds", text, &config->rounds, error);
    if (status == KVB_OK && (config->rounds < 3 || config->rounds > 10000))
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "--rounds is %d; legal: 3 to 10000", config->rounds);
    return status;
}

static kvb_status parse_prefill(const char *text, kvb_bench_config *config, kvb_error *error) {
    int sizes[2], n = 0;
    kvb_status status = kvb_parse_ints("prefill", text, sizes, 2, &n, error);
    if (status == KVB_OK && (n != 2 || sizes[0] < 1 || sizes[1] < sizes[0] || sizes[1] > 1 << 24))
        return bad_list("prefill", text, "queries,tokens, such as 512,4096: at least 1 query, and as many tokens",
                        error);
    if (status == KVB_OK) {
        config->prefill_queries = sizes[0];
        config->prefill_tokens = sizes[1];
    }
    return status;
}

static kvb_status parse_file(const char *option, const char *text, const char **out, kvb_error *error) {
    if (!text[0])
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is empty; legal: the name of a file", option);
    *out = text;
    return KVB_OK;
}

static kvb_status store(int option, const char *text, void *context, kvb_error *error) {
    kvb_bench_options *options = context;
    kvb_bench_config *config = &options->config;
    switch (option) {
    case BACKEND:
        return parse_backends(text, config, error);
    case SHAPES:
        return parse_shapes(text, config, error);
    case KV_LEN:
        return parse_counts("kv-len", text, 1 << 24, config->kv_lens, &config->n_kv_lens, error);
    case BATCH:
        return parse_counts("batch", text, 1024, config->batches, &config->n_batches, error);
    case BITS:
        return parse_bits(text, config, error);
    case THREADS:
        return parse_threads(text, options, error);
    case TRELLIS:
        return kvb_parse_states("trellis", text, &config->trellis_states, error);
    case SECONDS:
    case ROUNDS:
    case MEMORY:
        return parse_numbers(option, text, config, error);
    case ONLY:
        return parse_set("only", text, "ceilings|fwht|encode|decode|attend|prefill|append", &config->work, error);
    case PREFILL:
        return parse_prefill(text, config, error);
    case PRECISION:
        return parse_precisions(text, config, error);
    case JSON:
        return parse_file("json", text, &options->json, error);
    case CHART:
        return parse_file("chart", text, &options->chart, error);
    case GOALS:
        return parse_file("goals", text, &options->goals, error);
    case GOALS_ONLY:
        options->goals_only = 1;
        return KVB_OK;
    case NO_PEERS:
        config->peers = 0;
        return KVB_OK;
    case QUIET:
        options->quiet = 1;
        return KVB_OK;
    case HELP:
        options->help = 1;
        return KVB_OK;
    default: /* cold, warm, quick: seen by kvb_bench_options_parse */
        return KVB_OK;
    }
}

/* What --quick changes, unless an option says otherwise. */
static void set_quick(kvb_bench_options *options) {
    kvb_bench_config *config = &options->config;
    config->n_kv_lens = 2;
    config->pairs[0] = (kvb_bench_pair){4, 4};
    config->pairs[1] = (kvb_bench_pair){8, 8};
    config->pairs[2] = (kvb_bench_pair){KVB_BENCH_DENSE, KVB_BENCH_DENSE};
    config->n_pairs = 3;
    config->prefill_queries = 128;
    config->prefill_tokens = 1024;
    config->seconds = 0.02;
    config->rounds = 5;
    options->n_threads = 1;
    options->threads[0] = 1;
}

static int is_quick(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--quick") == 0)
            return 1;
    return 0;
}

/* On a GPU these say nothing, and everything else that was not given has other defaults. */
static kvb_status settle_gpu(kvb_bench_options *options, unsigned given, int quick, kvb_error *error) {
    static const int others[] = {THREADS, COLD, WARM, CHART, GOALS, GOALS_ONLY, NO_PEERS};
    static const char order[] = "BDAC";
    kvb_bench_config *config = &options->config;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        for (const struct option *o = table; o->name && given >> others[i] & 1; o++)
            if (o->val == others[i])
                return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                     "--%s says nothing of cuda:%d; legal beside it: --only, --shapes, --kv-len, "
                                     "--batch, --bits, --trellis, --precision, --prefill, --memory, --seconds, "
                                     "--rounds, --quick, --json and --quiet",
                                     o->name, config->gpu);
    if (given >> ONLY & 1 && config->work & (KVB_BENCH_FWHT | KVB_BENCH_ENCODE | KVB_BENCH_DECODE))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--only lists fwht, encode or decode, which have no kernels of their own on cuda:%d; "
                             "legal: ceilings, append, attend and prefill",
                             config->gpu);
    options->n_threads = 0;
    if (quick && !(given >> BITS & 1))
        config->n_pairs = 2; /* without 16 bits */
    else if (!(given >> BITS & 1))
        config->n_pairs = 0;
    if (!(given >> SHAPES & 1))
        for (config->n_shapes = 0; config->n_shapes < 4; config->n_shapes++)
            config->shapes[config->n_shapes] = *kvb_bench_shape_at(order[config->n_shapes] - 'A');
    if (given >> KV_LEN & 1 && !(given >> BATCH & 1))
        config->batches[config->n_batches++] = 16;
    if (given >> BATCH & 1 && !(given >> KV_LEN & 1))
        config->kv_lens[0] = 32768, config->n_kv_lens = 1;
    if (!(given >> PREFILL & 1) && !quick)
        config->prefill_queries = 2048, config->prefill_tokens = 32768;
    if (!(given >> ROUNDS & 1) && !quick)
        config->rounds = 25;
    return KVB_OK;
}

kvb_status kvb_bench_options_parse(int argc, char **argv, kvb_bench_options *options, kvb_error *error) {
    unsigned given = 0;
    *options = (kvb_bench_options){.config = kvb_bench_config_default()};
    kvb_status status = parse_threads("1,all", options, error);
    if (status == KVB_OK)
        status = kvb_backend_open(NULL, &options->config.backends[0], error);
    options->config.n_backends = 1;
    if (is_quick(argc, argv))
        set_quick(options);
    if (status == KVB_OK)
        status = kvb_options_read(argc, argv, table, store, options, &given, error);
    if (status == KVB_OK && options->goals_only && !options->goals)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--goals-only needs --goals FILE");
    if (status == KVB_OK && options->config.gpu >= 0)
        return settle_gpu(options, given, is_quick(argc, argv), error);
    if (status == KVB_OK && given >> BATCH & 1)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--batch needs a GPU: --backend cuda:N");
    options->config.warm = given >> WARM & 1;
    options->config.cold = !options->config.warm || given >> COLD & 1;
    options->has_backends = given >> BACKEND & 1;
    options->has_precisions = given >> PRECISION & 1;
    return status;
}
