#include "peers/peers.h"

#ifdef KVB_WITH_GGML
extern const kvb_bench_peer kvb_bench_ggml;
#endif

const kvb_bench_peer *kvb_bench_peer_at(int i) {
    static const kvb_bench_peer *const peers[] = {
#ifdef KVB_WITH_GGML
        &kvb_bench_ggml,
#endif
        NULL};
    const int n = (int)(sizeof peers / sizeof peers[0]) - 1;
    return i < 0 || i >= n ? NULL : peers[i];
}
