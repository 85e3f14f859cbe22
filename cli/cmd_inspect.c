/* kvbits inspect: what a .kvb file holds, and whether it is whole. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "exit_code.h"
#include "inspect_print.h"

typedef struct options {
    const char *path;
    int json;
} options;

static const struct argp_option table[] = {{"json", 'j', NULL, 0, "Print JSON", 0}, {0}};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 'j':
        o->json = 1;
        return 0;
    case ARGP_KEY_ARG:
        if (o->path) {
            argp_error(state, "one FILE at a time, '%s' is the second", argument);
            return EINVAL;
        }
        o->path = argument;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which FILE?");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    table,
    parse_option,
    "FILE",
    "Prints the layers, formats, sequences and sections of a saved cache (.kvb) and checks all of it, as loading does. "
    "Of a broken file it prints what comes before the damage.\vExit codes: 0 the file is whole, 2 it is broken, 3 "
    "input/output error.",
    NULL,
    NULL,
    NULL};

/* ---- Collecting ---- */

/* Room for one more element behind `n`; NULL, and a mark, without memory. */
static void *more(kvb_inspection *all, void **array, size_t n, size_t bytes) {
    if ((n & (n - 1)) == 0) {
        void *grown = realloc(*array, (n ? 2 * n : 1) * bytes);
        if (!grown) {
            all->out_of_memory = 1;
            return NULL;
        }
        *array = grown;
    }
    return (char *)*array + n * bytes;
}

static void take_header(void *context, const kvb_file_header *header) {
    kvb_inspection *all = context;
    all->header = *header;
    all->has_header = 1;
}

/* Are these the library's levels for codes of so many bits? */
static int are_library_levels(const float *levels, const kvb_codec_spec *spec, int bits) {
    const float *library = spec->trellis_states ? kvb_trellis_codebook(spec->trellis_states, bits) : kvb_codebook(bits);
    kvb_codec_spec whole = {.bits = bits, .trellis_states = spec->trellis_states};
    return library && memcmp(levels, library, sizeof *library * (size_t)kvb_codec_spec_levels(&whole)) == 0;
}

/* The file's centroids go when it is closed. Of half a bit those of the wider half are two thirds, and come first. */
static int forget_centroids(kvb_codec_spec *spec) {
    const float *own = spec->centroids;
    spec->centroids = NULL;
    if (!own) {
        return 0;
    }
    const float *narrow = spec->half_bit ? own + kvb_codec_spec_levels(spec) / 3 * 2 : own;
    return !are_library_levels(narrow, spec, spec->bits) ||
           (spec->half_bit && !are_library_levels(own, spec, spec->bits + 1));
}

static void take_spec(void *context, const kvb_cache_spec *spec) {
    kvb_inspection *all = context;
    all->layers = calloc((size_t)spec->n_layers, sizeof *all->layers);
    if (!all->layers) {
        all->out_of_memory = 1;
        return;
    }
    all->spec = *spec;
    all->spec.layers = NULL;
    for (int i = 0; i < spec->n_layers; i++) {
        kvb_inspected_layer *layer = &all->layers[i];
        kvb_status status = kvb_layer_cost_of(&spec->layers[i], spec->page_tokens, 1, &layer->cost, NULL);
        (void)status; /* 0 bytes for a layer that fits no address space */
        layer->spec = spec->layers[i];
        layer->is_centered = layer->spec.k_mean != NULL;
        layer->spec.k_mean = NULL;
        layer->has_own_centroids[0] = forget_centroids(&layer->spec.k);
        layer->has_own_centroids[1] = forget_centroids(&layer->spec.v);
    }
}

static void take_sequence(void *context, const kvb_file_sequence *sequence) {
    kvb_inspection *all = context;
    void *array = all->sequences;
    kvb_file_sequence *place = more(all, &array, all->n_sequences, sizeof *place);
    all->sequences = array;
    if (place) {
        *place = *sequence;
        all->n_sequences++;
    }
}

static void take_section(void *context, const kvb_file_section *section) {
    kvb_inspection *all = context;
    void *array = all->sections;
    kvb_file_section *place = more(all, &array, all->n_sections, sizeof *place);
    all->sections = array;
    if (place) {
        *place = *section;
        all->n_sections++;
    }
}

/* The sentence without the file's name in front, which whoever reads it knows. */
static const char *without_path(const char *sentence, const char *path) {
    size_t n = strlen(path) < 200 ? strlen(path) : 200;
    return strncmp(sentence, path, n) == 0 && sentence[n] == ':' && sentence[n + 1] == ' ' ? sentence + n + 2
                                                                                           : sentence;
}

int kvb_cmd_inspect(int argc, char **argv) {
    options o = {0};
    argp_err_exit_status = KVB_EXIT_INPUT;
    if (argp_parse(&parser, argc, argv, 0, NULL, &o) != 0) {
        return KVB_EXIT_INPUT;
    }
    kvb_inspection all = {.has_header = 0};
    kvb_error error = {""};
    /* No cache is made, so it may be as large as it likes. */
    kvb_load_limits limits = {.file_bytes = UINT64_MAX, .budget = UINT64_MAX, .tables = UINT64_MAX};
    kvb_file_visitor visitor = {&all, take_header, take_spec, take_sequence, take_section};
    kvb_status status = kvb_file_inspect(o.path, &limits, NULL, &visitor, &error);
    if (all.out_of_memory && status == KVB_OK) {
        status = kvb_error_set(&error, KVB_ERROR_MEMORY, "%.200s: no memory to list its sections", o.path);
    }
    if (status == KVB_OK || status == KVB_ERROR_FORMAT) {
        all.damage = status ? without_path(error.text, o.path) : NULL;
        (o.json ? kvb_inspect_print_json : kvb_inspect_print)(stdout, &all);
    }
    if (status) {
        fprintf(stderr, "kvbits inspect: %s\n", error.text);
    }
    free(all.layers);
    free(all.sequences);
    free(all.sections);
    return kvb_exit_code(status);
}
