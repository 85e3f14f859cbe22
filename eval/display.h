/* Foreign text, made fit for an error sentence. */
#ifndef KVB_EVAL_DISPLAY_H
#define KVB_EVAL_DISPLAY_H

#define KVB_DISPLAY_BYTES 160

/* Copies `text`: control characters become '?', and a long text loses its middle. */
void kvb_display(char out[KVB_DISPLAY_BYTES], const char *text);

#endif
