/* What a query sees, and where it lies: windows, tree masks, exact tokens, rings and pages, in one place. */
#include "attend_jobs.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t end_of(const kvb_attend_item *item) {
    return item->kv_end > 0 ? item->kv_end : item->kv->n_tokens;
}

kvb_visible kvb_visible_to(const kvb_attend_item *item, int query) {
    const kvb_kv_view *kv = item->kv;
    int64_t first_new = kv->n_tokens - item->n_q, end = end_of(item);
    int64_t position = item->positions ? item->positions[query] : first_new + query;
    kvb_visible visible = {.begin = kv->window > 0 ? most(position - kv->window + 1, 0) : 0,
                           .end = most(least(position + 1, end), 0),
                           .tree_begin = kv->n_tokens};
    if (item->tree_mask) {
        visible.tree_begin = first_new;
        visible.end = least(visible.end, first_new);
    }
    visible.begin = least(most(visible.begin, item->kv_begin), visible.end);
    return visible;
}

/* Bits begin .. end - 1 of 32, whatever the numbers are. */
static uint32_t bits_between(int64_t begin, int64_t end) {
    begin = most(begin, 0);
    end = least(end, 32);
    return begin < end ? (uint32_t)((((uint64_t)1 << end) - 1) & ~(((uint64_t)1 << begin) - 1)) : 0;
}

uint32_t kvb_visible_bits(const kvb_attend_item *item, int query, const kvb_visible *visible, int64_t first,
                          int n_tokens) {
    uint32_t bits = bits_between(visible->begin - first, visible->end - first);
    if (first + n_tokens > visible->tree_begin) {
        const uint8_t *row = item->tree_mask + (size_t)query * (((size_t)item->n_q + 7) / 8);
        int64_t begin = most(most(first, visible->tree_begin), item->kv_begin);
        for (int64_t t = begin; t < least(first + n_tokens, end_of(item)); t++) {
            int64_t j = t - visible->tree_begin;
            bits |= (uint32_t)(row[j / 8] >> (j % 8) & 1) << (t - first);
        }
    }
    return bits & bits_between(0, n_tokens);
}

static kvb_token_run last_run_at(const kvb_kv_view *kv, int64_t first, int64_t end) {
    kvb_token_run run = {.source = KVB_SOURCE_EXACT_LAST, .n_tokens = end - first};
    if (kv->exact_last_slots > 0) {
        run.row = (size_t)(first % kv->exact_last_slots);
        run.n_tokens = least(run.n_tokens, kv->exact_last_slots - (int64_t)run.row);
    } else {
        run.row = (size_t)(first - (kv->n_tokens - kv->exact_last));
    }
    return run;
}

kvb_token_run kvb_token_run_at(const kvb_kv_view *kv, int64_t first, int64_t end) {
    int64_t last_begin = kv->n_tokens - kv->exact_last;
    if (first < kv->exact_first) {
        return (kvb_token_run){
            .source = KVB_SOURCE_EXACT_FIRST, .row = (size_t)first, .n_tokens = least(end, kv->exact_first) - first};
    }
    if (first >= last_begin) {
        return last_run_at(kv, first, end);
    }
    int page_tokens = kv->format->page_tokens;
    int64_t row = first % page_tokens;
    int64_t index = (first - row - kv->first_page_token) / page_tokens;
    return (kvb_token_run){.source = KVB_SOURCE_PAGE,
                           .page = kv->pages && first >= kv->first_page_token ? kv->pages[index] : NULL,
                           .row = (size_t)row,
                           .n_tokens = least(least(end, last_begin) - first, page_tokens - row)};
}
