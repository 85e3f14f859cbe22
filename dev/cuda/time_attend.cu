// The product's attention kernels timed against a plain read of the same bytes: median and quartiles of 25 launches by
// events, the L2 filled with foreign lines before each. Links with src/cuda's instances:
//     time_attend [quick | cold | trellis | many | general | layers]
// quick: what was built; cold: with other kernels' instructions in the caches; trellis: those codes beside scalar ones;
// many: prompts (also their TFLOP/s, masked products not counted); general: what no tuned kernel serves; layers: one
// after another in a graph, each with pages of its own, together larger than the L2 tenfold; the time of one
#include "attend_common.cuh"
#include "loops.cuh"

#include <cmath>

namespace {

bool quick, trellis, many, general, layers;

using kvb_loops::fill_cache;
using kvb_loops::read_all;

// 16 bits are halves below 2.
__global__ void fill(uint32_t *words, size_t n, size_t block_words, size_t scales_at, int code, int scale_bytes) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        uint32_t x = (uint32_t)(i * 2654435761u) ^ (uint32_t)(i >> 7) * 40503u;
        x ^= x >> 15, x *= 2246822519u, x ^= x >> 13;
        x &= code == 16 ? 0xbfffbfffu : 0xffffffffu;
        words[i] = i % block_words < scales_at ? x : scale_bytes == 4 ? 0x3f800000u : 0x3c003a00u; // 1; 1 and 0.75
    }
}

uint4 *foreign;
uint32_t *sink;
const size_t foreign_bytes = 256u << 20;

// Instructions of another kernel, as many as the largest instruction cache holds, in place of a model's between two
// layers.
__global__ void other_code(float *out) {
    float x = *out;
#pragma unroll
    for (int i = 0; i < 16384; i++) {
        x = x * 0.999f + (float)(i + 1);
    }
    if (x == 12345.0f) {
        *out = x;
    }
}
bool cold;

template <class F> void time_it(F launch, double *median, double *low, double *high) {
    const int n = 25;
    std::vector<float> times;
    cudaEvent_t a, b;
    OK(cudaEventCreate(&a));
    OK(cudaEventCreate(&b));
    for (int i = 0; i < n + 3; i++) {
        fill_cache<<<1056, 256>>>(foreign, foreign_bytes / 16, sink); // clean foreign lines in the L2
        if (cold) {
            other_code<<<multiprocessors, 32>>>((float *)sink);
        }
        OK(cudaEventRecord(a));
        launch();
        OK(cudaEventRecord(b));
        OK(cudaEventSynchronize(b));
        float ms;
        OK(cudaEventElapsedTime(&ms, a, b));
        if (i >= 3) {
            times.push_back(ms * 1000);
        }
    }
    std::sort(times.begin(), times.end());
    *median = times[n / 2], *low = times[n / 4], *high = times[3 * n / 4];
}

// Of a graph of n launches, the time of one: launch(i) queues the i-th on a stream.
template <class F> void time_layers(int n, F launch, double *median, double *low, double *high) {
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t all;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaDeviceSynchronize());
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    for (int i = 0; i < n; i++) {
        launch(i, stream);
    }
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphInstantiate(&all, graph, 0));
    OK(cudaGraphDestroy(graph));
    cudaEvent_t a, b;
    OK(cudaEventCreate(&a));
    OK(cudaEventCreate(&b));
    std::vector<float> times;
    for (int i = 0; i < 25 + 3; i++) {
        OK(cudaEventRecord(a, stream));
        OK(cudaGraphLaunch(all, stream));
        OK(cudaEventRecord(b, stream));
        OK(cudaEventSynchronize(b));
        float ms;
        OK(cudaEventElapsedTime(&ms, a, b));
        if (i >= 3) {
            times.push_back(ms * 1000 / n);
        }
    }
    OK(cudaGraphExecDestroy(all));
    OK(cudaStreamDestroy(stream));
    std::sort(times.begin(), times.end());
    *median = times[12], *low = times[6], *high = times[18];
}

struct Timing {
    const char *what = "";
    bool scattered = true, precise = false, apart = false; // apart: K and V in pools of their own
    int window = 0, exact_last = 0, n_q = 1, scale_bytes = 2;
};

std::string name_of(int code) {
    return code > KVB_FRAGMENT_TRELLIS ? "t" + std::to_string(code - KVB_FRAGMENT_TRELLIS) : std::to_string(code);
}

