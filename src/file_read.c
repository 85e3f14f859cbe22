#define _POSIX_C_SOURCE 200809L

#include "file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { largest_read = 1 << 30 };

/* ---- Bytes ---- */

static void begin(kvb_file_reader *reader, const char *path) {
    reader->path = path;
    reader->memory = NULL;
    reader->fd = -1;
    reader->size = 0;
    reader->offset = 0;
    reader->crc = 0;
    reader->trusts_crc = 0;
    reader->section = 0;
    reader->content = 0;
    reader->visitor = NULL;
    reader->begin = reader->end = 0;
    kvb_crc32c_fill(&reader->tables);
}

kvb_status kvb_file_read_open(kvb_file_reader *reader, const char *path, kvb_error *error) {
    begin(reader, path);
    struct stat entry;
    /* O_NONBLOCK: a pipe without a writer would block before anyone can refuse it. */
    reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (reader->fd < 0 || fstat(reader->fd, &entry) != 0) {
        int reason = errno;
        kvb_file_read_close(reader);
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s: cannot be opened: %s", path, strerror(reason));
    }
    if (!S_ISREG(entry.st_mode)) {
        kvb_file_read_close(reader);
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s is %s, not a file", path,
                             S_ISDIR(entry.st_mode) ? "a folder" : "a device or a pipe");
    }
    reader->size = (uint64_t)entry.st_size;
    return KVB_OK;
}

void kvb_file_read_memory(kvb_file_reader *reader, const void *memory, size_t size) {
    begin(reader, "memory");
    reader->memory = memory;
    reader->size = size;
}

void kvb_file_read_close(kvb_file_reader *reader) {
    if (reader->fd >= 0) {
        close(reader->fd);
    }
    reader->fd = -1;
}

/* 1 to `bytes` bytes; fewer only at the end of a read. */
static kvb_status read_some(kvb_file_reader *reader, uint8_t *data, size_t bytes, size_t *got, kvb_error *error) {
    for (;;) {
        ssize_t n = read(reader->fd, data, bytes < largest_read ? bytes : largest_read);
        if (n > 0) {
            *got = (size_t)n;
            return KVB_OK;
        }
        if (n == 0) {
            return kvb_error_set(error, KVB_ERROR_IO,
                                 "%.300s: became shorter than its %" PRIu64 " bytes while it was read", reader->path,
                                 reader->size);
        }
        if (errno != EINTR) {
            return kvb_error_set(error, KVB_ERROR_IO, "%.300s: cannot be read: %s", reader->path, strerror(errno));
        }
    }
}

static kvb_status read_file(kvb_file_reader *reader, uint8_t *data, size_t bytes, kvb_error *error) {
    while (bytes > 0) {
        size_t n = reader->end - reader->begin;
        if (n > 0) {
            n = n < bytes ? n : bytes;
            memcpy(data, reader->buffer + reader->begin, n);
            reader->begin += n;
        } else {
            kvb_status status;
            int direct = bytes >= sizeof reader->buffer;
            if ((status = read_some(reader, direct ? data : reader->buffer, direct ? bytes : sizeof reader->buffer, &n,
                                    error))) {
                return status;
            }
            if (!direct) {
                reader->begin = 0;
                reader->end = n;
                continue;
            }
        }
        data += n;
        bytes -= n;
    }
    return KVB_OK;
}

kvb_status kvb_file_read(kvb_file_reader *reader, void *data, size_t bytes, kvb_error *error) {
    if (bytes > reader->size - reader->offset) {
        return kvb_file_fault(reader, reader->offset, error,
                              "%zu bytes are wanted here, and the file ends at byte %" PRIu64, bytes, reader->size);
    }
    if (reader->memory) {
        memcpy(data, reader->memory + reader->offset, bytes);
    } else {
        kvb_status status = read_file(reader, data, bytes, error);
        if (status) {
            return status;
        }
    }
    reader->crc = kvb_crc32c(&reader->tables, reader->crc, data, bytes);
    reader->offset += bytes;
    return KVB_OK;
}

/* ---- Sentences ---- */

void kvb_file_type_text(uint32_t type, char text[5]) {
    for (int i = 0; i < 4; i++) {
        char letter = (char)(type >> 8 * i & 255);
        text[i] = (letter >= ' ' && letter <= '~') ? letter : '?';
    }
    text[4] = '\0';
}

void kvb_file_head_text(const kvb_file_head *head, char *text, size_t size) {
    char type[5];
    kvb_file_type_text(head->type, type);
    if (head->sequence == KVB_FILE_NONE && head->layer == KVB_FILE_NONE) {
        (void)snprintf(text, size, "%s", type);
    } else if (head->layer == KVB_FILE_NONE) {
        (void)snprintf(text, size, "%s of sequence %" PRIu32, type, head->sequence);
    } else {
        (void)snprintf(text, size, "%s of sequence %" PRIu32 ", layer %" PRIu32, type, head->sequence, head->layer);
    }
}

kvb_status kvb_file_fault(const kvb_file_reader *reader, uint64_t offset, kvb_error *error, const char *format, ...) {
    char what[400], section[64];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (reader->section == 0) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%.200s: header, byte %" PRIu64 ": %s", reader->path, offset,
                             what);
    }
    kvb_file_head_text(&reader->head, section, sizeof section);
    return kvb_error_set(error, KVB_ERROR_FORMAT, "%.200s: section %zu (%s), byte %" PRIu64 ": %s", reader->path,
                         reader->section - 1, section, offset, what);
}

/* ---- Sections ---- */

