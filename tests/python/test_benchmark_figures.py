"""The tables of docs/benchmarking.md are what their raw files say, and summarize.py and compare_runs.py do as they say."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KVBITS = os.environ["KVBITS"]
TINY = ("bench", "--quick", "--shapes", "C", "--kv-len", "128", "--bits", "4,6/3", "--memory", "2", "--seconds", "0.0005",
        "--rounds", "3", "--prefill", "4,70", "--no-peers")


def script(name, *arguments):
    return subprocess.run([sys.executable, "-B", ROOT / "bench" / name, *arguments], text=True, check=False,
                          capture_output=True)


class Figures(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.run = self.folder / "run.json"
        subprocess.run([KVBITS, *TINY, "--json", self.run, "--quiet"], check=True)

    def test_documents_agree_with_their_raw_files(self):
        documents = [ROOT / "README.md", ROOT / "docs" / "benchmarking.md", *(ROOT / "docs" / "benchmarks").glob("*.md")]
        self.assertGreater(len(documents), 4)
        for document in documents:
            done = script("summarize.py", "--into", document, "--check")
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_document_is_written_and_a_changed_figure_is_seen(self):
        document = self.folder / "document.md"
        document.write_text(f"before\n<!-- figures: {self.run} -->\nold\n<!-- end of figures -->\nafter\n")
        self.assertEqual(script("summarize.py", "--into", document, "--check").returncode, 1)
        self.assertEqual(script("summarize.py", "--into", document).returncode, 0)
        text = document.read_text()
        self.assertEqual(script("summarize.py", "--into", document, "--check").returncode, 0)
        self.assertTrue(text.startswith("before\n<!-- figures") and text.endswith("<!-- end of figures -->\nafter\n"))
        self.assertNotIn("old\n", text)
        document.write_text(text.replace("| 4 ", "| 5 ", 1))
        self.assertEqual(script("summarize.py", "--into", document, "--check").returncode, 1)

    def test_a_text_is_shown_as_it_is(self):
        text = self.folder / "goals.txt"
        text.write_text("met  decode A\n1 goals met\n")
        self.assertIn("```\nmet  decode A\n1 goals met\n```", script("summarize.py", text).stdout)

    def test_goals_of_several_machines_become_one_table(self):
        for name, lines in (("a", "goal  measured  limit\nmet           decode A: f16, x      3.5  at most 4 ns\n"
                                  "MISSED        FWHT 64  9  at most 6 ns/row\n1 goals met, 1 missed, 0 not measured\n"),
                            ("b", "NOT MEASURED  FWHT 64      -  at most 6 ns/row\n")):
            (self.folder / f"goals-{name}.txt").write_text(lines)
        document = self.folder / "document.md"
        document.write_text(f"<!-- figures: {self.folder}/goals-a.txt {self.folder}/goals-b.txt -->\n<!-- end of figures -->\n")
        self.assertEqual(script("summarize.py", "--into", document).returncode, 0)
        self.assertIn("| goal | limit | a | b |\n|---|---|---|---|\n| decode A: f16, x | at most 4 ns | 3.5 | - |\n"
                      "| FWHT 64 | at most 6 ns/row | **9** | - |\n", document.read_text())

    def test_decode_of_several_runs_becomes_one_table(self):
        row = {"kind": "row", "work": "attend", "shape": "A", "kv_len": 8192, "threads": 1, "from": "cold"}
        rows = [{**row, "by": "kvbits", "backend": "avx2", "k": k, "v": v, "value": value}
                for k, v, value in (("16", "16", 50), ("8", "8", 40), ("6", "6", 30), ("4", "4", 20), ("6", "4", 25))]
        rows += [{**row, "by": "ggml", "layout": layout, "k": k, "v": k, "value": value}
                 for k, layout, value in (("f16", "head-major", 100), ("f16", "token-major", 900), ("q8_0", "head-major", 150),
                                          ("q4_0", "head-major", 200))]
        rows += [{**rows[0], "threads": 2, "value": 1}, {**rows[0], "from": "warm", "value": 1}, {**rows[0], "kv_len": 1024, "value": 1}]
        text = "\n".join(json.dumps(line) for line in ({"kind": "run"}, *rows))
        for name in ("a-one", "a-two"):
            (self.folder / f"decode-{name}.json").write_text(text)
        document = self.folder / "document.md"
        document.write_text(f"<!-- figures: {self.folder}/decode-a-one.json {self.folder}/decode-a-two.json -->\n<!-- end of figures -->\n")
        self.assertEqual(script("summarize.py", "--into", document).returncode, 0)
        self.assertIn("\n| one (avx2), A | 100 | 150 | 200 | 50 (2.0x) | 40 (2.5x) | 30 (3.3x) | 20 (5.0x) | 25 (4.0x) |\n| two (avx2), A |",
                      document.read_text())

    def test_errors_become_a_table_by_deviation(self):
        errors = self.folder / "accuracy.json"
        line = {"kind": "error", "by": "kvbits", "shape": "A", "kv_len": 8192, "format": "4", "kernel": "avx2 fast"}
        errors.write_text("\n".join(json.dumps(each) for each in (
            {"kind": "accuracy", "kvbits": "1", "compiler": "cc", "processor": "P", "family": 1, "model": 2, "peers": "ggml"},
            {**line, "deviation": 1, "error": 4.62e-05}, {**line, "deviation": 6, "error": 7.01e-05})))
        text = script("summarize.py", errors).stdout
        self.assertIn("| cache, kernel | deviation 1 | deviation 6 |", text)
        self.assertIn("| kvbits 4, avx2 fast | 4.6e-05 | 7.0e-05 |", text)

    def test_the_tables_have_every_row(self):
        text = script("summarize.py", self.run).stdout
        rows = [json.loads(line) for line in self.run.read_text().splitlines()[1:]]
        medians = sum(line.count("[") for line in text.splitlines() if line.startswith("|"))
        self.assertEqual(medians, len(rows))
        self.assertIn("**Incomplete**", text)

    def test_runs_are_compared_in_both_directions(self):
        self.assertEqual(script("compare_runs.py", self.run, self.run, "--within", "1.001").returncode, 0)
        lines = [json.loads(line) for line in self.run.read_text().splitlines()]
        for factor in (0.5, 2.0):
            other = self.folder / "other.json"
            other.write_text("\n".join(json.dumps({**line, "value": line["value"] * factor} if line.get("work") == "attend"
                                                  else line) for line in lines))
            done = script("compare_runs.py", self.run, other, "--within", "1.5")
            self.assertEqual(done.returncode, 1)
            self.assertIn("2 differ by more than 1.5", done.stdout)

    def test_quotients_of_codes_are_those_of_their_runs(self):
        results = ROOT / "bench" / "results"
        for compare, part, name in (("trellis_ratio.py", "trellis", "zen3"), ("trellis_ratio.py", "trellis", "zen4"),
                                    ("half_ratio.py", "halves", "zen4")):
            done = script(compare, results / f"{part}-0-{name}.json", results / f"{part}-16-{name}.json")
            self.assertEqual((done.returncode, done.stdout), (0, (results / f"{part}-{name}.txt").read_text()), done.stderr)

    def test_other_files_are_refused(self):
        other = self.folder / "other.json"
        other.write_text('{"kind": "something"}\n')
        self.assertEqual(script("summarize.py", other).returncode, 1)


if __name__ == "__main__":
    unittest.main()
