#include "file_codec.h"

#include <inttypes.h>
#include <string.h>

#include "cache.h"

/* ---- Codecs ---- */

enum {
    KIND_SCALAR = 1,
    KIND_TRELLIS = 2,
    KIND_HALVES = 2, /* added to both: half a bit more */
    ROLE_NUMBER = 0, /* bits of a level's number */
    ROLE_PATH = 1,   /* the path through the trellis, from which come so many bits: */
    PATH_BITS = 2
};

static int kind_of(const kvb_codec_spec *spec) {
    return (spec->trellis_states ? KIND_TRELLIS : KIND_SCALAR) + (spec->half_bit ? KIND_HALVES : 0);
}

static uint64_t seed_of(const kvb_codec_spec *spec) {
    return spec->rotation == KVB_ROTATION_SIGNED ? spec->sign_seed : 0;
}

int kvb_file_planes(const kvb_codec_spec *spec, kvb_file_plane planes[KVB_MAX_PLANES]) {
    int n = 0;
    for (int part = 0; part <= spec->half_bit; part++) {
        kvb_codec_spec of_part = kvb_codec_spec_part(spec, part);
        int widths[KVB_MAX_PLANES], n_planes = kvb_codec_spec_planes(&of_part, widths), low_bit = 0;
        for (int p = 0; p < n_planes; p++) {
            int is_path = spec->trellis_states && p == 0;
            planes[n++] = (kvb_file_plane){.width = widths[p],
                                           .low_bit = low_bit,
                                           .role = is_path ? ROLE_PATH : ROLE_NUMBER,
                                           .first = part * of_part.head_dim,
                                           .n = of_part.head_dim};
            low_bit += is_path ? PATH_BITS : widths[p];
        }
    }
    return n;
}

size_t kvb_file_describe(const kvb_codec_spec *spec, uint8_t description[KVB_FILE_MAX_DESCRIPTION]) {
    kvb_file_plane planes[KVB_MAX_PLANES];
    int n_planes = kvb_file_planes(spec, planes);
    size_t n_levels = (size_t)kvb_codec_spec_levels(spec);
    uint8_t *at = description;
    kvb_file_put(&at, 1, 2); /* version */
    kvb_file_put(&at, (uint64_t)kind_of(spec), 1);
    kvb_file_put(&at, (uint64_t)n_planes, 1);
    kvb_file_put(&at, (uint64_t)spec->head_dim, 2);
    kvb_file_put(&at, (uint64_t)spec->rotation, 1);
    kvb_file_put(&at, (uint64_t)spec->scale, 1);
    kvb_file_put(&at, (uint64_t)spec->scale_dtype, 2);
    kvb_file_put(&at, n_levels, 2);
    kvb_file_put(&at, (uint64_t)spec->trellis_states, 4);
    kvb_file_put(&at, seed_of(spec), 8);
    for (int p = 0; p < n_planes; p++) {
        kvb_file_put(&at, (uint64_t)planes[p].width, 1);
        kvb_file_put(&at, (uint64_t)planes[p].low_bit, 1);
        kvb_file_put(&at, (uint64_t)planes[p].role, 2);
        kvb_file_put(&at, (uint64_t)planes[p].first, 2);
        kvb_file_put(&at, (uint64_t)planes[p].n, 2);
    }
    memcpy(at, spec->centroids, sizeof(float) * n_levels);
    return (size_t)(at - description) + sizeof(float) * n_levels;
}

/* The bits of a code follow from the sum of its planes' widths; the planes must be those of section 4. */
static kvb_status parse_planes(const kvb_file_reader *reader, const uint8_t **at, uint64_t offset, int n_planes,
                               kvb_codec_spec *spec, kvb_error *error) {
    kvb_file_plane legal[KVB_MAX_PLANES];
    int sum = 0;
    for (int p = 0; p < n_planes; p++) {
        sum += (*at)[KVB_FILE_PLANE_BYTES * p];
    }
    spec->bits = spec->half_bit ? (sum - 1) / 2 : sum;
    int n_legal = kvb_file_planes(spec, legal), is_legal = n_legal == n_planes && (!spec->half_bit || sum % 2 == 1);
    for (int p = 0; p < n_planes && is_legal; p++) {
        is_legal = (*at)[KVB_FILE_PLANE_BYTES * p] == legal[p].width;
    }
    if (!is_legal) {
        return kvb_file_fault(reader, offset, error,
                              "%d planes of %d bits together are not those of a code of 1 to 8 bits, of a trellis "
                              "code of 2 to 6, or of two such codes with one bit between them",
                              n_planes, sum);
    }
    for (int p = 0; p < n_planes; p++) {
        *at += 1;
        int low_bit = (int)kvb_file_get(at, 1), role = (int)kvb_file_get(at, 1), zero = (int)kvb_file_get(at, 1);
        int first = (int)kvb_file_get(at, 2), n = (int)kvb_file_get(at, 2);
        if (low_bit != legal[p].low_bit || role != legal[p].role || zero != 0 || first != legal[p].first ||
            n != legal[p].n) {
            return kvb_file_fault(reader, offset + KVB_FILE_PLANE_BYTES * (uint64_t)p, error,
                                  "plane %d holds bits from %d on of %d coordinates from %d on, role %d, reserved %d; "
                                  "here are bits from %d on of %d coordinates from %d on, role %d, reserved 0",
                                  p, low_bit, n, first, role, zero, legal[p].low_bit, legal[p].n, legal[p].first,
                                  legal[p].role);
        }
    }
    return KVB_OK;
}

