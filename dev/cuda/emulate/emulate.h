// What device code finds in place of a GPU: every CUDA thread is a fiber, and what warps, blocks and clusters do
// together happens once the last of them has come (emulate.cpp). Included before each translated file (translate.py).
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <vector_functions.h>

#include <functional>
#include <tuple>
#include <type_traits>

#undef __forceinline__
#define __forceinline__ inline
#undef __noinline__
#define __noinline__
#undef __launch_bounds__
#define __launch_bounds__(...)

// Of the running thread.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace emu {

// ---- What a thread knows of itself, and where it waits ----

extern void *shared_memory; // of its block: 256 KB at a multiple of that, below 2^31

// All lanes of `mask` come with the same `all`, which the last one calls with what each brought.
void meet_lanes(unsigned mask, void *mine, void (*all)(void **, unsigned));
void meet_threads(int barrier, int threads); // 0: all of the block
void meet_cluster();
// wgmma: all of a warpgroup; c: n / 2 floats, a: four registers, or nullptr: `a_at` in shared memory.
void multiply(int n, float *c, const uint32_t *a, uint64_t a_at, uint64_t b_at, bool adds);
void products_end();
void products_wait(int pending);

[[noreturn]] void fail(const char *what);

// ---- Shared memory by address ----

inline uint32_t address(const void *p) {
    const uintptr_t offset = (uintptr_t)p - (uintptr_t)shared_memory;
    if (offset >= 1 << 18) {
        fail("an address that is not in the block's dynamic shared memory");
    }
    return (uint32_t)(uintptr_t)p;
}
template <class T> T at(uint32_t address) {
    if (address % sizeof(T) != 0 || address - (uint32_t)(uintptr_t)shared_memory >= 1u << 18) {
        fail("a load from no place of shared memory");
    }
    return *(const T *)(uintptr_t)address;
}
float load_from_block(uint32_t address, int block);

// ---- mbarriers and copies ----

void barrier_init(uint64_t *b, uint32_t arrivals);
void barrier_arrive(uint64_t *b, uint32_t bytes);
void barrier_wait(uint64_t *b, uint32_t parity);
void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *b);
void copy_later(uint32_t to, const void *from); // 16 bytes, when they are waited for
void close_copies();
void wait_for_copies(int pending);

// ---- Launches ----

struct Launch {
    dim3 grid, block;
    size_t bytes;
    cudaStream_t stream;
    unsigned cluster;
    const void *kernel;
    std::function<void()> run;
};
void launch(Launch l);
cudaError_t set_shared_bytes(const void *kernel, int bytes);
int multiprocessors();

template <class... P> struct Bound {
    Launch how;
    void (*kernel)(P...);
    template <class... A> void operator()(const A &...a) {
        std::tuple<std::decay_t<P>...> all((std::decay_t<P>)a...);
        how.kernel = (const void *)kernel;
        how.run = [k = kernel, all] { std::apply(k, all); };
        launch(how);
    }
};
struct Config {
    Launch how;
    Config(dim3 grid, dim3 block, size_t bytes = 0, cudaStream_t stream = nullptr)
        : how{grid, block, bytes, stream, 1, nullptr, nullptr} {
    }
    template <class... P> Bound<P...> operator()(void (*kernel)(P...)) const {
        return {how, kernel};
    }
};

} // namespace emu

