/* The codec: a validated spec made into tables, and the sizes of its blocks. */
#include "codec.h"
#include "memory.h"

#include <math.h>
#include <string.h>

enum { codec_alignment = 64 };

/* ---- Creation ---- */

kvb_codec_spec kvb_codec_spec_default(int head_dim, int bits) {
    return (kvb_codec_spec){.head_dim = head_dim,
                            .bits = bits,
                            .rotation = KVB_ROTATION_SIGNED,
                            .sign_seed = 0x6b766269,
                            .scale = KVB_SCALE_LSQ,
                            .scale_dtype = KVB_F16,
                            .centroids = NULL};
}

int kvb_head_dim_supported(int head_dim, kvb_rotation rotation) {
    switch (rotation) {
    case KVB_ROTATION_NONE:
        return head_dim >= KVB_MIN_HEAD_DIM && head_dim <= KVB_MAX_HEAD_DIM && head_dim % 8 == 0;
    case KVB_ROTATION_HADAMARD:
    case KVB_ROTATION_SIGNED:
        return kvb_hadamard_order(head_dim) != 0;
    }
    return 0;
}

static kvb_status check_shape(const kvb_codec_spec *spec, kvb_error *error) {
    if (spec->bits < 1 || spec->bits > KVB_MAX_BITS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "bits %d is not from 1 to %d", spec->bits, KVB_MAX_BITS);
    }
    if (spec->rotation != KVB_ROTATION_NONE && spec->rotation != KVB_ROTATION_HADAMARD &&
        spec->rotation != KVB_ROTATION_SIGNED) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "rotation %d is not 0 (none), 1 (Hadamard) or 2 (signed)",
                             (int)spec->rotation);
    }
    if (!kvb_head_dim_supported(spec->head_dim, KVB_ROTATION_NONE)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "head_dim %d is not a multiple of 8 from %d to %d",
                             spec->head_dim, KVB_MIN_HEAD_DIM, KVB_MAX_HEAD_DIM);
    }
    if (!kvb_head_dim_supported(spec->head_dim, spec->rotation)) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT,
            "head_dim %d has no Hadamard rotation; it takes 2^k, 12*2^k, 20*2^k, 28*2^k and 36*2^k that "
            "are multiples of 8 from %d to %d, and rotation none takes any multiple of 8",
            spec->head_dim, KVB_MIN_ROTATED_DIM, KVB_MAX_HEAD_DIM);
    }
    return KVB_OK;
}

static kvb_status check_trellis(const kvb_codec_spec *spec, kvb_error *error) {
    if (spec->trellis_states != 0 && kvb_trellis_memory(spec->trellis_states) == 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "trellis_states %d is not 0 (scalar codes), 8, 16, 64 or 256",
                             spec->trellis_states);
    }
    if (spec->trellis_states != 0 && (spec->bits < KVB_MIN_TRELLIS_BITS || spec->bits > KVB_MAX_TRELLIS_BITS)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "bits %d of a trellis code is not from %d to %d", spec->bits,
                             KVB_MIN_TRELLIS_BITS, KVB_MAX_TRELLIS_BITS);
    }
    return KVB_OK;
}

static kvb_status check_half(const kvb_codec_spec *spec, kvb_error *error) {
    int most = spec->trellis_states ? KVB_MAX_TRELLIS_BITS : KVB_MAX_BITS;
    if (spec->half_bit != 0 && spec->half_bit != 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "half_bit %d is not 0 or 1", spec->half_bit);
    }
    if (spec->half_bit && spec->bits >= most) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "bits %d and a half are more than %d", spec->bits, most);
    }
    if (spec->half_bit && spec->head_dim % 16 != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "head_dim %d of a code with half a bit is not a multiple of 16",
                             spec->head_dim);
    }
    return KVB_OK;
}

