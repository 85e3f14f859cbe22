/* Integrals of the two laws that codebooks are made for, over the cells of a quantizer (docs/math.md, "Codebooks"). */
#ifndef KVB_EVAL_LAW_H
#define KVB_EVAL_LAW_H

#include "kvbits/eval.h"

#define KVB_MAX_SPHERE_DIM (1 << 20) /* beyond it the tables are those of N(0,1) to 3e-5 */

/* A law made ready for integration: unit variance, symmetric about 0. */
typedef struct kvb_law_density {
    int dim;     /* 0: N(0,1) */
    double root; /* sqrt(dim) */
    double edge; /* end of the support: infinity or sqrt(dim) */
    double half; /* integral of the unnormalized weight over [0, edge] */
} kvb_law_density;

typedef struct kvb_law_cell {
    double mass; /* probability */
    double mean; /* conditional; an edge of the cell where the cell is empty */
    double cost; /* integral of (x - about)^2 */
} kvb_law_cell;

/* law.sphere_dim: 0 or 2..KVB_MAX_SPHERE_DIM. */
kvb_law_density kvb_law_density_make(kvb_law law);
/* The cell [low, high], low <= high, infinities allowed, to about 1e-15 relative, however deep in the tail. */
kvb_law_cell kvb_law_cell_of(const kvb_law_density *measure, double low, double high, double about);
/* density(x) / mass of [low, high] for 0 <= low <= x <= high inside the support. */
double kvb_law_hazard(const kvb_law_density *measure, double x, const kvb_law_cell *cell);

#endif
