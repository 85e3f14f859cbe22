#include "html.h"

static const char layout[] =
    "*{box-sizing:border-box}\n"
    "html{-webkit-text-size-adjust:100%}\n"
    "body{margin:0;background:var(--page);color:var(--text);font:16px/1.55 system-ui,-apple-system,\"Segoe UI\",Roboto,"
    "\"Helvetica Neue\",\"Noto Sans\",\"Liberation Sans\",Arial,sans-serif;overflow-wrap:break-word}\n"
    "main{max-width:960px;margin:0 auto;padding:32px 24px 48px}\n"
    "h1{font-size:30px;line-height:1.2;letter-spacing:-.015em;margin:6px 0 12px;text-wrap:balance}\n"
    "h2{font-size:20px;line-height:1.3;letter-spacing:-.005em;margin:0 0 6px}\n"
    "h3{font-size:16px;margin:20px 0 4px}\n"
    "p{margin:0 0 12px}\n"
    ".kicker,.subject,.note,footer{color:var(--muted)}\n"
    ".kicker{font-size:13px;font-weight:600;letter-spacing:.04em;margin:0}\n"
    ".note{font-size:14.5px;max-width:72ch;margin:0 0 12px}\n"
    ".rationale{max-width:76ch}\n"
    ".card{background:var(--surface);border:1px solid var(--line);border-radius:10px;padding:20px 24px;margin:0 0 18px;"
    "min-width:0}\n"
    ".verdicts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:18px;margin:20px 0 "
    "18px}\n"
    ".verdicts .card{margin:0;border-top:4px solid var(--tone)}\n"
    ".verdicts h2{font-size:14px;font-weight:600;color:var(--muted);margin:0}\n"
    ".big{font-size:34px;font-weight:700;line-height:1.15;letter-spacing:-.02em;color:var(--tone);margin:2px 0 0}\n"
    ".big+p{font-size:14.5px;color:var(--muted);margin:0 0 14px}\n"
    ".good{--tone:var(--pass)}.bad{--tone:var(--fail)}.open{--tone:var(--muted)}\n"
    "dl{display:grid;grid-template-columns:minmax(110px,max-content) minmax(0,1fr);gap:6px 18px;margin:0}\n"
    "dt{color:var(--muted)}dd{margin:0;font-variant-numeric:tabular-nums}dd span{white-space:nowrap}\n"
    ".verdicts dl{border-top:1px solid var(--line);padding-top:12px;font-size:15px}\n"
    ".config{font-size:14.5px;grid-template-columns:minmax(120px,max-content) minmax(0,1fr)}\n"
    ".chip{display:inline-block;font-size:13.5px;font-weight:600;color:var(--tone);white-space:nowrap}\n"
    "ul.plain{list-style:none;margin:0;padding:0}\n"
    ".checks li{display:grid;grid-template-columns:62px minmax(0,1fr);padding:6px 0;border-top:1px solid var(--line)}\n"
    ".checks li:first-child{border-top:0}.checks small{color:var(--muted);font-size:14px;display:block}\n"
    ".reading li{margin:0 0 8px;max-width:78ch}.reading{padding-left:20px;margin:0}\n";

static const char charts[] =
    "figure{margin:0}\n"
    ".plot{display:block;width:100%;height:auto;margin:0 auto}\n"
    ".plot text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",\"Liberation "
    "Sans\",Arial,sans-serif;"
    "font-variant-numeric:tabular-nums}\n"
    ".plot:not(.cells) text{paint-order:stroke;stroke:var(--surface);stroke-width:3px;stroke-linejoin:round}\n"
    ".narrow{display:none}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:0 0 10px;padding:0;font-size:14px}\n"
    ".legend li{display:flex;align-items:center;gap:7px}\n"
    ".legend i{flex:none;width:12px;height:12px;color:var(--k);position:relative}\n"
    ".legend .line{width:22px;height:0;border-top:2px solid}\n"
    ".legend .line::after{content:\"\";position:absolute;left:7px;top:-5px;width:8px;height:8px;border-radius:50%;"
    "background:currentColor}\n"
    ".legend .dash{width:22px;height:0;border-top:2px dashed}\n"
    ".legend .dot{width:9px;height:9px;border-radius:50%;background:currentColor}\n"
    ".legend .ring{width:9px;height:9px;border-radius:50%;border:1.5px solid}\n"
    ".legend .square{width:9px;height:9px;background:currentColor}\n"
    ".legend .fill{width:18px;height:14px;border-radius:3px;background:currentColor}\n";

