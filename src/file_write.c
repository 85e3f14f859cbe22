#define _DEFAULT_SOURCE /* flock */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700

#include "file_write.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(KVB_FILE_PATH_BYTES >= PATH_MAX, "realpath writes up to PATH_MAX bytes");

enum { tries = 100, largest_write = 1 << 30 };

static kvb_status complain(const kvb_file_writer *writer, const char *what, int reason, kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_IO, "%.300s: %s: %s", writer->path, what, strerror(reason));
}

/* ---- The temporary file ---- */

/* Is it the file that has this name? */
static int has_name(int fd, const char *name) {
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && lstat(name, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* A writer holds a lock on its temporary file for as long as that has its name. So one that nobody holds was left by a
 * process that died, and goes. */
static int remove_stale(const char *name) {
    int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT; /* its writer just finished */
    }
    int stale = flock(fd, LOCK_EX | LOCK_NB) == 0 && has_name(fd, name) && unlink(name) == 0;
    close(fd);
    return stale;
}

/* open() and not mkstemp(): the file takes its mode from the umask, as any other output does. Between open and flock
 * another process may take the file for a stale one: then it has lost its name. */
static int create(const char *name) {
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        return -1;
    }
    if ((flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) || !has_name(fd, name)) {
        close(fd);
        errno = EEXIST;
        return -1;
    }
    return fd;
}

static kvb_status open_temporary(kvb_file_writer *writer, kvb_error *error) {
    for (int i = 0; i < tries; i++) {
        int length = snprintf(writer->temporary, sizeof writer->temporary, "%s.%d.tmp", writer->target, i);
        if (length < 0 || (size_t)length >= sizeof writer->temporary) {
            return complain(writer, "no temporary file could be made beside it", ENAMETOOLONG, error);
        }
        writer->fd = create(writer->temporary);
        if (writer->fd < 0 && errno != EEXIST) {
            return complain(writer, "no temporary file could be made beside it", errno, error);
        }
        if (writer->fd < 0 && remove_stale(writer->temporary)) {
            writer->fd = create(writer->temporary);
        }
        if (writer->fd >= 0) {
            return KVB_OK;
        }
    }
    return kvb_error_set(error, KVB_ERROR_IO, "%.300s: its temporary files .0.tmp to .%d.tmp are all in use",
                         writer->path, tries - 1);
}

kvb_status kvb_file_write_begin(kvb_file_writer *writer, const char *path, kvb_error *error) {
    writer->path = path;
    writer->fd = -1;
    writer->reason = 0;
    writer->offset = 0;
    writer->crc = 0;
    writer->used = 0;
    struct stat old;
    int exists = stat(path, &old) == 0;
    if (!exists && errno != ENOENT) {
        return complain(writer, "cannot be written", errno, error);
    }
    if (exists && !S_ISREG(old.st_mode)) {
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s is %s, not a file that can be replaced", path,
                             S_ISDIR(old.st_mode) ? "a folder" : "a device or a pipe");
    }
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof writer->target) {
        return complain(writer, "cannot be written", length == 0 ? ENOENT : ENAMETOOLONG, error);
    }
    if (exists && !realpath(path, writer->target)) {
        return complain(writer, "cannot be written", errno, error);
    }
    if (!exists) {
        memcpy(writer->target, path, length + 1);
    }
    kvb_status status = open_temporary(writer, error);
    if (status == KVB_OK) {
        kvb_crc32c_fill(&writer->tables);
        writer->reason = exists && fchmod(writer->fd, old.st_mode & 0777) != 0 ? errno : 0;
    }
    return status;
}

/* ---- Its content ---- */

static void write_all(kvb_file_writer *writer, const uint8_t *data, size_t bytes) {
    while (bytes > 0 && writer->reason == 0) {
        ssize_t n = write(writer->fd, data, bytes < largest_write ? bytes : largest_write);
        if (n > 0) {
            data += n;
            bytes -= (size_t)n;
        } else if (n == 0) {
            writer->reason = EIO; /* nothing is written and nothing is said: going on would not end */
        } else if (errno != EINTR) {
            writer->reason = errno;
        }
    }
}

static void flush(kvb_file_writer *writer) {
    write_all(writer, writer->buffer, writer->used);
    writer->used = 0;
}

void kvb_file_write(kvb_file_writer *writer, const void *data, size_t bytes) {
    writer->crc = kvb_crc32c(&writer->tables, writer->crc, data, bytes);
    writer->offset += bytes;
    if (bytes > sizeof writer->buffer - writer->used) {
        flush(writer);
    }
    if (bytes >= sizeof writer->buffer) {
        write_all(writer, data, bytes);
    } else if (bytes > 0) {
        memcpy(writer->buffer + writer->used, data, bytes);
        writer->used += bytes;
    }
}

void kvb_file_write_zeros(kvb_file_writer *writer, size_t bytes) {
    static const uint8_t zeros[1024];
    for (; bytes > sizeof zeros; bytes -= sizeof zeros) {
        kvb_file_write(writer, zeros, sizeof zeros);
    }
    kvb_file_write(writer, zeros, bytes);
}

/* ---- Taking the name ---- */

/* The folder's entry survives a crash of the machine too; a file system that cannot promise that is no reason to fail,
 * as the new file has its name already. */
static void sync_folder_of(char *path) {
    char *slash = strrchr(path, '/');
    const char *folder = !slash ? "." : slash == path ? "/" : path;
    if (slash && slash != path) {
        *slash = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

kvb_status kvb_file_write_end(kvb_file_writer *writer, kvb_status status, kvb_error *error) {
    if (status == KVB_OK) {
        flush(writer);
        if (writer->reason == 0 && fsync(writer->fd) != 0) {
            writer->reason = errno;
        }
        /* Still open, so that the lock outlasts the name. */
        if (writer->reason == 0 && rename(writer->temporary, writer->target) != 0) {
            writer->reason = errno;
        }
        if (writer->reason != 0) {
            status =
                complain(writer, "could not be written, and what was there before is untouched", writer->reason, error);
        }
    }
    if (status != KVB_OK) {
        (void)unlink(writer->temporary);
    }
    /* After fsync nothing is left that close could lose. */
    close(writer->fd);
    if (status == KVB_OK) {
        sync_folder_of(writer->target);
    }
    return status;
}
