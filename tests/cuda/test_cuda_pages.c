/* Rows that the GPU encodes are, exported, the bytes that kvb_encode writes; imported they come back. */
#include "gpu.h"
#include "row_kinds.h"

#include <math.h>

enum { n_heads = 3, n_sequences = 2, most_tokens = 200 };

typedef struct rows_case {
    int head_dim, bits, v_bits;
    int half, v_half;     /* half a bit more */
    int states, v_states; /* of a trellis; 0: scalar codes */
    kvb_rotation rotation;
    kvb_scale_kind scale;
    kvb_dtype scale_dtype, dtype;
    int unevenness; /* 0, or the levels are powers of this and a bit, both signs, so that their gaps differ widely */
    int has_ties;   /* levels and rows such that ways through a trellis cost the same */
    int v_prefix;   /* a latent layer, whose values are so many coordinates of its keys; 0: it is none */
} rows_case;

static kvb_codec *codec_of(const rows_case *c, int is_value) {
    kvb_codec_spec spec = kvb_codec_spec_default(c->head_dim, is_value ? c->v_bits : c->bits);
    kvb_codec *codec;
    kvb_error error;
    spec.rotation = c->rotation;
    spec.scale = c->scale;
    spec.scale_dtype = c->scale_dtype;
    spec.trellis_states = is_value ? c->v_states : c->states;
    spec.half_bit = is_value ? c->v_half : c->half;
    float levels[KVB_MAX_LEVELS];
    if (c->unevenness) {
        const int half = 1 << (spec.bits - 1);
        for (int i = 0; i < half; i++) {
            levels[half + i] =
                kvb_f16_to_f32(kvb_f32_to_f16(3.0f * powf(1.25f * (float)c->unevenness, (float)(i - half + 1))));
            levels[half - 1 - i] = -levels[half + i] - 0.5f * (float)(i == half - 1);
        }
        spec.centroids = levels;
    }
    if (c->has_ties) { /* of half a bit those of the first half, which has a bit more, then the second's */
        oracle_uniform_levels(spec.bits + 1 + spec.half_bit, 0.25, levels);
        if (spec.half_bit) {
            oracle_uniform_levels(spec.bits + 1, 0.25, levels + (4 << spec.bits));
        }
        spec.centroids = levels;
    }
    assert_int_equal(kvb_codec_create(&spec, NULL, NULL, &codec, &error), KVB_OK);
    return codec;
}

/* [row][head][head_dim] of all kinds of legal rows, and some that hold NaN and Inf. */
static void *random_rows(const rows_case *c, int n, oracle_random *random) {
    size_t d = (size_t)c->head_dim, bytes = kvb_dtype_bytes(c->dtype);
    uint8_t *all = host_allocate((size_t)n * n_heads * d * bytes);
    float row[KVB_MAX_HEAD_DIM];
    for (size_t r = 0; r < (size_t)n * n_heads; r++) {
        fill_row((int)(r % n_kinds), c->head_dim, random, row);
        for (size_t i = 0; c->has_ties && i < d; i++) { /* halfway between levels, the scale is 1 */
            row[i] = oracle_next(random) >> 40 & 1 ? 1.0f : -1.0f;
        }
        if (r % 31 == 30) {
            row[r % d] = r % 2 ? NAN : -INFINITY;
        }
        for (size_t i = 0; i < d; i++) {
            uint16_t half = c->dtype == KVB_F16 ? kvb_f32_to_f16(row[i]) : kvb_f32_to_bf16(row[i]);
            memcpy(all + (r * d + i) * bytes, c->dtype == KVB_F32 ? (const void *)&row[i] : (const void *)&half, bytes);
        }
    }
    return all;
}

