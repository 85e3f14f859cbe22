/* Random caches under random operations: saved and loaded again and again, one is the same as its twin that never was.
 */
#define _XOPEN_SOURCE 700
#include "file_image.h"

/* In place of the system's: a thousand waits for the disk say nothing here. */
int fsync(int fd) {
    (void)fd;
    return 0;
}

enum { N_CACHES = 150, N_STEPS = 40, MAX_SEQUENCES = 4, MAX_TOKENS = 150 };

static uint64_t state_of_random;

static int pick(int n) {
    state_of_random = state_of_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)((state_of_random >> 33) % (uint64_t)n);
}

static int pick_bits(void) {
    int bits = pick(9);
    return bits == 0 ? KVB_DENSE_BITS : bits;
}

/* Half a bit more, where a side may have it. */
static void add_half(kvb_codec_spec *side) {
    int most = side->trellis_states ? KVB_MAX_TRELLIS_BITS : KVB_MAX_BITS;
    side->half_bit = side->bits < most && side->head_dim % 16 == 0 && pick(3) == 0;
}

static kvb_layer_spec random_layer(void) {
    static const float mean[2 * 64] = {[0] = 0.5f, [31] = -2.0f, [40] = 1e-3f, [127] = 1.0f};
    static const int dims[] = {32, 40, 64};
    kvb_layer_spec layer = kvb_layer_spec_default(1 + pick(2), dims[pick(3)], pick_bits(), pick_bits());
    layer.v.head_dim = dims[pick(3)];
    layer.dense = pick(2) ? KVB_F16 : KVB_BF16;
    layer.window = pick(2) ? 1 + pick(60) : 0;
    layer.exact_first = pick(2) ? pick(40) : 0;
    layer.exact_last = pick(2) ? pick(40) : 0;
    if (layer.v.bits >= KVB_MIN_TRELLIS_BITS && layer.v.bits <= KVB_MAX_TRELLIS_BITS) {
        layer.v.trellis_states = pick(2) ? 8 << (pick(2) * 3) : 0;
    }
    layer.k.scale_dtype = pick(2) ? KVB_F16 : KVB_F32;
    if (pick(4) == 0) {
        layer.v_prefix_of_k = 1;
        layer.k.rotation = KVB_ROTATION_NONE;
        layer.v.head_dim = 32;
    }
    add_half(&layer.k);
    add_half(&layer.v);
    if (!layer.v_prefix_of_k && layer.k.bits != KVB_DENSE_BITS && pick(3) == 0) {
        layer.k_mean = mean;
    }
    return layer;
}

static kvb_cache *random_cache(uint64_t seed) {
    kvb_error error;
    kvb_layer_spec layers[3];
    kvb_cache *cache;
    state_of_random = seed;
    kvb_cache_spec spec = {.layers = layers,
                           .n_layers = 1 + pick(3),
                           .page_tokens = pick(2) ? 16 : 32,
                           .max_sequences = MAX_SEQUENCES,
                           .max_tokens = MAX_TOKENS,
                           .budget = (size_t)50000 + (size_t)pick(800000)};
    for (int i = 0; i < spec.n_layers; i++) {
        layers[i] = random_layer();
    }
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &cache, &error), error);
    return cache;
}

/* One operation, which may be refused; both caches get the same one. */
static kvb_status step(kvb_cache *cache, int what, int sequence, int n, kvb_error *error) {
    int made;
    int64_t n_tokens = kvb_cache_n_tokens(cache, sequence);
    kvb_status status = KVB_OK;
    switch (what) {
    case 0:
        return kvb_cache_open_sequence(cache, &made, error);
    case 1:
        return kvb_cache_fork(cache, sequence, &made, error);
    case 2:
        return n_tokens < 0 ? KVB_OK : kvb_cache_truncate(cache, sequence, n % (n_tokens + 1), error);
    case 3:
        if (n % 4 == 0) {
            kvb_cache_free_sequence(cache, sequence);
        }
        return KVB_OK;
    default:
        if (n_tokens >= 0 && (status = file_case_grow(cache, sequence, n % 40, 1, error))) {
            kvb_status undone = kvb_cache_truncate(cache, sequence, kvb_cache_n_tokens(cache, sequence), error);
            assert_int_equal(undone, KVB_OK);
        }
        return status;
    }
}

static kvb_cache *reload(kvb_cache *cache) {
    kvb_error error;
    kvb_cache *loaded;
    const char *path = path_in_folder("cache.kvb");
    kvb_cache_usage before = kvb_cache_bytes(cache);
    assert_ok(kvb_cache_save(cache, path, &error), error);
    kvb_cache_destroy(cache);
    assert_ok(kvb_cache_load(path, NULL, NULL, NULL, &loaded, &error), error);
    kvb_cache_usage after = kvb_cache_bytes(loaded);
    assert_true(after.pages <= before.pages && after.exact <= before.exact); /* what was reserved is not saved */
    return loaded;
}

static void a_cache_that_is_saved_and_loaded_all_the_time_equals_one_that_never_was(void **state) {
    (void)state;
    int refused = 0, done = 0, compared = 0;
    for (uint64_t seed = 1; seed <= N_CACHES; seed++) {
        kvb_cache *twin = random_cache(seed), *cache = random_cache(seed);
        int parted = 0;
        for (int i = 0; i < N_STEPS && !parted; i++) {
            kvb_error ours = {""}, theirs = {""};
            int what = pick(8), sequence = pick(MAX_SEQUENCES), n = pick(1000);
            kvb_status status = step(twin, what, sequence, n, &theirs), again = step(cache, what, sequence, n, &ours);
            /* Full arenas may have been cut into other sizes: what they can still take differs. */
            parted = status != again || (status == KVB_ERROR_MEMORY && what >= 4);
            assert_true(status == again || status == KVB_ERROR_MEMORY || again == KVB_ERROR_MEMORY);
            refused += status != KVB_OK;
            done += status == KVB_OK;
            if (pick(3) == 0) {
                cache = reload(cache);
            }
        }
        if (!parted) {
            image a = image_of(twin), b = image_of(cache);
            assert_same_image(a, b);
            free(a.bytes);
            free(b.bytes);
            compared++;
        }
        kvb_cache_destroy(twin);
        kvb_cache_destroy(cache);
    }
    print_message("%d operations, %d refused; %d of %d caches compared\n", done, refused, compared, N_CACHES);
    assert_true(compared > N_CACHES / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cache_that_is_saved_and_loaded_all_the_time_equals_one_that_never_was),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