void time_one(int k_bits, int v_bits, int k_dim, int v_dim, int kv_heads, int group, std::vector<int> lengths,
              Timing o) {
    const kvb_cuda_attend_kernel *kernel =
        general ? &kvb_cuda_attend_general : kvb_cuda_attend_find(k_bits, v_bits, k_dim, v_dim, o.precise);
    if (!kernel && (quick || layers)) {
        return;
    }
    if (!kernel) {
        kernel = &kvb_cuda_attend_general;
        o.what = "general";
        o.apart = true;
    }
    const int P = KVB_CUDA_PAGE_TOKENS, n_seq = (int)lengths.size(), heads = kv_heads * group;
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    int stride = 1, n_pages = 0;
    size_t tokens = 0;
    for (int n : lengths) {
        stride = std::max(stride, (n + P - 1) / P);
        n_pages += (n + P - 1) / P;
        tokens += o.window ? std::min(n, o.window) : n;
    }
    std::vector<int32_t> order(n_pages), table((size_t)n_seq * stride, 0);
    for (int i = 0; i < n_pages; i++) {
        order[i] = i;
    }
    if (o.scattered) {
        std::shuffle(order.begin(), order.end(), random);
    }
    for (int s = 0, at = 0; s < n_seq; s++) {
        for (int i = 0; i < (lengths[s] + P - 1) / P; i++) {
            table[(size_t)s * stride + i] = order[at++];
        }
    }
    kvb_cuda_attend_job p = {};
    size_t bytes = 0, pool_bytes = 0;
    const size_t one_layer = tokens * kv_heads *
                             (kvb_fragment_block_bytes(k_dim, k_bits, 2) + kvb_fragment_block_bytes(v_dim, v_bits, 2)) /
                             16,
                 n_layers = layers ? std::max<size_t>((512u << 20) / one_layer, 4) : 1;
    for (int i = 0; i < 2; i++) {
        kvb_cuda_attend_side &d = i ? p.v : p.k;
        d.code = i ? v_bits : k_bits, d.head_dim = i ? v_dim : k_dim, d.scale_bytes = d.code == 16 ? 0 : o.scale_bytes;
        const size_t block_bytes = kvb_fragment_block_bytes(d.head_dim, d.code, d.scale_bytes),
                     side_bytes = P / 16 * block_bytes;
        if (o.apart || !i) { // else a page is [KV head][K, V]
            const size_t both = P / 16 *
                                (kvb_fragment_block_bytes(k_dim, k_bits, k_bits == 16 ? 0 : o.scale_bytes) +
                                 kvb_fragment_block_bytes(v_dim, v_bits, v_bits == 16 ? 0 : o.scale_bytes));
            d.head_stride = o.apart ? side_bytes : both, d.page_stride = kv_heads * d.head_stride;
            pool_bytes = n_pages * d.page_stride;
            uint8_t *pages = allocate<uint8_t>(n_layers * pool_bytes);
            fill<<<1024, 256>>>((uint32_t *)pages, n_layers * pool_bytes / 4, block_bytes / 4,
                                kvb_fragment_code_bytes(d.head_dim, d.code) / 4, d.code, d.scale_bytes);
            d.pages = pages;
        } else {
            d.pages = p.k.pages + P / 16 * kvb_fragment_block_bytes(k_dim, k_bits, p.k.scale_bytes);
            d.head_stride = p.k.head_stride, d.page_stride = p.k.page_stride;
        }
        bytes += tokens * kv_heads * block_bytes / 16;
        d.trellis_memory = 4, d.taps[0] = 04, d.taps[1] = 023; // of 16 states, where the code is a trellis's
        const int bits = d.code > KVB_FRAGMENT_TRELLIS ? d.code - KVB_FRAGMENT_TRELLIS + 1 : d.code;
        std::vector<uint16_t> centroids(1 << bits);
        for (int j = 0; j < 1 << bits && bits <= 8; j++) {
            __half h = __float2half(codebook_tables[bits - 1][j]);
            std::memcpy(&centroids[j], &h, 2);
        }
        d.centroids = i && k_bits == v_bits ? p.k.centroids : upload(centroids);
        d.signs = upload(std::vector<uint32_t>(32, 0x5a5a1234u));
        d.hadamard_order = order_of(d.head_dim);
        if (d.hadamard_order > 1) {
            d.hadamard = upload(hadamard_of(d.hadamard_order));
        }
        d.exact_last = upload(
            std::vector<__half>((size_t)n_seq * std::max(o.exact_last, 1) * kv_heads * d.head_dim, __float2half(0.3f)));
        d.exact_last_sequence_stride = (size_t)o.exact_last * kv_heads * d.head_dim,
        d.exact_token_stride = (size_t)kv_heads * d.head_dim, d.exact_head_stride = d.head_dim;
    }
    std::vector<float> q((size_t)n_seq * o.n_q * heads * k_dim);
    for (float &x : q) {
        x = normal(random);
    }
    p.n_sequences = n_seq, p.n_kv_heads = kv_heads, p.group = group, p.max_n_q = o.n_q;
    p.table = upload(table), p.table_stride = stride, p.lengths = upload(lengths);
    p.q = upload(q), p.q_row_stride = (size_t)heads * k_dim, p.q_head_stride = k_dim;
    p.out = allocate<float>((size_t)n_seq * o.n_q * heads * v_dim), p.out_row_stride = (size_t)heads * v_dim,
    p.out_head_stride = v_dim;
    p.exact_type = KVB_F16, p.n_exact_last = o.exact_last, p.window = o.window,
    p.scale = 1.0f / std::sqrt((float)k_dim);
    p.n_blocks = kvb_cuda_attend_blocks(kernel, multiprocessors);
    p.partials = allocate<float>(kvb_cuda_attend_partials(p.n_blocks, v_dim));
    const int items = n_seq * kv_heads * ((o.n_q * group + 7) / 8);
    p.counters = allocate<uint32_t>(items);
    OK(cudaMemset(p.counters, 0, items * 4));
    p.segments = allocate<kvb_cuda_segment>(items + 2 * p.n_blocks), p.shares = allocate<int32_t>(2 * p.n_blocks),
    p.unit_begin = allocate<int32_t>(n_seq + 1);
    OK((cudaError_t)kvb_cuda_launch_plan(&p, nullptr));
    OK((cudaError_t)kernel->prepare());
    double median, low, high, read, r_low, r_high;
    const bool is_prompt = o.n_q > 1 && kernel->launch_many;
    if (layers) {
        for (p.starts_early = 0; p.starts_early < 2; p.starts_early++) {
            auto launch = [&](int i, cudaStream_t stream) {
                kvb_cuda_attend_job job = p;
                job.k.pages += i * pool_bytes, job.v.pages += i * pool_bytes;
                OK((cudaError_t)kernel->launch(&job, stream));
            };
            time_layers((int)n_layers, launch, &median, &low, &high);
            std::printf("layers %s/%s d %d %d:%d seqs %d kv %d %s%s: %.2f us (%.2f-%.2f) of %zu, %.1f %% of 3.0 TB/s\n",
                        name_of(k_bits).c_str(), name_of(v_bits).c_str(), k_dim, heads, kv_heads, n_seq, lengths[0],
                        o.scattered ? "scattered" : "ordered", p.starts_early ? ", starts early" : "", median, low,
                        high, n_layers, bytes / median / 3e4);
        }
        std::fflush(stdout);
        free_all();
        return;
    }
    time_it([&] { OK((cudaError_t)(is_prompt ? launch_many(kernel, p) : kernel->launch(&p, nullptr))); }, &median, &low,
            &high);
    double plan, p_low, p_high;
    time_it([&] { OK((cudaError_t)kvb_cuda_launch_plan(&p, nullptr)); }, &plan, &p_low, &p_high);
    uint8_t *other = allocate<uint8_t>(bytes + 16);
    time_it([&] { read_all<<<1056, 256>>>((const uint4 *)other, bytes / 16, sink); }, &read, &r_low, &r_high);
    std::printf("time %s/%s%s d %d/%d %d:%d seqs %d kv %d %s%s: %.1f us (%.1f-%.1f), %.0f GB/s, %.1f %% of 3.0 TB/s; "
                "plain read %.1f us, %.1f %%; plan %.1f us\n",
                name_of(k_bits).c_str(), name_of(v_bits).c_str(), o.precise ? " precise" : "", k_dim, v_dim, heads,
                kv_heads, n_seq, lengths[0], o.scattered ? "scattered " : "", o.what, median, low, high,
                bytes / median / 1e3, bytes / median / 3e4, read, 100 * read / median, plan);
    if (o.n_q > 1) {
        double products = 0; // of a query with a token, over heads and sequences
        for (int n : lengths) {
            products += (double)heads * o.n_q * (n - (o.n_q - 1) / 2.0);
        }
        std::printf("    %d queries: %.0f TFLOP/s\n", o.n_q, products * 2 * (k_dim + v_dim) / median / 1e6);
    }
    std::fflush(stdout);
    free_all();
}