template <class... P> cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute which, int value) {
    return which == cudaFuncAttributeMaxDynamicSharedMemorySize ? emu::set_shared_bytes((const void *)kernel, value)
                                                                : cudaSuccess;
}
template <class... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void (*)(P...), int threads, size_t bytes) {
    const int by_memory = (int)(233472 / (bytes + 1024)), by_threads = 2048 / threads;
    *n = by_memory < by_threads ? by_memory : by_threads;
    return cudaSuccess;
}
template <class... P>
cudaError_t cudaOccupancyMaxActiveClusters(int *n, void (*)(P...), const cudaLaunchConfig_t *how) {
    *n = emu::multiprocessors() / (int)how->attrs[0].val.clusterDim.x;
    return cudaSuccess;
}
template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *how, void (*kernel)(P...), const A &...a) {
    emu::Config config(how->gridDim, how->blockDim, how->dynamicSmemBytes, how->stream);
    for (unsigned i = 0; i < how->numAttrs; i++) { // kernels run one after another, so that none starts early
        if (how->attrs[i].id == cudaLaunchAttributeClusterDimension) {
            config.how.cluster = how->attrs[i].val.clusterDim.x;
        }
    }
    config(kernel)(a...);
    return cudaGetLastError();
}

// ---- Lanes of a warp ----

namespace emu {
template <class T> struct Swap {
    T in, out;
    int lane, from;
};
template <class T> T swap(unsigned mask, T x, int from) {
    Swap<T> mine = {x, x, 0, from};
    meet_lanes(mask, &mine, [](void **all, unsigned present) {
        for (int i = 0; i < 32; i++) {
            if (present >> i & 1) {
                Swap<T> *s = (Swap<T> *)all[i];
                if (!(present >> s->from & 1)) {
                    fail("a shuffle from a lane that is not there");
                }
                s->out = ((Swap<T> *)all[s->from])->in;
            }
        }
    });
    return mine.out;
}
enum Reduction { MIN, MAX, BALLOT };
template <class T, Reduction R> T reduce(unsigned mask, T x) {
    T mine = x;
    meet_lanes(mask, &mine, [](void **all, unsigned present) {
        T result = R == BALLOT ? 0 : *(T *)all[__builtin_ctz(present)];
        for (int i = 0; i < 32; i++) {
            if (present >> i & 1) {
                const T one = *(T *)all[i];
                result = R == BALLOT ? (T)((unsigned)result | (one ? 1u << i : 0u))
                         : R == MIN  ? (one < result ? one : result)
                                     : (one > result ? one : result);
            }
        }
        for (int i = 0; i < 32; i++) {
            if (present >> i & 1) {
                *(T *)all[i] = result;
            }
        }
    });
    return mine;
}
inline int lane() {
    return (int)(threadIdx.x % 32);
}
struct Product {
    float *c;
    const uint32_t *a;
    uint32_t b[2];
};
void multiply_warp(void **all, unsigned present);
void transpose_warp(void **all, unsigned present);
} // namespace emu

template <class T> T __shfl_sync(unsigned mask, T x, int from, int width = 32) {
    return emu::swap(mask, x, emu::lane() / width * width + from % width);
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32) {
    if (bits >= width) {
        emu::fail("a shuffle between parts of a warp");
    }
    return emu::swap(mask, x, emu::lane() ^ bits);
}
template <class T> T __shfl_up_sync(unsigned mask, T x, int by, int width = 32) {
    return emu::swap(mask, x, emu::lane() % width >= by ? emu::lane() - by : emu::lane());
}
template <class T> T __shfl_down_sync(unsigned mask, T x, int by, int width = 32) {
    return emu::swap(mask, x, emu::lane() % width + by < width ? emu::lane() + by : emu::lane());
}
template <class T> T __reduce_min_sync(unsigned mask, T x) {
    return emu::reduce<T, emu::MIN>(mask, x);
}
template <class T> T __reduce_max_sync(unsigned mask, T x) {
    return emu::reduce<T, emu::MAX>(mask, x);
}
inline unsigned __ballot_sync(unsigned mask, int is) {
    return emu::reduce<unsigned, emu::BALLOT>(mask, is != 0);
}
inline int __any_sync(unsigned mask, int is) {
    return __ballot_sync(mask, is) != 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    emu::meet_lanes(mask, nullptr, [](void **, unsigned) {});
}
inline void __syncthreads() {
    emu::meet_threads(0, 0);
}
inline void __threadfence() {
}

