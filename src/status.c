/* The one error reporter of every layer, and what the library calls itself. */
#include "kvbits/kvbits.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT(value) #value
#define NUMBER(value) TEXT(value)

kvb_status kvb_error_set(kvb_error *error, kvb_status status, const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return status;
}

const char *kvb_status_name(kvb_status status) {
    switch (status) {
    case KVB_OK:
        return "ok";
    case KVB_ERROR_ARGUMENT:
        return "illegal argument";
    case KVB_ERROR_NOT_FINITE:
        return "not finite";
    case KVB_ERROR_MEMORY:
        return "out of memory";
    case KVB_ERROR_UNSUPPORTED:
        return "unsupported";
    case KVB_ERROR_FORMAT:
        return "broken format";
    case KVB_ERROR_IO:
        return "input/output";
    case KVB_ERROR_CONVERGENCE:
        return "no convergence";
    }
    return "unknown status";
}

const char *kvb_version(void) {
    return NUMBER(KVB_VERSION_MAJOR) "." NUMBER(KVB_VERSION_MINOR) "." NUMBER(KVB_VERSION_PATCH);
}