kvb_status kvb_file_check_crc(const kvb_file_reader *reader, uint32_t computed, uint32_t stored, uint64_t offset,
                              const char *what, kvb_error *error) {
    if (computed == stored || reader->trusts_crc) {
        return KVB_OK;
    }
    return kvb_file_fault(reader, offset, error,
                          "the CRC-32C of %s is %08" PRIx32 ", and %08" PRIx32 " is stored: the bytes have changed",
                          what, computed, stored);
}

static kvb_status read_any_head(kvb_file_reader *reader, kvb_error *error) {
    uint8_t bytes[KVB_FILE_HEAD_BYTES];
    uint64_t start = reader->offset;
    reader->section++;
    reader->head = (kvb_file_head){0, 0, KVB_FILE_NONE, KVB_FILE_NONE, 0};
    kvb_status status = kvb_file_read(reader, bytes, sizeof bytes, error);
    if (status) {
        return status;
    }
    const uint8_t *at = bytes;
    kvb_file_head *head = &reader->head;
    head->type = (uint32_t)kvb_file_get(&at, 4);
    head->flags = (uint32_t)kvb_file_get(&at, 4);
    head->sequence = (uint32_t)kvb_file_get(&at, 4);
    head->layer = (uint32_t)kvb_file_get(&at, 4);
    head->bytes = kvb_file_get(&at, 8);
    uint32_t zero = (uint32_t)kvb_file_get(&at, 4), stored = (uint32_t)kvb_file_get(&at, 4);
    uint32_t computed = kvb_crc32c(&reader->tables, 0, bytes, sizeof bytes - 4);
    if ((status = kvb_file_check_crc(reader, computed, stored, start, "the section's head", error))) {
        return status;
    }
    if (head->flags & ~(uint32_t)KVB_FILE_OPTIONAL || zero) {
        return kvb_file_fault(reader, start, error,
                              "flags %08" PRIx32 " and reserved %08" PRIx32 " are not known to version %d", head->flags,
                              zero, KVB_FILE_VERSION);
    }
    uint64_t left = reader->size - reader->offset;
    if (left < KVB_FILE_CRC_BYTES || head->bytes > left - KVB_FILE_CRC_BYTES) {
        return kvb_file_fault(reader, start, error,
                              "%" PRIu64 " bytes of content and a CRC do not fit the file of %" PRIu64 " bytes",
                              head->bytes, reader->size);
    }
    reader->crc = 0;
    reader->content = reader->offset;
    return KVB_OK;
}

static int is_known(uint32_t type) {
    return type == KVB_FILE_CODECS || type == KVB_FILE_LAYERS || type == KVB_FILE_MEANS || type == KVB_FILE_SEQUENCE ||
           type == KVB_FILE_EXACT || type == KVB_FILE_PAGES || type == KVB_FILE_END;
}

kvb_status kvb_file_read_head(kvb_file_reader *reader, kvb_error *error) {
    for (;;) {
        uint64_t start = reader->offset;
        kvb_status status = read_any_head(reader, error);
        if (status) {
            return status;
        }
        int optional = (reader->head.flags & KVB_FILE_OPTIONAL) != 0;
        if (is_known(reader->head.type)) {
            return optional ? kvb_file_fault(reader, start, error, "a section of this type is not optional") : KVB_OK;
        }
        if (!optional) {
            return kvb_file_fault(reader, start, error,
                                  "this type is not known to version %d and not marked as optional", KVB_FILE_VERSION);
        }
        if ((status = kvb_file_read_crc(reader, KVB_OK, error))) {
            return status;
        }
    }
}

static kvb_status skip(kvb_file_reader *reader, kvb_error *error) {
    uint8_t dropped[1024];
    for (uint64_t left = reader->content + reader->head.bytes - reader->offset; left > 0;) {
        size_t n = left < sizeof dropped ? (size_t)left : sizeof dropped;
        kvb_status status = kvb_file_read(reader, dropped, n, error);
        if (status) {
            return status;
        }
        left -= n;
    }
    return KVB_OK;
}

static void show_section(const kvb_file_reader *reader, uint32_t stored, uint32_t computed) {
    const kvb_file_head *head = &reader->head;
    kvb_file_section section = {.index = reader->section - 1,
                                .optional = (head->flags & KVB_FILE_OPTIONAL) != 0,
                                .sequence = head->sequence == KVB_FILE_NONE ? -1 : (int64_t)head->sequence,
                                .layer = head->layer == KVB_FILE_NONE ? -1 : (int64_t)head->layer,
                                .offset = reader->content - KVB_FILE_HEAD_BYTES,
                                .bytes = head->bytes,
                                .crc = stored,
                                .crc_is_right = computed == stored};
    kvb_file_type_text(head->type, section.type);
    if (reader->visitor && reader->visitor->section) {
        reader->visitor->section(reader->visitor->context, &section);
    }
}

kvb_status kvb_file_read_crc(kvb_file_reader *reader, kvb_status status, kvb_error *error) {
    uint8_t bytes[KVB_FILE_CRC_BYTES];
    if (status != KVB_OK && status != KVB_ERROR_FORMAT) {
        return status; /* nothing more can be read */
    }
    kvb_status ending = skip(reader, error);
    uint32_t computed = reader->crc;
    if (ending || (ending = kvb_file_read(reader, bytes, sizeof bytes, error))) {
        return ending;
    }
    const uint8_t *at = bytes;
    uint32_t stored = (uint32_t)kvb_file_get(&at, 4);
    show_section(reader, stored, computed);
    ending = kvb_file_check_crc(reader, computed, stored, reader->content, "the content", error);
    return ending ? ending : status;
}
