#define _POSIX_C_SOURCE 200809L

#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static kvb_status fail_io(const char *path, const char *what, kvb_error *error) {
    char file[KVB_DISPLAY_BYTES];
    const int code = errno;
    kvb_display(file, path);
    return kvb_error_set(error, KVB_ERROR_IO, "cannot %s %s: %s", what, file, strerror(code));
}

static kvb_status map_open_file(int descriptor, const char *path, void **map, size_t *bytes, kvb_error *error) {
    struct stat info;
    if (fstat(descriptor, &info)) {
        return fail_io(path, "read", error);
    }
    char file[KVB_DISPLAY_BYTES];
    kvb_display(file, path);
    if (!S_ISREG(info.st_mode)) {
        return kvb_error_set(error, KVB_ERROR_IO, "cannot read %s: a trace must be a regular file", file);
    }
    if (info.st_size < 8 || (uint64_t)info.st_size > SIZE_MAX) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: %lld bytes are too few for a safetensors file, which begins with 8 bytes of header "
                             "length",
                             file, (long long)info.st_size);
    }
    void *address = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED) {
        return fail_io(path, "map", error);
    }
    *map = address;
    *bytes = (size_t)info.st_size;
    return KVB_OK;
}

static kvb_status map_file(const char *path, void **map, size_t *bytes, kvb_error *error) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
    if (descriptor < 0) {
        return fail_io(path, "open", error);
    }
    const kvb_status status = map_open_file(descriptor, path, map, bytes, error);
    close(descriptor);
    return status;
}

kvb_status kvb_trace_from_memory(const void *bytes, size_t size, const char *name, kvb_trace **out, kvb_error *error) {
    *out = NULL;
    kvb_trace *trace = calloc(1, sizeof *trace);
    if (!trace) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a trace");
    }
    kvb_status status = kvb_safetensors_parse(bytes, size, name, &trace->file, error);
    if (!status) {
        status = kvb_trace_sort_layers(trace, error);
    }
    if (!status) {
        status = kvb_trace_read_settings(trace, error);
    }
    if (status) {
        kvb_trace_close(trace);
        return status;
    }
    *out = trace;
    return KVB_OK;
}

kvb_status kvb_trace_open(const char *path, kvb_trace **out, kvb_error *error) {
    void *map;
    size_t bytes;
    *out = NULL;
    kvb_status status = map_file(path, &map, &bytes, error);
    if (status) {
        return status;
    }
    status = kvb_trace_from_memory(map, bytes, path, out, error);
    if (status) {
        munmap(map, bytes);
        return status;
    }
    (*out)->map = map;
    (*out)->map_bytes = bytes;
    return KVB_OK;
}

void kvb_trace_close(kvb_trace *trace) {
    if (!trace) {
        return;
    }
    kvb_safetensors_free(&trace->file);
    free(trace->layers);
    free(trace->sides);
    if (trace->map) {
        munmap(trace->map, trace->map_bytes);
    }
    free(trace);
}

int kvb_trace_layers(const kvb_trace *trace) {
    return trace->n_layers;
}

const kvb_trace_layer *kvb_trace_get_layer(const kvb_trace *trace, int i) {
    return i >= 0 && i < trace->n_layers ? &trace->layers[i] : NULL;
}

const char *kvb_trace_name(const kvb_trace *trace) {
    const char *slash = strrchr(trace->file.file, '/');
    return slash ? slash + 1 : trace->file.file;
}

const char *kvb_trace_metadata(const kvb_trace *trace, const char *key) {
    return kvb_safetensors_metadata(&trace->file, key);
}

/* Byte by byte: the file's values are little-endian and lie at any address. */
static float load_value(const uint8_t *p, kvb_dtype dtype) {
    if (dtype == KVB_F32) {
        const uint32_t bits = (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    const uint16_t half = (uint16_t)(p[1] << 8 | p[0]);
    return dtype == KVB_F16 ? kvb_f16_to_f32(half) : kvb_bf16_to_f32(half);
}

/* Converts n values; returns the place of the first that is NaN, Inf or too large for the codec, or n. */
static size_t load_row(const uint8_t *from, kvb_dtype dtype, size_t n, float *out) {
    const size_t width = kvb_dtype_bytes(dtype);
    for (size_t i = 0; i < n; i++) {
        out[i] = load_value(from + i * width, dtype);
        if (!(fabsf(out[i]) <= KVB_MAX_ABS)) {
            return i;
        }
    }
    return n;
}

kvb_status kvb_trace_read(const kvb_trace *trace, int i, kvb_side side, float *out, kvb_error *error) {
    if (i < 0 || i >= trace->n_layers || (int)side < 0 || side > KVB_SIDE_V) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%s: layer %d, side %d asked for, but a trace of %d layers has layers 0 to %d and sides 0 "
                             "to 2",
                             trace->file.file, i, (int)side, trace->n_layers, trace->n_layers - 1);
    }
    const kvb_trace_layer *layer = &trace->layers[i];
    const kvb_dtype dtypes[KVB_TRACE_SIDES] = {layer->dtype_q, layer->dtype_k, layer->dtype_v};
    const kvb_safetensors_tensor *tensor = trace->sides[i][side];
    const size_t tokens = tensor->shape[0], heads = tensor->shape[1], d = tensor->shape[2];
    const size_t row_bytes = d * kvb_dtype_bytes(dtypes[side]);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t h = 0; h < heads; h++) {
            float *row = out + (h * tokens + t) * d;
            const size_t bad = load_row(tensor->data + (t * heads + h) * row_bytes, dtypes[side], d, row);
            if (bad < d) {
                return kvb_error_set(error, KVB_ERROR_NOT_FINITE,
                                     "%s: tensor %s: token %zu, head %zu, coordinate %zu is %g, but values must be "
                                     "finite and within +-%g",
                                     trace->file.file, tensor->name, t, h, bad, (double)row[bad], (double)KVB_MAX_ABS);
            }
        }
    }
    return KVB_OK;
}
