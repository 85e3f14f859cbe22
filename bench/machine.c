/* What a figure's reader must know of the machine that made it. */
#define _GNU_SOURCE /* strdup, getloadavg */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "loops.h"
#include "suite.h"

double kvb_bench_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* The text after "key   : " of a line, NULL when it is another line; ends the line. */
static char *value_of(char *line, const char *key) {
    size_t length = strlen(key);
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, key, length) != 0 || strspn(line + length, " \t:") == 0)
        return NULL;
    line[strcspn(line, "\n")] = '\0';
    return colon + 1 + strspn(colon + 1, " ");
}

static void read_processor(kvb_bench_machine *machine) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    char *line = NULL, *value;
    size_t room = 0;
    snprintf(machine->processor, sizeof machine->processor, "unknown");
    while (file && getline(&line, &room, file) > 1) { /* an empty line ends the first processor */
        if ((value = value_of(line, "model name")) != NULL)
            snprintf(machine->processor, sizeof machine->processor, "%s", value);
        else if ((value = value_of(line, "cpu family")) != NULL)
            machine->family = (int)strtol(value, NULL, 10);
        else if ((value = value_of(line, "model")) != NULL)
            machine->model = (int)strtol(value, NULL, 10);
        else if ((value = value_of(line, "stepping")) != NULL)
            machine->stepping = (int)strtol(value, NULL, 10);
        else if (!machine->flags && ((value = value_of(line, "flags")) != NULL || (value = value_of(line, "Features"))))
            machine->flags = strdup(value);
    }
    free(line);
    if (file)
        fclose(file);
}

/* Bytes of the data or unified cache of a level, as the kernel lists it; `otherwise` when it does not. */
static size_t cache_bytes(int level, size_t otherwise) {
    for (int i = 0; i < 8; i++) {
        char path[96], text[32], kind[32] = "";
        size_t found = 0;
        const char *const parts[] = {"level", "type", "size"};
        for (int part = 0; part < 3; part++) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", i, parts[part]);
            FILE *file = fopen(path, "r");
            if (!file || !fgets(text, sizeof text, file))
                text[0] = '\0';
            if (file)
                fclose(file);
            if (part == 0 && strtol(text, NULL, 10) != level)
                break;
            if (part == 1)
                snprintf(kind, sizeof kind, "%s", text);
            if (part == 2 && kind[0] != 'I')
                found = strtoul(text, NULL, 10) << (strchr(text, 'M') ? 20 : 10);
        }
        if (found)
            return found;
    }
    return otherwise;
}

/* What the kernel calls available; without an answer, all. Asking for more would have a process ended, not an error. */
static double available_memory(double otherwise) {
    FILE *file = fopen("/proc/meminfo", "r");
    char *line = NULL, *value;
    size_t room = 0;
    while (file && getline(&line, &room, file) > 0)
        if ((value = value_of(line, "MemAvailable")) != NULL)
            otherwise = strtod(value, NULL) * 1024.0;
    free(line);
    if (file)
        fclose(file);
    return otherwise;
}

void kvb_bench_machine_read(kvb_bench_machine *machine) {
    struct utsname system;
    cpu_set_t set;
    read_processor(machine);
    machine->processors = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    machine->caches[0] = cache_bytes(1, (size_t)32 << 10);
    machine->caches[1] = cache_bytes(2, (size_t)1 << 20);
    machine->caches[2] = cache_bytes(3, (size_t)32 << 20);
    machine->memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    machine->available = available_memory(machine->memory);
    if (getloadavg(&machine->load, 1) != 1)
        machine->load = -1.0;
    if (uname(&system) == 0)
        snprintf(machine->system, sizeof machine->system, "%.40s %.60s %.20s", system.sysname, system.release,
                 system.machine);
#if defined(__clang__)
    snprintf(machine->compiler, sizeof machine->compiler, "clang %d.%d.%d", __clang_major__, __clang_minor__,
             __clang_patchlevel__);
#else
    snprintf(machine->compiler, sizeof machine->compiler, "gcc %s", __VERSION__);
#endif
    machine->build_flags = KVB_BENCH_FLAGS;
    machine->commit = kvb_bench_commit;
    machine->loops = kvb_bench_loops_best()->name;
}

int kvb_bench_level_of(const kvb_bench_machine *machine, size_t bytes) {
    int level = KVB_LEVEL_L1;
    while (level < KVB_LEVEL_DRAM && bytes > machine->caches[level] / 4 * 3)
        level++;
    return level;
}

const char *kvb_bench_level_name(int level) {
    static const char *const names[KVB_LEVELS] = {"L1", "L2", "L3", "DRAM"};
    return level < 0 || level >= KVB_LEVELS ? "" : names[level];
}
