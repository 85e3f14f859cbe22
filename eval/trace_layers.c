#include "trace.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYER_INDEX 999999

static const char side_letters[KVB_TRACE_SIDES] = {'q', 'k', 'v'};

/* A tensor recognized as one side of a layer. */
typedef struct member {
    int index;
    kvb_side side;
    const kvb_safetensors_tensor *tensor;
} member;

static int by_layer(const void *left, const void *right) {
    const member *a = left, *b = right;
    return a->index != b->index ? (a->index > b->index) - (a->index < b->index)
                                : (a->side > b->side) - (a->side < b->side);
}

/* 1 for "layers.<digits>.<q|k|v>", 0 for every other name, which is none of our business. */
static int parse_name(const char *name, const char **digits, size_t *n_digits, kvb_side *side) {
    static const char prefix[] = "layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) {
        return 0;
    }
    *digits = name + sizeof prefix - 1;
    *n_digits = strspn(*digits, "0123456789");
    const char *rest = *digits + *n_digits;
    if (*n_digits == 0 || rest[0] != '.' || rest[1] == '\0' || rest[2] != '\0') {
        return 0;
    }
    for (int s = 0; s < KVB_TRACE_SIDES; s++) {
        if (rest[1] == side_letters[s]) {
            *side = (kvb_side)s;
            return 1;
        }
    }
    return 0;
}

static kvb_status collect(const kvb_trace *trace, member *members, size_t *n, kvb_error *error) {
    *n = 0;
    for (size_t i = 0; i < trace->file.n_tensors; i++) {
        const kvb_safetensors_tensor *tensor = &trace->file.tensors[i];
        const char *digits;
        size_t n_digits;
        member m = {.tensor = tensor};
        if (!parse_name(tensor->name, &digits, &n_digits, &m.side)) {
            continue;
        }
        /* Leading zeros would give one layer two names. */
        if (n_digits > 6 || (digits[0] == '0' && n_digits > 1)) {
            char name[KVB_DISPLAY_BYTES];
            kvb_display(name, tensor->name);
            return kvb_error_set(error, KVB_ERROR_FORMAT,
                                 "%s: tensor %s: the layer index must be 0 to %d without leading zeros",
                                 trace->file.file, name, MAX_LAYER_INDEX);
        }
        m.index = (int)strtol(digits, NULL, 10);
        members[(*n)++] = m;
    }
    qsort(members, *n, sizeof *members, by_layer);
    return KVB_OK;
}

static kvb_status read_dtype(const kvb_trace *trace, const kvb_safetensors_tensor *tensor, kvb_dtype *out,
                             kvb_error *error) {
    static const char *const names[] = {[KVB_F32] = "F32", [KVB_F16] = "F16", [KVB_BF16] = "BF16"};
    for (int i = 0; i < 3; i++) {
        if (!strcmp(tensor->dtype, names[i])) {
            *out = (kvb_dtype)i;
            return KVB_OK;
        }
    }
    char dtype[KVB_DISPLAY_BYTES];
    kvb_display(dtype, tensor->dtype);
    return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s is of dtype %s, but must be F32, F16 or BF16",
                         trace->file.file, tensor->name, dtype);
}

/* [tokens, heads, head_dim] as ints. */
static kvb_status read_shape(const kvb_trace *trace, const kvb_safetensors_tensor *tensor, int shape[3],
                             kvb_error *error) {
    if (tensor->rank != 3) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: tensor %s has %zu dimensions, but must have 3: [tokens, heads, head_dim]",
                             trace->file.file, tensor->name, tensor->rank);
    }
    for (int i = 0; i < 3; i++) {
        if (tensor->shape[i] < 1 || tensor->shape[i] > INT_MAX) {
            return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s: shape[%d] is %zu, but must be 1 to %d",
                                 trace->file.file, tensor->name, i, tensor->shape[i], INT_MAX);
        }
        shape[i] = (int)tensor->shape[i];
    }
    if (shape[2] % 8 || shape[2] < KVB_MIN_HEAD_DIM || shape[2] > KVB_MAX_HEAD_DIM) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: tensor %s has head_dim %d, but it must be a multiple of 8 from %d to %d",
                             trace->file.file, tensor->name, shape[2], KVB_MIN_HEAD_DIM, KVB_MAX_HEAD_DIM);
    }
    return KVB_OK;
}

static kvb_status check_agreement(const kvb_trace *trace, int index, int shapes[KVB_TRACE_SIDES][3], kvb_error *error) {
    const int *q = shapes[KVB_SIDE_Q], *k = shapes[KVB_SIDE_K], *v = shapes[KVB_SIDE_V];
    const char *file = trace->file.file;
    if (q[0] != k[0] || q[0] != v[0]) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: layer %d has %d tokens in q, %d in k and %d in v, but they must be equal", file,
                             index, q[0], k[0], v[0]);
    }
    if (k[1] != v[1]) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: layer %d has %d heads in k and %d in v, but they must be equal", file, index, k[1],
                             v[1]);
    }
    if (q[1] % k[1]) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: layer %d has %d heads in q, which is no multiple of the %d in k", file, index, q[1],
                             k[1]);
    }
    if (q[2] != k[2]) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: layer %d has head_dim %d in q and %d in k, but they must be equal", file, index, q[2],
                             k[2]);
    }
    return KVB_OK;
}

