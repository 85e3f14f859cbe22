#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 100 };

static kvb_status complain(kvb_error *error, const char *what, const char *path) {
    return kvb_error_set(error, KVB_ERROR_IO, "%.300s: %s: %s", path, what, strerror(errno));
}

/* Opens a new file beside `path`; its name goes to `name`, which holds `size` bytes. */
static int open_beside(const char *path, char *name, size_t size) {
    for (int i = 0; i < TRIES; i++) {
        int length = snprintf(name, size, "%s.%ld-%d.tmp", path, (long)getpid(), i);
        if (length < 0 || (size_t)length >= size) {
            errno = ENAMETOOLONG;
            return -1;
        }
        /* open() and not mkstemp(): the file takes its mode from the umask, as any other output does. */
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

static int write_all(int fd, const char *text, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, text, size < SSIZE_MAX ? size : SSIZE_MAX);
        if (n < 0 && errno != EINTR) {
            return -1;
        }
        if (n > 0) {
            text += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static kvb_status write_directly(const char *path, const char *text, size_t size, kvb_error *error) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return complain(error, "could not be opened for writing", path);
    }
    int fault = write_all(fd, text, size);
    if (close(fd) != 0 || fault != 0) {
        return complain(error, "could not be written", path);
    }
    return KVB_OK;
}

/* The folder's entry survives a crash too; a file system that cannot promise that is no reason to fail. */
static void sync_folder_of(char *path) {
    char *slash = strrchr(path, '/');
    const char *folder = slash == NULL ? "." : slash == path ? "/" : path;
    if (slash != NULL && slash != path) {
        *slash = 0;
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

static kvb_status replace(const char *path, const struct stat *old, const char *text, size_t size, kvb_error *error) {
    char name[PATH_MAX];
    int fd = open_beside(path, name, sizeof name);
    if (fd < 0) {
        return complain(error, "no temporary file could be made beside it", path);
    }
    int fault = old != NULL && fchmod(fd, old->st_mode & 0777) != 0;
    fault = fault || write_all(fd, text, size) != 0 || fsync(fd) != 0;
    int reason = errno;
    if (close(fd) != 0 && !fault) {
        fault = 1;
        reason = errno;
    }
    if (!fault && rename(name, path) != 0) {
        fault = 1;
        reason = errno;
    }
    if (fault) {
        unlink(name);
        errno = reason;
        return complain(error, "could not be written", path);
    }
    sync_folder_of(name);
    return KVB_OK;
}

kvb_status kvb_output_write(const char *path, const char *text, size_t size, kvb_error *error) {
    struct stat old;
    if (stat(path, &old) != 0) {
        return errno == ENOENT ? replace(path, NULL, text, size, error) : complain(error, "could not be written", path);
    }
    if (S_ISDIR(old.st_mode)) {
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s is a folder, not a file", path);
    }
    if (!S_ISREG(old.st_mode)) {
        return write_directly(path, text, size, error);
    }
    char *target = realpath(path, NULL);
    if (target == NULL) {
        return complain(error, "could not be written", path);
    }
    kvb_status status = replace(target, &old, text, size, error);
    free(target);
    return status;
}

kvb_status kvb_output_write_in(const char *folder, const char *name, const char *text, kvb_error *error) {
    size_t bytes = strlen(folder) + strlen(name) + 2;
    char *path = malloc(bytes);
    if (!path)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the path of %s", name);
    snprintf(path, bytes, "%s/%s", folder, name);
    kvb_status status = kvb_output_write(path, text, strlen(text), error);
    free(path);
    return status;
}

const char *kvb_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

kvb_status kvb_output_check_writable(const char *folder, kvb_error *error) {
    char probe[PATH_MAX], name[PATH_MAX];
    struct stat entry;
    if (stat(folder, &entry) != 0) {
        return complain(error, "no such output folder", folder);
    }
    if (!S_ISDIR(entry.st_mode)) {
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s is not a folder", folder);
    }
    int length = snprintf(probe, sizeof probe, "%s/.kvbits-probe", folder);
    /* A file is really made: permissions alone say nothing about read-only or full file systems. */
    int fd = length < 0 || (size_t)length >= sizeof probe ? -1 : open_beside(probe, name, sizeof name);
    if (fd < 0) {
        return complain(error, "no file can be written in this folder", folder);
    }
    close(fd);
    unlink(name);
    return KVB_OK;
}

kvb_status kvb_output_check_file(const char *path, kvb_error *error) {
    char folder[PATH_MAX];
    struct stat entry;
    if (path[0] == 0 || strlen(path) >= sizeof folder) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "an output file's name has 1 to %d bytes", PATH_MAX - 1);
    }
    if (stat(path, &entry) == 0 && !S_ISREG(entry.st_mode)) {
        if (S_ISDIR(entry.st_mode)) {
            return kvb_error_set(error, KVB_ERROR_IO, "%.300s is a folder, not a file", path);
        }
        return access(path, W_OK) == 0 ? KVB_OK : complain(error, "cannot be written", path);
    }
    char *target = realpath(path, NULL); /* the folder of what a link points to */
    snprintf(folder, sizeof folder, "%s", target == NULL ? path : target);
    free(target);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        return kvb_output_check_writable(".", error);
    }
    slash[slash == folder] = 0;
    return kvb_output_check_writable(folder, error);
}

kvb_status kvb_output_make_folder(const char *folder, kvb_error *error) {
    char path[PATH_MAX];
    size_t length = strlen(folder);
    if (length == 0 || length >= sizeof path) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "an output folder's name has 1 to %d bytes", PATH_MAX - 1);
    }
    for (size_t i = 1; i <= length; i++) {
        if (folder[i] == '/' || folder[i] == 0) {
            memcpy(path, folder, i);
            path[i] = 0;
            if (mkdir(path, 0777) != 0 && errno != EEXIST && errno != EISDIR) {
                return complain(error, "could not be made", path);
            }
        }
    }
    return kvb_output_check_writable(folder, error);
}
