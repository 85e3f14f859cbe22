#include "view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double kvb_view_real(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

long kvb_view_size(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    json_int_t size = json_is_integer(value) ? json_integer_value(value) : -1;
    return size >= 0 && size <= 2147483647 ? (long)size : -1;
}

const char *kvb_view_string(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

json_t *kvb_view_array(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_array_size(value) > 0 ? value : NULL;
}

json_t *kvb_view_object(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_object_size(value) > 0 ? value : NULL;
}

int kvb_view_is_trace(const json_t *document) {
    const char *kind = kvb_view_string(json_object_get(document, "kvbits"), "kind");
    return kind != NULL && strcmp(kind, "trace") == 0;
}

int kvb_view_thresholds(const json_t *document, double thresholds[2]) {
    static const char *const keys[2] = {"decision_threshold_nrmse", "decision_threshold_alt_nrmse"};
    int n = 0;
    for (int i = 0; i < 2; i++) {
        double threshold = kvb_view_real(document, keys[i]);
        if (threshold > 0) {
            thresholds[n++] = threshold;
        }
    }
    return n;
}

const char *kvb_view_verdict(const json_t *document, int i) {
    return kvb_view_string(document, i == 0 ? "verdict" : "verdict_at_threshold_015");
}

int kvb_view_verdict_bits(const char *verdict) {
    static const char prefix[] = "bit_width_";
    if (strncmp(verdict, "all_bit_widths_fail", 19) == 0) {
        return 0;
    }
    if (strncmp(verdict, prefix, sizeof prefix - 1) == 0 && verdict[10] >= '1' && verdict[10] <= '8' &&
        strcmp(verdict + 11, "_sufficient") == 0) {
        return verdict[10] - '0';
    }
    return -1;
}

/* The words of "pair_<k>_<v>_sufficient"; 0 for anything else. */
static int write_pair_words(kvb_writer *out, const char *verdict) {
    static const char before[] = "pair_", after[] = "_sufficient";
    const size_t around = sizeof before + sizeof after - 2, length = strlen(verdict);
    char pair[sizeof "7.5_7.5"];
    if (length <= around || length - around >= sizeof pair || strncmp(verdict, before, sizeof before - 1) != 0 ||
        strcmp(verdict + length - (sizeof after - 1), after) != 0) {
        return 0;
    }
    memcpy(pair, verdict + sizeof before - 1, length - around);
    pair[length - around] = '\0';
    char *between = strchr(pair, '_');
    if (between == NULL) {
        return 0;
    }
    *between = '/';
    kvb_writer_format(out, "K/V %s is enough", pair);
    return 1;
}

void kvb_view_verdict_words(kvb_writer *out, const char *verdict) {
    int bits = kvb_view_verdict_bits(verdict);
    if (bits > 0) {
        kvb_writer_format(out, "%d bit%s enough", bits, bits == 1 ? " is" : "s are");
    } else if (bits == 0) {
        kvb_writer_add(out, "no tested bit width is enough");
    } else if (strcmp(verdict, "all_pairs_fail") == 0) {
        kvb_writer_add(out, "no tested pair is enough");
    } else if (!write_pair_words(out, verdict)) {
        kvb_writer_add(out, verdict);
    }
}

const json_t *kvb_view_needed(const json_t *owner, double threshold) {
    size_t i;
    json_t *needed;
    json_array_foreach(json_object_get(owner, "needed"), i, needed) {
        if (kvb_view_real(needed, "threshold") == threshold) {
            return needed;
        }
    }
    return NULL;
}

double kvb_view_code_bits(const char *name) {
    if (name == NULL || name[0] < '1' || name[0] > '8') {
        return 0;
    }
    return name[1] == 0 ? name[0] - '0' : name[0] < '8' && strcmp(name + 1, ".5") == 0 ? name[0] - '0' + 0.5 : 0;
}

void kvb_view_pair(const json_t *cell, char name[KVB_VIEW_NAME]) {
    const char *k = kvb_view_string(cell, "k"), *v = kvb_view_string(cell, "v");
    if (kvb_view_symmetric(cell) && kvb_view_code_bits(k) == 0) {
        snprintf(name, KVB_VIEW_NAME, "%.31s", k);
    } else {
        snprintf(name, KVB_VIEW_NAME, "%.31s/%.31s", k == NULL ? "?" : k, v == NULL ? "?" : v);
    }
}

int kvb_view_symmetric(const json_t *cell) {
    const char *k = kvb_view_string(cell, "k"), *v = kvb_view_string(cell, "v");
    return k != NULL && v != NULL && strcmp(k, v) == 0;
}

int kvb_view_passes(const json_t *document, const json_t *worst, int i) {
    const json_t *flag = json_array_get(json_object_get(worst, "passes"), (size_t)i);
    double thresholds[2];
    if (json_is_boolean(flag)) {
        return json_is_true(flag);
    }
    return i < kvb_view_thresholds(document, thresholds) && kvb_view_real(worst, "nrmse_worst") <= thresholds[i];
}

const json_t *kvb_view_find_pair(const json_t *owner, const char *k, const char *v) {
    size_t i;
    json_t *cell;
    json_array_foreach(json_object_get(owner, "pair_cells"), i, cell) {
        const char *cell_k = kvb_view_string(cell, "k"), *cell_v = kvb_view_string(cell, "v");
        if (cell_k != NULL && cell_v != NULL && strcmp(cell_k, k) == 0 && strcmp(cell_v, v) == 0) {
            return cell;
        }
    }
    return NULL;
}

/* ---- One side alone --------------------------------------------------------------------------------------------- */

static void add_side(const json_t *cell, char side, kvb_view_side *out, int *n, int limit) {
    char key[4][16];
    snprintf(key[0], sizeof key[0], "%c_stored_bits", side);
    snprintf(key[1], sizeof key[1], "%c_only_mean", side);
    snprintf(key[2], sizeof key[2], "%c_only_low", side);
    snprintf(key[3], sizeof key[3], "%c_only_high", side);
    const char *name = kvb_view_string(cell, (char[]){side, 0});
    kvb_view_side entry = {name, kvb_view_real(cell, key[0]), kvb_view_real(cell, key[1]), kvb_view_real(cell, key[2]),
                           kvb_view_real(cell, key[3])};
    if (name == NULL || !isfinite(entry.bits) || !isfinite(entry.mean)) {
        return;
    }
    int i = 0;
    while (i < *n && strcmp(out[i].name, name) != 0) {
        i++;
    }
    if (i < *n) {
        if (entry.mean > out[i].mean) {
            out[i] = entry;
        }
    } else if (*n < limit) {
        out[(*n)++] = entry;
    }
}

static int compare_sides(const void *a, const void *b) {
    const kvb_view_side *x = a, *y = b;
    return x->bits != y->bits ? (x->bits > y->bits) - (x->bits < y->bits) : strcmp(x->name, y->name);
}

int kvb_view_sides(const json_t *document, char side, kvb_view_side *out, int limit) {
    int n = 0;
    size_t i, j;
    json_t *layer, *cell;
    json_array_foreach(json_object_get(document, "pair_cells"), i, cell) {
        add_side(cell, side, out, &n, limit);
    }
    json_array_foreach(json_object_get(document, "layers"), i, layer) {
        json_array_foreach(json_object_get(layer, "pair_cells"), j, cell) {
            add_side(cell, side, out, &n, limit);
        }
    }
    qsort(out, (size_t)n, sizeof *out, compare_sides);
    return n;
}

/* ---- Words ------------------------------------------------------------------------------------------------------ */

void kvb_view_words(kvb_writer *out, const char *key) {
    for (const char *p = key; *p != 0; p++) {
        kvb_writer_bytes(out, *p == '_' ? " " : p, 1);
    }
}

void kvb_view_value(kvb_writer *out, const json_t *value) {
    if (json_is_string(value)) {
        kvb_writer_add(out, json_string_value(value));
    } else if (json_is_boolean(value)) {
        kvb_writer_add(out, json_is_true(value) ? "yes" : "no");
    } else if (json_is_integer(value)) {
        kvb_writer_format(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        kvb_writer_add(out, kvb_general(json_real_value(value), 9).text);
    } else if (json_is_array(value)) {
        size_t i;
        json_t *item;
        json_array_foreach(value, i, item) {
            kvb_writer_add(out, i > 0 ? ", " : "");
            if (json_is_array(item) || json_is_object(item)) {
                kvb_writer_add(out, "...");
            } else {
                kvb_view_value(out, item);
            }
        }
    } else {
        kvb_writer_add(out, "\u2013");
    }
}

static void trace_subject(kvb_writer *out, const json_t *document) {
    const json_t *trace = json_object_get(document, "trace"), *layers = json_object_get(document, "layers");
    const char *model = kvb_view_string(json_object_get(trace, "metadata"), "model");
    const char *file = kvb_view_string(trace, "file");
    kvb_writer_format(out, "Recorded tensors of %s", model != NULL ? model : file != NULL ? file : "a model");
    long tokens = kvb_view_size(json_array_get(layers, 0), "tokens");
    kvb_writer_format(out, ": %zu layer%s", json_array_size(layers), json_array_size(layers) == 1 ? "" : "s");
    if (tokens >= 0) {
        kvb_writer_format(out, ", %ld tokens", tokens);
    }
}

void kvb_view_subject(kvb_writer *out, const json_t *document) {
    if (kvb_view_is_trace(document)) {
        trace_subject(out, document);
        return;
    }
    const char *generator = kvb_view_string(json_object_get(document, "configuration"), "generator");
    const json_t *shape = json_object_get(document, "shape");
    long heads = kvb_view_size(shape, "num_heads"), kv_heads = kvb_view_size(shape, "num_kv_heads");
    long head_dim = kvb_view_size(shape, "head_dim"), trials = kvb_view_size(document, "n_trials_per_sdpa_cell");
    kvb_writer_add(out, "Synthetic data (");
    kvb_view_words(out, generator == NULL ? "generator not named" : generator);
    kvb_writer_add(out, ")");
    if (heads >= 0 && kv_heads >= 0 && head_dim >= 0) {
        kvb_writer_format(out, ": %ld query heads on %ld KV heads, head_dim %ld", heads, kv_heads, head_dim);
    }
    if (kvb_view_array(document, "kv_seq_lens") != NULL) {
        kvb_writer_add(out, ", kv_len ");
        kvb_view_value(out, json_object_get(document, "kv_seq_lens"));
    }
    if (trials >= 0) {
        kvb_writer_format(out, ", %ld trials", trials);
    }
}