static kvb_status check_scale(const kvb_codec_spec *spec, kvb_error *error) {
    if (spec->scale != KVB_SCALE_NORM && spec->scale != KVB_SCALE_LSQ && spec->scale != KVB_SCALE_SEARCH) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "scale %d is not 0 (norm), 1 (lsq) or 2 (search)",
                             (int)spec->scale);
    }
    if (spec->scale_dtype != KVB_F16 && spec->scale_dtype != KVB_F32) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "scale_dtype %d is not 0 (f32) or 1 (f16)",
                             (int)spec->scale_dtype);
    }
    return KVB_OK;
}

static kvb_status check_centroids(const kvb_codec_spec *spec, kvb_error *error) {
    if (spec->half_bit) {
        kvb_codec_spec first = kvb_codec_spec_part(spec, 0), second = kvb_codec_spec_part(spec, 1);
        kvb_status status = check_centroids(&first, error);
        return status ? status : check_centroids(&second, error);
    }
    const float *centroids = kvb_codec_spec_centroids(spec);
    if (!centroids) {
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "this build has no codebook for %d bits", spec->bits);
    }
    for (int i = 0; i < kvb_codec_spec_levels(spec); i++) {
        if (!(fabsf(centroids[i]) <= KVB_MAX_ABS)) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "centroid %d is %g; centroids are finite, up to 2^58 in size", i,
                                 (double)centroids[i]);
        }
        if (i > 0 && !(centroids[i] > centroids[i - 1])) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "centroid %d is %.9g after %.9g; centroids must rise strictly", i,
                                 (double)centroids[i], (double)centroids[i - 1]);
        }
    }
    return KVB_OK;
}

int kvb_codec_spec_levels(const kvb_codec_spec *spec) {
    int levels = spec->trellis_states ? 2 << spec->bits : 1 << spec->bits;
    return spec->half_bit ? 3 * levels : levels;
}

kvb_codec_spec kvb_codec_spec_part(const kvb_codec_spec *spec, int part) {
    kvb_codec_spec of_part = *spec;
    if (!spec->half_bit) {
        return of_part;
    }
    of_part.half_bit = 0;
    of_part.head_dim /= 2;
    of_part.rotation = KVB_ROTATION_NONE;
    of_part.bits += 1 - part;
    if (spec->centroids && part == 1) {
        of_part.centroids += kvb_codec_spec_levels(spec) / 3 * 2;
    }
    return of_part;
}

const float *kvb_codec_spec_centroids(const kvb_codec_spec *spec) {
    if (spec->centroids) {
        return spec->centroids;
    }
    return spec->trellis_states ? kvb_trellis_codebook(spec->trellis_states, spec->bits) : kvb_codebook(spec->bits);
}

int kvb_codec_spec_planes(const kvb_codec_spec *spec, int widths[KVB_MAX_PLANES]) {
    if (spec->half_bit) {
        kvb_codec_spec first = kvb_codec_spec_part(spec, 0), second = kvb_codec_spec_part(spec, 1);
        int low[KVB_MAX_PLANES], n = kvb_codec_spec_planes(&first, widths), m = kvb_codec_spec_planes(&second, low);
        memcpy(widths + n, low, (size_t)m * sizeof *low);
        return n + m;
    }
    return spec->trellis_states ? kvb_layout_trellis_planes(spec->bits, widths) : kvb_layout_planes(spec->bits, widths);
}

kvb_status kvb_codec_spec_check(const kvb_codec_spec *spec, kvb_error *error) {
    kvb_status status;
    if ((status = check_shape(spec, error)) || (status = check_trellis(spec, error)) ||
        (status = check_half(spec, error)) || (status = check_scale(spec, error))) {
        return status;
    }
    return check_centroids(spec, error);
}

size_t kvb_codec_object_bytes(const kvb_codec_spec *spec) {
    size_t parts = spec->half_bit ? 2 : 0, straight = !spec->trellis_states ? 0 : spec->half_bit ? 2 : 1;
    return sizeof(kvb_codec) + (parts + straight * KVB_STRAIGHT_TABLES) * sizeof(kvb_codec_tables);
}

