// The product's attention kernels on synthetic pages against double precision, with everything that the job struct can
// ask for. Links with src/cuda's instances:
//     check_attend            every tuned kernel, and every feature at a few widths
//     check_attend many       the kernels for many queries, where a pair has one: the same, and longer prompts
//     check_attend general    the general kernel: every feature, and every two widths, half bits among them
//     check_attend halves     the last of these alone
//     check_attend quick|few  what was built; what sanitizers have time for
#include "attend_common.cuh"

#include <cuda_bf16.h>

#include <atomic>
#include <cmath>
#include <thread>

namespace {

int failures;
bool quick, few, general, many;

struct Case {
    const char *what;
    int k_bits, v_bits, k_dim, v_dim, kv_heads, group;
    std::vector<int> lengths;
    int n_q = 1, window = 0;
    float softcap = 0;
    bool sinks = false;
    int exact_first = 0, exact_last = 0, slots = 0;
    bool tree = false, precise = false, rotates = true, ragged_q = false;
    int type = KVB_F32;
    float v_magnitude = 1, q_magnitude = 1;
    bool poison_unseen = false;
    int scale_bytes[2] = {2, 2}; // of K and V; 0 for 16 bits
    bool other_codebook = false; // V's centroids are K's times 1.25
};

// A code's value before its scale; `bits` of its part, where the side has half a bit.
float level_of(const Case &c, int side, int bits, int code) {
    if (bits == 16) {
        __half h;
        const uint16_t raw = (uint16_t)code;
        std::memcpy(&h, &raw, 2);
        return __half2float(h);
    }
    return __half2float(__float2half(codebook_tables[bits - 1][code] * (side && c.other_codebook ? 1.25f : 1.0f)));
}

double width_of(int bits) {
    return bits % KVB_FRAGMENT_TRELLIS + (bits < KVB_FRAGMENT_HALF ? 0 : 0.5);
}

// Trellis codes: of 16 states, in precise cases of 8 (docs/format.md, section 3). Their levels are those of a bit more.
bool is_trellis(int code) {
    return code > KVB_FRAGMENT_TRELLIS && code < KVB_FRAGMENT_HALF;
}
struct States {
    int memory;
    uint32_t taps[2];
};
States states_of(const Case &c) {
    return c.precise ? States{3, {04, 013}} : States{4, {04, 023}};
}
// Bit k of `inputs`: the input k coordinates before.
int level_of_path(const States &states, uint32_t inputs, int place) {
    return 4 * place + __builtin_parity(inputs & states.taps[0]) + 2 * __builtin_parity(inputs & states.taps[1]);
}

struct Side {
    int bits, dim, order;        // bits: as fragments.h numbers codes
    std::vector<uint16_t> codes; // [page][head][token][dim]
    std::vector<float> scales;
    std::vector<uint32_t> signs;
    std::vector<uint64_t> hadamard;
    std::vector<__half> first, last;
    size_t head_bytes;

    void rotate(std::vector<double> &x, bool inverse) const {
        int run = dim / order;
        for (int i = 0; i < dim && !inverse; i++) {
            x[i] *= signs[i / 32] >> (i % 32) & 1 ? -1 : 1;
        }
        std::vector<double> y(dim, 0.0);
        for (int i = 0; i < dim; i++) {
            int a = i / run, c = i % run;
            for (int j = 0; j < order; j++) {
                bool negative = order > 1 && ((inverse ? hadamard[j] >> a : hadamard[a] >> j) & 1);
                y[i] += negative ? -x[j * run + c] : x[j * run + c];
            }
        }
        for (int h = 1; h < run; h *= 2) {
            for (int i = 0; i < dim; i++) {
                if (!(i & h)) {
                    double a = y[i], b = y[i + h];
                    y[i] = a + b, y[i + h] = a - b;
                }
            }
        }
        for (int i = 0; i < dim; i++) {
            x[i] = y[i] * (inverse && (signs[i / 32] >> (i % 32) & 1) ? -1 : 1) / std::sqrt((double)dim);
        }
    }
};

void set_bit(uint8_t *block, kvb_place place, int bit) {
    uint32_t w;
    std::memcpy(&w, block + place.word, 4);
    w = (w & ~(1u << place.bit)) | (uint32_t)bit << place.bit;
    std::memcpy(block + place.word, &w, 4);
}

template <class F> void in_parallel(int n, F f) {
    std::atomic<int> next(0);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); i++) {
        threads.emplace_back([&] {
            for (int j; (j = next++) < n;) {
                f(j);
            }
        });
    }
    for (auto &t : threads) {
        t.join();
    }
}

