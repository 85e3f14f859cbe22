#define _GNU_SOURCE
#include "guard.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Whole pages for `bytes`, without the guards. */
static size_t inside(size_t bytes) {
    return (bytes + page() - 1) / page() * page();
}

static uint8_t *map(size_t bytes) {
    size_t size = inside(bytes) + 2 * page();
    uint8_t *base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return NULL;
    }
    if (bytes > 0 && mprotect(base + page(), inside(bytes), PROT_READ | PROT_WRITE) != 0) {
        munmap(base, size);
        return NULL;
    }
    return base + page();
}

void *guard_allocate_high(size_t bytes, size_t alignment) {
    uint8_t *start = map(bytes);
    return start ? start + (inside(bytes) - bytes) / alignment * alignment : NULL;
}

void *guard_allocate_low(size_t bytes) {
    return map(bytes);
}

void guard_release_high(void *pointer, size_t bytes) {
    uintptr_t start = (uintptr_t)pointer / page() * page();
    munmap((uint8_t *)pointer - ((uintptr_t)pointer - start) - page(), inside(bytes) + 2 * page());
}

void guard_release_low(void *pointer, size_t bytes) {
    guard_release_high(pointer, bytes);
}
