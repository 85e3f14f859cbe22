// Encoding on the GPU against the library's scalar backend: every code and scale, in appends of odd lengths; then its speed.
//     nvcc -std=c++17 -O3 -gencode arch=compute_90a,code=sm_90a -I../../include -I../../src check_encode.cu ../../build/src/libkvbits.a -o check_encode
#include "encode.cuh"

#include "codec.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        cudaError_t e = (call);                                                                                        \
        if (e != cudaSuccess) {                                                                                        \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(e));                            \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

namespace {

std::mt19937_64 rng(11);
long long rows_checked, failures;

template <class T> T *upload(const std::vector<T> &v) {
    T *d;
    OK(cudaMalloc(&d, v.size() * sizeof(T)));
    OK(cudaMemcpy(d, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
    return d;
}


// Rows of every kind: normal, zero, tiny, subnormal, huge, one-sided, NaN and Inf.
void draw(float *row, int dim, long long index, kvb_dtype dtype) {
    std::normal_distribution<float> normal;
    float size = 1.0f;
    int kind = (int)(index % 16);
    size = kind == 1 ? 0.0f : kind == 2 ? 1e-6f : kind == 3 ? 3e-5f : kind == 4 ? 3e4f : size;
    size = dtype != KVB_F16 && kind == 5 ? 1e-41f : dtype != KVB_F16 && kind == 6 ? 2e17f : size;
    for (int i = 0; i < dim; i++) {
        row[i] = size * (kind == 7 ? std::fabs(normal(rng)) : kind == 8 && i % 29 ? 0.01f * normal(rng) : normal(rng));
    }
    if (kind == 9 && index % 160 == 9) {
        row[index / 160 % dim] = index % 320 == 9 ? NAN : INFINITY;
    }
}

template <class T> T narrow(float x);
template <> float narrow<float>(float x) {
    return x;
}
template <> half narrow<half>(float x) {
    uint16_t bits = kvb_f32_to_f16(x);
    half h;
    std::memcpy(&h, &bits, 2);
    return h;
}
template <> __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
    uint16_t bits = kvb_f32_to_bf16(x);
    __nv_bfloat16 h;
    std::memcpy(&h, &bits, 2);
    return h;
}
template <class T> constexpr kvb_dtype dtype_of = sizeof(T) == 4 ? KVB_F32 : std::is_same_v<T, half> ? KVB_F16 : KVB_BF16;

struct Tables {
    kvb_codec *codec;
    float *midpoints, *centroids;
    uint32_t *signs;
};

Tables open(int bits, int dim, kvb_scale_kind scale, kvb_rotation rotation) {
    kvb_codec_spec spec = kvb_codec_spec_default(dim, bits);
    spec.scale = scale;
    spec.rotation = rotation;
    const kvb_backend *scalar;
    kvb_error error;
    Tables t;
    if (kvb_backend_open("scalar", &scalar, &error) || kvb_codec_create(&spec, scalar, nullptr, &t.codec, &error)) {
        std::fprintf(stderr, "%s\n", error.text);
        std::exit(1);
    }
    const kvb_codec_tables &c = t.codec->tables;
    t.midpoints = upload(std::vector<float>(c.midpoints, c.midpoints + c.levels));
    t.centroids = upload(std::vector<float>(c.centroids, c.centroids + c.levels));
    std::vector<uint32_t> signs(dim / 32, 0);
    for (int i = 0; i < dim; i++) {
        signs[i / 32] |= (c.sign_masks[i] >> 31) << i % 32;
    }
    t.signs = upload(signs);
    return t;
}

void close(Tables &t) {
    kvb_codec_destroy(t.codec);
    OK(cudaFree(t.midpoints));
    OK(cudaFree(t.centroids));
    OK(cudaFree(t.signs));
}

template <class T, int KBITS, int VBITS, int DIM, int TOKENS> void run(kvb_scale_kind scale, kvb_rotation rotation, bool timed) {
    constexpr int PAGE = 64, batch = 3, heads = 2;
    using Tl = kvb::Tile<KBITS, VBITS, DIM, TOKENS>;
    const int n_seq = timed ? 1 : batch, n_heads = timed ? 8 : heads, capacity = timed ? 8192 : 1024;
    const int pages_per = capacity / PAGE;
    Tables sides[2] = {open(KBITS, DIM, scale, rotation), open(VBITS, DIM, scale, rotation)};
    std::vector<int32_t> table(n_seq * pages_per);
    for (size_t i = 0; i < table.size(); i++) {
        table[i] = (int32_t)i;
    }
    std::shuffle(table.begin(), table.end(), rng);
    const size_t head_bytes = (size_t)(PAGE / TOKENS) * Tl::bytes, pool_bytes = table.size() * n_heads * head_bytes;
    uint8_t *pool;
    OK(cudaMalloc(&pool, pool_bytes));
    OK(cudaMemset(pool, 0xa5, pool_bytes));
    kvb::EncodeArguments p = {};
    p.pool = pool, p.table = upload(table), p.table_stride = pages_per, p.n_kv_heads = n_heads;
    int32_t *row_begin, *lengths_device;
    OK(cudaMalloc(&row_begin, (n_seq + 1) * 4));
    OK(cudaMalloc(&lengths_device, n_seq * 4));
    p.row_begin = row_begin, p.lengths = lengths_device;
    std::vector<int32_t> lengths(n_seq, 0);
    std::vector<std::vector<T>> kept[2];
    kept[0].resize(n_seq), kept[1].resize(n_seq);
    long long index = 0;
    double best = 1e9;
    while (true) {
        std::vector<int32_t> begin(n_seq + 1, 0);
        int most = 0;
        for (int s = 0; s < n_seq; s++) {
            int left = capacity - 7 * s - lengths[s], n = timed ? left : std::min<int>(left, (int)(rng() % 3 ? rng() % 5 : rng() % 150));
            begin[s + 1] = begin[s] + n;
            most = std::max(most, lengths[s] % 16 + n);
        }
        if (begin[n_seq] == 0 && std::all_of(lengths.begin(), lengths.end(), [&](int l) { return l > capacity - 20; })) {
            break;
        }
        T *rows[2];
        for (int side = 0; side < 2; side++) {
            std::vector<T> values((size_t)begin[n_seq] * n_heads * DIM);
            std::vector<float> row(DIM);
            for (size_t r = 0; r < values.size() / DIM; r++) {
                draw(row.data(), DIM, timed ? 0 : index++, dtype_of<T>);
                for (int i = 0; i < DIM; i++) {
                    values[r * DIM + i] = narrow<T>(row[i]);
                }
            }
            for (int s = 0; s < n_seq; s++) {
                kept[side][s].insert(kept[side][s].end(), values.begin() + (size_t)begin[s] * n_heads * DIM, values.begin() + (size_t)begin[s + 1] * n_heads * DIM);
            }
            if (values.empty()) {
                values.resize(1);
            }
            rows[side] = upload(values);
            p.sides[side] = {rows[side], sides[side].midpoints, sides[side].centroids, sides[side].signs, rotation != KVB_ROTATION_NONE, scale == KVB_SCALE_LSQ};
        }
        OK(cudaMemcpy(row_begin, begin.data(), begin.size() * 4, cudaMemcpyHostToDevice));
        OK(cudaMemcpy(lengths_device, lengths.data(), lengths.size() * 4, cudaMemcpyHostToDevice));
        dim3 grid((most + 15) / 16 + (most == 0), n_heads, 2 * n_seq);
        cudaEvent_t a, b;
        OK(cudaEventCreate(&a));
        OK(cudaEventCreate(&b));
        for (int i = 0; i < (timed ? 20 : 1); i++) {
            OK(cudaEventRecord(a));
            kvb::encode<T, KBITS, VBITS, DIM, TOKENS, PAGE><<<grid, 256>>>(p);
            OK(cudaGetLastError());
            OK(cudaEventRecord(b));
            OK(cudaEventSynchronize(b));
            float ms;
            OK(cudaEventElapsedTime(&ms, a, b));
            best = std::min(best, (double)ms);
        }
        OK(cudaFree(rows[0]));
        OK(cudaFree(rows[1]));
        for (int s = 0; s < n_seq; s++) {
            lengths[s] += begin[s + 1] - begin[s];
        }
        if (timed) {
            break;
        }
    }
    std::vector<uint8_t> host(pool_bytes);
    OK(cudaMemcpy(host.data(), pool, pool_bytes, cudaMemcpyDeviceToHost));
    for (int s = 0; s < n_seq; s++) {
        for (int token = 0; token < lengths[s]; token += timed ? 97 : 1) {
            for (int h = 0; h < n_heads; h++) {
                const uint8_t *tile = host.data() + ((size_t)table[s * pages_per + token / PAGE] * n_heads + h) * head_bytes + token % PAGE / TOKENS * Tl::bytes;
                int in = token % TOKENS;
                for (int side = 0; side < 2; side++) {
                    const kvb_codec *codec = sides[side].codec;
                    std::vector<uint8_t> block(kvb_codec_block_bytes(codec, 1) + 8), codes(DIM), ours(DIM);
                    uint16_t scale_bits, ours_bits;
                    kvb_packed packed = kvb_packed_view(codec, block.data(), 1);
                    kvb_encode_unchecked(codec, kept[side][s].data() + ((size_t)token * n_heads + h) * DIM, dtype_of<T>, DIM, 1, &packed, 0, nullptr);
                    float scale_value;
                    kvb_packed_row_codes(codec, &packed, 0, codes.data(), &scale_value);
                    std::memcpy(&scale_bits, packed.scales, 2);
                    std::memcpy(&ours_bits, tile + Tl::scale_offset(in, side), 2);
                    for (int i = 0; i < DIM; i++) {
                        int bits = side ? VBITS : KBITS;
                        for (int b = 0; b < bits; b++) {
                            kvb::Place place = side ? Tl::V::place(in % 16, i, b, true) : Tl::K::place(in % 16, i, b, false);
                            const uint8_t *base = tile + (side ? Tl::values + in / 16 * Tl::V::bytes : in / 16 * Tl::K::bytes);
                            uint32_t word;
                            std::memcpy(&word, base + place.word, 4);
                            ours[i] |= (uint8_t)((word >> place.bit & 1) << b);
                        }
                    }
                    rows_checked++;
                    if (codes != ours || scale_bits != ours_bits) {
                        if (failures++ < 5) {
                            std::printf("differs: %d/%d dim %d side %d sequence %d token %d head %d scale %04x not %04x\n", KBITS, VBITS, DIM, side, s, token, h, ours_bits, scale_bits);
                        }
                    }
                }
            }
        }
    }
    if (timed) {
        double bytes = (double)lengths[0] * n_heads * (2.0 * DIM * sizeof(T)) + (double)pool_bytes;
        std::printf("time encode %d/%d dim %d from %zu bytes a value, 8192 tokens x 8 heads, K and V: %.1f us, %.0f GB/s read and written\n", KBITS, VBITS, DIM, sizeof(T), best * 1e3, bytes / best / 1e6);
    }
    close(sides[0]);
    close(sides[1]);
    for (void *d : {(void *)pool, (void *)p.table, (void *)row_begin, (void *)lengths_device}) {
        OK(cudaFree(d));
    }
}

template <int KBITS, int VBITS, int DIM, int TOKENS> void all() {
    run<float, KBITS, VBITS, DIM, TOKENS>(KVB_SCALE_LSQ, KVB_ROTATION_SIGNED, false);
    run<half, KBITS, VBITS, DIM, TOKENS>(KVB_SCALE_LSQ, KVB_ROTATION_SIGNED, false);
    run<__nv_bfloat16, KBITS, VBITS, DIM, TOKENS>(KVB_SCALE_NORM, KVB_ROTATION_SIGNED, false);
    run<float, KBITS, VBITS, DIM, TOKENS>(KVB_SCALE_NORM, KVB_ROTATION_NONE, false);
}

} // namespace

int main() {
    all<1, 8, 64, 32>();
    all<2, 7, 64, 64>();
    all<3, 6, 64, 32>();
    all<4, 5, 64, 32>();
    all<5, 4, 128, 32>();
    all<6, 3, 128, 64>();
    all<7, 2, 128, 32>();
    all<8, 1, 128, 32>();
    all<4, 4, 256, 32>();
    all<6, 5, 512, 16>();
    std::printf("%lld rows compared, %lld differ\n", rows_checked, failures);
    run<__nv_bfloat16, 4, 4, 128, 32>(KVB_SCALE_LSQ, KVB_ROTATION_SIGNED, true);
    run<__nv_bfloat16, 6, 6, 128, 32>(KVB_SCALE_LSQ, KVB_ROTATION_SIGNED, true);
    run<__nv_bfloat16, 8, 8, 128, 32>(KVB_SCALE_LSQ, KVB_ROTATION_SIGNED, true);
    run<float, 4, 4, 256, 32>(KVB_SCALE_LSQ, KVB_ROTATION_SIGNED, true);
    return failures != 0;
}
