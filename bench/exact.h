/* Attention in double precision on rows of floats: what measured attention is held to. */
#ifndef KVBITS_BENCH_EXACT_H
#define KVBITS_BENCH_EXACT_H

/* out = softmax(q . k[t] / sqrt(dim)) v over tokens 0 .. n_tokens - 1; rows of k and v lie dim apart. */
void kvb_bench_attend_exactly(const float *q, const float *k, const float *v, int n_tokens, int dim, double *out);
/* Adds the squares of out - exact and of exact. */
void kvb_bench_add_squares(const float *out, const double *exact, int dim, double *error, double *size);

#endif
