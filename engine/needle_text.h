/* What is hidden in a long text and asked for at its end, and where its tokens go. */
#ifndef KVBITS_ENGINE_NEEDLE_TEXT_H
#define KVBITS_ENGINE_NEEDLE_TEXT_H

#include <stdint.h>

#include "kvbits/kvbits.h"

typedef struct kvb_needle_text {
    char secret[64];    /* three words */
    char sentence[160]; /* tells it */
    char question[224]; /* asks for it, and ends where the secret goes on */
} kvb_needle_text;

/* Needle number i, the same on every machine. */
kvb_needle_text kvb_needle_text_of(int i);

/* Tokens of one passage: the text, inside it the sentence, then the question with its answer. */
typedef struct kvb_needle_parts {
    const int32_t *filler; /* the text from where it is taken */
    int32_t first;         /* stands before everything; -1: none */
    const int32_t *sentence, *question;
    int n_sentence, n_question; /* the answer counts as the question's */
} kvb_needle_parts;

/* How many tokens of text there are in a passage of `tokens`; below 0: not even needle and question fit. */
int kvb_needle_room(const kvb_needle_parts *parts, int tokens);
/* Fills out[0..tokens), with `depth` percent of the text (rounded to a token) before the sentence. Returns the
 * sentence's position. The room is at least 0. */
int kvb_needle_place(const kvb_needle_parts *parts, int depth, int tokens, int32_t *out);

#endif
