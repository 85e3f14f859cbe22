/* One line on a terminal that says how far the work is. */
#ifndef KVBITS_CLI_PROGRESS_H
#define KVBITS_CLI_PROGRESS_H

#include "kvbits/eval.h"

#include <stdio.h>

/* The caller's memory; set by kvb_progress_line_start. */
typedef struct kvb_progress_line {
    FILE *stream;
    double (*seconds)(void); /* a clock that never goes back */
    double started, drawn;
    int terminal, visible, columns;
} kvb_progress_line;

/* On stderr; silent when that is no terminal. Nothing is drawn in the first two seconds, then at most ten times a
 * second. The result points at `line`. */
kvb_progress kvb_progress_line_start(kvb_progress_line *line);
/* Erases the line. */
void kvb_progress_line_end(kvb_progress_line *line);

#endif
