#define _GNU_SOURCE /* isatty, ioctl */
#include "progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define QUIET_SECONDS 2.0
#define SECONDS_BETWEEN 0.1
#define BAR 24

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int is_terminal(FILE *stream) {
    const char *term = getenv("TERM");
    return isatty(fileno(stream)) && !(term && strcmp(term, "dumb") == 0);
}

static int terminal_columns(FILE *stream) {
    struct winsize size;
    return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void report(void *context, const char *what, double share) {
    kvb_progress_line *line = context;
    if (!line->terminal)
        return;
    double now = line->seconds();
    double elapsed = now - line->started;
    if (elapsed < QUIET_SECONDS || (line->visible && now - line->drawn < SECONDS_BETWEEN))
        return;
    share = share > 1.0 ? 1.0 : share > 0.0 ? share : 0.0; /* NaN: 0 */
    char bar[BAR + 1], left[48] = "", text[256];
    memset(bar, '.', BAR);
    memset(bar, '#', (size_t)(share * BAR));
    bar[BAR] = '\0';
    if (share > 0.0)
        snprintf(left, sizeof left, ", about %.0f s left", elapsed * (1.0 - share) / share);
    snprintf(text, sizeof text, "[%s] %3.0f %%%s: %s", bar, 100.0 * share, left, what ? what : "working");
    /* One column stays free: a full last column makes some terminals wrap, and a wrapped line cannot be erased. */
    fprintf(line->stream, "\r%.*s\033[K", line->columns - 1, text);
    fflush(line->stream);
    line->visible = 1;
    line->drawn = now;
}

kvb_progress kvb_progress_line_start(kvb_progress_line *line) {
    *line = (kvb_progress_line){.stream = stderr, .seconds = seconds_now, .terminal = is_terminal(stderr)};
    line->started = line->seconds();
    line->columns = line->terminal ? terminal_columns(stderr) : 80;
    return (kvb_progress){.report = report, .context = line};
}

void kvb_progress_line_end(kvb_progress_line *line) {
    if (line->visible) {
        fputs("\r\033[K", line->stream);
        fflush(line->stream);
    }
    line->visible = 0;
}
