/* cmocka with its four mandatory headers, and the checks that several test programs share. */
#ifndef KVB_TESTS_CHECK_H
#define KVB_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kvbits/kvbits.h"

/* Fails with the library's sentence. */
#define assert_ok(status, error)                                                                                       \
    do {                                                                                                               \
        if ((status) != KVB_OK) {                                                                                      \
            fail_msg("%s", (error).text);                                                                              \
        }                                                                                                              \
    } while (0)

/* On the scalar backend, which is the reference: the others are compared with it, bit by bit, in tests of parity. */
static inline kvb_codec *create_codec(const kvb_codec_spec *spec) {
    kvb_error error;
    const kvb_backend *scalar;
    kvb_codec *codec;
    assert_ok(kvb_backend_open("scalar", &scalar, &error), error);
    assert_ok(kvb_codec_create(spec, scalar, NULL, &codec, &error), error);
    return codec;
}

#endif
