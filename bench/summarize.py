#!/usr/bin/env python3
"""Markdown tables from the JSON lines of `kvbits bench --json FILE` or of bench-accuracy, so that no figure in a document
is typed by hand.

    summarize.py RUN.json                 prints them
    summarize.py --into DOCUMENT.md       writes them between <!-- figures: RUN.json --> and <!-- end of figures -->,
                                          RUN.json being beside this project's root; --check only compares.
                                          A RUN.txt, such as what goals printed, is shown as it is; several
                                          goals-NAME.txt make one table, a column for each, and several
                                          decode-SHAPE-NAME.json one of decode attention, a row for each.
"""
import argparse
import json
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARKS = re.compile(r"(<!-- figures: (\S+(?: \S+)*) -->\n).*?(<!-- end of figures -->)", re.S)
GOAL = re.compile(r"(met|MISSED|NOT MEASURED) +(.+?) {2,}(\S+)  (at (?:most|least) .+)")
PLACES = ("L1", "L2", "L3", "DRAM")
KINDS = {"run": "row", "accuracy": "error"}  # of the first line, and of the others


def read(path):
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kind = lines[0].get("kind") if lines else None
    if kind not in KINDS or any(line.get("kind") != KINDS[kind] for line in lines[1:]):
        sys.exit(f"summarize: {path} holds no JSON lines of `kvbits bench --json` or bench-accuracy")
    return lines[0], lines[1:]


def figure(value):
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def cell(row):
    """Median, quartiles, and how near the floor."""
    if row is None:
        return "-"
    text = f"{figure(row['value'])} [{figure(row['low_quartile'])}, {figure(row['high_quartile'])}]"
    return text + (f" {row['percent_of_floor']:.0f} %" if "percent_of_floor" in row else "")


def table(head, lines):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for line in lines:
        yield "| " + " | ".join(line) + " |"
    yield ""


def distinct(rows, key):
    found = []
    for row in rows:
        value = key(row)
        if value not in found:
            found.append(value)
    return found


def pick(rows, **wanted):
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    return found[0] if found else None


def subject(row):
    """What was measured, the column aside: widths and whose kernel."""
    widths = row.get("k", "")
    if "v" in row and row["v"] != row["k"]:
        widths += "/" + row["v"]
    whose = row.get("backend", row["by"])
    extra = [row["precision"]] if row.get("precision") == "precise" else []
    extra += [row["layout"]] if row["by"] != "kvbits" and "layout" in row else []
    return " ".join([widths, whose, *extra]).strip()


def machine(run):
    flags = run.get("flags", "").split()
    sets = [name for name in ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vbmi", "avx512_vbmi2", "avx512_vnni", "gfni",
                              "avx512_bf16", "asimd", "asimddp", "i8mm", "sve") if name in flags]
    family = f" (family {run['family']}, model {run['model']})" if "family" in run and "model" in run else ""
    yield f"kvbits {run['kvbits']}, {run['compiler']}, {run['system']}; {run['processors']} x {run['processor']}{family}, "
    yield (f"caches {run['l1_bytes'] >> 10} KiB, {run['l2_bytes'] >> 10} KiB, {run['l3_bytes'] >> 20} MiB; "
           f"{', '.join(sets) or 'no vector sets listed'}; load before the run {run['load_before']:.1f}.")
    if run.get("taken_by_others", 0.0) > 0.15:
        yield f"**Not idle**: other processes took {100 * run['taken_by_others']:.0f} % of the processors."
    yield f"Peers: {run['peers']}." if run.get("peers") else "Peers: none."
    if not run["complete"]:
        yield f"**Incomplete**: the peers are missing ({run['peers_missing']})."
    yield ""


def ceilings(rows):
    threads = distinct([row for row in rows if row["work"] == "fma"], lambda row: row["threads"])
    head = ["ceiling", *(f"{n} thread{'s' if n > 1 else ''}" for n in threads)]
    lines = [[f"{work} {place}, GB/s", *(cell(pick(rows, work=work, threads=n, **{"from": place})) for n in threads)]
             for work in ("read", "copy") for place in PLACES]
    lines.append(["multiply-adds, f32 GFLOP/s", *(cell(pick(rows, work="fma", threads=n)) for n in threads)])
    yield from table(head, lines)


def attention(rows, work):
    rows = [row for row in rows if row["work"] == work]
    unit = {"attend": "ns per token and KV head", "prefill": "GFLOP/s",
            "append": "ns per token and KV head, by tokens of a call"}[work]
    for shape, place, threads in distinct(rows, lambda row: (row["shape"], row["from"], row["threads"])):
        mine = [row for row in rows if (row["shape"], row["from"], row["threads"]) == (shape, place, threads)]
        column = "mask" if work == "prefill" else "kv_len"
        columns = distinct(mine, lambda row: row[column])
        yield f"{shape}, {place}, {threads} thread{'s' if threads > 1 else ''}; {unit}:"
        yield ""
        yield from table(["K/V, kernel", *map(str, columns)],
                         [[name, *(cell(pick([row for row in mine if subject(row) == name], **{column: value}))
                                   for value in columns)] for name in distinct(mine, subject)])