/* Of a code of its own, of the whole row or of a part. */
static void fill_tables(kvb_codec_tables *tables, const kvb_codec_spec *spec, kvb_codec_tables *straight) {
    kvb_codec_tables_fill(tables, spec);
    if (spec->trellis_states) {
        kvb_codec_tables_straighten(tables, straight);
    }
}

kvb_status kvb_codec_create(const kvb_codec_spec *spec, const kvb_backend *backend, const kvb_allocator *allocator,
                            kvb_codec **out, kvb_error *error) {
    if (!spec || !out) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; spec and out are needed", spec ? "out" : "spec");
    }
    *out = NULL;
    kvb_status status;
    if ((status = kvb_codec_spec_check(spec, error)) || (status = kvb_allocator_check(allocator, error)) ||
        (!backend && (status = kvb_backend_open(NULL, &backend, error)))) {
        return status;
    }
    kvb_allocator resolved = kvb_allocator_resolve(allocator);
    size_t bytes = kvb_codec_object_bytes(spec);
    kvb_codec *codec = resolved.allocate(resolved.context, bytes, codec_alignment);
    if (!codec) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "no memory for a codec of %zu bytes", bytes);
    }
    if (spec->half_bit) {
        for (int part = 0; part < 2; part++) {
            kvb_codec_spec of_part = kvb_codec_spec_part(spec, part);
            fill_tables(&codec->more[part], &of_part, &codec->more[2 + part * KVB_STRAIGHT_TABLES]);
        }
        kvb_codec_tables_join(&codec->tables, spec, codec->more);
    } else {
        fill_tables(&codec->tables, spec, codec->more);
    }
    codec->spec = *spec;
    codec->spec.centroids = codec->tables.centroids;
    codec->backend = backend;
    codec->allocator = resolved;
    *out = codec;
    return KVB_OK;
}

void kvb_codec_destroy(kvb_codec *codec) {
    if (codec) {
        kvb_allocator allocator = codec->allocator;
        allocator.release(allocator.context, codec, kvb_codec_object_bytes(&codec->spec));
    }
}

const kvb_codec_spec *kvb_codec_get_spec(const kvb_codec *codec) {
    return &codec->spec;
}

double kvb_codec_bits_per_value(const kvb_codec *codec) {
    size_t scale_bits = 8 * kvb_dtype_bytes(codec->spec.scale_dtype);
    return codec->spec.bits + 0.5 * codec->spec.half_bit + (double)scale_bits / codec->spec.head_dim;
}

/* ---- Blocks ---- */

int kvb_plane_widths(int bits, int widths[KVB_MAX_PLANES]) {
    return kvb_layout_planes(bits, widths);
}

int kvb_trellis_plane_widths(int bits, int widths[KVB_MAX_PLANES]) {
    return kvb_layout_trellis_planes(bits, widths);
}

size_t kvb_codec_spec_row_bytes(const kvb_codec_spec *spec) {
    int halves = 2 * spec->bits + spec->half_bit;
    return kvb_dtype_bytes(spec->scale_dtype) + (size_t)kvb_layout_code_bytes(spec->head_dim / 2, halves);
}

size_t kvb_codec_block_bytes(const kvb_codec *codec, size_t n_rows) {
    size_t bytes;
    return kvb_size_multiply(kvb_codec_spec_row_bytes(&codec->spec), n_rows, &bytes) ? bytes : 0;
}

kvb_packed kvb_packed_view(const kvb_codec *codec, void *block, size_t n_rows) {
    const kvb_codec_tables *tables = &codec->tables;
    kvb_packed packed = {.scales = block};
    uint8_t *next = (uint8_t *)block + n_rows * kvb_dtype_bytes(tables->scale_dtype);
    for (int p = 0; p < tables->n_planes; p++) {
        packed.planes[p] = next;
        next += n_rows * (size_t)tables->plane_bytes[p];
    }
    return packed;
}
