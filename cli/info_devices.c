#include "info_devices.h"

#include <stdio.h>

#include "bench/bench.h"

void kvb_info_print_devices(void) {
    kvb_bench_gpu gpu;
    kvb_error error = {""};
    int n = 0;
    if (!kvb_bench_has_cuda()) {
        puts("\nGPUs: this kvbits was built without CUDA");
        return;
    }
    for (; kvb_bench_gpu_read(n, &gpu, &error) == KVB_OK; n++)
        printf("%s  %-8s %s, compute capability %d.%d%s, %d multiprocessors, %.1f GiB\n", n ? "" : "\nGPUs\n",
               gpu.backend, gpu.name, gpu.major, gpu.minor,
               gpu.major < 8   ? " (too old: kvbits needs 8.0)"
               : gpu.major < 9 ? " (general kernels only)"
                               : "",
               gpu.multiprocessors, gpu.memory / (1 << 30));
    if (n == 0)
        printf("\nGPUs: none (%s)\n", error.text);
}

void kvb_info_print_devices_json(void) {
    kvb_bench_gpu gpu;
    int n = 0;
    printf("{\"built\": %s, \"devices\": [", kvb_bench_has_cuda() ? "true" : "false");
    for (; kvb_bench_gpu_read(n, &gpu, NULL) == KVB_OK; n++)
        printf("%s{\"backend\": \"%s\", \"name\": \"%s\", \"capability\": \"%d.%d\", \"multiprocessors\": %d, "
               "\"memory_bytes\": %.0f}",
               n ? ", " : "", gpu.backend, gpu.name, gpu.major, gpu.minor, gpu.multiprocessors, gpu.memory);
    printf("]}");
}
