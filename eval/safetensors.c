#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES 8

static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {{"F32", 32}, {"F16", 16}, {"BF16", 16},   {"F64", 64},    {"I64", 64},    {"U64", 64},   {"I32", 32},
              {"U32", 32}, {"I16", 16}, {"U16", 16},    {"I8", 8},      {"U8", 8},      {"BOOL", 8},   {"F8_E4M3", 8},
              {"C64", 64}, {"F4", 4},   {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}};

static uint64_t load_u64(const uint8_t *p) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) {
        value = value << 8 | p[i];
    }
    return value;
}

static unsigned dtype_bits(const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (!strcmp(name, dtypes[i].name)) {
            return dtypes[i].bits;
        }
    }
    return 0;
}

/* One tensor of the header, with its name fit for a sentence. */
typedef struct entry {
    const char *file;
    char name[KVB_DISPLAY_BYTES];
    const json_t *description;
} entry;

static kvb_status read_count(const entry *e, const char *what, size_t i, const json_t *value, size_t *out,
                             kvb_error *error) {
    if (!json_is_integer(value)) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s: %s[%zu] must be a whole number of 0 or more",
                             e->file, e->name, what, i);
    }
    const json_int_t number = json_integer_value(value);
    if (number < 0 || (uint64_t)number > SIZE_MAX) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s: %s[%zu] is %lld, but must be 0 or more", e->file,
                             e->name, what, i, (long long)number);
    }
    *out = (size_t)number;
    return KVB_OK;
}

static kvb_status read_shape(const entry *e, kvb_safetensors_tensor *tensor, size_t *elements, kvb_error *error) {
    const json_t *shape = json_object_get(e->description, "shape");
    if (!json_is_array(shape)) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s has no \"shape\" array", e->file, e->name);
    }
    tensor->rank = json_array_size(shape);
    *elements = 1;
    for (size_t i = 0; i < tensor->rank; i++) {
        size_t n = 0;
        const kvb_status status = read_count(e, "shape", i, json_array_get(shape, i), &n, error);
        if (status) {
            return status;
        }
        if (n && *elements > SIZE_MAX / n) {
            return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s: the product of its shape overflows", e->file,
                                 e->name);
        }
        *elements *= n;
        if (i < KVB_SAFETENSORS_SHAPE) {
            tensor->shape[i] = n;
        }
    }
    return KVB_OK;
}

static kvb_status read_offsets(const entry *e, const uint8_t *data, size_t data_bytes, kvb_safetensors_tensor *tensor,
                               kvb_error *error) {
    const json_t *offsets = json_object_get(e->description, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s has no \"data_offsets\" array of two numbers",
                             e->file, e->name);
    }
    size_t range[2];
    for (size_t i = 0; i < 2; i++) {
        const kvb_status status = read_count(e, "data_offsets", i, json_array_get(offsets, i), &range[i], error);
        if (status) {
            return status;
        }
    }
    if (range[0] > range[1] || range[1] > data_bytes) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: tensor %s: data_offsets [%zu, %zu] must rise and stay within the %zu bytes of data "
                             "that the file holds",
                             e->file, e->name, range[0], range[1], data_bytes);
    }
    tensor->data = data + range[0];
    tensor->bytes = range[1] - range[0];
    return KVB_OK;
}

/* A dtype that is not listed is no fault as long as nobody asks for that tensor. */
static kvb_status check_bytes(const entry *e, const kvb_safetensors_tensor *tensor, size_t elements, kvb_error *error) {
    const unsigned bits = dtype_bits(tensor->dtype);
    if (bits == 0) {
        return KVB_OK;
    }
    if (elements > SIZE_MAX / bits || elements * bits % 8 || elements * bits / 8 != tensor->bytes) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: tensor %s: %zu values of %s do not fill its data_offsets of %zu bytes exactly",
                             e->file, e->name, elements, tensor->dtype, tensor->bytes);
    }
    return KVB_OK;
}

static kvb_status read_tensor(const entry *e, const uint8_t *data, size_t data_bytes, kvb_safetensors_tensor *tensor,
                              kvb_error *error) {
    if (!json_is_object(e->description)) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s is not described by a JSON object", e->file,
                             e->name);
    }
    tensor->dtype = json_string_value(json_object_get(e->description, "dtype"));
    if (!tensor->dtype) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: tensor %s has no \"dtype\" string", e->file, e->name);
    }
    size_t elements = 0;
    kvb_status status = read_shape(e, tensor, &elements, error);
    if (!status) {
        status = read_offsets(e, data, data_bytes, tensor, error);
    }
    return status ? status : check_bytes(e, tensor, elements, error);
}

