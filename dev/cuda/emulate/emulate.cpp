// Fibers for the threads of a cluster of blocks, what they wait for, and the tensor cores.
#include "emulate.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <map>
#include <memory>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emu {

void *shared_memory;

namespace {

constexpr size_t SLOT = 1 << 18, MOST_SHARED = 232448, STACK = 1 << 18;
constexpr int MOST_BLOCKS = 8, BARRIERS = 16;

struct Copy {
    int group;
    uint32_t to;
    const void *from;
};
struct Block;
struct Warp {
    unsigned alive = 0, waiting = 0;
};
struct Fiber {
    uint3 thread, block_index;
    uint8_t *stack;
    void *stack_pointer;
    Block *block;
    Warp *warp;
    int lane;
    bool is_done, is_blocked;
    // Lanes that meet.
    unsigned mask;
    void *mine;
    void (*all)(void **, unsigned);
    // Threads that meet at a barrier of a block (0-15) or of its cluster (16); -1: none.
    int barrier;
    // An mbarrier's phase that is waited for.
    const uint64_t *phase_of;
    uint32_t parity;
    int open_group, open_batch;
    std::vector<Copy> copies;
};
// Four warps at one wgmma.
struct Product4 {
    int n, arrived, batch;
    Fiber *from[128];
    float *c[128];
    const uint32_t *a[128];
    uint64_t a_at, b_at;
    bool adds;
};
struct Block {
    std::vector<Fiber *> fibers;
    std::vector<Warp> warps;
    std::vector<Product4> products;             // that threads are coming for, by warpgroup
    std::vector<std::vector<Product4>> pending; // that nobody has waited for
    uint8_t *memory;
    int alive, arrived[BARRIERS], wanted[BARRIERS];
};
struct Barrier { // in the eight bytes of an mbarrier
    uint16_t expected, pending;
    int32_t bytes_and_phase; // bytes twice, phase in bit 0
    bool is_over(uint32_t parity) const {
        return (uint32_t)(bytes_and_phase & 1) != parity;
    }
};
static_assert(sizeof(Barrier) == 8, "an mbarrier");

std::vector<Fiber *> pool;
std::vector<Block> blocks;
int cluster_alive, cluster_arrived;
Fiber *running;
void *scheduler;
const std::function<void()> *kernel;
uint8_t *slots;
std::map<const void *, int> shared_limits;

// Keeps what the callee must, and goes on where another left off.
extern "C" void emu_switch(void **from, void *to);
asm(R"(
.text
.globl emu_switch
emu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

void leave() {
    emu_switch(&running->stack_pointer, scheduler);
}

void release_lanes(Block &b, Warp &w, int warp, unsigned mask, void (*all)(void **, unsigned)) {
    const unsigned present = mask & w.alive;
    if (present == 0 || (w.waiting & present) != present) {
        return;
    }
    void *mine[32] = {};
    for (int i = 0; i < 32; i++) {
        if (present >> i & 1) {
            const Fiber *f = b.fibers[warp * 32 + i];
            if (f->all != all || (f->mask & w.alive) != present) {
                fail("lanes of a warp that wait at different places for each other");
            }
            mine[i] = f->mine;
        }
    }
    if (all) {
        all(mine, present);
    }
    w.waiting &= ~present;
    for (int i = 0; i < 32; i++) {
        if (present >> i & 1) {
            b.fibers[warp * 32 + i]->is_blocked = false;
        }
    }
}

void release_barrier(Block &b, int i) {
    if (b.arrived[i] == 0 || b.arrived[i] < (i == 0 && b.wanted[i] == 0 ? b.alive : b.wanted[i])) {
        return;
    }
    b.arrived[i] = 0;
    for (Fiber *f : b.fibers) {
        if (f->barrier == i) {
            f->barrier = -1;
            f->is_blocked = false;
        }
    }
}
void release_cluster() {
    if (cluster_arrived == 0 || cluster_arrived < cluster_alive) {
        return;
    }
    cluster_arrived = 0;
    for (Block &b : blocks) {
        for (Fiber *f : b.fibers) {
            if (f->barrier == BARRIERS) {
                f->barrier = -1;
                f->is_blocked = false;
            }
        }
    }
}

void run_fiber() {
    (*kernel)();
    Fiber *f = running;
    if (!f->copies.empty() || !f->block->pending[f->thread.x / 128].empty()) {
        fail("a thread ends before its copies or products");
    }
    f->is_done = true;
    f->warp->alive &= ~(1u << f->lane);
    f->block->alive--;
    cluster_alive--;
    const int warp = (int)(f->warp - f->block->warps.data());
    if (f->warp->waiting) {
        const Fiber *other = f->block->fibers[(size_t)warp * 32 + (size_t)__builtin_ctz(f->warp->waiting)];
        release_lanes(*f->block, *f->warp, warp, other->mask, other->all);
    }
    release_barrier(*f->block, 0);
    release_cluster();
    leave();
    abort();
}

Fiber *new_fiber(size_t i) {
    if (i == pool.size()) {
        Fiber *f = new Fiber();
        void *stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) {
            fail("no memory for a stack");
        }
        mprotect(stack, 4096, PROT_NONE);
        f->stack = (uint8_t *)stack;
        pool.push_back(f);
    }
    return pool[i];
}

void start_fiber(Fiber *f) {
    void **top = (void **)(f->stack + STACK) - 1; // as behind a call: 8 below a multiple of 16
    *--top = (void *)run_fiber;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    f->stack_pointer = top;
    f->is_done = f->is_blocked = false;
    f->phase_of = nullptr;
    f->barrier = -1;
    f->open_group = f->open_batch = 0;
    f->copies.clear();
}

uint8_t *shared_slots() {
    if (!slots) {
        void *p = mmap(nullptr, (MOST_BLOCKS + 1) * SLOT, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        if (p == MAP_FAILED) {
            fail("no memory for shared memory");
        }
        slots = (uint8_t *)(((uintptr_t)p + SLOT - 1) / SLOT * SLOT);
    }
    return slots;
}

bool run_warp(Block &b, size_t warp) {
    bool any = false;
    for (bool ran = true; ran;) {
        ran = false;
        for (size_t i = warp * 32; i < warp * 32 + 32 && i < b.fibers.size(); i++) {
            Fiber *f = b.fibers[i];
            if (f->is_done || f->is_blocked || (f->phase_of && !((const Barrier *)f->phase_of)->is_over(f->parity))) {
                continue;
            }
            f->phase_of = nullptr;
            running = f;
            threadIdx = f->thread, blockIdx = f->block_index;
            shared_memory = b.memory;
            emu_switch(&scheduler, f->stack_pointer);
            any = ran = true;
        }
    }
    return any;
}

void report_standstill() {
    for (const Block &b : blocks) {
        for (const Fiber *f : b.fibers) {
            if (!f->is_done && f->lane == 0) {
                fprintf(stderr, "block %u thread %u: barrier %d, lanes %08x, mbarrier at %ld (parity %u)\n",
                        f->block_index.x, f->thread.x, f->barrier, f->warp->waiting,
                        f->phase_of ? (long)((const uint8_t *)f->phase_of - b.memory) : -1l, f->parity);
            }
        }
    }
    fail("threads wait for each other for ever");
}

void run_cluster(const Launch &l, dim3 first) {
    const size_t threads = (size_t)l.block.x;
    blocks.assign(l.cluster, Block());
    cluster_alive = (int)(threads * l.cluster);
    cluster_arrived = 0;
    for (size_t i = 0; i < l.cluster; i++) {
        Block &b = blocks[i];
        b.memory = shared_slots() + i * SLOT;
        memset(b.memory, 0xff, l.bytes + 4096 < SLOT ? l.bytes + 4096 : SLOT);
        b.alive = (int)threads;
        memset(b.arrived, 0, sizeof b.arrived);
        b.warps.resize((threads + 31) / 32);
        b.products.resize((threads + 127) / 128);
        b.pending.resize(b.products.size());
        for (size_t t = 0; t < threads; t++) {
            const size_t n = i * threads + t;
            Fiber *f = new_fiber(n);
            start_fiber(f);
            f->thread = {(unsigned)t, 0, 0}, f->block_index = {first.x + (unsigned)i, first.y, first.z};
            f->block = &b, f->warp = &b.warps[t / 32], f->lane = (int)(t % 32);
            f->warp->alive |= 1u << f->lane;
            b.fibers.push_back(f);
        }
    }
    while (cluster_alive > 0) {
        bool any = false;
        for (Block &b : blocks) {
            for (size_t w = 0; w < b.warps.size(); w++) {
                any |= run_warp(b, w);
            }
        }
        if (!any && cluster_alive > 0) {
            report_standstill();
        }
    }
    for (const Block &b : blocks) {
        for (size_t i = l.bytes; i < l.bytes + 4096 && i < SLOT; i++) {
            if (b.memory[i] != 0xff) {
                fail("a kernel writes behind its shared memory");
            }
        }
    }
}

} // namespace

void fail(const char *what) {
    fprintf(stderr, "emulated GPU: %s\n", what);
    if (running) {
        fprintf(stderr, "  last in thread %u of block (%u, %u, %u)\n", running->thread.x, running->block_index.x,
                running->block_index.y, running->block_index.z);
    }
    abort();
}

void meet_lanes(unsigned mask, void *mine, void (*all)(void **, unsigned)) {
    Fiber *f = running;
    if (!(mask >> f->lane & 1)) {
        fail("a lane that its own mask leaves out");
    }
    f->mask = mask, f->mine = mine, f->all = all;
    f->warp->waiting |= 1u << f->lane;
    f->is_blocked = true;
    release_lanes(*f->block, *f->warp, (int)(f->warp - f->block->warps.data()), mask, all);
    while (f->is_blocked) {
        leave();
    }
}

void meet_threads(int barrier, int threads) {
    Fiber *f = running;
    Block &b = *f->block;
    if (b.arrived[barrier] > 0 && b.wanted[barrier] != threads) {
        fail("one barrier with two numbers of threads");
    }
    b.wanted[barrier] = threads;
    b.arrived[barrier]++;
    f->barrier = barrier;
    f->is_blocked = true;
    release_barrier(b, barrier);
    while (f->is_blocked) {
        leave();
    }
}

void meet_cluster() {
    Fiber *f = running;
    cluster_arrived++;
    f->barrier = BARRIERS;
    f->is_blocked = true;
    release_cluster();
    while (f->is_blocked) {
        leave();
    }
}

float load_from_block(uint32_t address, int block) {
    if (block < 0 || (size_t)block >= blocks.size() || blocks[(size_t)block].alive == 0) {
        fail("a load from a block of the cluster that is not there, or done");
    }
    return *(const float *)(blocks[(size_t)block].memory + address % SLOT);
}

// ---- mbarriers and copies ----

static void settle(Barrier *b) {
    if (b->pending == 0 && b->bytes_and_phase / 2 == 0) {
        b->bytes_and_phase ^= 1;
        b->pending = b->expected;
    }
}
void barrier_init(uint64_t *at, uint32_t arrivals) {
    *(Barrier *)at = {(uint16_t)arrivals, (uint16_t)arrivals, 0};
    address(at);
}
void barrier_arrive(uint64_t *at, uint32_t bytes) {
    Barrier *b = (Barrier *)at;
    if (b->pending == 0 || b->pending > b->expected) {
        fail("more arrivals than an mbarrier waits for");
    }
    b->bytes_and_phase += 2 * (int32_t)bytes;
    b->pending--;
    settle(b);
}
void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *at) {
    Barrier *b = (Barrier *)at;
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16 || bytes % 16 ||
        address(to) + bytes > (uint32_t)(uintptr_t)shared_memory + SLOT) {
        fail("a bulk copy that is not aligned to 16 bytes");
    }
    memcpy(to, from, bytes);
    b->bytes_and_phase -= 2 * (int32_t)bytes;
    settle(b);
}
void barrier_wait(uint64_t *at, uint32_t parity) {
    const Barrier *b = (const Barrier *)at;
    if (b->pending > b->expected || b->expected == 0 || b->expected == 0xffff) {
        fail("a wait at what is no mbarrier");
    }
    while (!b->is_over(parity)) {
        running->phase_of = at;
        running->parity = parity;
        leave();
    }
}
void copy_later(uint32_t to, const void *from) {
    if (to % 16 || (uintptr_t)from % 16) {
        fail("an asynchronous copy that is not aligned to 16 bytes");
    }
    running->copies.push_back({running->open_group, to, from});
}
void close_copies() {
    running->open_group++;
}
void wait_for_copies(int pending) {
    std::vector<Copy> rest;
    for (const Copy &c : running->copies) {
        if (c.group < running->open_group - pending) {
            memcpy((void *)(uintptr_t)c.to, c.from, 16);
        } else {
            rest.push_back(c);
        }
    }
    running->copies = rest;
}

