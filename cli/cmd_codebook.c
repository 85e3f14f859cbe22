/* kvbits codebook: makes or reads tables and prints them, or checks a file's. */
#include <stdio.h>

#include "codebook_options.h"
#include "codebook_print.h"
#include "commands.h"
#include "exit_code.h"

static int complain(kvb_status status, const kvb_error *error) {
    fprintf(stderr, "kvbits codebook: %s\n", error->text);
    return kvb_exit_code(status);
}

/* The widths to work on: those asked for, or all; of a file (path not NULL), those that it has. */
static kvb_status choose_bits(const kvb_codebook_options *options, const kvb_codebook_file *file, const char *path,
                              int bits[KVB_MAX_BITS], int *n, kvb_error *error) {
    *n = 0;
    if (options->n_bits == 0)
        for (int b = 1; b <= KVB_MAX_BITS; b++)
            if (!path || file->centroids[b])
                bits[(*n)++] = b;
    for (int i = 0; i < options->n_bits; i++) {
        bits[(*n)++] = options->bits[i];
        if (path && !file->centroids[options->bits[i]])
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "--bits asks for %d, but %.200s has no \"%d_bit\" table",
                                 options->bits[i], path, options->bits[i]);
    }
    return KVB_OK;
}

static kvb_status make_lloyd(const kvb_codebook_options *options, kvb_codebook_sheet *sheet, kvb_error *error) {
    const int default_limit = kvb_lloyd_round_limit(1 << sheet->bits);
    sheet->source = options->cdf == KVB_CDF_ERFC ? "fixed-point Lloyd-Max iteration"
                                                 : "fixed-point Lloyd-Max iteration with the CDF of A&S 26.2.17";
    return kvb_lloyd_max(1 << sheet->bits, options->cdf, options->stop,
                         options->round_limit ? options->round_limit : default_limit, sheet->centroids, &sheet->lloyd,
                         error);
}

static kvb_status make_centroids(const kvb_codebook_options *options, const kvb_codebook_file *file,
                                 kvb_codebook_sheet *sheet, kvb_error *error) {
    const int levels = 1 << sheet->bits;
    switch (options->origin) {
    case KVB_ORIGIN_LLOYD:
        return make_lloyd(options, sheet, error);
    case KVB_ORIGIN_OPTIMUM:
        sheet->source = "optimum for N(0,1)";
        return kvb_codebook_optimum(sheet->law, levels, sheet->centroids, NULL, error);
    case KVB_ORIGIN_BETA:
        sheet->source = "optimum for the coordinate of a unit vector";
        sheet->law.sphere_dim = options->dim;
        return kvb_codebook_optimum(sheet->law, levels, sheet->centroids, NULL, error);
    case KVB_ORIGIN_FILE:
        sheet->source = "file";
        for (int i = 0; i < levels; i++)
            sheet->centroids[i] = file->centroids[sheet->bits][i];
        return KVB_OK;
    default:
        sheet->source = "library table";
        for (int i = 0; i < levels; i++)
            sheet->centroids[i] = kvb_codebook(sheet->bits)[i];
        return KVB_OK;
    }
}

/* A table from a file may stand on any scale: its figures are those at the factor that fits best. */
static kvb_status make_sheet(const kvb_codebook_options *options, const kvb_codebook_file *file, int bits,
                             kvb_codebook_sheet *sheet, kvb_error *error) {
    const int levels = 1 << bits;
    *sheet = (kvb_codebook_sheet){.bits = bits, .factor = 1.0};
    kvb_status status = make_centroids(options, file, sheet, error);
    if (status == KVB_OK && options->origin == KVB_ORIGIN_FILE) {
        kvb_codebook_check check;
        status = kvb_codebook_check_table(sheet->centroids, levels, 0.0, &check, error);
        if (status == KVB_OK) {
            sheet->mse = check.mse;
            sheet->factor = check.factor;
        }
    } else if (status == KVB_OK) {
        sheet->mse = kvb_codebook_mse(sheet->law, sheet->centroids, levels);
    }
    const double factor = options->factor > 0.0 ? options->factor : 1.0;
    for (int i = 0; i < levels; i++)
        sheet->centroids[i] *= factor;
    sheet->factor *= factor;
    return status;
}

static kvb_status print_tables(const kvb_codebook_options *options, const kvb_codebook_file *file, kvb_error *error) {
    int bits[KVB_MAX_BITS], n;
    kvb_codebook_sheet sheets[KVB_MAX_BITS];
    kvb_status status = choose_bits(options, file, options->path, bits, &n, error);
    for (int i = 0; i < n && status == KVB_OK; i++)
        status = make_sheet(options, file, bits[i], &sheets[i], error);
    if (status == KVB_OK)
        kvb_codebook_print(stdout, options->format, sheets, n);
    return status;
}

static kvb_status judge(const double *table, int bits, const kvb_codebook_options *options,
                        kvb_codebook_verdict *verdict, kvb_error *error) {
    const int levels = 1 << bits;
    double scratch[KVB_MAX_LEVELS];
    *verdict = (kvb_codebook_verdict){.bits = bits, .given_factor = options->factor};
    kvb_status status = kvb_codebook_check_table(table, levels, options->tolerance, &verdict->check, error);
    if (status == KVB_OK)
        status = kvb_codebook_optimum((kvb_law){0}, levels, scratch, NULL, error);
    if (status != KVB_OK)
        return status;
    verdict->worst_centroid = table[verdict->check.worst_level];
    verdict->worst_optimum = scratch[verdict->check.worst_level];
    if (options->factor > 0.0) {
        for (int i = 0; i < levels; i++)
            scratch[i] = table[i] / options->factor;
        verdict->given_mse = kvb_codebook_mse((kvb_law){0}, scratch, levels);
    }
    return KVB_OK;
}

static kvb_status check_tables(const kvb_codebook_options *options, const kvb_codebook_file *file, int *all_fixed,
                               kvb_error *error) {
    int bits[KVB_MAX_BITS], n;
    kvb_codebook_verdict verdicts[KVB_MAX_BITS];
    kvb_status status = choose_bits(options, file, options->check, bits, &n, error);
    for (int i = 0; i < n && status == KVB_OK; i++) {
        status = judge(file->centroids[bits[i]], bits[i], options, &verdicts[i], error);
        *all_fixed &= status == KVB_OK && verdicts[i].check.fixed_point;
    }
    if (status == KVB_OK)
        kvb_codebook_print_verdicts(stdout, options->format, verdicts, n);
    return status;
}

int kvb_cmd_codebook(int argc, char **argv) {
    kvb_codebook_options options;
    kvb_codebook_file file = {0};
    kvb_error error = {{0}};
    int all_fixed = 1;
    kvb_status status = kvb_codebook_options_parse(argc, argv, &options, &error);
    if (status != KVB_OK)
        return complain(status, &error);
    if (options.help) {
        kvb_codebook_options_help(stdout);
        return KVB_EXIT_OK;
    }
    const char *path = options.check ? options.check : options.path;
    if (path)
        status = kvb_codebook_file_read(path, &file, &error);
    if (status == KVB_OK && options.check)
        status = check_tables(&options, &file, &all_fixed, &error);
    else if (status == KVB_OK)
        status = print_tables(&options, &file, &error);
    kvb_codebook_file_free(&file);
    if (status != KVB_OK)
        return complain(status, &error);
    return all_fixed ? KVB_EXIT_OK : KVB_EXIT_CHECK;
}
