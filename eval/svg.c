/* Makes gnuplot's SVG fit for a page that holds several of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"

/* Skips an element that has no place on the page: <title>, <desc>; returns where to go on. */
static const char *skip_element(const char *at, const char *end) {
    static const char *const unwanted[][2] = {{"<title>", "</title>"}, {"<desc>", "</desc>"}};
    for (int i = 0; i < 2; i++) {
        if (strncmp(at, unwanted[i][0], strlen(unwanted[i][0])) == 0) {
            const char *close = strstr(at, unwanted[i][1]);
            return close == NULL || close > end ? end : close + strlen(unwanted[i][1]);
        }
    }
    return at;
}

/* rgb( 42, 111, 219) as #2a6fdb; returns where to go on, `at` when it is no color. */
static const char *copy_color(const char *at, kvb_writer *out) {
    if (strncmp(at, "rgb(", 4) != 0) {
        return at;
    }
    unsigned long parts[3];
    const char *p = at + 4;
    for (int i = 0; i < 3; i++) {
        char *next;
        parts[i] = strtoul(p, &next, 10);
        if (next == p || parts[i] > 255 || *next != (i < 2 ? ',' : ')')) {
            return at;
        }
        p = next + 1;
    }
    kvb_writer_format(out, "#%02lx%02lx%02lx", parts[0], parts[1], parts[2]);
    return p;
}

/* Attributes whose value names an id get the prefix, so that charts on one page do not share their marks. */
static const char *copy_id(const char *at, const char *prefix, kvb_writer *out) {
    static const char *const attributes[][2] = {{" id=", " id="}, {" xlink:href=", " href="}};
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(attributes[i][0]);
        if (strncmp(at, attributes[i][0], length) == 0 && (at[length] == '\'' || at[length] == '"')) {
            int hash = at[length + 1] == '#';
            kvb_writer_format(out, "%s%c%s%s", attributes[i][1], at[length], hash ? "#" : "", prefix);
            return at + length + 1 + hash;
        }
    }
    return at;
}

static void copy_body(const char *at, const char *end, const char *prefix, kvb_writer *out) {
    while (at < end) {
        const char *next = at;
        switch (*at) {
        case '<':
            next = skip_element(at, end);
            break;
        case 'r':
            next = copy_color(at, out);
            break;
        case ' ':
            next = copy_id(at, prefix, out);
            break;
        case '\t':
        case '\r':
            next = at + 1;
            break;
        case '\n': /* gnuplot leaves many empty lines */
            if (out->data == NULL || out->data[out->size - 1] != '\n') {
                kvb_writer_add(out, "\n");
            }
            next = at + 1;
            break;
        default:
            break;
        }
        if (next == at) {
            kvb_writer_bytes(out, at++, 1);
        } else {
            at = next;
        }
    }
}

kvb_status kvb_svg_next(const char **text, const char *prefix, const char *css_class, const char *label, char **out,
                        kvb_error *error) {
    const char *start = strstr(*text, "<svg"), *head_end = start == NULL ? NULL : strchr(start, '>');
    const char *view = start == NULL ? NULL : strstr(start, "viewBox=\"0 0 ");
    const char *end = head_end == NULL ? NULL : strstr(head_end, "</svg>");
    if (end == NULL || view == NULL || view > head_end) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "gnuplot drew fewer charts than it was asked for");
    }
    char *after;
    unsigned long width = strtoul(view + 13, &after, 10), height = strtoul(after, NULL, 10);
    kvb_writer svg = {0};
    kvb_writer_format(&svg,
                      "<svg class=\"%s\" viewBox=\"0 0 %lu %lu\" style=\"max-width:%lupx\" role=\"img\" aria-label=\"",
                      css_class, width, height, width);
    kvb_writer_html(&svg, label);
    kvb_writer_add(&svg, "\">");
    copy_body(head_end + 1, end, prefix, &svg);
    kvb_writer_add(&svg, "</svg>\n");
    *text = end + 6;
    return kvb_writer_take(&svg, out, error);
}
