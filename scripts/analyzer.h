/* Read before every file by clang-tidy alone (scripts/check.sh). The analyzer looks at one file at a time and would
 * think that a failure reported by kvb_error_set, defined elsewhere, may come back as KVB_OK. */
#include "kvbits/kvbits.h"
#define kvb_error_set(error, status, ...) ((void)(kvb_error_set)(error, status, __VA_ARGS__), (status))
