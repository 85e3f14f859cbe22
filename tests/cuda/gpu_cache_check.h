/* What both sides of gpu_cache.h hold and answer, compared. */
#ifndef KVB_TESTS_GPU_CACHE_CHECK_H
#define KVB_TESTS_GPU_CACHE_CHECK_H

#include "gpu_cache.h"
#include "oracle_attend.h"

static inline kvb_kv_view view_of(const both *b, int sequence) {
    kvb_kv_view view;
    kvb_error error;
    assert_ok(kvb_cache_view(b->cache, b->sequences[sequence], 0, &view, &error), error);
    assert_int_equal(view.n_tokens, b->n_tokens[sequence]);
    return view;
}

/* Rows with every bit turned come back as they went in; then these rows, for good. */
static inline void import_dense(const both *b, int sequence, int side, int head, int begin, int end, uint8_t *rows) {
    const size_t bytes = (size_t)(end - begin) * (size_t)dim_of(b->c, side) * sizeof(uint16_t);
    const kvb_packed planes = {.planes = {b->planes}};
    const kvb_cuda_side which = side ? KVB_CUDA_V : KVB_CUDA_K;
    uint8_t *got = host_allocate(bytes);
    kvb_error error;
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < bytes; i++) {
            rows[i] ^= 0xff;
        }
        gpu_write(b->planes, rows, bytes);
        assert_ok(
            kvb_cuda_import(b->layer, &b->pages, which, sequence, head, begin, end - begin, &planes, b->stream, &error),
            error);
        GPU(cudaStreamSynchronize(b->stream));
        GPU(cudaMemset(b->planes, 0, bytes));
        GPU(cudaDeviceSynchronize());
        assert_ok(
            kvb_cuda_export(b->layer, &b->pages, which, sequence, head, begin, end - begin, &planes, b->stream, &error),
            error);
        gpu_read(got, b->planes, bytes);
        assert_memory_equal(got, rows, bytes);
    }
    free(got);
}

/* Dense rows [begin, end) of one head, as check_packed. */
static inline void check_dense(const both *b, const kvb_kv_view *view, int sequence, int side, int head, int begin,
                               int end) {
    const size_t row = (size_t)dim_of(b->c, side) * sizeof(uint16_t), bytes = (size_t)(end - begin) * row;
    const kvb_packed rows = {.planes = {b->planes}};
    uint8_t *got = host_allocate(bytes);
    kvb_error error;
    assert_ok(kvb_cuda_export(b->layer, &b->pages, side ? KVB_CUDA_V : KVB_CUDA_K, sequence, head, begin, end - begin,
                              &rows, b->stream, &error),
              error);
    gpu_read(got, b->planes, bytes);
    for (int t = begin; t < end; t++) {
        const void *page = view->pages[(t - view->first_page_token) / KVB_CUDA_PAGE_TOKENS];
        const uint8_t *block = kvb_page_block(view->format, page, head, side);
        if (memcmp(got + (size_t)(t - begin) * row, block + (size_t)(t % KVB_CUDA_PAGE_TOKENS) * row, row) != 0) {
            fail_msg("%s: dense %s of sequence %d, head %d, token %d of %d differ from the CPU's", b->c->name,
                     side ? "values" : "keys", sequence, head, t, b->n_tokens[sequence]);
        }
    }
    import_dense(b, sequence, side, head, begin, end, got);
    free(got);
}

/* Codes and scale of one head's rows [begin, end) as the GPU holds them, beside the CPU's pages. */
static inline void check_packed(const both *b, const kvb_kv_view *view, int sequence, int side, int head, int begin,
                                int end) {
    const kvb_codec *codec = b->codecs[side];
    const size_t n = (size_t)(end - begin), bytes = kvb_codec_block_bytes(codec, n);
    void *block = host_allocate(bytes);
    kvb_packed on_device = kvb_packed_view(codec, b->planes, n), got = kvb_packed_view(codec, block, n);
    kvb_error error;
    assert_ok(kvb_cuda_export(b->layer, &b->pages, side ? KVB_CUDA_V : KVB_CUDA_K, sequence, head, begin, (int)n,
                              &on_device, b->stream, &error),
              error);
    gpu_read(block, b->planes, bytes);
    for (int t = begin; t < end; t++) {
        uint8_t codes[KVB_MAX_HEAD_DIM], expected[KVB_MAX_HEAD_DIM];
        float scale, expected_scale;
        const void *page = view->pages[(t - view->first_page_token) / KVB_CUDA_PAGE_TOKENS];
        const kvb_packed packed = kvb_packed_view(
            codec, (void *)(uintptr_t)kvb_page_block(view->format, page, head, side), KVB_CUDA_PAGE_TOKENS);
        kvb_packed_row_codes(codec, &got, (size_t)(t - begin), codes, &scale);
        kvb_packed_row_codes(codec, &packed, (size_t)t % KVB_CUDA_PAGE_TOKENS, expected, &expected_scale);
        if (memcmp(&scale, &expected_scale, sizeof scale) != 0 ||
            memcmp(codes, expected, (size_t)dim_of(b->c, side)) != 0) {
            fail_msg("%s: %s of sequence %d, head %d, token %d of %d differ from the CPU's: scale %g, not %g",
                     b->c->name, side ? "values" : "keys", sequence, head, t, b->n_tokens[sequence], (double)scale,
                     (double)expected_scale);
        }
    }
    free(block);
}