void check(const Case &c) {
    const kvb_cuda_attend_kernel *kernel =
        general ? &kvb_cuda_attend_general : kvb_cuda_attend_find(c.k_bits, c.v_bits, c.k_dim, c.v_dim, c.precise);
    if (!kernel && (quick || many)) {
        return;
    }
    if (many && (c.tree || !kernel->launch_many || (!kernel->many_takes_exact && c.exact_first + c.exact_last > 0))) {
        return;
    }
    if (!kernel) {
        std::printf("no kernel for %d/%d %d/%d\n", c.k_bits, c.v_bits, c.k_dim, c.v_dim);
        failures++;
        return;
    }
    const int P = KVB_CUDA_PAGE_TOKENS, n_seq = (int)c.lengths.size(), heads = c.kv_heads * c.group;
    std::mt19937_64 random(c.k_bits * 1000 + c.v_bits * 100 + c.k_dim);
    std::normal_distribution<float> normal;
    int stride = 1, n_pages = 0;
    for (int n : c.lengths) {
        stride = std::max(stride, (n + P - 1) / P);
        n_pages += (n + P - 1) / P;
    }
    n_pages += 3;
    std::vector<int32_t> order(n_pages), table((size_t)n_seq * stride, 0x7fffff), first_page(n_seq, 0);
    for (int i = 0; i < n_pages; i++) {
        order[i] = i;
    }
    std::shuffle(order.begin(), order.end(), random);
    for (int s = 0, at = 0; s < n_seq; s++) {
        for (int i = 0; i < (c.lengths[s] + P - 1) / P; i++) {
            table[(size_t)s * stride + i] = order[at++];
        }
    }
    Side sides[2];
    kvb_cuda_attend_job p = {};
    const int most_exact = std::max(c.exact_first, 1), last_rows = std::max(c.slots > 0 ? c.slots : c.exact_last, 1);
    for (int i = 0; i < 2; i++) {
        Side &s = sides[i];
        kvb_cuda_attend_side &d = i ? p.v : p.k;
        s.bits = i ? c.v_bits : c.k_bits, s.dim = i ? c.v_dim : c.k_dim, s.order = order_of(s.dim);
        s.signs.resize(s.dim / 32 + 1);
        for (uint32_t &w : s.signs) {
            w = (uint32_t)random();
        }
        const int scale_bytes = c.scale_bytes[i], block_bytes = kvb_fragment_block_bytes(s.dim, s.bits, scale_bytes);
        s.head_bytes = (size_t)P / 16 * block_bytes;
        std::vector<uint8_t> pages((size_t)n_pages * c.kv_heads * s.head_bytes);
        for (uint8_t &b : pages) {
            b = 0xff; // scales that nobody wrote are NaN
        }
        s.codes.resize((size_t)n_pages * c.kv_heads * P * s.dim), s.scales.resize((size_t)n_pages * c.kv_heads * P);
        const uint64_t seed = random();
        in_parallel(n_pages * c.kv_heads, [&](int page) {
            std::mt19937 mine((uint32_t)seed + page);
            for (size_t row = (size_t)page * P; row < (size_t)(page + 1) * P; row++) {
                uint8_t *block = pages.data() + row / P * s.head_bytes + row % P / 16 * block_bytes;
                __half scale = __float2half((0.5f + (float)(mine() % 1024) / 1024.0f) * (i ? c.v_magnitude : 1.0f));
                s.scales[row] = scale_bytes == 0   ? 1.0f
                                : scale_bytes == 4 ? __half2float(scale) * 1.0001f
                                                   : __half2float(scale);
                const void *stored = scale_bytes == 4 ? (const void *)&s.scales[row] : &scale;
                std::memcpy(block + kvb_fragment_scale_offset(s.dim, s.bits, scale_bytes, row % 16), stored,
                            scale_bytes);
                uint32_t inputs = 0;
                for (int j = 0; j < s.dim; j++) {
                    const kvb_code_part part = kvb_fragment_code_part_at(s.dim, s.bits, j);
                    int code = (int)(mine() % (1u << part.bits));
                    if (s.bits == 16) { // a half of magnitude 0.25 to 2
                        code = (int)((mine() & 0x83ff) | (13 + mine() % 3) << 10);
                    }
                    inputs = inputs << 1 | (code & 1);
                    s.codes[row * s.dim + j] =
                        (uint16_t)(is_trellis(s.bits) ? level_of_path(states_of(c), inputs, code >> 1) : code);
                    for (int b = 0; b < part.bits; b++) {
                        set_bit(block, kvb_fragment_code_place(s.dim, s.bits, row % 16, j, b, i), code >> b & 1);
                    }
                }
            }
        });
        if (c.poison_unseen) { // behind the last token, before the window
            for (int q = 0; q < n_seq; q++) {
                const int n = c.lengths[q];
                for (int t = 0; t < (n + P - 1) / P * P; t++) {
                    if (t >= n || (c.window && t < n - c.n_q + 1 - c.window)) {
                        for (int h = 0; h < c.kv_heads; h++) {
                            size_t row = ((size_t)table[(size_t)q * stride + t / P] * c.kv_heads + h) * P + t % P;
                            uint8_t *block = pages.data() + row / P * s.head_bytes + row % P / 16 * block_bytes;
                            std::memset(block + kvb_fragment_scale_offset(s.dim, s.bits, scale_bytes, row % 16), 0xff,
                                        scale_bytes);
                        }
                    }
                }
            }
        }
        std::vector<uint16_t> centroids;
        for (int j = 0; j < kvb_fragment_code_parts(s.bits); j++) {
            const kvb_code_part part = kvb_fragment_code_part(s.dim, s.bits, j);
            for (int code = 0; code < part.levels; code++) {
                __half h = __float2half(level_of(c, i, part.bits + is_trellis(s.bits), code));
                centroids.push_back(__half_as_ushort(h));
            }
        }
        s.first.resize((size_t)n_seq * most_exact * c.kv_heads * s.dim),
            s.last.resize((size_t)n_seq * last_rows * c.kv_heads * s.dim);
        for (auto *v : {&s.first, &s.last}) {
            for (__half &h : *v) {
                h = __float2half(normal(random) * (i ? c.v_magnitude : 1.0f));
            }
        }
        d.pages = upload(pages), d.page_stride = c.kv_heads * s.head_bytes, d.head_stride = s.head_bytes;
        d.code = s.bits, d.head_dim = s.dim, d.scale_bytes = scale_bytes, d.dense = KVB_F16;
        d.trellis_memory = states_of(c).memory, d.taps[0] = states_of(c).taps[0], d.taps[1] = states_of(c).taps[1];
        d.centroids = i && c.k_bits == c.v_bits && !c.other_codebook ? p.k.centroids : upload(centroids);
        d.signs = c.rotates ? upload(s.signs) : nullptr;
        d.hadamard_order = s.order;
        if (s.order > 1) {
            s.hadamard = hadamard_of(s.order);
            d.hadamard = upload(s.hadamard);
        }
        d.exact_first = upload(s.first), d.exact_last = upload(s.last);
        d.exact_first_sequence_stride = (size_t)most_exact * c.kv_heads * s.dim,
        d.exact_last_sequence_stride = (size_t)last_rows * c.kv_heads * s.dim;
        d.exact_token_stride = (size_t)c.kv_heads * s.dim, d.exact_head_stride = s.dim;
    }
    std::vector<int32_t> q_begin(n_seq + 1, 0);
    for (int i = 0; i < n_seq; i++) {
        q_begin[i + 1] = q_begin[i] + (c.ragged_q ? 1 + (int)(random() % c.n_q) : c.n_q);
    }
    const int rows = q_begin[n_seq];
    std::vector<float> q((size_t)rows * heads * c.k_dim), sinks(heads);
    std::vector<__half> q_half(q.size());
    std::vector<__nv_bfloat16> q_bf(q.size());
    for (size_t i = 0; i < q.size(); i++) {
        q[i] = normal(random) * c.q_magnitude;
        q_half[i] = __float2half(q[i]), q_bf[i] = __float2bfloat16(q[i]);
        q[i] = c.type == KVB_F16 ? __half2float(q_half[i]) : c.type == KVB_BF16 ? __bfloat162float(q_bf[i]) : q[i];
    }
    for (float &s : sinks) {
        s = normal(random) * 2;
    }
    sinks[0] = -INFINITY;
    std::vector<uint8_t> tree((size_t)rows * ((c.n_q + 7) / 8), 0);
    for (int r = 0, s = 0; r < rows; r++) {
        s += r == q_begin[s + 1];
        for (int j = 0; j <= r - q_begin[s]; j++) {
            int sees = j == r - q_begin[s] || random() % 2;
            tree[(size_t)r * ((c.n_q + 7) / 8) + j / 8] |= (uint8_t)(sees << j % 8);
        }
    }
    p.n_sequences = n_seq, p.n_kv_heads = c.kv_heads, p.group = c.group;
    p.table = upload(table), p.table_stride = stride, p.lengths = upload(c.lengths),
    p.first_page = c.kv_heads % 2 ? upload(first_page) : nullptr;
    p.q_begin = c.ragged_q ? upload(q_begin) : nullptr, p.max_n_q = c.n_q,
    p.tree_mask = c.tree ? upload(tree) : nullptr;
    p.q = c.type == KVB_F16 ? (void *)upload(q_half) : c.type == KVB_BF16 ? (void *)upload(q_bf) : (void *)upload(q);
    p.q_type = c.type, p.q_row_stride = (size_t)heads * c.k_dim, p.q_head_stride = c.k_dim;
    const size_t n_out = (size_t)rows * heads * c.v_dim;
    const int out_bytes = c.type == KVB_F32 ? 4 : 2;
    p.out = allocate<float>(n_out), p.out_type = c.type, p.out_row_stride = (size_t)heads * c.v_dim,
    p.out_head_stride = c.v_dim;
    p.lse = allocate<float>((size_t)rows * heads);
    p.exact_type = KVB_F16;
    p.scale = 1.0f / std::sqrt((float)c.k_dim), p.softcap = c.softcap, p.sinks = c.sinks ? upload(sinks) : nullptr,
    p.window = c.window;
    p.n_exact_first = c.exact_first, p.n_exact_last = c.exact_last, p.exact_last_slots = c.slots;
    const int items = n_seq * c.kv_heads * ((c.n_q * c.group + 7) / 8);
    p.n_blocks = kvb_cuda_attend_blocks(kernel, multiprocessors);
    p.partials = allocate<float>(kvb_cuda_attend_partials(p.n_blocks, c.v_dim)), p.counters = allocate<uint32_t>(items);
    OK(cudaMemset(p.counters, 0, items * 4));
    p.segments = allocate<kvb_cuda_segment>(items + 2 * p.n_blocks), p.shares = allocate<int32_t>(2 * p.n_blocks),
    p.unit_begin = allocate<int32_t>(n_seq + 1);
    OK((cudaError_t)kvb_cuda_launch_plan(&p, nullptr));
    OK((cudaError_t)kernel->prepare());
    std::vector<uint8_t> raw(n_out * out_bytes), again(raw.size());
    std::vector<float> lse((size_t)rows * heads);
    for (int run = 0; run < 2; run++) {
        OK(cudaMemset(p.out, 0xff, n_out * 4));
        OK(cudaMemset(p.lse, 0xff, lse.size() * 4));
        p.starts_early = run ? 1 + p.n_exact_last : 0;
        OK(cudaMemset(p.partials, 0xff, kvb_cuda_attend_partials(p.n_blocks, c.v_dim) * 4));
        OK((cudaError_t)(many ? launch_many(kernel, p) : kernel->launch(&p, nullptr)));
        OK(cudaDeviceSynchronize());
        OK(cudaMemcpy((run ? again : raw).data(), p.out, raw.size(), cudaMemcpyDeviceToHost));
    }
    OK(cudaMemcpy(lse.data(), p.lse, lse.size() * 4, cudaMemcpyDeviceToHost));
    std::vector<double> errors(rows * heads), norms(rows * heads), lse_errors(rows * heads);
    in_parallel(rows * heads, [&](int at) {
        const int r = at / heads, h = at % heads;
        int s = 0;
        while (r >= q_begin[s + 1]) {
            s++;
        }
        const int n = c.lengths[s], n_q = q_begin[s + 1] - q_begin[s], i = r - q_begin[s], kv = h / c.group,
                  position = n - n_q + i;
        std::vector<double> x(c.k_dim), rotated, o(c.v_dim, 0.0), exact(c.v_dim, 0.0),
            logits(std::max(n, 1), -INFINITY);
        for (int j = 0; j < c.k_dim; j++) {
            x[j] = q[((size_t)r * heads + h) * c.k_dim + j];
        }
        rotated = x;
        if (c.rotates) {
            sides[0].rotate(rotated, false);
        }
        auto exact_at = [&](const Side &side, int t) -> const __half * {
            if (t < c.exact_first) {
                return side.first.data() + (((size_t)s * most_exact + t) * c.kv_heads + kv) * side.dim;
            }
            if (t >= n - c.exact_last) {
                int slot = c.slots > 0 ? t % c.slots : t - (n - c.exact_last);
                return side.last.data() + (((size_t)s * last_rows + slot) * c.kv_heads + kv) * side.dim;
            }
            return nullptr;
        };
        auto value_of = [&](int i, int t, int j) {
            const Side &side = sides[i];
            const size_t row = ((size_t)table[(size_t)s * stride + t / P] * c.kv_heads + kv) * P + t % P;
            return level_of(c, i, kvb_fragment_code_part_at(side.dim, side.bits, j).bits + is_trellis(side.bits),
                            side.codes[row * side.dim + j]);
        };
        auto row_of = [&](int t) { return ((size_t)table[(size_t)s * stride + t / P] * c.kv_heads + kv) * P + t % P; };
        double top = c.sinks ? sinks[h] : -INFINITY, sum = 0;
        for (int t = 0; t < n; t++) {
            bool sees = t <= position && (!c.window || t > position - c.window);
            if (c.tree && t >= n - n_q) {
                sees = tree[(size_t)r * ((c.n_q + 7) / 8) + (t - n + n_q) / 8] >> ((t - n + n_q) % 8) & 1;
            }
            if (!sees) {
                continue;
            }
            double dot = 0;
            const __half *e = exact_at(sides[0], t);
            for (int j = 0; j < c.k_dim; j++) {
                dot += e ? x[j] * __half2float(e[j]) : rotated[j] * value_of(0, t, j);
            }
            logits[t] = dot * (e ? 1.0 : sides[0].scales[row_of(t)]) * p.scale;
            logits[t] = c.softcap > 0 ? c.softcap * std::tanh(logits[t] / c.softcap) : logits[t];
            top = std::max(top, logits[t]);
        }
        for (int t = 0; t < n; t++) {
            if (logits[t] == -INFINITY) {
                continue;
            }
            const __half *e = exact_at(sides[1], t);
            double w = std::exp(logits[t] - top);
            sum += w;
            for (int j = 0; j < c.v_dim; j++) {
                if (e) {
                    exact[j] += w * __half2float(e[j]);
                } else {
                    o[j] += w * value_of(1, t, j) * sides[1].scales[row_of(t)];
                }
            }
        }
        if (c.rotates) {
            sides[1].rotate(o, true);
        }
        if (c.sinks && sinks[h] != -INFINITY) {
            sum += std::exp(sinks[h] - top);
        }
        const double expected = sum > 0 ? top + std::log(sum) : -INFINITY;
        lse_errors[at] = expected == lse[at] ? 0 : std::fabs(expected - lse[at]);
        for (int j = 0; j < c.v_dim; j++) {
            size_t k = ((size_t)r * heads + h) * c.v_dim + j;
            double want = sum > 0 ? (o[j] + exact[j]) / sum : 0, got;
            if (c.type == KVB_F32) {
                got = ((const float *)raw.data())[k];
            } else if (c.type == KVB_F16) {
                got = __half2float(((const __half *)raw.data())[k]);
            } else {
                got = __bfloat162float(((const __nv_bfloat16 *)raw.data())[k]);
            }
            errors[at] += (got - want) * (got - want), norms[at] += want * want;
        }
    });
    double error = 0, norm = 0, lse_error = 0;
    for (int i = 0; i < rows * heads; i++) {
        error += errors[i], norm += norms[i];
        lse_error = lse_errors[i] > lse_error || lse_errors[i] != lse_errors[i] ? lse_errors[i] : lse_error;
    }
    error = norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
    const double bound = (general     ? 1e-5
                          : c.precise ? 3e-4
                                      : 1.5e-3) +
                         (c.type == KVB_BF16  ? 3e-3
                          : c.type == KVB_F16 ? 4e-4
                                              : 0);
    const bool equal = raw == again, ok = error <= bound &&
                                          lse_error <= (general     ? 1e-4
                                                        : c.precise ? 1e-3
                                                                    : 5e-3) *
                                                           std::max(1.0f, c.q_magnitude) &&
                                          equal;
    failures += !ok;
    std::printf("%s %-22s %s%g/%g d %d/%d %d:%d seqs %d n_q %d%s: error %.2e, lse %.1e%s\n", ok ? "ok    " : "FAILED",
                c.what, is_trellis(c.k_bits) || is_trellis(c.v_bits) ? "trellis " : "", width_of(c.k_bits),
                width_of(c.v_bits), c.k_dim, c.v_dim, heads, c.kv_heads, n_seq, c.n_q, c.precise ? " precise" : "",
                error, lse_error, equal ? "" : ", two runs differ");
    free_all();
}

