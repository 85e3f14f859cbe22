/* How a side of a layer is called in tables: "4", "4.5", or "4t16" for a trellis code of 16 states. */
#ifndef KVBITS_CLI_WIDTH_NAME_H
#define KVBITS_CLI_WIDTH_NAME_H

#include "kvbits/kvbits.h"

typedef struct kvb_width_name {
    char text[16];
} kvb_width_name;

kvb_width_name kvb_width_name_of(const kvb_codec_spec *side);

#endif
