#include "needle_text.h"

#include <stdio.h>
#include <string.h>

#include "kvbits/eval.h"

static const char *const places[] = {"Oslo",   "Lisbon", "Vienna", "Dublin", "Prague", "Warsaw", "Athens", "Madrid",
                                     "Berlin", "Naples", "Geneva", "Boston", "Denver", "Dallas", "Sydney", "Nairobi"};
static const char *const words[] = {"amber",  "silver", "falcon", "river",  "copper", "garden", "winter", "violet",
                                    "castle", "marble", "orange", "window", "forest", "candle", "bridge", "pepper",
                                    "rocket", "saddle", "mirror", "island", "button", "hammer", "ribbon", "cotton",
                                    "basket", "pillow", "tunnel", "turtle", "ginger", "velvet", "wagon",  "anchor"};

enum { N_PLACES = sizeof places / sizeof places[0], N_WORDS = sizeof words / sizeof words[0] };

kvb_needle_text kvb_needle_text_of(int i) {
    kvb_needle_text text;
    kvb_rng rng = kvb_rng_seed((uint64_t)i + 1);
    const char *place = places[i % N_PLACES], *word[3];
    for (int w = 0; w < 3; w++)
        word[w] = words[(size_t)(kvb_rng_uniform(&rng) * N_WORDS)];
    snprintf(text.secret, sizeof text.secret, "%s %s %s", word[0], word[1], word[2]);
    snprintf(text.sentence, sizeof text.sentence, "\n\nThe password of the office in %s is \"%s\".\n\n", place,
             text.secret);
    snprintf(text.question, sizeof text.question,
             "\n\nWhat is the password of the office in %s? The password of the office in %s is \"", place, place);
    return text;
}

int kvb_needle_room(const kvb_needle_parts *parts, int tokens) {
    return tokens - (parts->first >= 0) - parts->n_sentence - parts->n_question;
}

static int32_t *put(int32_t *out, const int32_t *tokens, int n) {
    memcpy(out, tokens, (size_t)n * sizeof *out);
    return out + n;
}

int kvb_needle_place(const kvb_needle_parts *parts, int depth, int tokens, int32_t *out) {
    const int room = kvb_needle_room(parts, tokens), before = (int)(((int64_t)room * depth + 50) / 100);
    int32_t *at = out;
    if (parts->first >= 0)
        *at++ = parts->first;
    at = put(at, parts->filler, before);
    const int position = (int)(at - out);
    at = put(at, parts->sentence, parts->n_sentence);
    at = put(at, parts->filler + before, room - before);
    put(at, parts->question, parts->n_question);
    return position;
}
