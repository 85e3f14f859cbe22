/* The loop over a command's options, and what it says about those that are none. */
#ifndef KVBITS_CLI_OPTION_LOOP_H
#define KVBITS_CLI_OPTION_LOOP_H

#include <getopt.h>

#include "kvbits/kvbits.h"

typedef kvb_status kvb_option_store(int option, const char *text, void *options, kvb_error *error);

/* Calls `store` for each option, by its number in the table, 0 to 31. *given gets the set of those that were there, as
 * bits. The first error ends it. */
KVB_CHECKED kvb_status kvb_options_read(int argc, char **argv, const struct option *table, kvb_option_store *store,
                                        void *options, unsigned *given, kvb_error *error);

/* Takes the one operand that comes before the options off the arguments; NULL: there is none. */
const char *kvb_options_operand(int *argc, char ***argv);

#endif