/* Tokens [begin, end) of an array of exact rows with so many places. */
static inline void check_exact(const both *b, int sequence, int side, const char *name, const void *device,
                               const void *cpu, int slots, int cpu_slots, int begin, int end) {
    const size_t row = (size_t)(b->c->n_kv_heads * dim_of(b->c, side)) * sizeof(uint16_t);
    uint8_t *got = host_allocate((size_t)most_of(slots, 1) * row);
    gpu_read(got, (const uint8_t *)device + (size_t)sequence * (size_t)slots * row, (size_t)slots * row);
    for (int t = begin; t < end; t++) {
        if (memcmp(got + (size_t)(t % slots) * row, (const uint8_t *)cpu + (size_t)(t % cpu_slots) * row, row) != 0) {
            fail_msg("%s: %s %s of sequence %d, token %d of %d differ from the CPU's", b->c->name, name,
                     side ? "values" : "keys", sequence, t, b->n_tokens[sequence]);
        }
    }
    free(got);
}

static inline void check_rows(const both *b) {
    const cache_case *c = b->c;
    for (int i = 0; i < n_sequences; i++) {
        const kvb_kv_view view = view_of(b, i);
        const int n = b->n_tokens[i], gone = b->pages.first_page ? c->pages_gone * KVB_CUDA_PAGE_TOKENS : 0,
                  last = most_of(n - c->exact_last, c->exact_first);
        for (int side = 0; side < sides_of(c); side++) {
            for (int head = 0; head < c->n_kv_heads && most_of(gone, c->exact_first) < last && last <= n; head++) {
                (b->codecs[side] ? check_packed : check_dense)(b, &view, i, side, head, most_of(gone, c->exact_first),
                                                               last);
            }
            check_exact(b, i, side, "first", side ? b->pages.exact_first_v : b->pages.exact_first_k,
                        side ? view.exact_first_v : view.exact_first_k, c->exact_first, most_of(c->exact_first, 1), 0,
                        n < c->exact_first ? n : c->exact_first);
            check_exact(b, i, side, "last", side ? b->pages.exact_last_v : b->pages.exact_last_k,
                        side ? view.exact_last_v : view.exact_last_k, b->pages.exact_last_slots,
                        most_of(c->exact_last, 1), c->exact_last > 0 ? last : n, n);
        }
    }
}

/* Returns the relative L2 error of all outputs. */
static inline double check_attention(const both *b, const char *when) {
    const cache_case *c = b->c;
    const size_t n = (size_t)b->q_begin[n_sequences], heads = (size_t)heads_of(c), v_dim = (size_t)c->v_dim;
    float *out = host_allocate(n * heads * v_dim * sizeof *out), *lse = host_allocate(n * heads * sizeof *lse);
    double *expected = host_allocate(n * heads * v_dim * sizeof *expected),
           *expected_lse = host_allocate(n * heads * sizeof *expected_lse), difference = 0, norm = 0;
    gpu_read(out, b->queries.out, n * heads * v_dim * sizeof *out);
    gpu_read(lse, b->queries.lse, n * heads * sizeof *lse);
    for (int i = 0; i < n_sequences; i++) {
        const kvb_kv_view view = view_of(b, i);
        const size_t first = (size_t)b->q_begin[i], n_q = (size_t)c->n_q[i], row = tree_row(c->n_q[i]);
        int64_t *positions = host_allocate((n_q + 1) * sizeof *positions);
        uint8_t *tree = host_allocate(n_q * row + 1);
        for (size_t j = 0; j < n_q; j++) {
            positions[j] = b->positions[first + j];
            memcpy(tree + j * row, b->tree + (first + j) * tree_row(c->n_q[0]), row);
        }
        const kvb_attend_item item = {.kv = &view,
                                      .n_q = c->n_q[i],
                                      .n_heads = (int)heads,
                                      .q = b->q + first * heads * (size_t)c->k_dim,
                                      .q_dtype = KVB_F32,
                                      .q_token_stride = heads * (size_t)c->k_dim,
                                      .q_head_stride = (size_t)c->k_dim,
                                      .scale = b->queries.scale,
                                      .softcap = c->softcap,
                                      .sinks = c->has_sinks ? b->sinks : NULL,
                                      .positions = c->has_positions ? positions : NULL,
                                      .tree_mask = c->has_tree ? tree : NULL};
        if (n_q > 0) {
            oracle_attend(&item, expected + first * heads * v_dim, expected_lse + first * heads);
        }
        free(positions);
        free(tree);
    }
    for (size_t i = 0; i < n * heads; i++) {
        const double e = expected_lse[i], most = (c->is_general ? 1e-4 : 5e-3) * fmax(1.0, fabs(e));
        if (!(isinf(e) ? (double)lse[i] == e : fabs((double)lse[i] - e) <= most)) {
            fail_msg("%s: log-sum-exp of row %d, head %d %s is %g, not %g (lengths %d, %d, %d)", c->name,
                     (int)(i / heads), (int)(i % heads), when, (double)lse[i], e, b->n_tokens[0], b->n_tokens[1],
                     b->n_tokens[2]);
        }
    }
    for (size_t i = 0; i < n * heads * v_dim; i++) {
        difference += pow((double)out[i] - expected[i], 2);
        norm += pow(expected[i], 2);
    }
    const double error = norm > 0 ? sqrt(difference / norm) : sqrt(difference);
    if (!(error <= gpu_bound(c->bound))) {
        fail_msg("%s: error %g %s is above %g (lengths %d, %d, %d)", c->name, error, when, gpu_bound(c->bound),
                 b->n_tokens[0], b->n_tokens[1], b->n_tokens[2]);
    }
    free(out);
    free(lse);
    free(expected);
    free(expected_lse);
    return error;
}

