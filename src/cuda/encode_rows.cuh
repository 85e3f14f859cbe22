// Rows of any head_dim, levels and trellis, in shared memory: half a warp has one, and its lanes are the lanes of the
// format's summation tree.
#pragma once
#include "encode_scale.cuh"
#include "encode_trellis.cuh"
#include "fragments.h"

namespace kvb {

// Lanes of a row meet here. Both rows of a warp go the same way whatever they hold, so the whole warp does.
__device__ __forceinline__ void meet() {
    __syncwarp();
}

__device__ void rotate(const kvb_cuda_format &f, float *row, int lane) {
    const int d = f.head_dim, n = d / f.hadamard_order;
    for (int i = lane; i < d; i += LANES) {
        row[i] = __uint_as_float(__float_as_uint(row[i]) ^ (f.signs[i / 32] >> i % 32 & 1) << 31);
    }
    meet();
    for (int h = 1; h < n; h *= 2) {
        for (int i = lane; i < d / 2; i += LANES) {
            float *a = row + i / h * 2 * h + i % h, *b = a + h;
            const float x = *a, y = *b;
            *a = __fadd_rn(x, y);
            *b = __fsub_rn(x, y);
        }
        meet();
    }
    for (int c = lane; f.hadamard_order > 1 && c < n; c += LANES) { // columns are their lanes' own
        float column[36];
        for (int j = 0; j < f.hadamard_order; j++) {
            column[j] = row[j * n + c];
        }
        for (int a = 0; a < f.hadamard_order; a++) {
            const uint64_t negative = f.hadamard[a];
            float sum = column[0];
            for (int j = 1; j < f.hadamard_order; j++) {
                sum = negative >> j & 1 ? __fsub_rn(sum, column[j]) : __fadd_rn(sum, column[j]);
            }
            row[a * n + c] = sum;
        }
    }
    meet();
    for (int i = lane; i < d; i += LANES) {
        row[i] = __fmul_rn(row[i], f.inverse_sqrt_dim);
    }
    meet();
}

__device__ __forceinline__ float fold(float sum) {
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
        sum = __fadd_rn(sum, __shfl_down_sync(0xffffffffu, sum, lanes, LANES));
    }
    return __shfl_sync(0xffffffffu, sum, 0, LANES);
}

// What the kernel finds paths through: no trellis, those of 8 and 16 states, any.
enum Paths { NO_PATHS, SHORT_PATHS, ALL_PATHS };

// Tables in shared memory, and the warp's words for the ways of a path.
struct Tables {
    const float *midpoints, *centroids;
    uint32_t *ways;
};

// The first of a part's coordinates that is lane's; the row's lanes go on from part to part.
__device__ __forceinline__ int first_of(const kvb_code_part &part, int lane) {
    return part.first + ((lane - part.first) & (LANES - 1));
}

// The codes of a part of a row whose coordinates are multiplied by r; adds to the sums.
template <Paths PATHS>
__device__ void choose_part(const kvb_cuda_format &f, const kvb_code_part &part, const float *row, const Tables &tables,
                            float r, bool has_codes, uint8_t *codes, int lane, Sums *s) {
    const float *midpoints = tables.midpoints + part.first_level, *centroids = tables.centroids + part.first_level;
    const int begin = first_of(part, lane), end = part.first + part.dim;
    int mask = 0xff;
    for (int i = begin; i < end; i += LANES) {
        const float value = __fmul_rn(row[i], r);
        int code = 0;
        for (int step = part.levels / 2; step > 0; step /= 2) {
            code += value > midpoints[code + step - 1] ? step : 0;
        }
        codes[i] = (uint8_t)code;
    }
    if (PATHS != NO_PATHS && f.trellis_states) {
        mask = LEVEL;
        const float *x = row + part.first;
        uint8_t *own = codes + part.first;
        meet();
        if (f.trellis_states <= LANES) {
            find_path<1>(f, part.dim, x, r, centroids, own, tables.ways, lane);
        } else if constexpr (PATHS == ALL_PATHS) {
            if (f.trellis_states == 4 * LANES) {
                find_path<4>(f, part.dim, x, r, centroids, own, nullptr, lane);
            } else {
                find_path<16>(f, part.dim, x, r, centroids, own, nullptr, lane);
            }
        }
    }
    for (int i = begin; i < end; i += LANES) {
        const float c = centroids[has_codes ? codes[i] & mask : 0];
        s->row_c = __fadd_rn(s->row_c, __fmul_rn(row[i], c));
        s->c_c = __fadd_rn(s->c_c, __fmul_rn(c, c));
    }
}

// A row's codes when its coordinates are multiplied by r: levels, of a trellis code with inputs.
template <Paths PATHS>
__device__ Sums choose(const kvb_cuda_format &f, const float *row, const Tables &tables, float r, bool has_codes,
                       uint8_t *codes, int lane) {
    Sums s = {0.0f, 0.0f};
    for (int i = 0; i < kvb_fragment_code_parts(f.code); i++) {
        choose_part<PATHS>(f, kvb_fragment_code_part(f.head_dim, f.code, i), row, tables, r, has_codes, codes, lane,
                           &s);
    }
    s.row_c = fold(s.row_c);
    s.c_c = fold(s.c_c);
    return s;
}

// The rotated row becomes codes as they are stored; returns the bits of its scale.
template <Paths PATHS>
__device__ uint32_t encode_row(const kvb_cuda_format &f, const float *row, const Tables &tables, uint8_t *codes,
                               int lane) {
    float sum = 0.0f;
    for (int i = lane; i < f.head_dim; i += LANES) {
        sum = __fadd_rn(sum, __fmul_rn(row[i], row[i]));
    }
    const Start start = start_of(f, fold(sum));
    const Sums sums = choose_best(
        f, start.r, [&](float r) { return choose<PATHS>(f, row, tables, r, start.has_codes, codes, lane); });
    const Stored stored = stored_scale(f, start, sums);
    for (int i = lane; i < f.head_dim; i += LANES) {
        const int code = codes[i];
        const int own = PATHS != NO_PATHS && f.trellis_states ? code >> INPUT | (code & LEVEL) / 4 << 1 : code;
        codes[i] = (uint8_t)(stored.has_codes ? own : 0);
    }
    return stored.bits;
}

} // namespace kvb
