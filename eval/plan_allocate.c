#include "plan_allocate.h"

#include <stdlib.h>

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int64_t least_bytes(const kvb_plan_option *group, int n_options) {
    int64_t least = group[0].bytes;
    for (int o = 1; o < n_options; o++)
        if (group[o].bytes < least)
            least = group[o].bytes;
    return least;
}

kvb_status kvb_plan_allocate(const kvb_plan_option *options, int n_groups, int n_options, int64_t budget, int *chosen) {
    if (n_groups < 1 || n_options < 1 || n_options > 255)
        return KVB_ERROR_ARGUMENT;
    int64_t room = budget, unit = 0, useful = 0;
    for (int g = 0; g < n_groups; g++) {
        const kvb_plan_option *group = options + (size_t)g * (size_t)n_options;
        int64_t least = least_bytes(group, n_options), most = 0;
        room -= least;
        for (int o = 0; o < n_options; o++) {
            int64_t extra = group[o].bytes - least;
            unit = common_divisor(unit, extra);
            if (extra > most)
                most = extra;
        }
        useful += most;
    }
    if (room < 0)
        return KVB_ERROR_ARGUMENT;
    if (room > useful)
        room = useful;
    if (unit == 0)
        unit = 1;
    size_t width = (size_t)(room / unit) + 1;
    if (width > SIZE_MAX / 16 / (size_t)n_groups)
        return KVB_ERROR_MEMORY;
    double *best = calloc(2 * width, sizeof *best);
    unsigned char *choice = malloc(width * (size_t)n_groups);
    if (best == NULL || choice == NULL) {
        free(best);
        free(choice);
        return KVB_ERROR_MEMORY;
    }
    double *old = best, *new = best + width;
    for (int g = 0; g < n_groups; g++) {
        const kvb_plan_option *group = options + (size_t)g * (size_t)n_options;
        int64_t least = least_bytes(group, n_options);
        for (size_t w = 0; w < width; w++) {
            int found = -1;
            for (int o = 0; o < n_options; o++) {
                size_t cost = (size_t)((group[o].bytes - least) / unit);
                if (cost > w)
                    continue;
                double damage = old[w - cost] + group[o].damage;
                if (found >= 0 && damage >= new[w])
                    continue;
                new[w] = damage;
                found = o;
            }
            choice[(size_t)g * width + w] = (unsigned char)found;
        }
        double *swap = old;
        old = new;
        new = swap;
    }
    size_t w = width - 1;
    while (w > 0 && old[w - 1] <= old[width - 1])
        w--;
    for (int g = n_groups - 1; g >= 0; g--) {
        const kvb_plan_option *group = options + (size_t)g * (size_t)n_options;
        chosen[g] = choice[(size_t)g * width + w];
        w -= (size_t)((group[chosen[g]].bytes - least_bytes(group, n_options)) / unit);
    }
    free(best);
    free(choice);
    return KVB_OK;
}
