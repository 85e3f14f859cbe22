#include "inspect_print.h"

#include <inttypes.h>
#include <string.h>

static const char *const rotations[] = {"none", "hadamard", "signed"};
static const char *const scales[] = {"norm", "lsq", "search"};
static const char *const dtypes[] = {"f32", "f16", "bf16"};

/* ---- Text ---- */

static void side_text(const kvb_inspected_layer *layer, int side, char *text, size_t size) {
    const kvb_layer_spec *spec = &layer->spec;
    const kvb_codec_spec *codec = side == 0 ? &spec->k : &spec->v;
    if (side == 1 && spec->v_prefix_of_k) {
        (void)snprintf(text, size, "first %d of keys", codec->head_dim);
    } else if (codec->bits == KVB_DENSE_BITS) {
        (void)snprintf(text, size, "%d x %s", codec->head_dim, dtypes[spec->dense]);
    } else {
        char trellis[40] = "";
        if (codec->trellis_states > 0) {
            (void)snprintf(trellis, sizeof trellis, "trellis of %d states, ", codec->trellis_states);
        }
        (void)snprintf(text, size, "%d x %g bits, %s%s, %s %s%s%s", codec->head_dim,
                       codec->bits + 0.5 * codec->half_bit, trellis, rotations[codec->rotation], scales[codec->scale],
                       dtypes[codec->scale_dtype], layer->has_own_centroids[side] ? ", own centroids" : "",
                       side == 0 && layer->is_centered ? ", centered" : "");
    }
}

static void layer_text(const kvb_inspected_layer *layer, char *text, size_t size) {
    const kvb_layer_spec *spec = &layer->spec;
    char k[128], v[128], window[32] = "", exact[96] = "";
    side_text(layer, 0, k, sizeof k);
    side_text(layer, 1, v, sizeof v);
    if (spec->window > 0) {
        (void)snprintf(window, sizeof window, "; window %d", spec->window);
    }
    if (spec->exact_first > 0 || spec->exact_last > 0) {
        (void)snprintf(exact, sizeof exact, "; exact: first %d, last %d, %s", spec->exact_first, spec->exact_last,
                       dtypes[spec->dense]);
    }
    (void)snprintf(text, size, "%d KV heads; keys %s; values %s; %.4g bits per value, %zu bytes a page%s%s",
                   spec->n_kv_heads, k, v, layer->cost.bits_per_value, layer->cost.page_bytes, window, exact);
}

/* Neighbors that are alike share a line. */
static void print_layers(FILE *stream, const kvb_inspection *all) {
    char text[512], next[512];
    for (int first = 0, i = 0; i < all->spec.n_layers; i++) {
        layer_text(&all->layers[i], text, sizeof text);
        if (i + 1 < all->spec.n_layers) {
            layer_text(&all->layers[i + 1], next, sizeof next);
            if (strcmp(text, next) == 0) {
                continue;
            }
        }
        if (first < i) {
            fprintf(stream, "  layers %d-%d: %s\n", first, i, text);
        } else {
            fprintf(stream, "  layer %d: %s\n", i, text);
        }
        first = i + 1;
    }
}

static void print_sections(FILE *stream, const kvb_inspection *all) {
    fprintf(stream, "sections:\n  %6s %-4s %8s %5s %14s %14s %8s\n", "number", "type", "sequence", "layer", "offset",
            "content", "CRC-32C");
    for (size_t i = 0; i < all->n_sections; i++) {
        const kvb_file_section *section = &all->sections[i];
        char sequence[24] = "-", layer[24] = "-";
        if (section->sequence >= 0) {
            (void)snprintf(sequence, sizeof sequence, "%" PRId64, section->sequence);
        }
        if (section->layer >= 0) {
            (void)snprintf(layer, sizeof layer, "%" PRId64, section->layer);
        }
        fprintf(stream, "  %6zu %-4s %8s %5s %14" PRIu64 " %14" PRIu64 " %08" PRIx32 "%s%s\n", section->index,
                section->type, sequence, layer, section->offset, section->bytes, section->crc,
                section->optional ? " optional" : "", section->crc_is_right ? "" : " WRONG");
    }
}

void kvb_inspect_print(FILE *stream, const kvb_inspection *all) {
    if (all->has_header) {
        fprintf(stream,
                "version %d, %" PRIu64 " bytes, %" PRIu32 " sections, %" PRIu32 " layers, %" PRIu32 " sequences\n",
                all->header.version, all->header.bytes, all->header.n_sections, all->header.n_layers,
                all->header.n_sequences);
    }
    if (all->spec.n_layers > 0) {
        fprintf(stream, "cache: pages of %d tokens, up to %d sequences of %" PRId64 " tokens, budget %zu bytes\n",
                all->spec.page_tokens, all->spec.max_sequences, all->spec.max_tokens, all->spec.budget);
        print_layers(stream, all);
    }
    for (size_t i = 0; i < all->n_sequences; i++) {
        const kvb_file_sequence *sequence = &all->sequences[i];
        fprintf(stream,
                "sequence %d: %" PRId64 " tokens; %" PRId64 " pages of %" PRIu64 " bytes in all, %" PRId64
                " shared with earlier ones; exact tokens %" PRIu64 " bytes\n",
                sequence->number, sequence->n_tokens, sequence->pages, sequence->page_bytes, sequence->shared_pages,
                sequence->exact_bytes);
    }
    if (all->n_sections > 0) {
        print_sections(stream, all);
    }
    fprintf(stream, "verdict: %s\n", all->damage ? "broken" : "whole"); /* standard error says where */
}

