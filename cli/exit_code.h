/* Which exit code a status becomes: the same for every command. */
#ifndef KVBITS_CLI_EXIT_CODE_H
#define KVBITS_CLI_EXIT_CODE_H

#include "commands.h"
#include "kvbits/kvbits.h"

static inline int kvb_exit_code(kvb_status status) {
    switch (status) {
    case KVB_OK:
        return KVB_EXIT_OK;
    case KVB_ERROR_CONVERGENCE:
        return KVB_EXIT_CHECK;
    case KVB_ERROR_IO:
    case KVB_ERROR_MEMORY:
    case KVB_ERROR_UNSUPPORTED:
        return KVB_EXIT_IO;
    default:
        return KVB_EXIT_INPUT;
    }
}

#endif