// ---- Tensor cores ----

static float half_at(const uint32_t *registers, int i) {
    return __half2float(__ushort_as_half((unsigned short)(registers[i / 2] >> i % 2 * 16)));
}
void multiply_warp(void **all, unsigned present) {
    if (present != ~0u) {
        fail("a product of a part of a warp");
    }
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        const Product *p = (const Product *)all[l];
        for (int i = 0; i < 8; i++) {
            a[l / 4 + i / 2 % 2 * 8][l % 4 * 2 + i % 2 + i / 4 * 8] = half_at(p->a, i);
        }
        for (int i = 0; i < 4; i++) {
            b[l % 4 * 2 + i % 2 + i / 2 * 8][l / 4] = half_at(p->b, i);
        }
    }
    for (int l = 0; l < 32; l++) {
        float *c = ((const Product *)all[l])->c;
        for (int i = 0; i < 4; i++) {
            float sum = 0.0f;
            for (int k = 0; k < 16; k++) {
                sum += a[l / 4 + i / 2 * 8][k] * b[k][l % 4 * 2 + i % 2];
            }
            c[i] += sum;
        }
    }
}
void transpose_warp(void **all, unsigned present) {
    if (present != ~0u) {
        fail("a transposition in a part of a warp");
    }
    uint16_t m[8][8];
    for (int l = 0; l < 32; l++) {
        const uint32_t x = *(const uint32_t *)all[l];
        m[l / 4][l % 4 * 2] = (uint16_t)x;
        m[l / 4][l % 4 * 2 + 1] = (uint16_t)(x >> 16);
    }
    for (int l = 0; l < 32; l++) {
        *(uint32_t *)all[l] = m[l % 4 * 2][l / 4] | (uint32_t)m[l % 4 * 2 + 1][l / 4] << 16;
    }
}