static kvb_status parse_fields(const kvb_file_reader *reader, const uint8_t **at, uint64_t offset, int *n_planes,
                               int *n_levels, kvb_codec_spec *spec, kvb_error *error) {
    int version = (int)kvb_file_get(at, 2), kind = (int)kvb_file_get(at, 1);
    *n_planes = (int)kvb_file_get(at, 1);
    spec->head_dim = (int)kvb_file_get(at, 2);
    spec->rotation = (kvb_rotation)kvb_file_get(at, 1);
    spec->scale = (kvb_scale_kind)kvb_file_get(at, 1);
    spec->scale_dtype = (kvb_dtype)kvb_file_get(at, 1);
    uint32_t zero = (uint32_t)kvb_file_get(at, 1);
    *n_levels = (int)kvb_file_get(at, 2);
    spec->trellis_states = (int)kvb_file_get(at, 2);
    zero |= (uint32_t)kvb_file_get(at, 2);
    spec->sign_seed = kvb_file_get(at, 8);
    if (version != 1 || kind < KIND_SCALAR || kind > KIND_TRELLIS + KIND_HALVES || zero != 0) {
        return kvb_file_fault(reader, offset, error,
                              "a description of version %d, code kind %d, reserved %" PRIu32
                              "; known are 1, 1 to 4, and 0",
                              version, kind, zero);
    }
    spec->half_bit = kind > KIND_HALVES;
    if (kind != kind_of(spec)) {
        return kvb_file_fault(reader, offset, error,
                              "%d states of a code of kind %d; kinds 1 and 3 have 0, and 2 and 4 have 8, 16, 64 or 256",
                              spec->trellis_states, kind);
    }
    if (*n_planes < 1 || *n_planes > KVB_MAX_PLANES || *n_levels < 2 || *n_levels > KVB_MAX_ALL_LEVELS) {
        return kvb_file_fault(reader, offset, error,
                              "%d planes and %d levels; there are 1 to %d planes, 2 to %d levels", *n_planes, *n_levels,
                              KVB_MAX_PLANES, KVB_MAX_ALL_LEVELS);
    }
    if (spec->rotation != KVB_ROTATION_SIGNED && spec->sign_seed != 0) {
        return kvb_file_fault(reader, offset, error,
                              "rotation %d has no signs, and its sign_seed is %" PRIx64 ", not 0", (int)spec->rotation,
                              spec->sign_seed);
    }
    return KVB_OK;
}

kvb_status kvb_file_parse_description(const kvb_file_reader *reader, const uint8_t **at, size_t bytes, uint64_t offset,
                                      kvb_codec_spec *spec, kvb_error *error) {
    int n_planes, n_levels;
    kvb_error reason;
    kvb_status status;
    *spec = (kvb_codec_spec){.bits = 0};
    if (bytes < KVB_FILE_DESCRIPTION_BYTES) {
        return kvb_file_fault(reader, offset, error, "a description takes %d bytes and more, and %zu are left",
                              KVB_FILE_DESCRIPTION_BYTES, bytes);
    }
    if ((status = parse_fields(reader, at, offset, &n_planes, &n_levels, spec, error))) {
        return status;
    }
    size_t needed =
        KVB_FILE_DESCRIPTION_BYTES + KVB_FILE_PLANE_BYTES * (size_t)n_planes + sizeof(float) * (size_t)n_levels;
    if (needed > bytes) {
        return kvb_file_fault(reader, offset, error, "%d planes and %d levels take %zu bytes, and %zu are left",
                              n_planes, n_levels, needed, bytes);
    }
    if ((status = parse_planes(reader, at, offset + KVB_FILE_DESCRIPTION_BYTES, n_planes, spec, error))) {
        return status;
    }
    if (n_levels != kvb_codec_spec_levels(spec)) {
        return kvb_file_fault(reader, offset, error, "%d levels; codes of %d%s bits have %d", n_levels, spec->bits,
                              spec->half_bit ? ".5" : "", kvb_codec_spec_levels(spec));
    }
    spec->centroids = (const float *)(const void *)*at;
    *at += sizeof(float) * (size_t)n_levels;
    if (kvb_codec_spec_check(spec, &reason)) {
        return kvb_file_fault(reader, offset, error, "%.300s", reason.text);
    }
    return KVB_OK;
}

int kvb_file_same_codec(const kvb_codec_spec *a, const kvb_codec_spec *b) {
    return a->head_dim == b->head_dim && a->bits == b->bits && a->rotation == b->rotation && a->scale == b->scale &&
           a->scale_dtype == b->scale_dtype && seed_of(a) == seed_of(b) && a->trellis_states == b->trellis_states &&
           a->half_bit == b->half_bit &&
           memcmp(a->centroids, b->centroids, sizeof *a->centroids * (size_t)kvb_codec_spec_levels(a)) == 0;
}

