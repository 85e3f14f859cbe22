/* What the A/B reports of a layer is what kvb_attend does on packed pages: the errors of its outputs, on every backend
 * and at both precisions, against the A/B's figures. */
#include "backends.h"
#include "trace_run.h"

enum { PAGE = 32, MOST_PAGES = MOST_TOKENS / PAGE + 1 };

/* The layer's rows in pages, and attention of all its queries on them. */
typedef struct packed_layer {
    const layer *l;
    kvb_layer_format format;
    kvb_codec *k_codec, *v_codec;
    void *pages[MOST_PAGES];
    float *out; /* [token][head][v_dim] */
} packed_layer;

static kvb_codec *make_codec(const kvb_ab_config *config, int dim, int bits) {
    kvb_codec_spec spec = {.head_dim = dim,
                           .bits = bits,
                           .rotation = config->rotation,
                           .sign_seed = config->sign_seed,
                           .scale = config->scale_kind,
                           .scale_dtype = config->scale_dtype};
    return create_codec(&spec);
}

/* Every page's tokens of one head and side, from rows of [token][kv head][dim]. */
static void fill_block(const packed_layer *p, int page, int head, int side) {
    const layer *l = p->l;
    const kvb_codec *codec = side ? p->v_codec : p->k_codec;
    int dim = side ? l->v_dim : l->k_dim, first = page * PAGE, n = l->tokens - first;
    const uint8_t *at = kvb_page_block(&p->format, p->pages[page], head, side);
    uint8_t *block = (uint8_t *)p->pages[page] + (at - (const uint8_t *)p->pages[page]);
    kvb_packed packed = kvb_packed_view(codec, block, PAGE);
    kvb_error error;
    assert_ok(kvb_encode(codec, (side ? l->v : l->k) + (first * l->kv_heads + head) * dim, KVB_F32,
                         (size_t)(l->kv_heads * dim), (size_t)(n < PAGE ? n : PAGE), &packed, 0, NULL, &error),
              error);
}

static void open_packed(packed_layer *p, const layer *l, const kvb_ab_config *config, int k_bits, int v_bits) {
    *p = (packed_layer){
        .l = l, .k_codec = make_codec(config, l->k_dim, k_bits), .v_codec = make_codec(config, l->v_dim, v_bits)};
    p->format = (kvb_layer_format){.n_kv_heads = l->kv_heads,
                                   .k_dim = l->k_dim,
                                   .v_dim = l->v_dim,
                                   .k_codec = p->k_codec,
                                   .v_codec = p->v_codec,
                                   .dense = KVB_F16,
                                   .page_tokens = PAGE};
    p->out = malloc((size_t)(l->tokens * l->heads * l->v_dim) * sizeof *p->out);
    for (int page = 0; page * PAGE < l->tokens; page++) {
        p->pages[page] = calloc(1, kvb_page_bytes(&p->format));
        for (int head = 0; head < l->kv_heads; head++) {
            fill_block(p, page, head, 0);
            fill_block(p, page, head, 1);
        }
    }
}

static void close_packed(packed_layer *p) {
    for (int page = 0; page < MOST_PAGES; page++)
        free(p->pages[page]);
    free(p->out);
    kvb_codec_destroy(p->k_codec);
    kvb_codec_destroy(p->v_codec);
}

static void attend(packed_layer *p, const kvb_backend *backend, kvb_precision precision) {
    const layer *l = p->l;
    kvb_kv_view view = {
        .format = &p->format, .pages = (const void *const *)p->pages, .n_tokens = l->tokens, .window = l->window};
    kvb_attend_item item = {.kv = &view,
                            .n_q = l->tokens,
                            .n_heads = l->heads,
                            .q = l->q,
                            .q_dtype = KVB_F32,
                            .q_token_stride = (size_t)(l->heads * l->k_dim),
                            .q_head_stride = (size_t)l->k_dim,
                            .out = p->out,
                            .out_token_stride = (size_t)(l->heads * l->v_dim),
                            .out_head_stride = (size_t)l->v_dim,
                            .scale = (float)(l->scale > 0.0 ? l->scale : 1.0 / sqrt(l->k_dim)),
                            .softcap = (float)l->softcap,
                            .precision = precision};
    size_t bytes = kvb_attend_scratch_bytes(backend, &item, 1, NULL);
    void *scratch = malloc(bytes);
    kvb_error error;
    assert_ok(kvb_attend(backend, &item, 1, scratch, bytes, NULL, &error), error);
    free(scratch);
}

/* The mean over queries of |out - exact| / |exact|, heads pooled: docs/evaluation.md, section 10. */
static double mean_error(const packed_layer *p) {
    const layer *l = p->l;
    static head_result exact;
    double sum = 0.0;
    for (int i = 0; i < l->tokens; i++) {
        double difference = 0.0, norm = 0.0;
        for (int h = 0; h < l->heads; h++) {
            attend_in_double(l, &(kvb_ab_config){.exact_first = 0}, h, i, l->k, l->v, &exact);
            for (int c = 0; c < l->v_dim; c++) {
                double apart = p->out[(i * l->heads + h) * l->v_dim + c] - exact.out[c];
                difference += apart * apart;
                norm += exact.out[c] * exact.out[c];
            }
        }
        sum += sqrt(difference / norm);
    }
    return sum / l->tokens;
}

static void compare_pair(const json_t *cell, const layer *l, const kvb_ab_config *config, const test_backends *on) {
    packed_layer p;
    open_packed(&p, l, config, atoi(json_string_value(json_object_get(cell, "k"))),
                atoi(json_string_value(json_object_get(cell, "v"))));
    for (size_t b = 0; b < on->n; b++) {
        attend(&p, on->list[b], KVB_PRECISION_PRECISE);
        assert_float_equal(mean_error(&p), figure(cell, "nrmse_mean"), 5e-6 + 2e-6);
        attend(&p, on->list[b], KVB_PRECISION_FAST);
        assert_float_equal(mean_error(&p), figure(cell, "nrmse_mean"), 5e-4 + 2e-6);
    }
    close_packed(&p);
}

static void a_layer_s_errors_are_those_of_kvb_attend(void **state) {
    (void)state;
    layer layers[N_SHAPES];
    kvb_ab_config config = small_config();
    test_backends backends = open_backends();
    memcpy(layers, shapes, sizeof layers);
    draw_layers(layers, N_SHAPES);
    json_t *root = run(&config, layers, N_SHAPES);
    for (size_t i = 0; i < N_SHAPES; i++)
        for (size_t pair = 0; pair < N_PAIRS; pair++)
            compare_pair(entry(entry(root, "layers", i), "pair_cells", pair), &layers[i], &config, &backends);
    json_decref(root);
    free_layers(layers, N_SHAPES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_s_errors_are_those_of_kvb_attend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
