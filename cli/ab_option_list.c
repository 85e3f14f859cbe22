#include "ab_option_list.h"

#include <stddef.h>
#include <string.h>

#define AT(member) offsetof(kvb_ab_options, member)

static const kvb_ab_option list[] = {
    {"bits", KVB_AB_COUNTS, KVB_AB_ANYWHERE, AT(bits), "LIST", "code widths, 1-8 (default 4,5,6; for a trace 2-8)"},
    {"pairs", KVB_AB_PAIRS, KVB_AB_ANYWHERE, 0, "LIST|grid",
     "K/V widths, such as 7/5,6/4.5; grid: every K with every V of --bits (default: equal widths; for a trace grid)"},
    {"thresholds", KVB_AB_THRESHOLDS, KVB_AB_ANYWHERE, AT(config.thresholds), "A,B",
     "NRMSE that attention may lose (default 0.1,0.15)"},
    {"baselines", KVB_AB_FLAG, KVB_AB_ANYWHERE, AT(config.baselines), NULL,
     "q4_0, q8_0, fp8 e4m3 and int4 groups of 32 beside, each with and without rotation"},
    {"redraws", KVB_AB_COUNT, KVB_AB_SYNTHETIC, AT(config.redraws), "N",
     "repeat under N random rotations of the same data; reports mean and deviation (default 0)"},
    {"rotation", KVB_AB_CHOICE, KVB_AB_ANYWHERE, AT(config.rotation), "none|hadamard|signed",
     "before quantizing (default none; for a trace signed)"},
    {"sign-seed", KVB_AB_SEED, KVB_AB_SIGNED, AT(config.sign_seed), "N", "of the signed rotation (default 0x6b766269)"},
    {"scale-kind", KVB_AB_CHOICE, KVB_AB_ANYWHERE, AT(config.scale_kind), "norm|lsq|search",
     "row scale; search: lsq from the best of nine norms (default norm; for a trace lsq)"},
    {"trellis", KVB_AB_COUNT, KVB_AB_ANYWHERE, AT(config.trellis_states), "N",
     "trellis codes of 8, 16, 64 or 256 states, 2-6 bits, with the library's levels (default 0: scalar codes)"},
    {"scale-dtype", KVB_AB_CHOICE, KVB_AB_ANYWHERE, AT(config.scale_dtype), "f32|f16",
     "as stored (default f32; for a trace f16)"},
    {"codebook", KVB_AB_CODEBOOK, KVB_AB_ANYWHERE, 0, "default|lloyd|library|beta|FILE",
     "default: fixed-point Lloyd-Max up to 6 bits, library tables above (for a trace: library); lloyd: the iteration "
     "at every width; beta: the optimum for head_dim; FILE: JSON {\"codebooks\": {\"4_bit\": [...]}}"},
    {"cdf", KVB_AB_CHOICE, KVB_AB_ITERATED, AT(config.cdf), "erfc|as26.2.17",
     "normal CDF of the iteration (default erfc)"},
    {"trace", KVB_AB_TEXT, KVB_AB_ANYWHERE, AT(trace), "FILE",
     "ask a recorded trace (safetensors) instead of synthetic data"},
    {"queries", KVB_AB_COUNT, KVB_AB_OF_TRACE, AT(config.queries), "N",
     "evenly spaced query positions per layer (default all)"},
    {"queries-from", KVB_AB_COUNT, KVB_AB_OF_TRACE, AT(config.queries_from), "N",
     "no query before this position (default 0)"},
    {"k-mean", KVB_AB_COUNT, KVB_AB_OF_TRACE, AT(config.k_mean), "N",
     "store keys less their mean, of each KV head and channel, over the first N tokens (default 0: as they are)"},
    {"exact-first", KVB_AB_COUNT, KVB_AB_OF_TRACE, AT(config.exact_first), "N",
     "tokens at the beginning that stay as recorded (default 0)"},
    {"exact-last", KVB_AB_COUNT, KVB_AB_OF_TRACE, AT(config.exact_last), "N",
     "tokens before each query, with its own, that stay as recorded (default 0)"},
    {"generator", KVB_AB_CHOICE, KVB_AB_SYNTHETIC, AT(config.generator), "gaussian|student-t|outliers|sink|low-rank",
     "synthetic data (default gaussian)"},
    {"student-dof", KVB_AB_COUNT, KVB_AB_STUDENT_T, AT(config.student_dof), "N",
     "degrees of freedom of student-t (default 4)"},
    {"outlier-channels", KVB_AB_COUNT, KVB_AB_OUTLIERS, AT(config.outlier_channels), "N",
     "channels that are larger (default 4)"},
    {"outlier-factor", KVB_AB_AMOUNT, KVB_AB_OUTLIERS, AT(config.outlier_factor), "X", "by this factor (default 20)"},
    {"outliers", KVB_AB_CHOICE, KVB_AB_OUTLIERS, AT(config.outliers_spread), "clustered|spread",
     "where they lie (default clustered)"},
    {"sink-strength", KVB_AB_AMOUNT, KVB_AB_SINK, AT(config.sink_strength), "X",
     "how much queries like the sink token (default 4)"},
    {"rank", KVB_AB_COUNT, KVB_AB_LOW_RANK, AT(config.low_rank), "N", "of low-rank (default head_dim / 4)"},
    {"low-rank-noise", KVB_AB_AMOUNT, KVB_AB_LOW_RANK, AT(config.low_rank_noise), "X",
     "noise beside it (default 0.25)"},
    {"seed", KVB_AB_SEED, KVB_AB_SYNTHETIC, AT(config.seed), "N", "of all data (default 0xC25EED)"},
    {"heads", KVB_AB_COUNT, KVB_AB_SYNTHETIC, AT(config.n_heads), "N", "query heads (default 16)"},
    {"kv-heads", KVB_AB_COUNT, KVB_AB_SYNTHETIC, AT(config.n_kv_heads), "N", "KV heads (default 8)"},
    {"head-dim", KVB_AB_COUNT, KVB_AB_SYNTHETIC, AT(config.head_dim), "N", "of the attention test (default 256)"},
    {"kv-lens", KVB_AB_COUNTS, KVB_AB_SYNTHETIC, AT(kv_lens), "LIST", "cache lengths (default 64,512,1024)"},
    {"trials", KVB_AB_COUNT, KVB_AB_SYNTHETIC, AT(config.trials), "N", "per kv_len (default 100)"},
    {"head-dims", KVB_AB_COUNTS, KVB_AB_SYNTHETIC, AT(dims), "LIST", "of the round-trip test (default 128,256,512)"},
    {"vectors", KVB_AB_COUNT, KVB_AB_SYNTHETIC, AT(config.vectors), "N", "per round-trip cell (default 1000)"},
    {"scale", KVB_AB_POSITIVE, KVB_AB_ANYWHERE, AT(config.scale), "X",
     "softmax scale (default 1; for a trace what it says)"},
    {"softmax", KVB_AB_CHOICE, KVB_AB_SYNTHETIC, AT(flat), "peaked|flat",
     "flat: scale 1/sqrt(head_dim) (default peaked: --scale)"},
    {"softcap", KVB_AB_AMOUNT, KVB_AB_ANYWHERE, AT(config.softcap), "X", "softcap * tanh(logit / softcap); 0: none"},
    {"window", KVB_AB_COUNT, KVB_AB_ANYWHERE, AT(config.window), "N", "sliding window in tokens; 0: none"},
    {"frontier", KVB_AB_FLAG, KVB_AB_SYNTHETIC, AT(frontier), NULL,
     "error against stored bits instead: families of codes on a grid of pairs, redrawn 8 times unless --redraws, and "
     "the rate-distortion bound; frontier.json and frontier.md"},
    {"effort", KVB_AB_COUNT, KVB_AB_SYNTHETIC, AT(effort), "0-2",
     "of --frontier: 1 searches scales too, 2 adds 256 states, which takes hours (default 0)"},
    {"sums", KVB_AB_CHOICE, KVB_AB_SYNTHETIC, AT(config.sums), "lanes|index-order",
     "index-order: plain scalar sums, the reference run's arithmetic, slow (default lanes)"},
    {"no-skip", KVB_AB_NO_FLAG, KVB_AB_ANYWHERE, AT(config.skip), NULL,
     "make and add every value, however small its weight (moves no NRMSE by more than rounding)"},
    {"threads", KVB_AB_COUNT, KVB_AB_ANYWHERE, AT(threads), "N", "worker threads (default 0: all processors)"},
    {"out", KVB_AB_TEXT, KVB_AB_ANYWHERE, AT(out), "DIR",
     "result.json, result.md and report.html go here (default kvbits-ab)"},
    {"json", KVB_AB_TEXT, KVB_AB_ANYWHERE, AT(json), "FILE",
     "the JSON here; - : on standard output instead of tables, and no folder unless --out names one"},
    {"no-report", KVB_AB_NO_FLAG, KVB_AB_ANYWHERE, AT(report), NULL, "leave report.html out (needs no gnuplot)"},
    {"quiet", KVB_AB_FLAG, KVB_AB_ANYWHERE, AT(quiet), NULL, "no tables on standard output"},
    {"help", KVB_AB_FLAG, KVB_AB_ANYWHERE, AT(help), NULL, "this text"},
};
enum { N_OPTIONS = sizeof list / sizeof list[0] };
_Static_assert((int)N_OPTIONS <= (int)KVB_AB_MAX_OPTIONS, "a set of options is a 64-bit mask");