// Any two widths, any two head_dims, any scales: what no tuned kernel serves.
void check_pairs() {
    const int dims[] = {32, 40, 64, 72, 80, 96, 112, 128, 160, 192, 256, 288, 320, 576},
              widths[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};
    int n = 0;
    for (int k : widths) {
        for (int v : widths) {
            Case c = {
                "any pair", k, v, dims[n % 14], dims[(n * 5 + 3) % 14], 1 + n % 3, 1 + n % 9, {403, 64 + n, 1, 1200}};
            c.scale_bytes[0] = k == 16 ? 0 : n % 2 ? 2 : 4, c.scale_bytes[1] = v == 16 ? 0 : n % 3 ? 4 : 2;
            c.other_codebook = n % 4 == 0, c.n_q = 1 + n % 4, c.window = n % 5 ? 0 : 90, c.softcap = n % 6 ? 0 : 5,
            c.sinks = n % 7 == 0;
            c.rotates = order_of(c.k_dim) && order_of(c.v_dim) && n % 8;
            c.exact_first = n % 3, c.exact_last = n % 11 == 0 ? 20 : 0,
            c.lengths[2] = std::max(c.lengths[2], c.n_q + 25);
            check(c);
            n++;
        }
    }
}

// Half bits with each other and with whole ones, of scalar codes; of trellis codes: tests/cuda.
void check_halves() {
    const int dims[] = {32, 64, 80, 96, 112, 128, 160, 192, 256, 288, 320, 576};
    int n = 0;
    for (int k = 1; k <= 7; k++) {
        for (int v : {KVB_FRAGMENT_HALF + 8 - k, KVB_FRAGMENT_HALF + (k + 2) % 7 + 1, k, 16}) {
            Case c = {"half bits", KVB_FRAGMENT_HALF + k, v, dims[n % 12], dims[(n * 5 + 3) % 12], 1 + n % 3,
                      1 + n % 9,   {403, 64 + n, 30, 700}};
            if (n % 2) {
                std::swap(c.k_bits, c.v_bits);
            }
            c.scale_bytes[0] = c.k_bits == 16 ? 0
                               : n % 2        ? 2
                                              : 4,
            c.scale_bytes[1] = c.v_bits == 16 ? 0
                               : n % 3        ? 4
                                              : 2;
            c.other_codebook = n % 4 == 0, c.n_q = 1 + n % 4, c.window = n % 5 ? 0 : 90, c.softcap = n % 6 ? 0 : 5,
            c.sinks = n % 7 == 0, c.rotates = n % 8, c.poison_unseen = n % 3 == 1;
            c.exact_first = n % 3, c.exact_last = n % 5 == 0 ? 20 : 0;
            check(c);
            n++;
        }
    }
}