static const char tables[] =
    ".scroll{overflow-x:auto;margin:0 -4px;padding:0 4px}\n"
    "table{border-collapse:collapse;width:100%;font-size:14.5px;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:7px 10px;text-align:right;vertical-align:top}\n"
    "th{font-size:13px;font-weight:600;color:var(--muted);border-bottom:1px solid "
    "var(--strong);vertical-align:bottom}\n"
    "td{border-bottom:1px solid var(--line)}tbody tr:last-child td{border-bottom:0}\n"
    "th:first-child,td:first-child{padding-left:0}th:last-child,td:last-child{padding-right:0}\n"
    ".words{text-align:left}td small{display:block;color:var(--muted);font-size:12.5px;white-space:nowrap}\n"
    "details{border-top:1px solid var(--line);padding:10px 0}\n"
    "details:first-of-type{margin-top:8px}\n"
    "summary{cursor:pointer;font-weight:600}summary .count{color:var(--muted);font-weight:400}\n"
    "details[open]>summary{margin-bottom:8px}\n"
    ".fold{padding:14px 24px}.fold>details{border:0;padding:0;margin:0}.fold summary{font-size:17px}\n"
    "footer{font-size:14px;margin-top:24px}\n";

static const char narrow_page[] =
    "@media (max-width:840px){\n"
    ".stack thead{display:none}.stack,.stack tbody{display:block}\n"
    ".stack tr{display:grid;grid-template-columns:1fr 1fr;gap:4px 16px;padding:10px 0;border-bottom:1px solid "
    "var(--line)}\n"
    ".stack td{display:block;border:0;padding:0;text-align:left}\n"
    ".stack td::before{content:attr(data-label);display:block;font-size:12px;color:var(--muted)}\n"
    ".stack td:first-child{grid-column:1/-1;font-weight:600;font-size:15px}.stack "
    "td:first-child::before{display:none}\n"
    "}\n"
    "@media (max-width:760px){\n"
    "main{padding:20px 12px 32px}.card{padding:16px 14px}.fold{padding:12px "
    "14px}h1{font-size:25px}.big{font-size:30px}\n"
    ".wide{display:none}.narrow{display:block}\n"
    "table{font-size:13.5px}th,td{padding:6px 5px}th{font-size:12px}td small{font-size:11.5px}\n"
    "dl{gap:4px 12px;grid-template-columns:minmax(96px,max-content) minmax(0,1fr)}\n"
    "th.words,td.words{overflow-wrap:anywhere}\n"
    "}\n"
    "@media print{.card{break-inside:avoid}body{background:#fff}}\n";

static void write_colors(kvb_writer *out, const char *const colors[KVB_COLOR_COUNT], const char *page, const char *line,
                         const char *strong) {
    kvb_writer_format(out, "--page:%s;--line:%s;--strong:%s;--text:%s;--muted:%s;--surface:%s;--pass:%s;--fail:%s",
                      page, line, strong, colors[KVB_COLOR_TEXT], colors[KVB_COLOR_MUTED], colors[KVB_COLOR_SURFACE],
                      colors[KVB_COLOR_PASS], colors[KVB_COLOR_FAIL]);
    for (int i = 0; i < KVB_COLOR_COUNT; i++) {
        kvb_writer_format(out, ";--c%d:%s", i, colors[i]);
    }
}

void kvb_html_style(kvb_writer *out) {
    kvb_writer_add(out, ":root{color-scheme:light dark;");
    write_colors(out, kvb_colors_light, "#f5f6f8", "#e4e7eb", "#c8ced6");
    kvb_writer_add(out, "}\n@media (prefers-color-scheme:dark){:root{");
    write_colors(out, kvb_colors_dark, "#0f1215", "#2d333b", "#485260");
    kvb_writer_add(out, "}}\n");
    kvb_writer_add(out, layout);
    kvb_writer_add(out, charts);
    for (int i = 0; i < KVB_COLOR_COUNT; i++) {
        const char *color = kvb_colors_light[i];
        kvb_writer_format(out,
                          ".plot [fill=\"%s\"]{fill:var(--c%d)}.plot [stroke=\"%s\"]{stroke:var(--c%d)}"
                          ".plot [color=\"%s\"]{color:var(--c%d)}\n",
                          color, i, color, i, color, i);
    }
    kvb_writer_format(out, ".plot [color=\"#FFFFFF\"]{color:var(--c%d)}.plot [fill=\"black\"]{fill:var(--c%d)}\n",
                      KVB_COLOR_SURFACE, KVB_COLOR_TEXT);
    kvb_writer_add(out, tables);
    kvb_writer_add(out, narrow_page);
}
