/* Runs gnuplot: no shell, no init files, an empty environment; script and answer in unlinked temporary files, so that
 * neither side can block the other. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "charts.h"

enum { SCRIPT, ANSWER, COMPLAINT, STREAMS };
static const size_t max_answer = (size_t)256 << 20;

typedef struct streams {
    FILE *files[STREAMS];
    int fds[STREAMS]; /* copies above 2, closed in the child by exec */
} streams;

static void close_streams(streams *s) {
    for (int i = 0; i < STREAMS; i++) {
        if (s->fds[i] >= 0) {
            close(s->fds[i]);
        }
        if (s->files[i] != NULL) {
            fclose(s->files[i]);
        }
    }
}

static kvb_status open_streams(streams *s, const char *script, size_t bytes, kvb_error *error) {
    *s = (streams){.fds = {-1, -1, -1}};
    for (int i = 0; i < STREAMS; i++) {
        s->files[i] = tmpfile();
        s->fds[i] = s->files[i] == NULL ? -1 : fcntl(fileno(s->files[i]), F_DUPFD_CLOEXEC, 3);
        if (s->fds[i] < 0 || fcntl(fileno(s->files[i]), F_SETFD, FD_CLOEXEC) != 0) {
            return kvb_error_set(error, KVB_ERROR_IO, "no temporary file for the charts: %s", strerror(errno));
        }
    }
    if (fwrite(script, 1, bytes, s->files[SCRIPT]) != bytes || fflush(s->files[SCRIPT]) != 0 ||
        lseek(s->fds[SCRIPT], 0, SEEK_SET) != 0) {
        return kvb_error_set(error, KVB_ERROR_IO, "the chart script could not be written to a temporary file: %s",
                             strerror(errno));
    }
    return KVB_OK;
}

static int spawn(const streams *s, pid_t *child) {
    char *arguments[] = {(char[]){"gnuplot"}, (char[]){"-d"}, NULL};
    char *environment[] = {(char[]){"LC_ALL=C"}, NULL};
    posix_spawn_file_actions_t actions;
    int fault = posix_spawn_file_actions_init(&actions);
    if (fault != 0) {
        return fault;
    }
    for (int i = 0; i < STREAMS && fault == 0; i++) {
        fault = posix_spawn_file_actions_adddup2(&actions, s->fds[i], i);
    }
    if (fault == 0) {
        fault = posix_spawnp(child, "gnuplot", &actions, NULL, arguments, environment);
    }
    posix_spawn_file_actions_destroy(&actions);
    return fault;
}

/* The whole file as text; NULL when memory is short or reading fails. */
static char *read_back(FILE *file, size_t *bytes) {
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (size < 0 || (size_t)size > max_answer || fseek(file, 0, SEEK_SET) != 0) {
        return NULL;
    }
    char *text = malloc((size_t)size + 1);
    if (text == NULL || fread(text, 1, (size_t)size, file) != (size_t)size) {
        free(text);
        return NULL;
    }
    text[size] = 0;
    *bytes = (size_t)size;
    return text;
}

/* The first line of gnuplot's complaint that says something. */
static void find_reason(const char *complaint, char *reason, size_t size) {
    snprintf(reason, size, "no message");
    for (const char *line = complaint; line != NULL && *line != 0;) {
        size_t length = strcspn(line, "\n"), start = strspn(line, " \t^");
        if (start < length && strncmp(line, "gnuplot>", 8) != 0) {
            kvb_writer plain = {0};
            kvb_writer_bytes(&plain, line + start, length - start);
            kvb_writer text = {0};
            kvb_writer_plain(&text, plain.data == NULL ? "" : plain.data);
            snprintf(reason, size, "%.200s", text.data == NULL ? "" : text.data);
            kvb_writer_free(&plain);
            kvb_writer_free(&text);
            return;
        }
        line = line[length] == 0 ? NULL : line + length + 1;
    }
}

static kvb_status describe_exit(int status, streams *s, kvb_error *error) {
    size_t bytes = 0;
    char reason[256], *complaint = read_back(s->files[COMPLAINT], &bytes);
    find_reason(complaint == NULL ? "" : complaint, reason, sizeof reason);
    free(complaint);
    if (WIFSIGNALED(status)) {
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "gnuplot was ended by signal %d while it drew the charts",
                             WTERMSIG(status));
    }
    return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "gnuplot failed with exit status %d: %s", WEXITSTATUS(status),
                         reason);
}

static kvb_status run(streams *s, kvb_error *error) {
    pid_t child = -1;
    int fault = spawn(s, &child), status = 0;
    if (fault != 0) {
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "the charts need gnuplot, which could not be started (%s): install it (Debian: apt-get "
                             "install gnuplot-nox) or leave the HTML report out",
                             strerror(fault));
    }
    pid_t waited;
    do {
        waited = waitpid(child, &status, 0);
    } while (waited < 0 && errno == EINTR);
    /* ECHILD: the caller ignores SIGCHLD and the status is lost; the answer is checked either way. */
    if (waited == child && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
        return WIFEXITED(status) && WEXITSTATUS(status) == 127
                   ? kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                                   "the charts need gnuplot, which could not be started: install it (Debian: apt-get "
                                   "install gnuplot-nox) or leave the HTML report out")
                   : describe_exit(status, s, error);
    }
    return KVB_OK;
}

kvb_status kvb_plotter_run(const char *script, size_t bytes, char **out, size_t *out_bytes, kvb_error *error) {
    streams s;
    kvb_status status = open_streams(&s, script, bytes, error);
    if (status == KVB_OK) {
        status = run(&s, error);
    }
    if (status == KVB_OK) {
        *out = read_back(s.files[ANSWER], out_bytes);
        if (*out == NULL) {
            status = kvb_error_set(error, KVB_ERROR_IO, "what gnuplot drew could not be read back");
        }
    }
    close_streams(&s);
    return status;
}

kvb_status kvb_report_plotter_check(kvb_error *error) {
    static const char script[] =
        "set terminal svg size 100,100\nset xrange [0:1]\nset yrange [0:1]\nplot NaN notitle\n";
    char *picture = NULL;
    size_t bytes = 0;
    kvb_status status = kvb_plotter_run(script, sizeof script - 1, &picture, &bytes, error);
    if (status == KVB_OK && strstr(picture, "</svg>") == NULL) {
        status = kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                               "gnuplot runs but draws no SVG: install gnuplot-nox, version 5.2 or later");
    }
    kvb_text_free(picture);
    return status;
}
