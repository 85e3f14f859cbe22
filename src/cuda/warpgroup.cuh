// The tensor cores as warpgroups of Hopper drive them: 64 x N += (64 x 16) (16 x N), the left operand in registers or
// in shared memory, the right one in shared memory.
#pragma once
#include "attend_copies.cuh"

// wgmma and setmaxnreg are of sm_90a alone: PTX for newer devices does without.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define KVB_HAS_WARPGROUPS 1
#else
#define KVB_HAS_WARPGROUPS 0
#endif

namespace kvb {

__device__ __forceinline__ void barrier_init_of(uint64_t *b, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint64_t *b) {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
// All threads of a cluster of blocks meet, those that are done left out; what they did before is done.
__device__ __forceinline__ void meet_cluster() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// What lies at the same place of another block of the cluster.
__device__ __forceinline__ float load_from_block(const float *p, int block) {
    uint32_t there;
    float x;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(p)), "r"(block));
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(x) : "r"(there) : "memory");
    return x;
}
// What a thread wrote to shared memory is there for the tensor cores, once it has arrived at a barrier.
__device__ __forceinline__ void publish_to_tensor_cores() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

#if KVB_HAS_WARPGROUPS

template <int REGISTERS> __device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS> __device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// Before the first product of a batch; behind it; until all but PENDING batches are done.
__device__ __forceinline__ void products_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_end() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int PENDING> __device__ __forceinline__ void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// An operand in shared memory: rows of 128 bytes (64 halves along the contraction), of which row r has its 16-byte
// piece i at place i ^ r % 8; eight rows are 1,024 bytes, and the first begins at a multiple of that. Pieces further
// along add their number.
__device__ __forceinline__ uint64_t operand_at(const void *rows) {
    return (uint64_t)(shared_address(rows) >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

#define KVB_EIGHT(c, i)                                                                                                \
    "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]),        \
        "+f"(c[i + 7])

// c (+)= a b; `adds` 0: c is overwritten. N: rows of b.
template <int N> struct Product;
template <> struct Product<32> {
    __device__ static __forceinline__ void run(float (&c)[16], const uint32_t *a, uint64_t b, int adds) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
                     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
                     "{%16,%17,%18,%19}, %20, p, 1, 1, 0;\n}"
                     : KVB_EIGHT(c, 0), KVB_EIGHT(c, 8)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
    }
    __device__ static __forceinline__ void run(float (&c)[16], uint64_t a, uint64_t b, int adds) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
                     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
                     "%16, %17, p, 1, 1, 0, 0;\n}"
                     : KVB_EIGHT(c, 0), KVB_EIGHT(c, 8)
                     : "l"(a), "l"(b), "r"(adds));
    }
};
template <> struct Product<64> {
    __device__ static __forceinline__ void run(float (&c)[32], const uint32_t *a, uint64_t b, int adds) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
                     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
                     "{%32,%33,%34,%35}, %36, p, 1, 1, 0;\n}"
                     : KVB_EIGHT(c, 0), KVB_EIGHT(c, 8), KVB_EIGHT(c, 16), KVB_EIGHT(c, 24)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
    }
};
template <> struct Product<96> {
    __device__ static __forceinline__ void run(float (&c)[48], const uint32_t *a, uint64_t b, int adds) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %53, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n96k16.f32.f16.f16 "
                     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47}, "
                     "{%48,%49,%50,%51}, %52, p, 1, 1, 0;\n}"
                     : KVB_EIGHT(c, 0), KVB_EIGHT(c, 8), KVB_EIGHT(c, 16), KVB_EIGHT(c, 24), KVB_EIGHT(c, 32),
                       KVB_EIGHT(c, 40)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
    }
};
template <> struct Product<128> {
    __device__ static __forceinline__ void run(float (&c)[64], const uint32_t *a, uint64_t b, int adds) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
                     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
                     "{%64,%65,%66,%67}, %68, p, 1, 1, 0;\n}"
                     : KVB_EIGHT(c, 0), KVB_EIGHT(c, 8), KVB_EIGHT(c, 16), KVB_EIGHT(c, 24), KVB_EIGHT(c, 32),
                       KVB_EIGHT(c, 40), KVB_EIGHT(c, 48), KVB_EIGHT(c, 56)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
    }
};
template <> struct Product<192> {
    __device__ static __forceinline__ void run(float (&c)[96], const uint32_t *a, uint64_t b, int adds) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %101, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n192k16.f32.f16.f16 "
                     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
                     "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
                     "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95}, "
                     "{%96,%97,%98,%99}, %100, p, 1, 1, 0;\n}"
                     : KVB_EIGHT(c, 0), KVB_EIGHT(c, 8), KVB_EIGHT(c, 16), KVB_EIGHT(c, 24), KVB_EIGHT(c, 32),
                       KVB_EIGHT(c, 40), KVB_EIGHT(c, 48), KVB_EIGHT(c, 56), KVB_EIGHT(c, 64), KVB_EIGHT(c, 72),
                       KVB_EIGHT(c, 80), KVB_EIGHT(c, 88)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
    }
};
template <> struct Product<256> {
    __device__ static __forceinline__ void run(float (&c)[128], const uint32_t *a, uint64_t b, int adds) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 "
                     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
                     "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
                     "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
                     "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
                     "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}, "
                     "{%128,%129,%130,%131}, %132, p, 1, 1, 0;\n}"
                     : KVB_EIGHT(c, 0), KVB_EIGHT(c, 8), KVB_EIGHT(c, 16), KVB_EIGHT(c, 24), KVB_EIGHT(c, 32),
                       KVB_EIGHT(c, 40), KVB_EIGHT(c, 48), KVB_EIGHT(c, 56), KVB_EIGHT(c, 64), KVB_EIGHT(c, 72),
                       KVB_EIGHT(c, 80), KVB_EIGHT(c, 88), KVB_EIGHT(c, 96), KVB_EIGHT(c, 104), KVB_EIGHT(c, 112),
                       KVB_EIGHT(c, 120)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
    }
};
#undef KVB_EIGHT

#endif

} // namespace kvb
