/* Result files: written whole or not at all, and found impossible to write before the work, not after it. */
#ifndef KVBITS_CLI_OUTPUT_H
#define KVBITS_CLI_OUTPUT_H

#include "kvbits/kvbits.h"

/* Writes a temporary file beside `path`, syncs it and renames it to `path`: a reader sees the old file or the whole new
 * one. A link is followed; what is no regular file (a pipe, a device) is written to directly. */
KVB_CHECKED kvb_status kvb_output_write(const char *path, const char *text, size_t size, kvb_error *error);
/* The same for text in a file of this name in the folder. */
KVB_CHECKED kvb_status kvb_output_write_in(const char *folder, const char *name, const char *text, kvb_error *error);
/* The path without its folders. */
const char *kvb_base_name(const char *path);
/* Can files be made in the folder? Makes one and removes it. */
KVB_CHECKED kvb_status kvb_output_check_writable(const char *folder, kvb_error *error);
/* The same for a file's folder, and for the file itself where it exists. */
KVB_CHECKED kvb_status kvb_output_check_file(const char *path, kvb_error *error);
/* Makes the folder, and those above it, where they do not exist; then as kvb_output_check_writable. */
KVB_CHECKED kvb_status kvb_output_make_folder(const char *folder, kvb_error *error);

#endif