static int by_bytes(const void *left, const void *right) {
    const kvb_safetensors_tensor *a = left, *b = right;
    if (a->data != b->data) {
        return a->data < b->data ? -1 : 1;
    }
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* The format forbids overlaps and holes: bytes that belong to two tensors or to none mean a damaged or crafted file. */
static kvb_status check_layout(kvb_safetensors *file, const uint8_t *data, size_t data_bytes, kvb_error *error) {
    qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_bytes);
    char name[KVB_DISPLAY_BYTES];
    size_t end = 0;
    for (size_t i = 0; i < file->n_tensors; i++) {
        const size_t begin = (size_t)(file->tensors[i].data - data);
        kvb_display(name, file->tensors[i].name);
        if (begin < end) {
            return kvb_error_set(error, KVB_ERROR_FORMAT,
                                 "%s: tensor %s begins at byte %zu, inside another tensor that ends at %zu", file->file,
                                 name, begin, end);
        }
        if (begin > end) {
            return kvb_error_set(error, KVB_ERROR_FORMAT,
                                 "%s: tensor %s begins at byte %zu and leaves a hole after byte %zu", file->file, name,
                                 begin, end);
        }
        end = begin + file->tensors[i].bytes;
    }
    if (end != data_bytes) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: %zu bytes of data, but its tensors end at byte %zu",
                             file->file, data_bytes, end);
    }
    return KVB_OK;
}

static kvb_status check_metadata(const kvb_safetensors *file, json_t *metadata, kvb_error *error) {
    if (!json_is_object(metadata)) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: \"__metadata__\" must be a JSON object of strings",
                             file->file);
    }
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) {
            char name[KVB_DISPLAY_BYTES];
            kvb_display(name, key);
            return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: metadata %s must be a string", file->file, name);
        }
    }
    return KVB_OK;
}

static kvb_status read_tensors(kvb_safetensors *file, const uint8_t *data, size_t data_bytes, kvb_error *error) {
    const size_t n = json_object_size(file->header);
    file->tensors = calloc(n ? n : 1, sizeof *file->tensors);
    if (!file->tensors) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "%s: out of memory for %zu tensors", file->file, n);
    }
    const char *key;
    json_t *value;
    json_object_foreach(file->header, key, value) {
        kvb_status status;
        if (!strcmp(key, "__metadata__")) {
            status = check_metadata(file, value, error);
        } else {
            entry e = {.file = file->file, .description = value};
            kvb_display(e.name, key);
            kvb_safetensors_tensor *tensor = &file->tensors[file->n_tensors++];
            tensor->name = key;
            status = read_tensor(&e, data, data_bytes, tensor, error);
        }
        if (status) {
            return status;
        }
    }
    return check_layout(file, data, data_bytes, error);
}

static kvb_status read_header(kvb_safetensors *file, const uint8_t *bytes, size_t length, kvb_error *error) {
    json_error_t fault;
    /* Whitespace before the brace is legal JSON, but not a legal safetensors header. */
    if (length == 0 || bytes[0] != '{') {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: the safetensors header does not begin with '{'", file->file);
    }
    file->header = json_loadb((const char *)bytes, length, JSON_REJECT_DUPLICATES, &fault);
    if (!file->header) {
        char text[KVB_DISPLAY_BYTES];
        kvb_display(text, fault.text);
        const int memory = json_error_code(&fault) == json_error_out_of_memory;
        return kvb_error_set(error, memory ? KVB_ERROR_MEMORY : KVB_ERROR_FORMAT,
                             "%s: the safetensors header is not valid JSON (%s, at byte %d of the header)", file->file,
                             text, fault.position);
    }
    return KVB_OK;
}

kvb_status kvb_safetensors_parse(const void *bytes, size_t size, const char *name, kvb_safetensors *out,
                                 kvb_error *error) {
    const uint8_t *start = bytes;
    memset(out, 0, sizeof *out);
    kvb_display(out->file, name);
    if (size < LENGTH_BYTES) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: %zu bytes are too few for a safetensors file, which begins with 8 bytes of header "
                             "length",
                             out->file, size);
    }
    const uint64_t length = load_u64(start);
    if (length > KVB_SAFETENSORS_MAX_HEADER || length > size - LENGTH_BYTES) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: the header length is %llu, but must be at most %u and fit the %zu bytes that follow "
                             "(is this a safetensors file, and complete?)",
                             out->file, (unsigned long long)length, KVB_SAFETENSORS_MAX_HEADER, size - LENGTH_BYTES);
    }
    kvb_status status = read_header(out, start + LENGTH_BYTES, (size_t)length, error);
    if (!status) {
        const size_t data_at = LENGTH_BYTES + (size_t)length;
        status = read_tensors(out, start + data_at, size - data_at, error);
    }
    if (status) {
        kvb_safetensors_free(out);
    }
    return status;
}

void kvb_safetensors_free(kvb_safetensors *file) {
    json_decref(file->header);
    free(file->tensors);
    file->header = NULL;
    file->tensors = NULL;
    file->n_tensors = 0;
}

const char *kvb_safetensors_metadata(const kvb_safetensors *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}