// Row `row`, coordinates 0 to 15, of an operand in shared memory: its descriptor.
static void read_operand(uint64_t at, int row, float *out) {
    const uint32_t first = (uint32_t)(at & 0x3fff) << 4, apart = (uint32_t)(at >> 32 & 0x3fff) << 4;
    if (at >> 62 != 1 || (at >> 49 & 7) != 0) {
        fail("an operand that is not swizzled by 128 bytes");
    }
    for (int piece = 0; piece < 2; piece++) {
        uint32_t byte = first + (uint32_t)(row / 8) * apart + (uint32_t)(row % 8) * 128 + (uint32_t)piece * 16;
        byte ^= (byte >> 7 & 7) << 4;
        const uint16_t *halves = (const uint16_t *)((uint8_t *)shared_memory + byte);
        for (int i = 0; i < 8; i++) {
            out[piece * 8 + i] = __half2float(__ushort_as_half(halves[i]));
        }
    }
}
static void multiply_all(const Product4 &p) {
    static float a[64][16], b[16][256], c[256];
    for (int row = 0; row < p.n; row++) {
        float of_row[16];
        read_operand(p.b_at, row, of_row);
        for (int k = 0; k < 16; k++) {
            b[k][row] = of_row[k];
        }
    }
    for (int row = 0; row < 64 && !p.a[0]; row++) {
        read_operand(p.a_at, row, a[row]);
    }
    for (int t = 0; t < 128 && p.a[0]; t++) {
        for (int i = 0; i < 8; i++) {
            a[t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8][t % 4 * 2 + i % 2 + i / 4 * 8] = half_at(p.a[t], i);
        }
    }
    for (int row = 0; row < 64; row++) {
        memset(c, 0, sizeof c);
        for (int k = 0; k < 16; k++) {
            const float x = a[row][k];
            for (int i = 0; i < p.n; i++) {
                c[i] += x * b[k][i];
            }
        }
        for (int t = 0; t < 4; t++) {
            float *to = p.c[row / 16 * 32 + row % 8 * 4 + t] + row % 16 / 8 * 2;
            for (int i = 0; i < p.n / 8; i++) {
                for (int j = 0; j < 2; j++) {
                    to[4 * i + j] = (p.adds ? to[4 * i + j] : 0.0f) + c[8 * i + 2 * t + j];
                }
            }
        }
    }
}
void multiply(int n, float *c, const uint32_t *a, uint64_t a_at, uint64_t b_at, bool adds) {
    Fiber *f = running;
    Product4 &p = f->block->products[f->thread.x / 128];
    if (p.arrived == 0) {
        p.n = n, p.a_at = a_at, p.b_at = b_at, p.adds = adds;
    }
    if (p.n != n || p.a_at != a_at || p.b_at != b_at || p.adds != adds) {
        fail("a warpgroup whose threads do not agree on a product");
    }
    const int i = (int)(f->thread.x % 128);
    p.from[i] = f, p.c[i] = c, p.a[i] = a;
    f->is_blocked = true;
    if (++p.arrived == 128) {
        p.arrived = 0;
        p.batch = f->open_batch;
        f->block->pending[f->thread.x / 128].push_back(p);
        for (Fiber *one : p.from) {
            one->is_blocked = false;
        }
    }
    while (f->is_blocked) {
        leave();
    }
}

