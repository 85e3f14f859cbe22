// What kernels tell the memory of their own.
#pragma once
#include <cstdint>

namespace kvb {

__device__ __forceinline__ uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}
// Asks for a line that will be read soon, into the L2.
__device__ __forceinline__ void prefetch_line(const void *p) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

} // namespace kvb
