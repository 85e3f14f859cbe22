#include "record_options.h"

#include "option_loop.h"
#include "parse.h"
#include "threads.h"

enum { TEXT = 1, OUTPUT, TOKENS, FROM, LAYERS, DTYPE, THREADS, WEIGHTS, HELP };

static const struct option table[] = {
    {"text", required_argument, NULL, TEXT},
    {"output", required_argument, NULL, OUTPUT},
    {"tokens", required_argument, NULL, TOKENS},
    {"from", required_argument, NULL, FROM},
    {"layers", required_argument, NULL, LAYERS},
    {"dtype", required_argument, NULL, DTYPE},
    {"threads", required_argument, NULL, THREADS},
    {"weights", required_argument, NULL, WEIGHTS},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

_Static_assert(KVB_F32 == 0 && KVB_F16 == 1 && KVB_BF16 == 2, "in the order of --dtype's names");

static kvb_status parse_layers(const char *text, kvb_record_options *options, kvb_error *error) {
    kvb_status status =
        kvb_parse_ints("layers", text, options->layers, KVB_MAX_RECORDED_LAYERS, &options->n_layers, error);
    for (int i = 1; i < options->n_layers && status == KVB_OK; i++)
        if (options->layers[i] <= options->layers[i - 1])
            status =
                kvb_error_set(error, KVB_ERROR_ARGUMENT, "--layers is '%.80s'; legal: layers in rising order", text);
    return status;
}

static kvb_status store(int option, const char *text, void *context, kvb_error *error) {
    kvb_record_options *options = context;
    switch (option) {
    case TEXT:
        options->text = text;
        return KVB_OK;
    case OUTPUT:
        options->out = text;
        return KVB_OK;
    case TOKENS:
        return kvb_parse_count("tokens", text, 1, 1 << 20, &options->tokens, error);
    case FROM:
        return kvb_parse_int_from("from", text, 0, (1 << 20) - 1, &options->from, error);
    case LAYERS:
        return parse_layers(text, options, error);
    case DTYPE:
        return kvb_parse_choice("dtype", text, "f32|f16|bf16", &options->dtype, error);
    case THREADS:
        return kvb_parse_int_from("threads", text, 1, KVB_MAX_THREADS, &options->threads, error);
    case WEIGHTS:
        return kvb_parse_choice("weights", text, "float|stored", &options->weights_as_stored, error);
    default:
        options->help = 1;
        return KVB_OK;
    }
}

kvb_status kvb_record_options_parse(int argc, char **argv, kvb_record_options *options, kvb_error *error) {
    unsigned given;
    *options = (kvb_record_options){.dtype = KVB_F16};
    options->model = kvb_options_operand(&argc, &argv);
    kvb_status status = kvb_options_read(argc, argv, table, store, options, &given, error);
    if (status != KVB_OK || options->help)
        return status;
    if (!options->model)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "which MODEL.gguf? (kvbits record MODEL.gguf --text FILE "
                             "--output TRACE.safetensors)");
    if (!options->text || !options->out)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--%s FILE is missing", options->text ? "output" : "text");
    return KVB_OK;
}

void kvb_record_options_help(FILE *stream) {
    fputs("Usage: kvbits record MODEL.gguf --text FILE --output TRACE.safetensors [OPTION...]\n"
          "Runs the model on the text and writes its queries, keys and values, as the cache gets them, for kvbits ab\n"
          "--trace. Needs llama.cpp (docs/eval.md). Attention recomputed from them must be the engine's.\n\n"
          "  --text FILE               UTF-8 text\n"
          "  -o, --output FILE         the trace, written whole or not at all\n"
          "  --tokens N                at most, 1-2^20, as far as the model was trained (default: the whole text)\n"
          "  --from N                  first position to keep (default 0)\n"
          "  --layers LIST             such as 0,10,20 (default: all)\n"
          "  --dtype f16|bf16|f32      how to store them (default f16)\n"
          "  --weights float|stored    expand quantized weights to floats first, or run the engine's integer products\n"
          "                            (default float)\n"
          "  --threads N               1-1024 (default: every processor that may be used)\n"
          "  --help                    this text\n\n"
          "Exit codes: 0 done, 2 bad input, 3 input/output error or no llama.cpp.\n",
          stream);
}
