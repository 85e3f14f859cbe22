#include "parse.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One decimal number up to `end`; 0 when there is none or it does not fit int. */
static int scan_int(const char **text, int *out) {
    char *end;
    if (**text != '-' && (**text < '0' || **text > '9'))
        return 0;
    errno = 0;
    long value = strtol(*text, &end, 10);
    if (end == *text || errno == ERANGE || value < INT_MIN || value > INT_MAX)
        return 0;
    *text = end;
    *out = (int)value;
    return 1;
}

kvb_status kvb_parse_int(const char *option, const char *text, int *out, kvb_error *error) {
    const char *p = text;
    int value;
    if (!scan_int(&p, &value) || *p)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: a whole number", option, text);
    *out = value;
    return KVB_OK;
}

kvb_status kvb_parse_count(const char *option, const char *text, int64_t least, int64_t most, int64_t *out,
                           kvb_error *error) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!strchr("-0123456789", *text) || end == text || *end || errno == ERANGE || value < least || value > most)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: a whole number from %lld to %lld",
                             option, text, (long long)least, (long long)most);
    *out = value;
    return KVB_OK;
}

kvb_status kvb_parse_int_from(const char *option, const char *text, int least, int most, int *out, kvb_error *error) {
    int64_t value = 0;
    kvb_status status = kvb_parse_count(option, text, least, most, &value, error);
    if (status == KVB_OK)
        *out = (int)value;
    return status;
}

/* A number; ".5" behind it is half a bit more. */
static int scan_side(const char **text, int *bits, int *half) {
    if (!scan_int(text, bits))
        return 0;
    *half = strncmp(*text, ".5", 2) == 0;
    *text += *half ? 2 : 0;
    return 1;
}

int kvb_scan_width(const char **text, kvb_width *out) {
    if (!scan_side(text, &out->bits, &out->half))
        return 0;
    return (out->bits >= 1 && out->bits <= KVB_MAX_BITS - out->half) || (out->bits == KVB_DENSE_BITS && !out->half);
}

kvb_status kvb_parse_width(const char *option, const char *text, kvb_width *out, kvb_error *error) {
    const char *p = text;
    if (kvb_scan_width(&p, out) && *p == '\0')
        return KVB_OK;
    return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                         "--%s is '%.80s'; legal: 1 to %d in steps of 0.5, or %d for dense rows", option, text,
                         KVB_MAX_BITS, KVB_DENSE_BITS);
}

kvb_status kvb_parse_states(const char *option, const char *text, int *out, kvb_error *error) {
    kvb_status status = kvb_parse_int(option, text, out, error);
    if (status == KVB_OK && *out != 0 && !kvb_trellis_codebook(*out, KVB_MIN_TRELLIS_BITS))
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is %d; legal: 0 (scalar codes), 8, 16, 64 or 256",
                               option, *out);
    return status;
}

kvb_status kvb_parse_real(const char *option, const char *text, double *out, kvb_error *error) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || !strchr("+-.0123456789", *text)) /* blanks would be skipped */
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: a finite number", option, text);
    *out = value;
    return KVB_OK;
}

kvb_status kvb_parse_seed(const char *option, const char *text, uint64_t *out, kvb_error *error) {
    char *end;
    int hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    errno = 0;
    unsigned long long value = strtoull(text, &end, hexadecimal ? 16 : 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno == ERANGE || (hexadecimal && end == text + 2))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: 0 to 2^64-1, decimal or 0x...", option,
                             text);
    *out = value;
    return KVB_OK;
}

kvb_status kvb_parse_ints(const char *option, const char *text, int *out, int most, int *n, kvb_error *error) {
    const char *p = text;
    int found[256];
    *n = 0;
    for (;;) {
        if (*n == most || *n == 256 || !scan_int(&p, &found[*n]) || (*p && *p != ','))
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "--%s is '%.80s'; legal: 1 to %d whole numbers separated by commas", option, text,
                                 most);
        ++*n;
        if (*p++ == '\0')
            break;
    }
    memcpy(out, found, (size_t)*n * sizeof *out);
    return KVB_OK;
}

kvb_status kvb_parse_pairs(const char *option, const char *text, kvb_pair *out, kvb_pair *halves, int most, int *n,
                           kvb_error *error) {
    const char *p = text;
    *n = 0;
    for (;;) {
        int good = *n < most && scan_side(&p, &out[*n].k_bits, &halves[*n].k_bits) && *p == '/';
        if (good) {
            p++;
            good = scan_side(&p, &out[*n].v_bits, &halves[*n].v_bits) && (*p == ',' || *p == '\0');
        }
        if (!good)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "--%s is '%.80s'; legal: grid, or 1 to %d pairs K/V, such as 7/5,6/4.5", option, text,
                                 most);
        ++*n;
        if (*p++ == '\0')
            return KVB_OK;
    }
}

kvb_status kvb_parse_choice(const char *option, const char *text, const char *legal, int *out, kvb_error *error) {
    size_t length = strlen(text);
    int place = 0;
    for (const char *p = legal;; place++) {
        size_t word = strcspn(p, "|");
        if (word == length && memcmp(p, text, word) == 0) {
            *out = place;
            return KVB_OK;
        }
        if (p[word] == '\0')
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s is '%.80s'; legal: %s", option, text, legal);
        p += word + 1;
    }
}
