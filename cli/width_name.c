#include "width_name.h"

#include <stdio.h>

kvb_width_name kvb_width_name_of(const kvb_codec_spec *side) {
    kvb_width_name name;
    snprintf(name.text, sizeof name.text, side->trellis_states ? "%gt%d" : "%g", side->bits + 0.5 * side->half_bit,
             side->trellis_states);
    return name;
}
