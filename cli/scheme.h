/* The same way to store keys and values in every layer, as options name it: "5/3t64s+4+32". */
#ifndef KVBITS_CLI_SCHEME_H
#define KVBITS_CLI_SCHEME_H

#include "parse.h"

/* A kvbits cache with the same format in every layer. */
typedef struct kvb_uniform_scheme {
    kvb_width k, v;
    int exact_first, exact_last;
    int trellis_states; /* 0: scalar codes; else of every side whose width has trellis codes, at least one */
    int search;         /* KVB_SCALE_SEARCH instead of the default */
} kvb_uniform_scheme;

/* A number up to 65536 at *text, which moves behind it; 0 for anything else. */
int kvb_scan_number(const char **text, int *out);
/* "K/V[tSTATES][s][+FIRST[+LAST]]" at *text, which moves behind it. Returns 0 for anything else. */
int kvb_scan_scheme(const char **text, kvb_uniform_scheme *scheme);
/* Has the library trellis codes of so many states for a width? */
int kvb_width_has_trellis(int states, kvb_width width);
/* A scheme without exact tokens and with packed sides of whole bits, for probes. */
KVB_CHECKED kvb_status kvb_parse_probe(const char *option, const char *text, kvb_uniform_scheme *out, kvb_error *error);

#endif