/* Bytes of a plane's row: planes follow each other in a block, in one of a row too. */
static size_t plane_bytes(const kvb_codec *codec, int plane) {
    static uint8_t block[4 * KVB_MAX_HEAD_DIM];
    const kvb_packed row = kvb_packed_view(codec, block, 1);
    const int is_last = plane + 1 == KVB_MAX_PLANES || !row.planes[plane + 1];
    return (size_t)((is_last ? block + kvb_codec_block_bytes(codec, 1) : row.planes[plane + 1]) - row.planes[plane]);
}

/* Blocks are scales and planes in one piece: NaN scales have one bit pattern, so that bytes can be compared. */
static void check_side(const rows_case *c, const kvb_codec *codec, const kvb_cuda_layer *layer, const gpu_batch *batch,
                       const gpu_batch *other, kvb_cuda_side side, const int *begin, const uint8_t *rows,
                       const int *row_of) {
    size_t d = (size_t)c->head_dim, value = kvb_dtype_bytes(c->dtype);
    for (int s = 0; s < n_sequences; s++) {
        const int n = begin[s];
        const size_t bytes = kvb_codec_block_bytes(codec, (size_t)n);
        for (int h = 0; h < n_heads; h++) {
            uint8_t *mine = host_allocate((size_t)n * d * value), *expected = host_allocate(bytes),
                    *got = host_allocate(bytes);
            for (int t = 0; t < n; t++) {
                memcpy(mine + (size_t)t * d * value,
                       rows + ((size_t)row_of[s * most_tokens + t] * n_heads + (size_t)h) * d * value, d * value);
            }
            kvb_packed to = kvb_packed_view(codec, expected, (size_t)n);
            kvb_encode_unchecked(codec, mine, c->dtype, d, (size_t)n, &to, 0, NULL);
            void *block = gpu_allocate(bytes);
            kvb_packed on_device = kvb_packed_view(codec, block, (size_t)n);
            kvb_error error = {""};
            assert_int_equal(kvb_cuda_export(layer, &batch->pages, side, s, h, 0, n, &on_device, NULL, &error), KVB_OK);
            gpu_read(got, block, bytes);
            assert_memory_equal(got, expected, bytes);
            /* Back in two pieces, into pages that are NaNs so far. */
            for (int piece = 0; piece < 2 && n > 1; piece++) {
                const int first = piece ? n / 3 + 1 : 0, many = piece ? n - first : n / 3 + 1;
                kvb_packed part = on_device;
                for (int p = 0; p < KVB_MAX_PLANES && part.planes[p]; p++) {
                    part.planes[p] += (size_t)first * plane_bytes(codec, p);
                }
                part.scales = (uint8_t *)part.scales + (size_t)first * kvb_dtype_bytes(c->scale_dtype);
                if (many > 0) {
                    assert_int_equal(
                        kvb_cuda_import(layer, &other->pages, side, s, h, first, many, &part, NULL, &error), KVB_OK);
                }
            }
            if (n > 1) {
                GPU(cudaDeviceSynchronize());
                GPU(cudaMemset(block, 0xff, bytes));
                assert_int_equal(kvb_cuda_export(layer, &other->pages, side, s, h, 0, n, &on_device, NULL, &error),
                                 KVB_OK);
                gpu_read(got, block, bytes);
                assert_memory_equal(got, expected, bytes);
            }
            GPU(cudaFree(block));
            free(mine);
            free(expected);
            free(got);
        }
    }
}

