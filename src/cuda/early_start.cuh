// Kernels that start while the work before them still runs (kvbits/cuda.h, starts_early).
#pragma once

namespace kvb {

// Before this nothing is touched that the work before may still write, and nothing is written. Where the kernel was not
// launched to start early there is nothing to wait for.
__device__ __forceinline__ void wait_for_work_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Once all blocks have come here or are done, the kernel behind may start, if it was launched to: it must find all work
// before this kernel done, so that a kernel which starts early itself waits first.
__device__ __forceinline__ void let_work_behind_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

} // namespace kvb