/* ---- JSON ---- */

/* Sentences hold what a file's bytes say, but never a control character or anything beyond ASCII. */
static void json_string(FILE *stream, const char *text) {
    fputc('"', stream);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            fprintf(stream, "\\%c", c);
        } else if (c < ' ' || c > '~') {
            fprintf(stream, "\\u%04x", c);
        } else {
            fputc(c, stream);
        }
    }
    fputc('"', stream);
}

static void json_side(FILE *stream, const kvb_inspected_layer *layer, int index) {
    const kvb_codec_spec *side = index == 0 ? &layer->spec.k : &layer->spec.v;
    fprintf(stream, "{\"head_dim\": %d", side->head_dim);
    if (index == 1 && layer->spec.v_prefix_of_k) {
        fputs(", \"prefix_of_keys\": true}", stream);
    } else if (side->bits == KVB_DENSE_BITS) {
        fprintf(stream, ", \"bits\": %d}", side->bits);
    } else {
        fprintf(stream,
                ", \"bits\": %g, \"trellis_states\": %d, \"rotation\": \"%s\", \"sign_seed\": \"%016" PRIx64
                "\", \"scale\": \"%s\", \"scale_dtype\": \"%s\", \"library_centroids\": %s}",
                side->bits + 0.5 * side->half_bit, side->trellis_states, rotations[side->rotation], side->sign_seed,
                scales[side->scale], dtypes[side->scale_dtype], layer->has_own_centroids[index] ? "false" : "true");
    }
}

static void json_layers(FILE *stream, const kvb_inspection *all) {
    for (int i = 0; i < all->spec.n_layers; i++) {
        const kvb_inspected_layer *layer = &all->layers[i];
        const kvb_layer_spec *spec = &layer->spec;
        fprintf(stream, "%s\n    {\"n_kv_heads\": %d, \"k\": ", i ? "," : "", spec->n_kv_heads);
        json_side(stream, layer, 0);
        fputs(", \"v\": ", stream);
        json_side(stream, layer, 1);
        fprintf(stream,
                ", \"centered\": %s, \"dense\": \"%s\", \"window\": %d, \"exact_first\": %d, \"exact_last\": %d, "
                "\"page_bytes\": %zu, "
                "\"bits_per_value\": %.9g}",
                layer->is_centered ? "true" : "false", dtypes[spec->dense], spec->window, spec->exact_first,
                spec->exact_last, layer->cost.page_bytes, layer->cost.bits_per_value);
    }
}

static void json_lists(FILE *stream, const kvb_inspection *all) {
    fputs(",\n  \"sequences\": [", stream);
    for (size_t i = 0; i < all->n_sequences; i++) {
        const kvb_file_sequence *sequence = &all->sequences[i];
        fprintf(stream,
                "%s\n    {\"number\": %d, \"n_tokens\": %" PRId64 ", \"pages\": %" PRId64 ", \"shared_pages\": %" PRId64
                ", \"page_bytes\": %" PRIu64 ", \"exact_bytes\": %" PRIu64 "}",
                i ? "," : "", sequence->number, sequence->n_tokens, sequence->pages, sequence->shared_pages,
                sequence->page_bytes, sequence->exact_bytes);
    }
    fputs("],\n  \"sections\": [", stream);
    for (size_t i = 0; i < all->n_sections; i++) {
        const kvb_file_section *section = &all->sections[i];
        fprintf(stream, "%s\n    {\"type\": ", i ? "," : "");
        json_string(stream, section->type);
        if (section->sequence >= 0) {
            fprintf(stream, ", \"sequence\": %" PRId64, section->sequence);
        }
        if (section->layer >= 0) {
            fprintf(stream, ", \"layer\": %" PRId64, section->layer);
        }
        fprintf(stream,
                ", \"offset\": %" PRIu64 ", \"content_bytes\": %" PRIu64 ", \"crc32c\": \"%08" PRIx32
                "\", \"crc_is_right\": %s}",
                section->offset, section->bytes, section->crc, section->crc_is_right ? "true" : "false");
    }
    fputs("]", stream);
}

void kvb_inspect_print_json(FILE *stream, const kvb_inspection *all) {
    fprintf(stream, "{\n  \"whole\": %s", all->damage ? "false" : "true");
    if (all->damage) {
        fputs(",\n  \"damage\": ", stream);
        json_string(stream, all->damage);
    }
    if (all->has_header) {
        fprintf(stream, ",\n  \"version\": %d,\n  \"bytes\": %" PRIu64, all->header.version, all->header.bytes);
    }
    if (all->spec.n_layers > 0) {
        fprintf(stream,
                ",\n  \"page_tokens\": %d,\n  \"max_sequences\": %d,\n  \"max_tokens\": %" PRId64
                ",\n  \"budget\": %zu,\n  \"layers\": [",
                all->spec.page_tokens, all->spec.max_sequences, all->spec.max_tokens, all->spec.budget);
        json_layers(stream, all);
        fputs("]", stream);
    }
    json_lists(stream, all);
    fputs("\n}\n", stream);
}
