#include "writer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int grow(kvb_writer *out, size_t extra) {
    if (out->failed || extra >= SIZE_MAX / 4 || out->size >= SIZE_MAX / 4) {
        out->failed = 1;
        return 0;
    }
    size_t needed = out->size + extra + 1;
    if (needed <= out->capacity) {
        return 1;
    }
    size_t capacity = out->capacity < 512 ? 1024 : out->capacity * 2;
    if (capacity < needed) {
        capacity = needed;
    }
    char *data = realloc(out->data, capacity);
    if (data == NULL) {
        out->failed = 1;
        return 0;
    }
    out->data = data;
    out->capacity = capacity;
    return 1;
}

void kvb_writer_bytes(kvb_writer *out, const char *bytes, size_t size) {
    if (grow(out, size)) {
        memcpy(out->data + out->size, bytes, size);
        out->size += size;
        out->data[out->size] = 0;
    }
}

void kvb_writer_add(kvb_writer *out, const char *text) {
    kvb_writer_bytes(out, text, strlen(text));
}

void kvb_writer_format(kvb_writer *out, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (size < 0) {
        out->failed = 1;
    } else if (grow(out, (size_t)size)) {
        vsnprintf(out->data + out->size, (size_t)size + 1, format, again);
        out->size += (size_t)size;
    }
    va_end(again);
}

/* Length of the control character at `text` (C0, DEL, or C1 in UTF-8), 0 when it is something else. */
static size_t control_length(const char *text) {
    unsigned char c = (unsigned char)text[0], next = (unsigned char)text[1];
    if (c < 0x20 || c == 0x7f) {
        return 1;
    }
    return c == 0xc2 && next >= 0x80 && next < 0xa0 ? 2 : 0;
}

void kvb_writer_plain(kvb_writer *out, const char *text) {
    for (const char *p = text; *p != 0;) {
        size_t control = control_length(p);
        kvb_writer_bytes(out, control > 0 ? " " : p, 1);
        p += control > 0 ? control : 1;
    }
}

void kvb_writer_html(kvb_writer *out, const char *text) {
    for (const char *p = text; *p != 0;) {
        size_t control = control_length(p);
        switch (*p) {
        case '&':
            kvb_writer_add(out, "&amp;");
            break;
        case '<':
            kvb_writer_add(out, "&lt;");
            break;
        case '>':
            kvb_writer_add(out, "&gt;");
            break;
        case '"':
            kvb_writer_add(out, "&quot;");
            break;
        case '\'':
            kvb_writer_add(out, "&#39;");
            break;
        default:
            kvb_writer_bytes(out, control > 0 ? " " : p, 1);
        }
        p += control > 0 ? control : 1;
    }
}

void kvb_writer_markdown(kvb_writer *out, const char *text) {
    for (const char *p = text; *p != 0;) {
        size_t control = control_length(p);
        /* What would open HTML, code or a link, or end a table cell; nothing that figures and names are made of. */
        int tag = *p == '<' && p[1] != ' ' && p[1] != '=' && !(p[1] >= '0' && p[1] <= '9');
        if (*p == '|' || tag || *p == '`' || *p == '\\' || (*p == '(' && p > text && p[-1] == ']')) {
            kvb_writer_add(out, "\\");
        }
        kvb_writer_bytes(out, control > 0 ? " " : p, 1);
        p += control > 0 ? control : 1;
    }
}

kvb_status kvb_writer_take(kvb_writer *out, char **text, kvb_error *error) {
    kvb_writer_add(out, "");
    if (out->failed) {
        kvb_writer_free(out);
        return kvb_error_set(error, KVB_ERROR_MEMORY, "no memory for the text of a report");
    }
    *text = out->data;
    *out = (kvb_writer){0};
    return KVB_OK;
}

void kvb_writer_free(kvb_writer *out) {
    free(out->data);
    *out = (kvb_writer){0};
}

/* The locale's decimal point, whatever its bytes, becomes "."; a zero loses its sign. */
static kvb_number normalized(const char *text) {
    kvb_number out = {{0}};
    size_t n = 0;
    int point = 0, zero = 1;
    for (const char *p = text; *p != 0 && n + 2 < sizeof out.text; p++) {
        if (strchr("0123456789+-e", *p) != NULL) {
            zero = zero && strchr("0+-", *p) != NULL;
            out.text[n++] = *p;
        } else if (!point) {
            point = 1;
            out.text[n++] = '.';
        }
    }
    if (zero && out.text[0] == '-') {
        memmove(out.text, out.text + 1, n);
    }
    return out;
}

kvb_number kvb_fixed(double value, int decimals) {
    if (!isfinite(value)) {
        return (kvb_number){"\u2013"};
    }
    if (fabs(value) >= 1e15) {
        return kvb_general(value, 9);
    }
    char text[48];
    snprintf(text, sizeof text, "%.*f", decimals < 0 || decimals > 12 ? 12 : decimals, value);
    return normalized(text);
}

kvb_number kvb_general(double value, int digits) {
    if (!isfinite(value)) {
        return (kvb_number){"\u2013"};
    }
    char text[48];
    snprintf(text, sizeof text, "%.*g", digits < 1 || digits > 17 ? 9 : digits, value);
    return normalized(text);
}

kvb_number kvb_figure(double value, int decimals) {
    double smallest = 1;
    for (int i = 0; i < decimals; i++) {
        smallest /= 10;
    }
    return value != 0 && fabs(value) < smallest ? kvb_general(value, 2) : kvb_fixed(value, decimals);
}