/* So many rows for each sequence, one append after another. */
static void run_appends(const rows_case *c, int (*appends)[n_sequences], size_t n_appends, oracle_random *random) {
    kvb_codec *k = codec_of(c, 0), *v = c->v_prefix ? NULL : codec_of(c, 1);
    kvb_cuda_layer *layer = v ? gpu_layer(k, v, n_heads, n_heads) : gpu_latent_layer(k, c->v_prefix, n_heads, n_heads);
    /* The twin is a second layer of the same launches, with keys and values in each other's place. */
    gpu_batch batch = gpu_batch_make(layer, n_sequences, most_tokens),
              twin = gpu_batch_make(layer, n_sequences, most_tokens),
              other = gpu_batch_make(layer, n_sequences, most_tokens);
    const kvb_cuda_layer *layers[2] = {layer, layer};
    int length[n_sequences] = {0}, total = 0, row_of[n_sequences * most_tokens];
    kvb_error error = {""};
    for (size_t a = 0; a < n_appends; a++) {
        total += appends[a][0] + appends[a][1];
    }
    uint8_t *k_rows = random_rows(c, total, random), *v_rows = random_rows(c, total, random);
    const size_t bytes = (size_t)total * n_heads * (size_t)c->head_dim * kvb_dtype_bytes(c->dtype),
                 row_bytes = bytes / (size_t)total;
    uint8_t *k_device = gpu_copy(k_rows, bytes), *v_device = gpu_copy(v_rows, bytes);
    for (size_t a = 0, row = 0; a < n_appends; a++) {
        int32_t begin[n_sequences + 1] = {0, appends[a][0], appends[a][0] + appends[a][1]};
        for (int s = 0; s < n_sequences; s++) {
            for (int i = 0; i < appends[a][s]; i++) {
                row_of[s * most_tokens + length[s]++] = (int)row + begin[s] + i;
            }
        }
        void *row_begin = gpu_copy(begin, sizeof begin);
        kvb_cuda_rows rows = {.k = k_device + row * row_bytes,
                              .v = v_device + row * row_bytes,
                              .dtype = c->dtype,
                              .row_begin = row_begin,
                              .most_rows = appends[a][0] > appends[a][1] ? appends[a][0] : appends[a][1]};
        kvb_cuda_rows both[2] = {rows, rows};
        both[1].k = rows.v;
        both[1].v = rows.k;
        if (!v) {
            both[0].v = both[1].v = NULL;
        }
        const kvb_cuda_pages pages[2] = {batch.pages, twin.pages};
        if (a % 2 == 0) {
            assert_int_equal(kvb_cuda_append(layer, &pages[0], &both[0], NULL, &error), KVB_OK);
            assert_int_equal(kvb_cuda_append(layer, &pages[1], &both[1], NULL, &error), KVB_OK);
        } else {
            assert_int_equal(kvb_cuda_append_layers(layers, pages, both, 2, NULL, &error), KVB_OK);
        }
        assert_int_equal(kvb_cuda_advance(&batch.pages, &rows, NULL, &error), KVB_OK);
        assert_int_equal(kvb_cuda_advance(&twin.pages, &rows, NULL, &error), KVB_OK);
        row += (size_t)begin[n_sequences];
        GPU(cudaDeviceSynchronize());
        GPU(cudaFree(row_begin));
    }
    int32_t lengths[n_sequences];
    gpu_read(lengths, batch.pages.lengths, sizeof lengths);
    assert_memory_equal(lengths, length, sizeof length);
    check_side(c, k, layer, &batch, &other, KVB_CUDA_K, length, k_rows, row_of);
    check_side(c, v ? v : k, layer, &batch, &other, KVB_CUDA_V, length, v ? v_rows : k_rows, row_of);
    check_side(c, k, layer, &twin, &other, KVB_CUDA_K, length, v_rows, row_of);
    check_side(c, v ? v : k, layer, &twin, &other, KVB_CUDA_V, length, v ? k_rows : v_rows, row_of);
    GPU(cudaFree(k_device));
    GPU(cudaFree(v_device));
    free(k_rows);
    free(v_rows);
    gpu_batch_free(&batch);
    gpu_batch_free(&twin);
    gpu_batch_free(&other);
    kvb_cuda_layer_destroy(layer);
    kvb_codec_destroy(k);
    kvb_codec_destroy(v);
}

static void run_case(const rows_case *c, oracle_random *random) {
    int appends[][n_sequences] = {{1, 70}, {18, 1}, {0, 33}, {64, 0}, {5, 15}};
    run_appends(c, appends, sizeof appends / sizeof *appends, random);
}

