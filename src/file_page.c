#include "file_page.h"

#include "file_codec.h"

static kvb_piece_kind kind_of(kvb_dtype dtype) {
    return dtype == KVB_F32 ? KVB_PIECE_F32 : dtype == KVB_F16 ? KVB_PIECE_F16 : KVB_PIECE_BF16;
}

int kvb_file_pieces(const kvb_layer_spec *layer, int side, int page_tokens, kvb_file_piece pieces[KVB_FILE_MAX_PIECES],
                    size_t *block_bytes) {
    const kvb_codec_spec *spec = side == 0 ? &layer->k : &layer->v;
    kvb_file_plane planes[KVB_MAX_PLANES];
    int n = 0;
    size_t offset = 0;
    if (kvb_layer_side_is_dense(spec)) {
        pieces[n++] = (kvb_file_piece){0, sizeof(uint16_t) * (size_t)spec->head_dim, kind_of(layer->dense)};
    } else {
        pieces[n++] = (kvb_file_piece){0, kvb_dtype_bytes(spec->scale_dtype), kind_of(spec->scale_dtype)};
        int n_planes = kvb_file_planes(spec, planes);
        for (int p = 0; p < n_planes; p++) {
            offset += pieces[n - 1].row_bytes * (size_t)page_tokens;
            pieces[n++] =
                (kvb_file_piece){offset, (size_t)kvb_layout_plane_bytes(planes[p].n, planes[p].width), KVB_PIECE_CODES};
        }
    }
    size_t row_bytes = 0;
    for (int i = 0; i < n; i++) {
        row_bytes += pieces[i].row_bytes;
    }
    *block_bytes = kvb_page_block_bytes(row_bytes, page_tokens);
    return n;
}

size_t kvb_file_token_bytes(const kvb_layer_spec *layer, int side) {
    int dim = side == 0 ? layer->k.head_dim : layer->v.head_dim;
    return sizeof(uint16_t) * (size_t)layer->n_kv_heads * (size_t)dim;
}
