/* Packs 1000 rows at 4 bits and reads them back:  cc roundtrip.c $(pkg-config --cflags --libs kvbits) -lm */
#include <kvbits/kvbits.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 1000, HEAD_DIM = 128, BITS = 4 };

int main(void) {
    static float rows[ROWS * HEAD_DIM], back[ROWS * HEAD_DIM];
    for (int i = 0; i < ROWS * HEAD_DIM; i++)
        rows[i] = sinf(0.7f * (float)i) + 0.001f * (float)(i % 1009); /* your keys or values */

    kvb_error error;
    kvb_codec *codec;
    kvb_codec_spec spec = kvb_codec_spec_default(HEAD_DIM, BITS);
    if (kvb_codec_create(&spec, NULL, NULL, &codec, &error) != KVB_OK)
        return fprintf(stderr, "%s\n", error.text), 1;
    size_t bytes = kvb_codec_block_bytes(codec, ROWS);
    void *block = malloc(bytes);
    kvb_packed packed = kvb_packed_view(codec, block, ROWS);
    if (kvb_encode(codec, rows, KVB_F32, HEAD_DIM, ROWS, &packed, 0, NULL, &error) != KVB_OK ||
        kvb_decode(codec, &packed, 0, ROWS, KVB_DOMAIN_INPUT, back, HEAD_DIM, &error) != KVB_OK)
        return fprintf(stderr, "%s\n", error.text), 1;

    double apart = 0, square = 0;
    for (int i = 0; i < ROWS * HEAD_DIM; i++) {
        apart += ((double)rows[i] - back[i]) * ((double)rows[i] - back[i]);
        square += (double)rows[i] * rows[i];
    }
    printf("kvbits %s: %zu bytes of floats in %zu bytes, %.3f bits a value, error %.4f\n", kvb_version(), sizeof rows,
           bytes, kvb_codec_bits_per_value(codec), sqrt(apart / square));
    free(block);
    kvb_codec_destroy(codec);
    return 0;
}