/* So many tokens that every warp has several blocks; rows at an address that is no multiple of 16 where `is_odd`. */
static void run_long(const rows_case *c, int n, int is_odd, oracle_random *random) {
    enum { heads = 8, first = 5 };
    kvb_codec *codecs[2] = {codec_of(c, 0), codec_of(c, 1)};
    kvb_cuda_layer *layer = gpu_layer(codecs[0], codecs[1], heads, heads);
    gpu_batch batch = gpu_batch_make(layer, 1, n);
    const size_t d = (size_t)c->head_dim, value = kvb_dtype_bytes(c->dtype), bytes = (size_t)n * heads * d * value;
    uint8_t *rows[2], *device[2];
    kvb_error error = {""};
    for (int side = 0; side < 2; side++) {
        float *x = normal_rows((size_t)n * heads * d, random);
        rows[side] = typed(x, (size_t)n * heads * d, c->dtype);
        device[side] = (uint8_t *)gpu_allocate(bytes + value) + (is_odd ? value : 0);
        gpu_write(device[side], rows[side], bytes);
        free(x);
    }
    for (int begin = 0; begin < n; begin = begin ? n : first) {
        const int32_t ends[2] = {begin, begin ? n : first};
        kvb_cuda_rows part = {.k = device[0],
                              .v = device[1],
                              .dtype = c->dtype,
                              .row_begin = gpu_copy(ends, sizeof ends),
                              .most_rows = ends[1] - ends[0]};
        assert_int_equal(kvb_cuda_append(layer, &batch.pages, &part, NULL, &error), KVB_OK);
        assert_int_equal(kvb_cuda_advance(&batch.pages, &part, NULL, &error), KVB_OK);
        GPU(cudaDeviceSynchronize());
        GPU(cudaFree((void *)part.row_begin));
    }
    for (int side = 0; side < 2; side++) {
        const size_t block_bytes = kvb_codec_block_bytes(codecs[side], (size_t)n);
        uint8_t *expected = host_allocate(block_bytes), *got = host_allocate(block_bytes);
        void *block = gpu_allocate(block_bytes);
        const kvb_packed on_device = kvb_packed_view(codecs[side], block, (size_t)n);
        for (int h = 0; h < heads; h++) {
            kvb_packed to = kvb_packed_view(codecs[side], expected, (size_t)n);
            kvb_encode_unchecked(codecs[side], rows[side] + (size_t)h * d * value, c->dtype, heads * d, (size_t)n, &to,
                                 0, NULL);
            assert_int_equal(
                kvb_cuda_export(layer, &batch.pages, (kvb_cuda_side)side, 0, h, 0, n, &on_device, NULL, &error),
                KVB_OK);
            gpu_read(got, block, block_bytes);
            assert_memory_equal(got, expected, block_bytes);
        }
        GPU(cudaFree(block));
        free(expected);
        free(got);
        GPU(cudaFree(device[side] - (is_odd ? value : 0)));
        free(rows[side]);
    }
    gpu_batch_free(&batch);
    kvb_cuda_layer_destroy(layer);
    kvb_codec_destroy(codecs[0]);
    kvb_codec_destroy(codecs[1]);
}

static const int dims[] = {32,  40,  48,  56,  64,  72,  80,  96,  112, 128, 144,
                           160, 192, 224, 256, 288, 320, 384, 448, 512, 576};

/* Of head dim i, all but widths and states: rotations, scales and types in turn. */
static rows_case nth_case(int i, int n) {
    return (rows_case){.head_dim = dims[i],
                       .rotation = (kvb_rotation)(n % 5 == 0 ? n % 3 : 2),
                       .scale = (kvb_scale_kind)((n + i) % 3),
                       .scale_dtype = n % 4 ? KVB_F16 : KVB_F32,
                       .dtype = (kvb_dtype)(n % 3)};
}

/* The shortest row there is, all but widths and states. */
static const rows_case shortest = {
    .head_dim = 8, .rotation = KVB_ROTATION_NONE, .scale = KVB_SCALE_LSQ, .scale_dtype = KVB_F16};