static kvb_status read_layer(kvb_trace *trace, const member *members, size_t n, kvb_error *error) {
    const kvb_safetensors_tensor **sides = trace->sides[trace->n_layers];
    kvb_trace_layer *layer = &trace->layers[trace->n_layers];
    layer->index = members[0].index;
    for (size_t i = 0; i < n; i++) {
        sides[members[i].side] = members[i].tensor;
    }
    kvb_dtype *dtypes[KVB_TRACE_SIDES] = {&layer->dtype_q, &layer->dtype_k, &layer->dtype_v};
    int shapes[KVB_TRACE_SIDES][3];
    for (int s = 0; s < KVB_TRACE_SIDES; s++) {
        if (!sides[s]) {
            return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: layer %d has no tensor layers.%d.%c", trace->file.file,
                                 layer->index, layer->index, side_letters[s]);
        }
        kvb_status status = read_dtype(trace, sides[s], dtypes[s], error);
        if (!status) {
            status = read_shape(trace, sides[s], shapes[s], error);
        }
        if (status) {
            return status;
        }
    }
    layer->tokens = shapes[KVB_SIDE_Q][0];
    layer->n_heads = shapes[KVB_SIDE_Q][1];
    layer->n_kv_heads = shapes[KVB_SIDE_K][1];
    layer->head_dim = shapes[KVB_SIDE_K][2];
    layer->v_head_dim = shapes[KVB_SIDE_V][2];
    trace->n_layers++;
    return check_agreement(trace, layer->index, shapes, error);
}

static uint64_t load_integer(const uint8_t *p, size_t bytes) {
    uint64_t value = p[bytes - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = bytes; i-- > 0;) {
        value = value << 8 | p[i];
    }
    return value;
}

/* Masks and windows go by the order of tokens, which is right only when positions rise by one. */
static kvb_status check_positions(const kvb_trace *trace, const kvb_safetensors_tensor *positions, kvb_error *error) {
    const char *file = trace->file.file;
    const size_t width = !strcmp(positions->dtype, "I64") ? 8 : !strcmp(positions->dtype, "I32") ? 4 : 0;
    if (width == 0 || positions->rank != 1) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: tensor positions must have one dimension, [tokens], and dtype I32 or I64", file);
    }
    for (int i = 0; i < trace->n_layers; i++) {
        if ((size_t)trace->layers[i].tokens != positions->shape[0]) {
            return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: %zu positions, but layer %d has %d tokens", file,
                                 positions->shape[0], trace->layers[i].index, trace->layers[i].tokens);
        }
    }
    const uint64_t first = load_integer(positions->data, width);
    for (size_t t = 0; t < positions->shape[0]; t++) {
        const uint64_t position = load_integer(positions->data + t * width, width);
        if (position > INT64_MAX || position != first + t) {
            return kvb_error_set(error, KVB_ERROR_FORMAT,
                                 "%s: positions[%zu] is %lld, but positions must start at 0 or more and rise by 1",
                                 file, t, (long long)position);
        }
    }
    return KVB_OK;
}

static kvb_status sort_members(kvb_trace *trace, member *members, kvb_error *error) {
    size_t n;
    kvb_status status = collect(trace, members, &n, error);
    if (!status && n == 0) {
        status =
            kvb_error_set(error, KVB_ERROR_FORMAT,
                          "%s holds no layer: a trace has tensors named layers.<i>.q, layers.<i>.k and layers.<i>.v",
                          trace->file.file);
    }
    for (size_t i = 0, end; !status && i < n; i = end) {
        for (end = i + 1; end < n && members[end].index == members[i].index;) {
            end++;
        }
        status = read_layer(trace, members + i, end - i, error);
    }
    for (size_t i = 0; !status && i < trace->file.n_tensors; i++) {
        if (!strcmp(trace->file.tensors[i].name, "positions")) {
            status = check_positions(trace, &trace->file.tensors[i], error);
        }
    }
    return status;
}

kvb_status kvb_trace_sort_layers(kvb_trace *trace, kvb_error *error) {
    const size_t n = trace->file.n_tensors + 1; /* never 0; more than there are layers */
    member *members = calloc(n, sizeof *members);
    trace->layers = calloc(n, sizeof *trace->layers);
    trace->sides = calloc(n, sizeof *trace->sides);
    kvb_status status;
    if (members && trace->layers && trace->sides) {
        status = sort_members(trace, members, error);
    } else {
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "%s: out of memory for %zu tensors", trace->file.file, n - 1);
    }
    free(members);
    return status;
}