/* ---- Layers ---- */

void kvb_file_put_layer(uint8_t **at, const kvb_layer_spec *layer, uint32_t k, uint32_t v) {
    kvb_file_put(at, (uint64_t)layer->n_kv_heads, 4);
    kvb_file_put(at, (uint64_t)layer->k.head_dim, 2);
    kvb_file_put(at, (uint64_t)layer->v.head_dim, 2);
    kvb_file_put(at, k, 4);
    kvb_file_put(at, v, 4);
    kvb_file_put(at, (uint64_t)layer->dense, 1);
    kvb_file_put(at, layer->v_prefix_of_k != 0, 1);
    kvb_file_put(at, layer->k_mean != NULL, 2);
    kvb_file_put(at, (uint64_t)layer->window, 4);
    kvb_file_put(at, (uint64_t)layer->exact_first, 4);
    kvb_file_put(at, (uint64_t)layer->exact_last, 4);
}

/* The spec of one side. Codecs are named in order: *n_named of them so far. */
static kvb_status find_codec(const kvb_file_reader *reader, uint64_t offset, const char *side, int head_dim,
                             uint32_t place, const kvb_codec_spec *codecs, uint32_t n_codecs, uint32_t *n_named,
                             kvb_codec_spec *spec, kvb_error *error) {
    if (place == KVB_FILE_NONE) {
        *spec = (kvb_codec_spec){.head_dim = head_dim, .bits = KVB_DENSE_BITS};
        return KVB_OK;
    }
    if (place >= n_codecs || place > *n_named) {
        return kvb_file_fault(reader, offset, error,
                              "codec %" PRIu32 " of %s; there are %" PRIu32
                              ", and the next that no layer named is %" PRIu32,
                              place, side, n_codecs, *n_named);
    }
    if (codecs[place].head_dim != head_dim) {
        return kvb_file_fault(reader, offset, error, "head_dim %d of %s is not the %d of their codec", head_dim, side,
                              codecs[place].head_dim);
    }
    *n_named += place == *n_named;
    *spec = codecs[place];
    return KVB_OK;
}

kvb_status kvb_file_parse_layer(const kvb_file_reader *reader, const uint8_t *bytes, uint64_t offset, int page_tokens,
                                const kvb_codec_spec *codecs, uint32_t n_codecs, uint32_t *n_named,
                                kvb_layer_spec *layer, int *is_centered, kvb_error *error) {
    const uint8_t *at = bytes;
    kvb_error reason;
    kvb_status status;
    uint32_t n_kv_heads = (uint32_t)kvb_file_get(&at, 4);
    int k_dim = (int)kvb_file_get(&at, 2), v_dim = (int)kvb_file_get(&at, 2);
    uint32_t k = (uint32_t)kvb_file_get(&at, 4), v = (uint32_t)kvb_file_get(&at, 4);
    kvb_dtype dense = (kvb_dtype)kvb_file_get(&at, 1);
    int latent = (int)kvb_file_get(&at, 1);
    *is_centered = (int)kvb_file_get(&at, 1);
    uint32_t zero = (uint32_t)kvb_file_get(&at, 1), window = (uint32_t)kvb_file_get(&at, 4);
    uint32_t exact_first = (uint32_t)kvb_file_get(&at, 4), exact_last = (uint32_t)kvb_file_get(&at, 4);
    if (latent > 1 || zero != 0 || (latent && v != KVB_FILE_NONE)) {
        return kvb_file_fault(reader, offset, error,
                              "latent %d, reserved %" PRIu32 ", codec of values %" PRIu32
                              "; legal are 0 or 1, 0, and FFFFFFFF in a latent layer",
                              latent, zero, v);
    }
    if (*is_centered > (k != KVB_FILE_NONE && !latent)) {
        return kvb_file_fault(reader, offset, error,
                              "centered %d; legal are 0, and 1 where keys have a codec and the layer is not latent",
                              *is_centered);
    }
    if ((n_kv_heads | window | exact_first | exact_last) > INT32_MAX) {
        return kvb_file_fault(reader, offset, error, "n_kv_heads, window or an exact length exceeds 2^31 - 1");
    }
    *layer = (kvb_layer_spec){.n_kv_heads = (int)n_kv_heads,
                              .dense = dense,
                              .v_prefix_of_k = latent,
                              .window = (int)window,
                              .exact_first = (int)exact_first,
                              .exact_last = (int)exact_last};
    if ((status = find_codec(reader, offset, "keys", k_dim, k, codecs, n_codecs, n_named, &layer->k, error)) ||
        (status = find_codec(reader, offset, "values", v_dim, v, codecs, n_codecs, n_named, &layer->v, error))) {
        return status;
    }
    if (kvb_layer_spec_check(layer, page_tokens, &reason)) {
        return kvb_file_fault(reader, offset, error, "%.300s", reason.text);
    }
    return KVB_OK;
}
