/* Sixteen bytes at a time, whatever the processor; products and sums rounded apart. */
typedef float floats __attribute__((vector_size(16)));
#define BYTES 16
#define FLOATS(x) ((floats){x, x, x, x})
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#define NAME kvb_bench_loops_generic
#define LABEL "generic"
#include "loops_template.h"
