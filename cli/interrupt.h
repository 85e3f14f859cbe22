/* What Ctrl-C leaves: nothing half written, and a word on how to go on. */
#ifndef KVBITS_CLI_INTERRUPT_H
#define KVBITS_CLI_INTERRUPT_H

/* From here on SIGINT and SIGTERM say so on standard error before they end the program as they would anyway. */
void kvb_interrupt_prepare(void);

#endif