/* The same rows without a ring, token length - exact_last first: the same bits. */
static inline void check_without_ring(const both *b) {
    const cache_case *c = b->c;
    const int slots = b->pages.exact_last_slots;
    const size_t n_out = (size_t)b->q_begin[n_sequences] * (size_t)(heads_of(c) * c->v_dim) * sizeof(float);
    float *expected = host_allocate(n_out), *got = host_allocate(n_out);
    kvb_cuda_pages pages = b->pages;
    void *lines[2] = {NULL, NULL};
    gpu_read(expected, b->queries.out, n_out);
    for (int side = 0; side < sides_of(c); side++) {
        const size_t row = (size_t)(c->n_kv_heads * dim_of(c, side)) * sizeof(uint16_t);
        uint8_t *ring = host_allocate((size_t)(n_sequences * slots) * row),
                *line = host_allocate((size_t)(n_sequences * c->exact_last) * row);
        gpu_read(ring, side ? pages.exact_last_v : pages.exact_last_k, (size_t)(n_sequences * slots) * row);
        for (int i = 0; i < n_sequences; i++) {
            for (int j = 0; j < c->exact_last; j++) {
                const int token = b->n_tokens[i] - c->exact_last + j;
                if (token >= 0) {
                    memcpy(line + (size_t)(i * c->exact_last + j) * row,
                           ring + (size_t)(i * slots + token % slots) * row, row);
                }
            }
        }
        lines[side] = gpu_copy(line, (size_t)(n_sequences * c->exact_last) * row);
        free(ring);
        free(line);
    }
    pages.exact_last_k = lines[0];
    pages.exact_last_v = lines[1];
    pages.exact_last_slots = 0;
    GPU(cudaMemset(b->queries.out, 0xff, n_out));
    GPU(cudaDeviceSynchronize());
    attend(b, &pages);
    gpu_read(got, b->queries.out, n_out);
    assert_memory_equal(got, expected, n_out);
    GPU(cudaFree(lines[0]));
    GPU(cudaFree(lines[1]));
    free(expected);
    free(got);
}

/* ---- A case ---- */

static inline void run_case(const cache_case *c) {
    both b = {.c = c, .random = {.state = 17}};
    double worst = 0;
    create_cpu(&b);
    create_gpu(&b);
    for (int step = 0; step <= (gpu_few() ? c->steps / 3 : c->steps); step++) {
        int n_new[n_sequences];
        for (int i = 0; i < n_sequences; i++) {
            n_new[i] = step == 0 ? c->prompt[i] : (int)((double)(c->most_new + 1) * oracle_uniform(&b.random));
        }
        if (step == 1) {
            b.rows.most_rows = c->most_new;
            if (c->pages_gone) {
                give_pages_back(&b);
            }
        }
        draw_rows(&b, n_new);
        draw_queries(&b);
        if (step == 0) {
            queue_step(&b);
        } else {
            replay_step(&b);
        }
        GPU(cudaStreamSynchronize(b.stream));
        check_rows(&b);
        const double error = check_attention(&b, step == 0 ? "behind the prompts" : "of a step");
        worst = error > worst ? error : worst;
    }
    if (c->exact_last > 0) {
        check_without_ring(&b);
    }
    print_message("%s: error %.2e (bound %.1e)\n", c->name, worst, gpu_bound(c->bound));
    destroy(&b);
}

static inline void run_cases(const cache_case *cases, size_t n) {
    need_gpu();
    for (size_t i = 0; i < n; i++) {
        run_case(&cases[i]);
    }
}

#endif
