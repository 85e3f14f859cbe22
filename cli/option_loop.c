#include "option_loop.h"

#include <string.h>

/* The number of --output, for which -o is short; -1: there is no such option. */
static int output_of(const struct option *table) {
    for (; table->name; table++)
        if (strcmp(table->name, "output") == 0)
            return table->val;
    return -1;
}

kvb_status kvb_options_read(int argc, char **argv, const struct option *table, kvb_option_store *store, void *options,
                            unsigned *given, kvb_error *error) {
    const int output = output_of(table);
    *given = 0;
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    for (;;) {
        const int at = optind ? optind : 1;
        int found = getopt_long(argc, argv, output >= 0 ? ":o:" : ":", table, NULL);
        if (found == -1)
            break;
        if (found == ':')
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%.80s needs a value; --help lists the legal ones",
                                 argv[optind - 1]);
        if (found == '?')
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "unknown or ambiguous option '%.80s'; --help lists the legal ones",
                                 at < argc ? argv[at] : "");
        if (found == 'o')
            found = output;
        const kvb_status status = store(found, optarg, options, error);
        if (status != KVB_OK)
            return status;
        *given |= 1u << found;
    }
    if (optind < argc)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "'%.80s' is no option; every option begins with --",
                             argv[optind]);
    return KVB_OK;
}

const char *kvb_options_operand(int *argc, char ***argv) {
    if (*argc < 2 || (*argv)[1][0] == '-')
        return NULL;
    const char *operand = (*argv)[1];
    (*argv)[1] = (*argv)[0];
    ++*argv;
    --*argc;
    return operand;
}