// Also what the general kernel takes where a tuned one is in its place.
void time_general() {
    const std::vector<int> large(16, 32768), one_long = {131072}, one = {32768};
    const int t5 = KVB_FRAGMENT_TRELLIS + 5, t4 = KVB_FRAGMENT_TRELLIS + 4;
    Timing halves, floats, exact;
    halves.scattered = floats.scattered = exact.scattered = false;
    halves.apart = floats.apart = exact.apart = true;
    floats.scale_bytes = 4, floats.what = "float scales";
    exact.exact_last = 100, exact.what = "exact 100";
    for (auto pair :
         {std::pair<int, int>{4, 7}, {8, 16}, {16, 16}, {8, 8}, {4, 4}, {3, 5}, {2, 6}, {1, 1}, {t5, t5}, {t4, t4}}) {
        time_one(pair.first, pair.second, 128, 128, 8, 4, large, halves);
    }
    time_one(4, 4, 128, 128, 8, 4, large, floats);
    time_one(4, 7, 128, 128, 8, 4, large, exact);
    time_one(4, 4, 160, 160, 8, 4, large, halves);
    time_one(4, 4, 576, 512, 1, 8, large, halves);
    time_one(16, 16, 576, 512, 1, 8, large, halves);
    for (int group : {1, 2, 8, 16}) {
        time_one(4, 7, 128, 128, 8, group, large, halves);
    }
    time_one(4, 7, 128, 128, 8, 4, one_long, halves);
    time_one(4, 7, 128, 128, 8, 4, one, halves);
    time_one(4, 7, 64, 64, 3, 3, large, halves);
    time_one(4, 7, 256, 256, 8, 2, large, halves);
}