static void exported_rows_are_those_of_the_cpu(void **state) {
    (void)state;
    need_gpu();
    oracle_random random = {.state = 11};
    int n = 0;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        for (int bits = 1; bits <= 8; bits++, n++) {
            if (gpu_few() && n % 23 != 0) {
                continue;
            }
            rows_case c = nth_case((int)i, n);
            c.bits = bits;
            c.v_bits = bits % 8 + 1;
            run_case(&c, &random);
        }
    }
    rows_case narrow = shortest;
    narrow.bits = 3;
    narrow.v_bits = 4;
    run_case(&narrow, &random);
}

/* A token at a time, to every place in a block, which has a kernel of its own. */
static void single_tokens_are_those_of_the_cpu(void **state) {
    (void)state;
    need_gpu();
    enum { n_appends = 40 };
    static const int rows_dims[] = {64, 128, 256};
    int appends[n_appends][n_sequences];
    oracle_random random = {.state = 15};
    for (int a = 0; a < n_appends; a++) {
        appends[a][0] = a % 7 != 3;
        appends[a][1] = a > 0 ? a % 11 != 4 : 5;
    }
    for (int i = 0, n = 0; i < 3; i++) {
        for (int bits = 1; bits <= 8; bits++, n++) {
            if (gpu_few() && n % 5 != 0) {
                continue;
            }
            rows_case c = nth_case(0, n);
            c.head_dim = rows_dims[i];
            c.bits = bits;
            c.v_bits = bits % 8 + 1;
            run_appends(&c, appends, n_appends, &random);
        }
    }
}

/* Of trellis codes too, beside each other and beside scalar ones. */
static void paths_are_those_of_the_cpu(void **state) {
    (void)state;
    need_gpu();
    static const int states[] = {16, 8, 64, 256};
    oracle_random random = {.state = 12};
    int n = 0;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        for (int bits = KVB_MIN_TRELLIS_BITS; bits <= KVB_MAX_TRELLIS_BITS; bits++, n++) {
            if (gpu_few() && n % 19 != 0) {
                continue;
            }
            rows_case c = nth_case((int)i, n);
            c.bits = bits;
            c.v_bits = 8 - bits;
            c.states = states[n % 4];
            c.v_states = n % 6 == 0 ? 0 : states[n / 4 % 4];
            run_case(&c, &random);
        }
    }
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        rows_case ties = {.head_dim = 128,
                          .bits = 4,
                          .v_bits = 2,
                          .states = states[i],
                          .v_states = states[i],
                          .rotation = KVB_ROTATION_NONE,
                          .scale = KVB_SCALE_NORM,
                          .scale_dtype = KVB_F32,
                          .has_ties = 1};
        run_case(&ties, &random);
    }
    rows_case narrow = shortest;
    narrow.bits = 3;
    narrow.v_bits = 6;
    narrow.states = 8;
    narrow.v_states = 256;
    run_case(&narrow, &random);
}

/* Of half a bit, K's and V's, beside whole bits, scalar and trellis, in every head_dim that has halves; where ways
 * through the trellis cost the same, each half has its own least. */
