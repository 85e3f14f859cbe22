#include "display.h"

#include <string.h>

void kvb_display(char out[KVB_DISPLAY_BYTES], const char *text) {
    const size_t room = KVB_DISPLAY_BYTES - 1, n = strlen(text);
    const size_t head = room / 3;
    if (n <= room) {
        memcpy(out, text, n + 1);
    } else { /* the end of a path says more than its middle */
        memcpy(out, text, head);
        memcpy(out + head, "...", 3);
        memcpy(out + head + 3, text + n - (room - head - 3), room - head - 3);
        out[room] = '\0';
    }
    for (unsigned char *p = (unsigned char *)out; *p; p++) {
        /* ASCII controls, and U+0080-U+009F, which terminals obey as well */
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)) {
            *p = '?';
        }
    }
}
