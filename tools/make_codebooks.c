/* Prints src/codebook_tables.inc: the library's codebooks for 1-8 bits (docs/math.md, "Codebooks"). */
#include <stdio.h>
#include <string.h>

#include "kvbits/eval.h"

enum { PER_LINE = 6 };

static int print_table(int bits) {
    const int levels = 1 << bits;
    double exact[KVB_MAX_LEVELS], rounded[KVB_MAX_LEVELS], residual;
    kvb_error error;
    if (kvb_codebook_optimum((kvb_law){0}, levels, exact, &residual, &error) != KVB_OK) {
        fprintf(stderr, "kvb-make-codebooks: %s\n", error.text);
        return 1;
    }
    for (int i = 0; i < levels; i++)
        rounded[i] = kvb_codebook_round(exact[i]);
    const double optimum = kvb_codebook_mse((kvb_law){0}, exact, levels);
    const double mse = kvb_codebook_mse((kvb_law){0}, rounded, levels);
    printf("\n/* %d bit%s: MSE %.9g, SQNR %.4f dB, %.4f %% above the optimum's %.9g,\n"
           " * which was solved to a residual of %.1e. */\n",
           bits, bits == 1 ? "" : "s", mse, kvb_decibel(1.0 / mse), 100.0 * (mse / optimum - 1.0), optimum, residual);
    printf("static const float codebook_%d_bit[%d] = {\n", bits, levels);
    for (int i = 0; i < levels; i++) {
        /* 13 digits write a multiple of 2^-12 below 10 exactly. */
        char number[32];
        snprintf(number, sizeof number, "%.13g", rounded[i]);
        printf("%s%s%sf,%s", i % PER_LINE == 0 ? "    " : " ", number, strchr(number, '.') ? "" : ".0",
               i % PER_LINE == PER_LINE - 1 || i + 1 == levels ? "\n" : "");
    }
    printf("};\n");
    return 0;
}

int main(void) {
    printf("/* Made by tools/make_codebooks.c; do not edit. Lloyd-Max optima for N(0,1), rounded to the nearest "
           "multiple of\n"
           " * 2^-12 that binary16 represents. */\n");
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++)
        if (print_table(bits))
            return 1;
    printf("\nstatic const float *const codebook_tables[%d] = {\n", KVB_MAX_BITS);
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++)
        printf("    codebook_%d_bit,\n", bits);
    printf("};\n");
    return fflush(stdout) != 0 || ferror(stdout);
}
