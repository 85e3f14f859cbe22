/* Names of row steps: each algorithm is one file, compiled once by itself as the scalar step and once more inside the
 * file of every instruction set that takes it over unchanged (avx2.c defines KVB_ISA and includes it), where the
 * compiler may use that set's vectors. */
#ifndef KVB_CPU_STEP_H
#define KVB_CPU_STEP_H

#ifndef KVB_ISA
#define KVB_ISA scalar
#endif

#define KVB_PASTE_NAME(isa, name) kvb_##isa##_##name
#define KVB_PASTE(isa, name) KVB_PASTE_NAME(isa, name)
#define KVB_STEP(name) KVB_PASTE(KVB_ISA, name)

#endif
