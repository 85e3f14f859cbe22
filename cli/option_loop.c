#include "option_loop.h"

kvb_status kvb_options_read(int argc, char **argv, const struct option *table, kvb_option_store *store, void *options,
                            unsigned *given, kvb_error *error) {
    *given = 0;
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    for (;;) {
        const int at = optind ? optind : 1, found = getopt_long(argc, argv, ":", table, NULL);
        if (found == -1)
            break;
        if (found == ':')
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%.80s needs a value; --help lists the legal ones",
                                 argv[optind - 1]);
        if (found == '?')
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "unknown or ambiguous option '%.80s'; --help lists the legal ones",
                                 at < argc ? argv[at] : "");
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
