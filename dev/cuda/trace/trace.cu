// Stamps of the decode kernel at 4/4, one sequence; stamp.py says how it is built and read.
#define main time_attend_main
#include "../time_attend.cu"
#undef main

#include "attend_instance.cuh"
KVB_INSTANCE(4, 4, 128, 128)

static long long stamps[1024 * 16];

int main() {
    cudaDeviceProp properties;
    OK(cudaGetDeviceProperties(&properties, 0));
    multiprocessors = properties.multiProcessorCount;
    std::printf("# %s, %d multiprocessors\n", properties.name, multiprocessors);
    OK(cudaMalloc(&foreign, foreign_bytes));
    OK(cudaMemset(foreign, 1, foreign_bytes));
    OK(cudaMalloc(&sink, 4));
    Timing ordered;
    ordered.scattered = false;
    for (int n : {8192, 32768, 131072}) {
        for (int i = 0; i < 2; i++) {
            cold = i, ordered.what = i ? "cold" : "warm";
            const std::vector<long long> none(1024 * 16);
            OK(cudaMemcpyToSymbol(kvb::stamps, none.data(), sizeof stamps));
            time_one(4, 4, 128, 128, 8, 4, {n}, ordered);
            OK(cudaMemcpyFromSymbol(stamps, kvb::stamps, sizeof stamps));
            for (int block = 0; block < multiprocessors && block < 1024; block++) { // stamps of the last launch
                const long long *s = stamps + block * 16;
                std::printf("block %d:", block);
                for (int k : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15}) {
                    std::printf(" %lld", s[k]);
                }
                std::printf("\n");
            }
        }
    }
    return 0;
}
