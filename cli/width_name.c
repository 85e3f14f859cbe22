#include "width_name.h"

#include <stdio.h>

kvb_width_name kvb_width_name_of(const kvb_codec_spec *side) {
    kvb_width_name name;
    snprintf(name.text, sizeof name.text, side->trellis_states ? "%dt%d" : "%d", side->bits, side->trellis_states);
    return name;
}
