#!/usr/bin/env python3
"""`kvbits report`: its page is well-formed, closed in itself, and its exit codes tell bad input from failed output."""
import html.parser
import os
import pathlib
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

KVBITS = os.environ["KVBITS"]
DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
SAMPLES = ("result_synthetic.json", "result_trace.json")


def run(*arguments, **options):
    return subprocess.run([KVBITS, "report", *map(str, arguments)], capture_output=True, check=False, **options)


def page_of(sample):
    done = run(DATA / sample, "--html", "-")
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8")


class Balance(html.parser.HTMLParser):
    """Complains about an end tag that ends something else, and about what is never ended."""

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.ids = [], [], []

    def handle_starttag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


class Page(unittest.TestCase):
    def test_tags_balance_and_ids_are_unique(self):
        for sample in SAMPLES:
            balance = Balance()
            balance.feed(page_of(sample))
            self.assertEqual(balance.faults, [])
            self.assertEqual(balance.open, [])
            self.assertEqual(len(balance.ids), len(set(balance.ids)))

    def test_charts_are_xml_and_link_only_to_their_own_marks(self):
        for sample in SAMPLES:
            charts = re.findall(r"<svg.*?</svg>", page_of(sample), re.S)
            self.assertGreaterEqual(len(charts), 6)
            for chart in charts:
                tree = xml.etree.ElementTree.fromstring(chart)
                ids = {element.get("id") for element in tree.iter()} - {None}
                links = {element.get("href") for element in tree.iter()} - {None}
                self.assertLessEqual({link.lstrip("#") for link in links}, ids)
                self.assertNotIn("width", tree.attrib)
                self.assertRegex(tree.get("viewBox"), r"^0 0 \d+ \d+$")
                self.assertGreater(len(list(tree.iter("text"))), 5)

    def test_every_chart_comes_for_wide_and_narrow_pages(self):
        for sample in SAMPLES:
            classes = [c.split() for c in re.findall(r'<svg class="([^"]*)"', page_of(sample))]
            self.assertEqual(sum("wide" in c for c in classes), sum("narrow" in c for c in classes))
            self.assertTrue(all(("wide" in c) != ("narrow" in c) for c in classes))


class Command(unittest.TestCase):
    def test_markdown_goes_to_standard_output_by_default(self):
        done = run(DATA / SAMPLES[0])
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout.startswith(b"# How few bits do K and V need?\n"))

    def test_standard_input_and_files_give_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "result.md"
            self.assertEqual(run("-", "--markdown", path, input=(DATA / SAMPLES[1]).read_bytes()).returncode, 0)
            self.assertEqual(path.read_bytes(), run(DATA / SAMPLES[1]).stdout)

    def test_exit_codes(self):
        for code, arguments in ((2, []), (2, ["--bogus", DATA / SAMPLES[0]]), (2, [DATA / SAMPLES[0], DATA / SAMPLES[1]]),
                                (2, [DATA / "make_results.py"]), (3, [DATA / "missing.json"]),
                                (3, [DATA / SAMPLES[0], "--html", "/nonexistent/report.html"]),
                                (3, [DATA / SAMPLES[0], "--markdown", "/dev/full"]), (0, ["--help"])):
            done = run(*arguments)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            self.assertEqual(bool(done.stderr), code != 0)

    def test_without_gnuplot_the_markdown_still_works(self):
        self.assertEqual(run(DATA / SAMPLES[0], env={"PATH": "/nonexistent"}).returncode, 0)
        done = run(DATA / SAMPLES[0], "--html", "-", env={"PATH": "/nonexistent"})
        self.assertEqual((done.returncode, done.stdout), (3, b""))
        self.assertIn(b"gnuplot-nox", done.stderr)


if __name__ == "__main__":
    unittest.main()
