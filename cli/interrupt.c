#define _POSIX_C_SOURCE 200809L
#include "interrupt.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* All of it is safe in a signal handler. The message ends a progress line, where there is one. */
static void say(int signal_number) {
    static const char text[] =
        "\nkvbits: interrupted; results are written at the end, each whole or not at all: run the "
        "same command again\n";
    const int from = isatty(STDERR_FILENO) ? 0 : 1;
    const ssize_t written = write(STDERR_FILENO, text + from, sizeof text - 1 - (size_t)from);
    (void)written;
    raise(signal_number); /* SA_RESETHAND: the default this time */
}

/* A signal that the caller had ignored, as nohup does, stays ignored. */
static void prepare(int signal_number) {
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = say;
    action.sa_flags = (int)SA_RESETHAND;
    if (sigaction(signal_number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        (void)sigaction(signal_number, &action, NULL);
}

void kvb_interrupt_prepare(void) {
    prepare(SIGINT);
    prepare(SIGTERM);
}
