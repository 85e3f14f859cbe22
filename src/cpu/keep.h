/* What compilers must keep, lest registers run out or loads come too often. */
#ifndef KVB_CPU_KEEP_H
#define KVB_CPU_KEEP_H

/* No load moves to before this: steps of a loop that are interleaved would drive sums out of the registers. */
#define KEEP_ORDER __asm__ volatile("" : : : "memory")

/* x is loaded once, into a register, and not for each of its uses. */
#if defined(__aarch64__)
#define KEEP(x) __asm__("" : "+w"(x))
#else
#define KEEP(x) __asm__("" : "+v"(x))
#endif

#endif
