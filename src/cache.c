/* Caches: their specs. */
#include "cache.h"

kvb_layer_spec kvb_layer_spec_default(int n_kv_heads, int head_dim, int k_bits, int v_bits) {
    return (kvb_layer_spec){.n_kv_heads = n_kv_heads,
                            .k = kvb_codec_spec_default(head_dim, k_bits),
                            .v = kvb_codec_spec_default(head_dim, v_bits),
                            .dense = KVB_F16};
}
