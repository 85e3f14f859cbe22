/* Opening a model, its tokens, its caches. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"

/* Architectures whose attention was compared with the model definitions and run under the self-check. Gemma's layers
 * have windows and Gemma 2 a softcap; both are read off the graph. */
static const char *const architectures[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"};
enum { N_ARCHITECTURES = sizeof architectures / sizeof architectures[0] };

static const struct {
    const char *name;
    enum ggml_type type;
} caches[KVB_ENGINE_CACHES] = {
    {"f32", GGML_TYPE_F32},   {"f16", GGML_TYPE_F16},   {"q8_0", GGML_TYPE_Q8_0}, {"q5_1", GGML_TYPE_Q5_1},
    {"q5_0", GGML_TYPE_Q5_0}, {"q4_1", GGML_TYPE_Q4_1}, {"q4_0", GGML_TYPE_Q4_0}, {"iq4_nl", GGML_TYPE_IQ4_NL},
};

const char *kvb_engine_cache_name(int cache) {
    return cache >= 0 && cache < KVB_ENGINE_CACHES ? caches[cache].name : NULL;
}

enum ggml_type kvb_engine_cache_type(int cache) {
    return caches[cache].type;
}

double kvb_engine_cache_bits(int cache) {
    const enum ggml_type type = caches[cache].type;
    return 8.0 * (double)ggml_type_size(type) / (double)ggml_blck_size(type);
}

kvb_status kvb_engine_available(kvb_error *error) {
    (void)error;
    return KVB_OK;
}

/* llama.cpp reports each step on stderr; what matters comes back as a status. */
static void keep_quiet(enum ggml_log_level level, const char *text, void *context) {
    (void)context;
    if (level == GGML_LOG_LEVEL_ERROR && getenv("KVBITS_ENGINE_LOG"))
        fputs(text, stderr);
}

static kvb_status check_architecture(const kvb_engine_info *info, const char *path, kvb_error *error) {
    char known[128] = "";
    for (int i = 0; i < N_ARCHITECTURES; i++) {
        if (strcmp(info->architecture, architectures[i]) == 0)
            return KVB_OK;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", architectures[i]);
    }
    return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                         "%.200s: kvbits does not know how the architecture '%s' attends; it knows %s", path,
                         info->architecture, known);
}

static void describe(const struct llama_model *model, kvb_engine_info *info) {
    snprintf(info->software, sizeof info->software, "llama.cpp");
    if (llama_model_meta_val_str(model, "general.architecture", info->architecture, sizeof info->architecture) < 0)
        info->architecture[0] = 0;
    if (llama_model_meta_val_str(model, "general.name", info->name, sizeof info->name) < 0)
        info->name[0] = 0;
    if (llama_model_meta_val_str(model, "general.license", info->license, sizeof info->license) < 0)
        info->license[0] = 0;
    info->n_layers = llama_model_n_layer(model);
    info->n_context = llama_model_n_ctx_train(model);
    info->n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
}

static kvb_status check_readable(const char *path, kvb_error *error) {
    FILE *file = fopen(path, "rb");
    char magic[4] = "";
    if (!file)
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s could not be opened for reading", path);
    const size_t n = fread(magic, 1, sizeof magic, file);
    fclose(file);
    if (n < sizeof magic || memcmp(magic, "GGUF", 4) != 0)
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%.300s is no GGUF file: it does not begin with GGUF", path);
    return KVB_OK;
}

static struct llama_model *load_file(const char *path) {
    struct llama_model_params parameters = llama_model_default_params();
    parameters.n_gpu_layers = 0;
    return llama_model_load_from_file(path, parameters);
}

/* Does the file say that its weights are quantized? One that does not say is taken for quantized. */
static int has_quantized_weights(const struct llama_model *model) {
    char type[16] = "";
    return llama_model_meta_val_str(model, "general.file_type", type, sizeof type) < 0 || strcmp(type, "0") != 0;
}

