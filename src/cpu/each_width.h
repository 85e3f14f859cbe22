/* Widths of codes as constants. */
#ifndef KVB_CPU_EACH_WIDTH_H
#define KVB_CPU_EACH_WIDTH_H

/* Runs DO(width) with the constant that `bits` is. */
#define EACH_WIDTH(bits, DO)                                                                                           \
    switch (bits) {                                                                                                    \
    case 1:                                                                                                            \
        DO(1);                                                                                                         \
        break;                                                                                                         \
    case 2:                                                                                                            \
        DO(2);                                                                                                         \
        break;                                                                                                         \
    case 3:                                                                                                            \
        DO(3);                                                                                                         \
        break;                                                                                                         \
    case 4:                                                                                                            \
        DO(4);                                                                                                         \
        break;                                                                                                         \
    case 5:                                                                                                            \
        DO(5);                                                                                                         \
        break;                                                                                                         \
    case 6:                                                                                                            \
        DO(6);                                                                                                         \
        break;                                                                                                         \
    case 7:                                                                                                            \
        DO(7);                                                                                                         \
        break;                                                                                                         \
    default:                                                                                                           \
        DO(8);                                                                                                         \
    }

/* Where a codec's tables are at hand. */
#define LUT_EACH_WIDTH(DO) EACH_WIDTH(tables->bits, DO)

#endif
