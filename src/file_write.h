/* A file that replaces another whole or not at all. One of the two places of the library that know an operating system
 * (file_read.c is the other). */
#ifndef KVB_FILE_WRITE_H
#define KVB_FILE_WRITE_H

#include "crc32c.h"
#include "kvbits/kvbits.h"

enum { KVB_FILE_PATH_BYTES = 4096, KVB_FILE_WRITE_BUFFER = 8192 };

/* On the caller's stack, about 24 KiB: saving allocates nothing. */
typedef struct kvb_file_writer {
    const char *path; /* as the caller says it, for sentences */
    char target[KVB_FILE_PATH_BYTES];
    char temporary[KVB_FILE_PATH_BYTES]; /* beside the target */
    int fd;
    int reason; /* errno of the first failure, 0 so far: what is put afterwards is dropped */
    uint64_t offset;
    uint32_t crc; /* of what was put since the caller last set it */
    kvb_crc32c_tables tables;
    size_t used;
    uint8_t buffer[KVB_FILE_WRITE_BUFFER];
} kvb_file_writer;

/* Makes a temporary file in the folder of `path` (of what it points to, if it is a link). */
KVB_CHECKED kvb_status kvb_file_write_begin(kvb_file_writer *writer, const char *path, kvb_error *error);
/* Failures show in kvb_file_write_end. */
void kvb_file_write(kvb_file_writer *writer, const void *data, size_t bytes);
void kvb_file_write_zeros(kvb_file_writer *writer, size_t bytes);
/* After `status` KVB_OK: everything reaches the disk, then the temporary file takes the name of `path`. Otherwise, and
 * when any of this fails, the temporary file is removed and the old file is as it was. Returns `status`, or what
 * failed. */
KVB_CHECKED kvb_status kvb_file_write_end(kvb_file_writer *writer, kvb_status status, kvb_error *error);

#endif