def single_rows(rows):
    rotations = [row for row in rows if row["work"] == "rotate"]
    if rotations:
        dims = distinct(rotations, lambda row: row["head_dim"])
        yield "Rotation, ns per row:"
        yield ""
        yield from table(["kernel", *map(str, dims)],
                         [[backend, *(cell(pick(rotations, backend=backend, head_dim=dim)) for dim in dims)]
                          for backend in distinct(rotations, lambda row: row["backend"])])
    works = [work for work in ("encode", "encode-unchecked", "decode", "decode-rotated") if pick(rows, work=work)]
    mine = [row for row in rows if row["work"] in works]
    for dim in distinct(mine, lambda row: row["head_dim"]):
        of_dim = [row for row in mine if row["head_dim"] == dim]
        yield f"Rows of {dim} values, ns per row (the peers' are without rotation):"
        yield ""
        yield from table(["bits, kernel", *works],
                         [[name, *(cell(pick([row for row in of_dim if subject(row) == name], work=work)) for work in works)]
                          for name in distinct(of_dim, subject)])


def accuracy(run, rows):
    """Relative errors by logits' deviation, a table for each shape."""
    yield f"kvbits {run['kvbits']}, {run['compiler']}, {run['processor']} (family {run['family']}, model {run['model']}); {run['peers']}."
    yield ""
    for shape in distinct(rows, lambda row: row["shape"]):
        mine = [row for row in rows if row["shape"] == shape]
        columns = distinct(mine, lambda row: row["deviation"])
        yield f"Shape {shape}, {mine[0]['kv_len']} tokens:"
        yield ""
        lines = []
        for by, form, kernel in distinct(mine, lambda row: (row["by"], row["format"], row["kernel"])):
            found = [pick(mine, by=by, format=form, kernel=kernel, deviation=value) for value in columns]
            lines.append([f"{by} {form}, {kernel}", *(f"{row['error']:.1e}" for row in found)])
        yield from table(["cache, kernel", *(f"deviation {value:g}" for value in columns)], lines)


def goals(paths):
    """Goals by machine; what was missed is bold."""
    measured, limits = {}, {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            found = GOAL.fullmatch(line)
            if found:
                verdict, name, value, limits[name] = found.groups()
                measured[name, path] = f"**{value}**" if verdict == "MISSED" else value
    head = ["goal", "limit", *(path.stem.removeprefix("goals-") for path in paths)]
    return "\n".join(table(head, [[name, limit, *(measured.get((name, path), "-") for path in paths)]
                                  for name, limit in limits.items()]))


def speed(paths):
    """Cold decode attention on one thread at 8192 tokens, a row for each run; in brackets over the peer's f16."""
    lines, widths = [], ("16", "8", "6", "4", "6/4")
    for path in paths:
        rows = [row for row in read(path)[1] if (row["work"], row.get("kv_len"), row["threads"], row.get("from")) == ("attend", 8192, 1, "cold")]
        best = {}
        for row in rows:
            key = row["k"] if row["k"] == row["v"] else f"{row['k']}/{row['v']}"
            best[key] = min(best.get(key, row["value"]), row["value"])
        mine = next(row for row in rows if row["by"] == "kvbits")
        lines.append([f"{path.stem.split('-')[2]} ({mine['backend']}), {mine['shape']}", *(f"{best[key]:.0f}" for key in ("f16", "q8_0", "q4_0")),
                      *(f"{best[key]:.0f} ({best['f16'] / best[key]:.1f}x)" for key in widths)])
    return "\n".join(table(["processor (backend), shape", "ggml f16", "q8_0", "q4_0", *(f"kvbits {width}" for width in widths)], lines))


def summary(path):
    if path.suffix == ".txt":
        return f"From [{path.name}]({path.name}):\n\n```\n{path.read_text(encoding='utf-8').strip()}\n```\n"
    run, rows = read(path)
    if run["kind"] == "accuracy":
        return "\n".join([f"From [{path.name}]({path.name}): relative L2 error of the output.", "", *accuracy(run, rows)])
    lines = [f"From [{path.name}]({path.name}): median [quartiles], and the floor as percent of the median.", ""]
    lines += [*machine(run), *ceilings(rows)]
    for title, part in (("Decode attention", attention(rows, "attend")), ("Prefill", attention(rows, "prefill")),
                        ("Appending to a cache", attention(rows, "append")),
                        ("Rows", single_rows(rows))):
        part = list(part)
        if part:
            lines += [f"### {title}", "", *part]
    return "\n".join(lines)


def renew(document):
    """The document's text with all its figures made anew."""
    text = document.read_text(encoding="utf-8")

    def one(match):
        paths = [ROOT / name for name in match.group(2).split()]
        link = os.path.relpath(paths[0], document.resolve().parent)
        if len(paths) > 1:
            text = speed(paths) if paths[0].suffix == ".json" else goals(paths)
        else:
            text = summary(paths[0]).replace(f"]({paths[0].name})", f"]({link})", 1)
        return match.group(1) + text + match.group(3)

    return text, MARKS.sub(one, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=pathlib.Path)
    parser.add_argument("--into", type=pathlib.Path, metavar="DOCUMENT.md")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if (arguments.run is None) == (arguments.into is None):
        parser.error("one of RUN.json and --into DOCUMENT.md")
    if arguments.run:
        print(summary(arguments.run))
        return 0
    old, new = renew(arguments.into)
    if arguments.check:
        return 0 if old == new else f"summarize: {arguments.into} is not what its raw files say"
    arguments.into.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
