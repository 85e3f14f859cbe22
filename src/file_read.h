/* Bytes of a file or of memory, in order, and where they broke their format. */
#ifndef KVB_FILE_READ_H
#define KVB_FILE_READ_H

#include "crc32c.h"
#include "file_format.h"

enum { KVB_FILE_READ_BUFFER = 8192 };

/* On the caller's stack, about 16 KiB. */
typedef struct kvb_file_reader {
    const char *path;      /* for sentences */
    const uint8_t *memory; /* or NULL: fd */
    int fd;
    uint64_t size;
    uint64_t offset; /* of the next byte */
    uint32_t crc;    /* of what was read since the caller last set it */
    int trusts_crc;  /* for fuzzing: wrong CRCs are right */
    size_t section;  /* number of sections that have begun */
    kvb_file_head head;
    uint64_t content;                /* offset of the section's content */
    const kvb_file_visitor *visitor; /* is shown sections as they end; NULL: nobody is */
    kvb_crc32c_tables tables;
    size_t begin, end; /* of what the buffer holds */
    uint8_t buffer[KVB_FILE_READ_BUFFER];
} kvb_file_reader;

KVB_CHECKED kvb_status kvb_file_read_open(kvb_file_reader *reader, const char *path, kvb_error *error);
void kvb_file_read_memory(kvb_file_reader *reader, const void *memory, size_t size);
void kvb_file_read_close(kvb_file_reader *reader);

/* Exactly so many bytes; the caller has compared them with size - offset where they say what is allocated. */
KVB_CHECKED kvb_status kvb_file_read(kvb_file_reader *reader, void *data, size_t bytes, kvb_error *error);

/* "PATH: section 4 (PAGE of sequence 0, layer 2), byte 4711: " and the sentence; before the first section "header". */
KVB_CHECKED kvb_status kvb_file_fault(const kvb_file_reader *reader, uint64_t offset, kvb_error *error,
                                      const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 4, 5)))
#endif
    ;

/* Are these equal? The sentence says of what. */
KVB_CHECKED kvb_status kvb_file_check_crc(const kvb_file_reader *reader, uint32_t computed, uint32_t stored,
                                          uint64_t offset, const char *what, kvb_error *error);

/* Writes a type's letters as text; what is no letter as '?'. */
void kvb_file_type_text(uint32_t type, char text[5]);

/* "PAGE of sequence 0, layer 2" */
void kvb_file_head_text(const kvb_file_head *head, char *text, size_t size);

/* The head of the next section that a reader must know. Optional ones of other types are read and dropped. */
KVB_CHECKED kvb_status kvb_file_read_head(kvb_file_reader *reader, kvb_error *error);
/* Reads what is left of the section and compares its CRC. `status` is what its content was found to be: broken content
 * whose CRC is wrong, too, has changed since it was written, and that is what is said then. */
KVB_CHECKED kvb_status kvb_file_read_crc(kvb_file_reader *reader, kvb_status status, kvb_error *error);

#endif
