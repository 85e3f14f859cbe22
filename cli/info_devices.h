/* The GPUs that `kvbits info` lists. */
#ifndef KVBITS_CLI_INFO_DEVICES_H
#define KVBITS_CLI_INFO_DEVICES_H

/* A paragraph, or that this build knows none. */
void kvb_info_print_devices(void);
/* The same as a JSON object. */
void kvb_info_print_devices_json(void);

#endif
