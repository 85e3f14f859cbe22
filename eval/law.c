#include "law.h"

#include <math.h>

#include <sleef.h>

/* Gauss-Legendre with 16 points on [-1, 1]: the positive nodes and their weights. */
enum { NODES = 8 };
static const double nodes[NODES][2] = {
    {0.0950125098376374402, 0.1894506104550684963}, {0.2816035507792589132, 0.1826034150449235888},
    {0.4580167776572273863, 0.1691565193950025382}, {0.6178762444026437484, 0.1495959888165767321},
    {0.7554044083550030339, 0.1246289712555338721}, {0.8656312023878317439, 0.0951585116824927848},
    {0.9445750230732325761, 0.0622535239386478929}, {0.9894009349916499326, 0.0271524594117540949},
};
#define NEGLIGIBLE 1e-22 /* a panel below this share of the cell ends an integral outward */

/* The variable of integration: x itself for N(0,1); for the sphere the latitude t, x = sqrt(d) sin t, in which the
 * law's weight cos(t)^(d-2) is entire, also where the density in x has a root or a pole at its edge. */
static double parameter_of(const kvb_law_density *m, double x) {
    if (m->dim == 0)
        return x;
    return x >= m->edge ? 0.5 * 3.14159265358979323846 : Sleef_cinz_asind1_u10purec(x / m->root);
}

/* Logarithm of the weight at t >= 0, and x there. */
static double log_weight(const kvb_law_density *m, double t, double *x) {
    if (m->dim == 0) {
        *x = t;
        return -0.5 * t * t;
    }
    const Sleef_double_2 sincos = Sleef_cinz_sincosd1_u10purec(t);
    *x = m->root * sincos.x;
    if (m->dim == 2)
        return 0.0;
    /* log(cos t) from whichever of the two is not near 1 */
    const double square = sincos.x * sincos.x;
    return (m->dim - 2) *
           (square < 0.5 ? 0.5 * Sleef_cinz_log1pd1_u10purec(-square) : Sleef_cinz_logd1_u10purec(sincos.y));
}

/* Widest panel at x in which 16 points integrate the weight to rounding: the weight must not fall by more than a few
 * powers of e across it. */
static double panel_width(const kvb_law_density *m, double x) {
    return m->dim == 0 ? 1.0 / (1.0 + 0.25 * x) : 1.0 / (m->root * (1.0 + 0.25 * x));
}

typedef struct sums {
    double weight, first, second; /* of 1, x - low, (x - about)^2 */
} sums;

static sums panel(const kvb_law_density *m, double from, double to, double low, double about, double log_scale) {
    const double center = 0.5 * (from + to), radius = 0.5 * (to - from);
    sums s = {0};
    for (int i = 0; i < 2 * NODES; i++) {
        double x;
        const double *node = nodes[i / 2];
        const double log_w = log_weight(m, center + (i % 2 ? radius : -radius) * node[0], &x);
        const double w = radius * node[1] * Sleef_cinz_expd1_u10purec(log_w - log_scale);
        s.weight += w;
        s.first += w * (x - low);
        s.second += w * (x - about) * (x - about);
    }
    return s;
}

/* A cell with 0 <= low: weights are taken relative to the inner edge, where they are largest, so that nothing
 * underflows and the mean is a weighted average of the nodes, without cancellation. */
static kvb_law_cell outward_cell(const kvb_law_density *m, double low, double high, double about) {
    if (low >= m->edge || low >= high)
        return (kvb_law_cell){.mean = fmin(low, m->edge)};
    const double end = parameter_of(m, fmin(high, m->edge));
    double t = parameter_of(m, low), x = low;
    const double log_scale = log_weight(m, t, &x);
    sums total = {0};
    while (t < end) {
        const double next = fmin(end, t + panel_width(m, x));
        if (next <= t)
            break; /* the panels have shrunk below rounding */
        const sums s = panel(m, t, next, low, about, log_scale);
        total.weight += s.weight;
        total.first += s.first;
        total.second += s.second;
        if (s.weight <= NEGLIGIBLE * total.weight)
            break;
        t = next;
        (void)log_weight(m, t, &x);
    }
    if (!(total.weight > 0.0))
        return (kvb_law_cell){.mean = low};
    const double scale = Sleef_cinz_expd1_u10purec(log_scale) / (2.0 * m->half);
    return (kvb_law_cell){total.weight * scale, low + total.first / total.weight, total.second * scale};
}

static kvb_law_cell mirrored(kvb_law_cell cell) {
    cell.mean = -cell.mean;
    return cell;
}

kvb_law_cell kvb_law_cell_of(const kvb_law_density *m, double low, double high, double about) {
    if (low >= 0.0)
        return outward_cell(m, low, high, about);
    if (high <= 0.0)
        return mirrored(outward_cell(m, -high, -low, -about));
    const kvb_law_cell left = mirrored(outward_cell(m, 0.0, -low, -about)), right = outward_cell(m, 0.0, high, about);
    const double mass = left.mass + right.mass;
    return (kvb_law_cell){mass, mass > 0.0 ? (left.mass * left.mean + right.mass * right.mean) / mass : 0.0,
                          left.cost + right.cost};
}

kvb_law_density kvb_law_density_make(kvb_law law) {
    kvb_law_density m = {.dim = law.sphere_dim, .root = sqrt((double)law.sphere_dim), .half = 0.5};
    m.edge = m.dim == 0 ? INFINITY : m.root;
    /* With half = 1/2 a cell's mass is its plain integral. */
    m.half = outward_cell(&m, 0.0, m.edge, 0.0).mass;
    return m;
}

double kvb_law_hazard(const kvb_law_density *m, double x, const kvb_law_cell *cell) {
    double at;
    const double t = parameter_of(m, x), log_w = log_weight(m, t, &at);
    const double dx_dt = m->dim == 0 ? 1.0 : m->root * Sleef_cinz_cosd1_u10purec(t);
    return Sleef_cinz_expd1_u10purec(log_w) / (2.0 * m->half * dx_dt * cell->mass);
}