static void halves_are_those_of_the_cpu(void **state) {
    (void)state;
    need_gpu();
    static const int states[] = {16, 8, 64, 256};
    oracle_random random = {.state = 15};
    int n = 0;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        for (int code = 0; code < 11 && dims[i] % 16 == 0; code++, n++) {
            if (gpu_few() && n % 17 != 0) {
                continue;
            }
            rows_case c = nth_case((int)i, n);
            c.half = 1;
            c.bits = code < 7 ? code + 1 : code - 7 + KVB_MIN_TRELLIS_BITS;
            c.states = code < 7 ? 0 : states[n % 4];
            c.v_half = n % 3 != 0;
            c.v_states = n / 3 % 2 ? states[n / 6 % 4] : 0;
            c.v_bits = c.v_states ? n % 4 + KVB_MIN_TRELLIS_BITS : n % 7 + 1;
            run_case(&c, &random);
        }
    }
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        rows_case ties = {.head_dim = 64,
                          .bits = 3,
                          .v_bits = 2,
                          .half = 1,
                          .v_half = 1,
                          .states = states[i],
                          .v_states = states[i],
                          .rotation = KVB_ROTATION_NONE,
                          .scale = KVB_SCALE_NORM,
                          .scale_dtype = KVB_F32,
                          .has_ties = 1};
        run_case(&ties, &random);
    }
    rows_case narrow = shortest;
    narrow.head_dim = 16;
    narrow.half = narrow.v_half = 1;
    narrow.bits = 7;
    narrow.v_bits = 5;
    narrow.v_states = 256;
    run_case(&narrow, &random);
}

static void long_appends_are_those_of_the_cpu(void **state) {
    (void)state;
    need_gpu();
    static const int dims_of[] = {64, 128, 256};
    static const kvb_dtype dtypes[] = {KVB_BF16, KVB_F16, KVB_F32};
    oracle_random random = {.state = 13};
    for (int i = 0; i < 9; i++) {
        rows_case c = {.head_dim = dims_of[i % 3],
                       .bits = i % 8 + 1,
                       .v_bits = (i + 3) % 8 + 1,
                       .rotation = KVB_ROTATION_SIGNED,
                       .scale = KVB_SCALE_LSQ,
                       .scale_dtype = KVB_F16,
                       .dtype = dtypes[(i + i / 3) % 3]};
        run_long(&c, gpu_few() ? 40 : 5003, 0, &random);
        run_long(&c, 70, 1, &random);
    }
    for (int i = 0; i < 3; i++) { /* paths too, and sides that go into launches of their own */
        rows_case c = {.head_dim = dims_of[i],
                       .bits = i + 3,
                       .v_bits = i + 2,
                       .states = 16,
                       .v_states = i == 2 ? 8 : 16,
                       .rotation = KVB_ROTATION_SIGNED,
                       .scale = i == 1 ? KVB_SCALE_SEARCH : KVB_SCALE_LSQ,
                       .scale_dtype = KVB_F16,
                       .dtype = dtypes[i]};
        run_long(&c, gpu_few() ? 40 : 2003, 0, &random);
        c.states = 0;
        run_long(&c, 70, 1, &random);
    }
}

/* Levels so uneven that no number of buckets keeps their midpoints apart, and as many as a bucket each. */
static void uneven_levels_are_those_of_the_cpu(void **state) {
    (void)state;
    need_gpu();
    oracle_random random = {.state = 14};
    for (int uneven = 1; uneven <= 3; uneven++) {
        rows_case c = {.head_dim = 128,
                       .bits = 4,
                       .v_bits = 3,
                       .rotation = KVB_ROTATION_SIGNED,
                       .scale = KVB_SCALE_LSQ,
                       .scale_dtype = KVB_F16,
                       .dtype = KVB_BF16,
                       .unevenness = uneven};
        run_case(&c, &random);
    }
}

/* Of latent layers both sides are the keys. */
static void latent_rows_are_those_of_the_cpu(void **state) {
    (void)state;
    need_gpu();
    static const struct {
        int dim, prefix, bits, states;
    } all[] = {{576, 512, 4, 0}, {576, 512, 8, 0}, {96, 64, 5, 0},   {128, 128, 4, 0},
               {64, 8, 3, 0},    {256, 128, 2, 0}, {96, 64, 4, 256}, {128, 64, 3, 16}};
    oracle_random random = {.state = 15};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (gpu_few() && i % 3 != 1) {
            continue;
        }
        rows_case c = nth_case(0, (int)i);
        c.head_dim = all[i].dim;
        c.v_prefix = all[i].prefix;
        c.bits = all[i].bits;
        c.states = all[i].states;
        c.rotation = KVB_ROTATION_NONE;
        run_case(&c, &random);
    }
}