// ---- Arithmetic ----

#define EMU_MIN_MAX(T)                                                                                                 \
    inline T min(T a, T b) {                                                                                           \
        return b < a ? b : a;                                                                                          \
    }                                                                                                                  \
    inline T max(T a, T b) {                                                                                           \
        return a < b ? b : a;                                                                                          \
    }
EMU_MIN_MAX(int)
EMU_MIN_MAX(unsigned)
EMU_MIN_MAX(long)
EMU_MIN_MAX(long long)
EMU_MIN_MAX(unsigned long)
EMU_MIN_MAX(float)
#undef EMU_MIN_MAX
inline unsigned min(int a, unsigned b) {
    return min((unsigned)a, b);
}
inline unsigned max(int a, unsigned b) {
    return max((unsigned)a, b);
}
inline unsigned min(unsigned a, int b) {
    return min(a, (unsigned)b);
}
inline unsigned max(unsigned a, int b) {
    return max(a, (unsigned)b);
}

inline float __fadd_rn(float a, float b) {
    return a + b;
}
inline float __fsub_rn(float a, float b) {
    return a - b;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline float __frcp_rn(float a) {
    return 1.0f / a;
}
inline float __fdiv_rn(float a, float b) {
    return a / b;
}
inline float __fdividef(float a, float b) {
    return a / b;
}
inline float __fsqrt_rn(float a) {
    return sqrtf(a);
}
inline float __fmaf_rn(float a, float b, float c) {
    return fmaf(a, b, c);
}
inline float __saturatef(float a) {
    return a >= 0.0f ? a < 1.0f ? a : 1.0f : 0.0f;
}
inline float rsqrtf(float a) {
    return 1.0f / sqrtf(a);
}
inline float __uint_as_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
inline float __int_as_float(int bits) {
    return __uint_as_float((uint32_t)bits);
}
inline uint32_t __float_as_uint(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline int __popc(uint32_t x) {
    return __builtin_popcount(x);
}
inline uint32_t __funnelshift_l(uint32_t low, uint32_t high, uint32_t by) {
    return (uint32_t)(((uint64_t)high << 32 | low) << (by & 31) >> 32);
}
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t by) {
    return (uint32_t)(((uint64_t)high << 32 | low) >> (by & 31));
}
namespace emu {
inline uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t both = (uint64_t)b << 32 | a;
    uint32_t out = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t which = selector >> 4 * i, byte = (uint32_t)(both >> (which & 7) * 8) & 0xff;
        out |= (which & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << 8 * i;
    }
    return out;
}
inline uint32_t fma_halves(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t out = 0;
    for (int i = 0; i < 32; i += 16) { // exact in double, so that one rounding is left
        auto value = [i](uint32_t x) { return (double)__half2float(__ushort_as_half((unsigned short)(x >> i))); };
        out |= (uint32_t)__half_as_ushort(__double2half(value(a) * value(b) + value(c))) << i;
    }
    return out;
}
inline float exp2_of(float x) {
    const float r = exp2f(fabsf(x) < 1.17549435e-38f ? 0.0f : x);
    return r < 1.17549435e-38f ? 0.0f : r;
}
} // namespace emu
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
    return emu::permute(a, b, selector & 0x7777);
}

// ---- Memory: one thread runs at a time ----

template <class T> T __ldg(const T *p) {
    return *p;
}
template <class T> T __ldcg(const T *p) {
    return *p;
}
template <class T> T atomicAdd(T *p, T x) {
    const T before = *p;
    *p = before + x;
    return before;
}
template <class T> T atomicOr(T *p, T x) {
    const T before = *p;
    *p = before | x;
    return before;
}
template <class T> T atomicMin(T *p, T x) {
    const T before = *p;
    *p = min(before, x);
    return before;
}
template <class T> T atomicMax(T *p, T x) {
    const T before = *p;
    *p = max(before, x);
    return before;
}
