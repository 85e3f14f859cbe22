/* In place of the other files of this folder where there is no CUDA. */
#include "suite.h"

int kvb_bench_has_cuda(void) {
    return 0;
}

static kvb_status absent(kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                         "this kvbits was built without CUDA: where nvcc is installed, `make cuda` builds "
                         "build-cuda/kvbits, which has it (docs/cuda.md)");
}

kvb_status kvb_bench_gpu_read(int index, kvb_bench_gpu *out, kvb_error *error) {
    (void)index;
    *out = (kvb_bench_gpu){.backend = ""};
    return absent(error);
}

kvb_status kvb_bench_add_gpu(kvb_bench_suite *suite, kvb_error *error) {
    (void)suite;
    return absent(error);
}