/* Latent layers and others follow each other in one call: each gets its own sides. */
static void latent_layers_beside_others(void **state) {
    (void)state;
    need_gpu();
    enum { n = 40, n_layers = 6 };
    static const int is_latent[n_layers] = {1, 1, 0, 0, 1, 0};
    oracle_random random = {.state = 16};
    rows_case c = shortest;
    c.head_dim = 128;
    c.bits = 4;
    kvb_codec *codec = codec_of(&c, 0);
    kvb_cuda_layer *latent = gpu_latent_layer(codec, 64, n_heads, n_heads),
                   *plain = gpu_layer(codec, codec, n_heads, n_heads);
    assert_int_equal(kvb_cuda_layer_page_bytes(plain), 2 * kvb_cuda_layer_page_bytes(latent));
    const int32_t begin[n_sequences + 1] = {0, n / 2, n};
    const int length[n_sequences] = {n / 2, n / 2};
    int row_of[n_sequences * most_tokens] = {0};
    const size_t bytes = (size_t)n * n_heads * (size_t)c.head_dim * sizeof(float);
    const kvb_cuda_layer *layers[n_layers];
    gpu_batch batches[n_layers], others[n_layers];
    kvb_cuda_pages pages[n_layers];
    kvb_cuda_rows rows[n_layers];
    uint8_t *sides[n_layers][2];
    void *row_begin = gpu_copy(begin, sizeof begin);
    kvb_error error = {""};
    for (int i = 0; i < n; i++) {
        row_of[i / (n / 2) * most_tokens + i % (n / 2)] = i;
    }
    for (int i = 0; i < n_layers; i++) {
        layers[i] = is_latent[i] ? latent : plain;
        batches[i] = gpu_batch_make(layers[i], n_sequences, most_tokens);
        others[i] = gpu_batch_make(layers[i], n_sequences, most_tokens);
        pages[i] = batches[i].pages;
        sides[i][0] = random_rows(&c, n, &random);
        sides[i][1] = random_rows(&c, n, &random);
        rows[i] = (kvb_cuda_rows){.k = gpu_copy(sides[i][0], bytes),
                                  .v = is_latent[i] ? NULL : gpu_copy(sides[i][1], bytes),
                                  .dtype = c.dtype,
                                  .row_begin = row_begin,
                                  .most_rows = n / 2};
    }
    assert_ok(kvb_cuda_append_layers(layers, pages, rows, n_layers, NULL, &error), error);
    for (int i = 0; i < n_layers; i++) {
        for (int side = 0; side < 2; side++) {
            check_side(&c, codec, layers[i], &batches[i], &others[i], side ? KVB_CUDA_V : KVB_CUDA_K, length,
                       sides[i][is_latent[i] ? 0 : side], row_of);
        }
    }
    for (int i = 0; i < n_layers; i++) {
        GPU(cudaFree((void *)(uintptr_t)rows[i].k));
        GPU(cudaFree((void *)(uintptr_t)rows[i].v));
        free(sides[i][0]);
        free(sides[i][1]);
        gpu_batch_free(&batches[i]);
        gpu_batch_free(&others[i]);
    }
    GPU(cudaFree(row_begin));
    kvb_cuda_layer_destroy(latent);
    kvb_cuda_layer_destroy(plain);
    kvb_codec_destroy(codec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_tokens_are_those_of_the_cpu), cmocka_unit_test(long_appends_are_those_of_the_cpu),
        cmocka_unit_test(uneven_levels_are_those_of_the_cpu), cmocka_unit_test(exported_rows_are_those_of_the_cpu),
        cmocka_unit_test(paths_are_those_of_the_cpu),         cmocka_unit_test(halves_are_those_of_the_cpu),
        cmocka_unit_test(latent_rows_are_those_of_the_cpu),   cmocka_unit_test(latent_layers_beside_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
