/* The pieces of a block: docs/format.md, sections 5 and 8. Rows of a piece follow one another. */
#ifndef KVB_FILE_PAGE_H
#define KVB_FILE_PAGE_H

#include "cache.h"

typedef enum kvb_piece_kind { KVB_PIECE_CODES, KVB_PIECE_F32, KVB_PIECE_F16, KVB_PIECE_BF16 } kvb_piece_kind;

typedef struct kvb_file_piece {
    size_t offset; /* in the block */
    size_t row_bytes;
    kvb_piece_kind kind;
} kvb_file_piece;

enum { KVB_FILE_MAX_PIECES = 1 + KVB_MAX_PLANES };

/* The pieces of one head's keys (side 0) or values (side 1), and the bytes of the block up to the next; returns their
 * number. */
int kvb_file_pieces(const kvb_layer_spec *layer, int side, int page_tokens, kvb_file_piece pieces[KVB_FILE_MAX_PIECES],
                    size_t *block_bytes);

/* Bytes of one token's raw keys or values, all heads. */
size_t kvb_file_token_bytes(const kvb_layer_spec *layer, int side);

/* Raw tokens of a part: those at the front, and those at the end. */
static inline int64_t kvb_file_n_first(const kvb_layer_spec *layer, int64_t n_tokens) {
    return n_tokens < layer->exact_first ? n_tokens : layer->exact_first;
}

#endif