/* The same model with float weights; NULL when llama.cpp cannot make it. */
static struct llama_model *load_as_floats(const char *path, int threads, kvb_status *status, kvb_error *error) {
    const char *folder = getenv("TMPDIR");
    char name[512];
    snprintf(name, sizeof name, "%s/kvbits-weights-XXXXXX", folder && *folder ? folder : "/tmp");
    const int fd = mkstemp(name);
    if (fd < 0) {
        *status = kvb_error_set(error, KVB_ERROR_IO, "no file for float weights could be made as %.300s: %s", name,
                                strerror(errno));
        return NULL;
    }
    close(fd);
    struct llama_model_quantize_params parameters = llama_model_quantize_default_params();
    parameters.nthread = threads;
    parameters.ftype = LLAMA_FTYPE_ALL_F32;
    parameters.allow_requantize = true;
    struct llama_model *model = llama_model_quantize(path, name, &parameters) == 0 ? load_file(name) : NULL;
    unlink(name); /* what is mapped stays */
    if (!model)
        *status =
            kvb_error_set(error, KVB_ERROR_IO,
                          "llama.cpp could not expand the weights of %.200s to floats in %.200s, which takes 4 bytes "
                          "for each (--weights stored does without)",
                          path, name);
    return model;
}

static kvb_status load(const char *path, const kvb_engine_options *options, kvb_engine *engine, kvb_error *error) {
    kvb_status status = KVB_OK;
    engine->model = load_file(path);
    if (!engine->model)
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%.300s could not be loaded by llama.cpp (KVBITS_ENGINE_LOG=1 shows its messages)", path);
    describe(engine->model, &engine->info);
    status = check_architecture(&engine->info, path, error);
    if (status == KVB_OK && options->context > engine->info.n_context)
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "%d tokens at a time; %.200s was trained for up to %d",
                               options->context, path, engine->info.n_context);
    if (status == KVB_OK && !options->weights_as_stored && has_quantized_weights(engine->model)) {
        llama_model_free(engine->model);
        engine->model = load_as_floats(path, options->threads, &status, error);
        engine->info.weights_expanded = 1;
    }
    return status;
}

kvb_status kvb_engine_open(const char *path, const kvb_engine_options *options, kvb_engine **out, kvb_error *error) {
    *out = NULL;
    kvb_status status = check_readable(path, error);
    if (status != KVB_OK)
        return status;
    kvb_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for an engine");
    llama_log_set(keep_quiet, NULL);
    llama_backend_init();
    engine->context = options->context;
    engine->threads = options->threads;
    status = load(path, options, engine, error);
    if (engine->context == 0)
        engine->context = engine->info.n_context;
    if (status == KVB_OK)
        engine->batch = llama_batch_init(KVB_ENGINE_BATCH, 0, 1);
    if (status != KVB_OK) {
        kvb_engine_close(engine);
        return status;
    }
    *out = engine;
    return KVB_OK;
}

void kvb_engine_close(kvb_engine *engine) {
    if (!engine)
        return;
    for (int i = 0; i < KVB_ENGINE_CACHES; i++)
        llama_free(engine->contexts[i]);
    if (engine->batch.token)
        llama_batch_free(engine->batch);
    llama_model_free(engine->model);
    for (int side = 0; side < 3; side++)
        free(engine->graph.rows[side]);
    free(engine);
}

const kvb_engine_info *kvb_engine_get_info(const kvb_engine *engine) {
    return &engine->info;
}

kvb_status kvb_engine_tokenize(const kvb_engine *engine, const char *text, size_t bytes, int32_t **tokens, int *n,
                               int32_t *first, kvb_error *error) {
    const struct llama_vocab *vocab = llama_model_get_vocab(engine->model);
    *tokens = NULL;
    *n = 0;
    *first = llama_vocab_get_add_bos(vocab) ? llama_vocab_bos(vocab) : -1;
    if (bytes == 0 || bytes > 1u << 28)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "a text of %zu bytes; legal: 1 to 2^28", bytes);
    const int room = (int)bytes + 16; /* a token stands for a byte at least */
    int32_t *found = malloc((size_t)room * sizeof *found);
    if (!found)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d tokens", room);
    const int count = llama_tokenize(vocab, text, (int32_t)bytes, found, room, false, false);
    if (count <= 0) {
        free(found);
        return kvb_error_set(error, KVB_ERROR_FORMAT, "the model's tokenizer makes no tokens of the text");
    }
    *tokens = found;
    *n = count;
    return KVB_OK;
}