// Batches are done as late as they may be: what else touches their operands or sums shows.
void products_end() {
    running->open_batch++;
}
void products_wait(int pending) {
    std::vector<Product4> &all = running->block->pending[running->thread.x / 128], rest;
    for (const Product4 &p : all) {
        if (p.batch < running->open_batch - pending) {
            multiply_all(p);
        } else {
            rest.push_back(p);
        }
    }
    all = rest;
}

// ---- Launches ----

int multiprocessors() {
    const char *n = getenv("KVB_EMULATED_MULTIPROCESSORS");
    return n ? atoi(n) : 16;
}
int shared_limit(const void *of) {
    const auto found = shared_limits.find(of);
    return found == shared_limits.end() ? 49152 : found->second;
}
cudaError_t set_shared_bytes(const void *of, int bytes) {
    if (bytes < 0 || bytes > (int)MOST_SHARED) {
        return cudaErrorInvalidValue;
    }
    shared_limits[of] = bytes;
    return cudaSuccess;
}
void run_now(const Launch &l) {
    const bool reverse = getenv("KVB_EMULATED_REVERSE") != nullptr;
    kernel = &l.run;
    blockDim = l.block, gridDim = l.grid;
    const size_t across = l.grid.x / l.cluster, n = across * l.grid.y * l.grid.z;
    for (size_t i = 0; i < n; i++) {
        const size_t at = reverse ? n - 1 - i : i;
        run_cluster(l, dim3((unsigned)(at % across) * l.cluster, (unsigned)(at / across % l.grid.y),
                            (unsigned)(at / across / l.grid.y)));
    }
    running = nullptr;
}

} // namespace emu
