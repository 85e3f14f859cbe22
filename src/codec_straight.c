/* The scalar codes that attention reads rows of a trellis code as: attend_trellis.c and vec_weave.h make such rows. */
#include "codec_tables.h"

#include <string.h>

enum { highest = 7, second = 6, sign = 5 /* bits of a byte */ };

/* The level of a straightened code: the subset comes into the places' bits where those of attend_trellis.c leave room
 * for it. */
static int straight_level(int place_bits, int code) {
    if (place_bits <= 3) {
        return code;
    }
    int place = (code & 15) | code >> 6 << 4, subset = code >> 4 & 3;
    return 4 * place + subset;
}

/* The level of a byte: where its lower half is to be negated, all bits of the number but the highest are inverted. */
static int byte_level(int stored_bits, int byte) {
    int low = byte & 15, high = byte >> highest & 1, middle = byte >> second & 1, is_upper = byte >> sign & 1;
    int level = stored_bits == 4   ? high << 4 | low
                : stored_bits == 5 ? (low & 7) << 2 | high << 1 | low >> 3
                                   : low << 2 | high << 1 | middle;
    return stored_bits > 4 && is_upper ? (2 << stored_bits) - 1 - level : level;
}

/* `tables` as a scalar code, whose centroids come next. */
static void begin_scalar(const kvb_codec_tables *tables, int bits, kvb_codec_tables *scalar) {
    memcpy(scalar, tables, sizeof *scalar);
    scalar->trellis_states = 0;
    scalar->bits = bits;
    scalar->levels = 1 << bits;
    scalar->n_planes = kvb_layout_planes(bits, scalar->plane_widths);
}

static void make_bytes(const kvb_codec_tables *tables, kvb_codec_tables *bytes) {
    begin_scalar(tables, 8, bytes);
    bytes->byte_bits = tables->bits - 1;
    for (int byte = 0; byte < bytes->levels; byte++) {
        bytes->centroids[byte] = tables->centroids[byte_level(bytes->byte_bits, byte)];
    }
    kvb_codec_tables_fix(bytes);
    bytes->fixed_is_odd = tables->fixed_is_odd; /* what negating asks for */
}

void kvb_codec_tables_straighten(kvb_codec_tables *tables, kvb_codec_tables straight[KVB_STRAIGHT_TABLES]) {
    int place_bits = tables->bits - 2;
    tables->straight = tables->bytes = NULL;
    if (tables->head_dim < KVB_MIN_STRAIGHT_DIM) {
        return;
    }
    begin_scalar(tables, place_bits == 1 ? 4 : tables->bits, straight);
    memset(straight->centroids, 0, sizeof straight->centroids);
    for (int code = 0; code < tables->levels; code++) {
        straight->centroids[code] = tables->centroids[straight_level(place_bits, code)];
    }
    kvb_codec_tables_fix(straight);
    tables->straight = straight;
    if (place_bits >= 3 && (tables->head_dim == 64 || tables->head_dim == 128 || tables->head_dim == 256)) {
        make_bytes(tables, straight + 1);
        tables->bytes = straight + 1;
    }
}
