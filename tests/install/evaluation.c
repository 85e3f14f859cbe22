#include <kvbits/eval.h>

#include <stdio.h>

int main(void) {
    kvb_rng rng = kvb_rng_seed(0xC25EED);
    unsigned long long first = kvb_rng_next(&rng);
    printf("%016llx\n", first);
    return first != 0xa8fc40890ed24000ull;
}
