/* The standard normal law in double, by SLEEF's deterministic functions: equal bits on every machine. */
#ifndef KVB_EVAL_NORMAL_H
#define KVB_EVAL_NORMAL_H

enum { KVB_NORMAL_BATCH = 2 }; /* kvb_normal_tails may read and write up to this multiple of n */

/* density[i] = phi(x[i]) and tail[i] = 1 - Phi(x[i]), the upper tail to full relative accuracy. The three arrays must
 * have room for n rounded up to a multiple of KVB_NORMAL_BATCH; values past n are scratch. */
void kvb_normal_tails(double *x, int n, double *tail, double *density);

/* The x >= 0 whose upper tail is `tail`, for tail in (0, 1/2]. */
double kvb_normal_upper_quantile(double tail);

#endif
