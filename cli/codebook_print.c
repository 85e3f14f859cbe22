#include "codebook_print.h"

#include <math.h>
#include <string.h>

enum { PER_LINE = 8 };

/* Above the least error that any code of as many bits can have for N(0,1), 4^-bits. */
static double above_bound(const kvb_codebook_sheet *sheet) {
    return kvb_decibel(ldexp(sheet->mse, 2 * sheet->bits));
}

static const char *plural(int bits) {
    return bits == 1 ? "" : "s";
}

typedef void number_writer(char out[40], double value);

static void write_text(char out[40], double value) {
    snprintf(out, 40, "%13.9g", value);
}

static void write_json(char out[40], double value) {
    snprintf(out, 40, "%.17g", value);
}

/* Nine digits name a float; a C constant needs a point or an exponent before its suffix. */
static void write_c(char out[40], double value) {
    char digits[32];
    snprintf(digits, sizeof digits, "%.9g", value);
    snprintf(out, 40, "%s%sf", digits, strpbrk(digits, ".e") ? "" : ".0");
}

static void print_centroids(FILE *stream, const kvb_codebook_sheet *sheet, const char *indent, number_writer *writer,
                            const char *separator) {
    const int levels = 1 << sheet->bits;
    for (int i = 0; i < levels; i++) {
        char number[40];
        const int last = i + 1 == levels, line_ends = last || i % PER_LINE == PER_LINE - 1;
        writer(number, sheet->centroids[i]);
        fprintf(stream, "%s%s%s%s", i % PER_LINE ? " " : indent, number, last ? "" : separator, line_ends ? "\n" : "");
    }
}

/* One line on where the table comes from. */
static void print_origin(FILE *stream, const kvb_codebook_sheet *sheet) {
    fprintf(stream, "%d bit%s: %s", sheet->bits, plural(sheet->bits), sheet->source);
    if (sheet->law.sphere_dim)
        fprintf(stream, " in %d dimensions", sheet->law.sphere_dim);
    if (sheet->lloyd.rounds)
        fprintf(stream, ", %d rounds, last change %.4g", sheet->lloyd.rounds, sheet->lloyd.last_change);
    if (sheet->factor != 1.0)
        fprintf(stream, ", factor %.9g", sheet->factor);
}

static void print_text(FILE *stream, const kvb_codebook_sheet *sheet) {
    print_origin(stream, sheet);
    fprintf(stream, "\n  MSE %.9g, SQNR %.4f dB, %.4f dB above the rate-distortion bound 4^-%d\n", sheet->mse,
            kvb_decibel(1.0 / sheet->mse), above_bound(sheet), sheet->bits);
    print_centroids(stream, sheet, " ", write_text, "");
}

static void print_c(FILE *stream, const kvb_codebook_sheet *sheet) {
    const int levels = 1 << sheet->bits;
    fputs("/* ", stream);
    print_origin(stream, sheet);
    fprintf(stream, "; MSE %.9g, SQNR %.4f dB */\n", sheet->mse, kvb_decibel(1.0 / sheet->mse));
    fprintf(stream, "static const float codebook_%d_bit[%d] = {\n", sheet->bits, levels);
    print_centroids(stream, sheet, "    ", write_c, ",");
    fputs("};\n", stream);
}

static void print_json(FILE *stream, const kvb_codebook_sheet *sheets, int n) {
    fputs("{\n \"codebooks\": {\n", stream);
    for (int i = 0; i < n; i++) {
        fprintf(stream, "  \"%d_bit\": [\n", sheets[i].bits);
        print_centroids(stream, &sheets[i], "   ", write_json, ",");
        fprintf(stream, "  ]%s\n", i + 1 < n ? "," : "");
    }
    fputs(" },\n \"figures\": {\n", stream);
    for (int i = 0; i < n; i++) {
        const kvb_codebook_sheet *sheet = &sheets[i];
        fprintf(stream, "  \"%d_bit\": {\"source\": \"%s\", \"factor\": %.9g, \"mse\": %.9g, \"sqnr_db\": %.9g, ",
                sheet->bits, sheet->source, sheet->factor, sheet->mse, kvb_decibel(1.0 / sheet->mse));
        if (sheet->law.sphere_dim)
            fprintf(stream, "\"sphere_dim\": %d, ", sheet->law.sphere_dim);
        if (sheet->lloyd.rounds)
            fprintf(stream, "\"rounds\": %d, \"last_change\": %.9g, ", sheet->lloyd.rounds, sheet->lloyd.last_change);
        fprintf(stream, "\"db_above_bound\": %.9g}%s\n", above_bound(sheet), i + 1 < n ? "," : "");
    }
    fputs(" }\n}\n", stream);
}

