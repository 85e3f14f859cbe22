#include "scheme.h"

#include <stdlib.h>

#include "parse.h"

/* A number up to 65536 at *text, which moves behind it. */
int kvb_scan_number(const char **text, int *out) {
    char *end;
    if (**text < '0' || **text > '9')
        return 0;
    const unsigned long value = strtoul(*text, &end, 10);
    *text = end;
    *out = value > 65536 ? -1 : (int)value;
    return *out >= 0;
}

int kvb_width_has_trellis(int states, kvb_width width) {
    return kvb_trellis_codebook(states, width.bits) && kvb_trellis_codebook(states, width.bits + width.half);
}

/* "4/4", "4.5/4t64s", "4/4+4", "4/4t64+4+16". */
int kvb_scan_scheme(const char **text, kvb_uniform_scheme *scheme) {
    *scheme = (kvb_uniform_scheme){.exact_first = 0};
    if (!kvb_scan_width(text, &scheme->k) || *(*text)++ != '/' || !kvb_scan_width(text, &scheme->v))
        return 0;
    if (**text == 't') {
        ++*text;
        if (!kvb_scan_number(text, &scheme->trellis_states) ||
            !(kvb_width_has_trellis(scheme->trellis_states, scheme->k) ||
              kvb_width_has_trellis(scheme->trellis_states, scheme->v)))
            return 0;
    }
    if (**text == 's') {
        ++*text;
        scheme->search = 1;
    }
    if (**text == '+') {
        ++*text;
        if (!kvb_scan_number(text, &scheme->exact_first))
            return 0;
        if (**text == '+') {
            ++*text;
            return kvb_scan_number(text, &scheme->exact_last);
        }
    }
    return 1;
}

kvb_status kvb_parse_probe(const char *option, const char *text, kvb_uniform_scheme *out, kvb_error *error) {
    const char *p = text;
    if (kvb_scan_scheme(&p, out) && *p == 0 && out->k.bits != KVB_DENSE_BITS && out->v.bits != KVB_DENSE_BITS &&
        !out->k.half && !out->v.half && !out->exact_first && !out->exact_last)
        return KVB_OK;
    return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                         "--%s is '%.80s'; legal: K/V[tSTATES][s] of widths 1-8, with 8, 16, 64 or 256 states for 2-6 "
                         "bits",
                         option, text);
}