void time_all() {
    if (general) {
        time_general();
        return;
    }
    const std::vector<int> large(16, 32768), one_long = {131072}, one = {32768};
    Timing ordered, windowed, exact, precise, plain, apart;
    apart.apart = true, apart.what = "apart";
    ordered.scattered = false;
    windowed.window = 20011, windowed.what = "window 20011";
    exact.exact_last = 100, exact.what = "exact 100";
    precise.precise = true, precise.scattered = quick ? false : true;
    if (layers) {
        for (auto lengths : {one, one_long, large}) {
            for (auto pair : {std::pair<int, int>{8, 8}, {6, 6}, {5, 5}, {6, 4}, {4, 4}, {4, 3}, {3, 3}, {2, 2}}) {
                time_one(pair.first, pair.second, 128, 128, 8, 4, lengths, ordered);
            }
        }
        time_one(4, 4, 128, 128, 8, 4, one, plain);
        for (int bits : {8, 6, 5, 4, 3, 2}) {
            time_one(bits, bits, 64, 64, 3, 3, large, ordered);
            time_one(bits, bits, 256, 256, 8, 2, large, ordered);
        }
        return;
    }
    if (cold) {
        for (int bits : {8, 4, 2}) {
            for (int i = 0; i < 2; i++) {
                cold = i;
                ordered.what = i ? "cold" : "warm";
                time_one(bits, bits, 128, 128, 8, 4, large, ordered);
                time_one(bits, bits, 128, 128, 8, 4, one, ordered);
            }
        }
        return;
    }
    for (auto pair : {std::pair<int, int>{2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {5, 3}, {6, 4}}) {
        for (int kind = 0; trellis && kind <= KVB_FRAGMENT_TRELLIS; kind += KVB_FRAGMENT_TRELLIS) {
            const int k = kind + pair.first, v = kind + pair.second;
            for (auto lengths : {large, one_long, one}) {
                time_one(k, v, 128, 128, 8, 4, lengths, ordered);
            }
            time_one(k, v, 128, 128, 8, 4, large, plain);
            time_one(k, v, 128, 128, 8, 4, large, precise);
        }
    }
    for (int code : {4, KVB_FRAGMENT_TRELLIS + 4}) {
        if (trellis) {
            time_one(code, code, 256, 256, 8, 2, large, ordered);
        }
    }
    if (trellis) {
        return;
    }
    if (many) {
        Timing prompt;
        for (int n : {2048, 256}) {
            prompt.n_q = n;
            for (int code : {4, 8, 6, 5, 3, 2, KVB_FRAGMENT_TRELLIS + 4, KVB_FRAGMENT_TRELLIS + 3}) {
                time_one(code, code, 128, 128, 8, 4, one, prompt);
            }
            time_one(8, 4, 128, 128, 8, 4, one, prompt);
            time_one(4, 4, 64, 64, 8, 4, one, prompt);
            for (int code : {4, 8, 6, 3}) {
                time_one(code, code, 256, 256, 8, 2, one, prompt);
            }
            time_one(4, 4, 96, 96, 8, 4, one, prompt);
            time_one(4, 4, 192, 192, 8, 4, one, prompt);
            time_one(4, 4, 192, 128, 8, 4, one, prompt);
            prompt.precise = true;
            time_one(4, 4, 128, 128, 8, 4, one, prompt);
            prompt.precise = false;
        }
        prompt.n_q = 2048;
        time_one(4, 4, 128, 128, 8, 4, {2048}, prompt);
        time_one(4, 4, 128, 128, 8, 4, std::vector<int>(8, 8192), prompt);
        return;
    }
    for (auto pair : {std::pair<int, int>{4, 4},
                      {8, 8},
                      {6, 6},
                      {5, 5},
                      {6, 4},
                      {3, 3},
                      {2, 2},
                      {7, 7},
                      {1, 1},
                      {8, 4},
                      {5, 4},
                      {4, 3}}) {
        int k = pair.first, v = pair.second;
        time_one(k, v, 128, 128, 8, 4, large, ordered);
        time_one(k, v, 128, 128, 8, 4, large, plain);
        time_one(k, v, 128, 128, 8, 4, large, apart);
        time_one(k, v, 128, 128, 8, 8, large, ordered);
        time_one(k, v, 128, 128, 8, 4, one_long, ordered);
        time_one(k, v, 128, 128, 8, 4, one, ordered);
        if (quick) {
            time_one(k, v, 128, 128, 8, 4, large, precise);
            time_one(k, v, 128, 128, 8, 4, one_long, precise);
            time_one(k, v, 128, 128, 8, 4, one, precise);
        }
    }
    time_one(4, 4, 128, 128, 8, 4, large, precise);
    time_one(4, 4, 128, 128, 8, 4, large, windowed);
    time_one(4, 4, 128, 128, 8, 4, large, exact);
    std::vector<int> tail = large, mixed;
    for (int &n : tail) {
        n -= 13;
    }
    for (int i = 0; i < 16; i++) {
        mixed.push_back(2048 + i * 4099);
    }
    Timing with;
    with.what = "tail";
    time_one(4, 4, 128, 128, 8, 4, tail, with);
    with.what = "mixed lengths";
    time_one(4, 4, 128, 128, 8, 4, mixed, with);
    time_one(4, 4, 128, 128, 8, 4, std::vector<int>(13, 32768), plain);
    time_one(4, 4, 128, 128, 8, 4, std::vector<int>(32, 4096), plain);
    time_one(4, 4, 128, 128, 8, 4, std::vector<int>(128, 1024), plain);
    time_one(4, 4, 128, 128, 8, 16, large, plain);
    time_one(4, 4, 128, 128, 8, 4, {8192}, plain);
    for (int bits : {4, 8, 2, 6, 3, 5}) {
        time_one(bits, bits, 256, 256, 8, 2, large, ordered);
        time_one(bits, bits, 64, 64, 3, 3, large, ordered);
    }
    for (int d : {80, 96, 112, 192}) {
        time_one(4, 4, d, d, 8, 4, large, ordered);
    }
    time_one(4, 4, 192, 128, 8, 4, large, ordered);
    time_one(4, 4, 128, 128, 8, 4, std::vector<int>(16, 65536), ordered);
    for (auto pair : {std::pair<int, int>{4, 7}, {7, 4}, {2, 8}}) {
        time_one(pair.first, pair.second, 128, 128, 8, 4, large, ordered);
    }
}

} // namespace

int main(int argc, char **argv) {
    cudaDeviceProp properties;
    OK(cudaGetDeviceProperties(&properties, 0));
    multiprocessors = properties.multiProcessorCount;
    std::printf("# %s, %d multiprocessors\n", properties.name, multiprocessors);
    trellis = argc > 1 && std::string(argv[1]) == "trellis", many = argc > 1 && std::string(argv[1]) == "many";
    general = argc > 1 && std::string(argv[1]) == "general";
    layers = argc > 1 && std::string(argv[1]) == "layers";
    quick = argc > 1 && std::string(argv[1]) == "quick", cold = argc > 1 && std::string(argv[1]) == "cold";
    OK(cudaMalloc(&foreign, foreign_bytes));
    OK(cudaMemset(foreign, 1, foreign_bytes));
    OK(cudaMalloc(&sink, 4));
    time_all();
    return 0;
}