void kvb_codebook_print(FILE *stream, kvb_codebook_format format, const kvb_codebook_sheet *sheets, int n) {
    if (format == KVB_FORMAT_JSON) {
        print_json(stream, sheets, n);
        return;
    }
    for (int i = 0; i < n; i++) {
        if (i > 0)
            fputc('\n', stream);
        if (format == KVB_FORMAT_C)
            print_c(stream, &sheets[i]);
        else
            print_text(stream, &sheets[i]);
    }
}

static void verdict_text(FILE *stream, const kvb_codebook_verdict *verdict) {
    const kvb_codebook_check *check = &verdict->check;
    fprintf(stream, "%d bit%s: %s\n", verdict->bits, plural(verdict->bits),
            check->fixed_point ? "a Lloyd-Max fixed point" : "not a Lloyd-Max fixed point");
    fprintf(stream, "  factor that fits best: %.9g", check->factor);
    if (check->factor < 0.9) /* tables for the coordinates of unit vectors */
        fprintf(stream, " = 1/sqrt(%.6g)", 1.0 / (check->factor * check->factor));
    fprintf(stream, "\n  MSE %.9g there, %.4f %% more than the optimum's %.9g\n", check->mse, 100.0 * check->mse_loss,
            check->optimum_mse);
    if (verdict->given_factor > 0.0)
        fprintf(stream, "  MSE %.9g at the factor %.9g, %.4f %% more than the optimum's\n", verdict->given_mse,
                verdict->given_factor, 100.0 * (verdict->given_mse / check->optimum_mse - 1.0));
    fprintf(stream, "  level %d lies farthest from the optimum for its size: %.7g over the factor, optimum %.7g\n",
            check->worst_level, verdict->worst_centroid / check->factor, verdict->worst_optimum);
    fprintf(stream, "  largest distance from the optimum %.3g, largest move in one Lloyd round %.3g\n",
            check->largest_gap, check->largest_move);
    if (!check->increasing)
        fputs("  its values do not rise strictly\n", stream);
    if (!check->symmetric)
        fputs("  it is not symmetric about 0\n", stream);
}

static const char *boolean(int value) {
    return value ? "true" : "false";
}

static void verdict_json(FILE *stream, const kvb_codebook_verdict *verdict, int last) {
    const kvb_codebook_check *check = &verdict->check;
    fprintf(stream, "  \"%d_bit\": {\"fixed_point\": %s, \"factor\": %.9g, \"mse\": %.9g, \"optimum_mse\": %.9g, ",
            verdict->bits, boolean(check->fixed_point), check->factor, check->mse, check->optimum_mse);
    if (verdict->given_factor > 0.0)
        fprintf(stream, "\"given_factor\": %.9g, \"given_mse\": %.9g, ", verdict->given_factor, verdict->given_mse);
    fprintf(stream,
            "\"mse_loss\": %.9g, \"largest_gap\": %.9g, \"worst_level\": %d, \"largest_move\": %.9g, "
            "\"symmetric\": %s, \"increasing\": %s}%s\n",
            check->mse_loss, check->largest_gap, check->worst_level, check->largest_move, boolean(check->symmetric),
            boolean(check->increasing), last ? "" : ",");
}

void kvb_codebook_print_verdicts(FILE *stream, kvb_codebook_format format, const kvb_codebook_verdict *verdicts,
                                 int n) {
    if (format == KVB_FORMAT_JSON)
        fputs("{\n \"checks\": {\n", stream);
    for (int i = 0; i < n; i++) {
        if (format == KVB_FORMAT_JSON)
            verdict_json(stream, &verdicts[i], i + 1 == n);
        else
            verdict_text(stream, &verdicts[i]);
    }
    if (format == KVB_FORMAT_JSON)
        fputs(" }\n}\n", stream);
}