void check_all() {
    const std::vector<int> ragged = {1003, 1, 64, 777, 4097, 130, 0, 333};
#define KVB_ATTEND(K, V, DK, DV)                                                                                       \
    for (bool precise : {false, true}) {                                                                               \
        if (few || general) {                                                                                          \
            break;                                                                                                     \
        }                                                                                                              \
        Case c = {"every pair", K, V, DK, DV, 2, 4, {1003, 130}};                                                      \
        c.precise = precise, c.n_q = many ? 67 : 1;                                                                    \
        check(c);                                                                                                      \
    }
#include "../../src/cuda/attend_instances.def"
#undef KVB_ATTEND
    for (int d : {64, 128, 256}) {
        for (int bits : {4, 3, 8}) {
            if (few && (d != 128 || bits == 3)) {
                continue;
            }
            auto with = [&](const char *what, auto change) {
                Case c = {what, bits, bits, d, d, 2, 4, ragged};
                change(c);
                check(c);
            };
            with("ragged", [](Case &) {});
            with("one head", [](Case &c) { c.kv_heads = 1, c.group = 1; });
            with("group 3", [](Case &c) { c.kv_heads = 3, c.group = 3; });
            with("group 13", [](Case &c) { c.group = 13; });
            with("window", [](Case &c) { c.window = 101, c.poison_unseen = true; });
            with("softcap", [](Case &c) { c.softcap = 3, c.q_magnitude = 3; });
            with("sinks", [](Case &c) { c.sinks = true; });
            with("queries", [](Case &c) { c.n_q = 5, c.window = 100; });
            with("ragged queries", [](Case &c) { c.n_q = 7, c.ragged_q = true, c.lengths = {1003, 77, 300, 4000}; });
            with("tree", [](Case &c) { c.n_q = 6, c.tree = true, c.lengths = {1003, 77, 300}; });
            with("exact", [](Case &c) { c.exact_first = 4, c.exact_last = 77, c.lengths = {1003, 200, 85, 2000}; });
            with("exact ring", [](Case &c) {
                c.exact_first = 5, c.exact_last = 100, c.slots = 128, c.sinks = true, c.window = 90,
                c.lengths = {1003, 500};
            });
            with("half", [](Case &c) { c.type = KVB_F16; });
            with("bfloat", [](Case &c) { c.type = KVB_BF16; });
            with("small values", [](Case &c) { c.v_magnitude = 1e-4f; });
            with("huge values", [](Case &c) { c.v_magnitude = 2e4f; });
            with("tiny queries", [](Case &c) { c.q_magnitude = 1e-20f; });
            with("peaked", [](Case &c) { c.q_magnitude = 6; });
            with("peaked precise", [](Case &c) { c.q_magnitude = 6, c.precise = true; });
            with("no rotation", [](Case &c) { c.rotates = false; });
            with("many sequences", [](Case &c) {
                c.lengths.clear();
                for (int i = 0; i < 150; i++) {
                    c.lengths.push_back(i * 37 % 600);
                }
            });
            if (many) {
                with("prompt", [](Case &c) { c.n_q = 333, c.lengths = {333, 1000, 400}; });
                with("prompt, one block each", [](Case &c) {
                    c.kv_heads = 8, c.n_q = 180, c.lengths = {180, 300, 200};
                });
                with("prompt, window", [](Case &c) {
                    c.n_q = 200, c.window = 90, c.lengths = {900, 300}, c.poison_unseen = true, c.group = 1;
                });
                with("prompt, all", [](Case &c) {
                    c.n_q = 150, c.ragged_q = true, c.window = 200, c.lengths = {900, 300, 150}, c.group = 3;
                    c.softcap = 8, c.sinks = true, c.exact_first = 3, c.exact_last = 40, c.slots = 64;
                });
                with("prompt, split", [](Case &c) { c.n_q = 130, c.precise = true, c.exact_first = 4; });
            }
            with("one sequence", [](Case &c) { c.kv_heads = 8, c.lengths = {30000}; }); // a cluster to an item
            with("one short sequence", [](Case &c) { c.kv_heads = 8, c.lengths = {70}; });
            with("one sequence, two tiles", [](Case &c) { c.kv_heads = 8, c.n_q = 3, c.lengths = {5003}; });
            with("one sequence, all", [](Case &c) {
                c.kv_heads = 8, c.n_q = 2, c.window = 3000, c.lengths = {9001}, c.type = KVB_BF16,
                c.poison_unseen = true;
                c.softcap = 8, c.sinks = true, c.exact_first = 3, c.exact_last = 40, c.slots = 64;
            });
            with("long", [](Case &c) { c.lengths = {30000}; });
            with("long ragged", [](Case &c) { c.lengths = {30000, 100, 9000}; });
        }
    }
}

} // namespace

int main(int argc, char **argv) {
    cudaDeviceProp properties;
    const std::string how = argc > 1 ? argv[1] : "";
    OK(cudaGetDeviceProperties(&properties, 0));
    multiprocessors = properties.multiProcessorCount;
    std::printf("# %s, %d multiprocessors\n", properties.name, multiprocessors);
    quick = how == "quick", few = how == "few", general = how == "general" || how == "halves", many = how == "many";
    if (how != "halves") {
        check_all();
    }
    if (how == "general") {
        check_pairs();
    }
    if (general) {
        check_halves();
    }
    std::printf("%d failed\n", failures);
    return failures != 0;
}