const kvb_ab_option *kvb_ab_option_at(int i) {
    return i >= 0 && i < N_OPTIONS ? &list[i] : NULL;
}

/* The options that begin a group of --help. */
static const struct {
    const char *first, *heading;
} groups[] = {
    {"bits", "The question"},
    {"rotation", "How rows are stored"},
    {"trace", "A recorded trace"},
    {"generator", "Synthetic data"},
    {"scale", "Attention"},
    {"sums", "Computation"},
    {"out", "Output"},
};

/* Wraps `text` at column 100 behind `indent` blanks. */
static void print_wrapped(FILE *stream, const char *text, int indent) {
    int column = indent;
    while (*text) {
        int word = (int)strcspn(text, " "), first = column == indent;
        if (!first && column + 1 + word > 100) {
            fprintf(stream, "\n%*s", indent, "");
            column = indent;
            first = 1;
        }
        fprintf(stream, "%s%.*s", first ? "" : " ", word, text);
        column += word + !first;
        text += word + (text[word] == ' ');
    }
    fputc('\n', stream);
}

void kvb_ab_options_help(FILE *stream) {
    fputs("Usage: kvbits ab [OPTION...]\n"
          "How few bits can keys and values take before attention notices? Runs the bit-width A/B on synthetic data,\n"
          "or on a recorded trace (--trace), and writes result.json, result.md and report.html.\n",
          stream);
    for (int i = 0; i < N_OPTIONS; i++) {
        const kvb_ab_option *o = &list[i];
        for (size_t j = 0; j < sizeof groups / sizeof groups[0]; j++)
            if (strcmp(groups[j].first, o->name) == 0)
                fprintf(stream, "\n%s:\n", groups[j].heading);
        int used = fprintf(stream, "  --%s%s%s", o->name, o->legal ? " " : "", o->legal ? o->legal : "");
        if (used > 27)
            fprintf(stream, "\n%*s", 28, "");
        else
            fprintf(stream, "%*s", 28 - used, "");
        print_wrapped(stream, o->help, 28);
    }
    fputs("\nExit codes: 0 every check holds, 1 a check failed, 2 bad input, 3 input/output error.\n"
          "docs/evaluation.md defines every figure.\n",
          stream);
}
