"""Reports of kvbits eval from its result.json, without any engine: `kvbits report` on the committed result and on results
that a page must survive."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KVBITS = os.environ["KVBITS"]
RESULT = ROOT / "docs" / "results" / "eval-smollm2.json"


def report(*arguments, given=None):
    return subprocess.run([KVBITS, "report", *map(str, arguments)], capture_output=True, text=True, check=False, input=given)


def estimate(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def scheme(name, kind, bits, kl):
    return {"name": name, "kind": kind, "bits_per_value": bits, "bits_in_window": bits,
            "kl": {"mean": estimate(kl), "median": estimate(kl), "p99": estimate(kl), "p999": estimate(kl)},
            "top1_agreement": estimate(.9), "perplexity_ratio": estimate(1.01), "positions": [], "layers": []}


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.result = json.loads(RESULT.read_text(encoding="utf-8"))

    def page(self, document):
        done = report("-", "--html", "-", given=json.dumps(document))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?s)^<!DOCTYPE html>.*</html>\n$")
        self.assertNotIn("nan", re.sub(r"<svg.*?</svg>", "", done.stdout, flags=re.S))
        return done.stdout

    def test_the_committed_markdown_is_made_from_the_committed_result(self):
        self.assertEqual(report(RESULT).stdout, RESULT.with_suffix(".md").read_text(encoding="utf-8"))

    def test_the_committed_results_meet_the_goals(self):
        done = subprocess.run([sys.executable, "-B", ROOT / "tools" / "check_goals.py", *sorted(RESULT.parent.glob("*.json"))],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def test_the_page_has_every_scheme_with_its_figures_and_charts(self):
        page = self.page(self.result)
        self.assertEqual(re.findall(r'id="?\'?([a-z-]+)-w-gnuplot_canvas', page),
                         ["kl-mean", "kl-tail", "positions", "model-layers"])
        for entry in self.result["schemes"]:
            mean = entry["kl"]["mean"]
            self.assertIn(f'<td class="words">{entry["name"]}</td>', page)
            cell = "<small>".join((f"{mean['value']:.3g}", f"{mean['low']:.3g} to {mean['high']:.3g}"))
            self.assertIn(cell, page)
            self.assertIn(f">{entry['name']}</text>", page.replace("<tspan>", "").replace("</tspan>", "").replace(" </text>", "</text>"))

    def test_sensitivities_are_a_map_and_a_table(self):
        layers = [{"layer": l, "k": estimate(.001 * (l + 1), .0005, .002), "v": estimate(.00025)} for l in range(40)]
        page = self.page({**self.result, "sensitivity": {"k_bits": 4, "v_bits": 3, "tokens": 99, "layers": layers}})
        self.assertIn("Which layer's keys and values matter", page)
        self.assertIn("keys at 4 bits, values at 3, all else in halves; 99 tokens", page)
        self.assertIn('<td class="words">39</td><td data-label="keys">40.000<small>0.500 to 2.000</small></td>'
                      '<td data-label="values">0.250</td>', page)
        self.assertIn("above 20", page)  # the largest is 40; each step of color halves it

    def test_sensitivities_are_a_markdown_table_too(self):
        layers = [{"layer": 7, "k": estimate(.001, .0005, .002), "v": estimate(.00025)}]
        document = {**self.result, "sensitivity": {"k_bits": 4, "v_bits": 3, "tokens": 99, "layers": layers}}
        text = report("-", given=json.dumps(document)).stdout
        self.assertIn("keys at 4 bits and values at 3, all else in halves; 99 tokens.", text)
        self.assertTrue(text.endswith("| 7 | 0.001 (0.0005..0.002) | 0.00025 |\n"), text[-200:])

    def test_what_is_odd_makes_a_page_too(self):
        bare = {"kvbits_eval": 1}
        for schemes in ([], [scheme("4/4", "kvbits", 4.25, .1)], [scheme("q4_0", "engine", 4.5, 0)],
                        [scheme("4/4", "kvbits", 4.25, None), scheme("a", "kvbits", 1e300, 1e300)], "none", [1, "two"]):
            self.page({**bare, "schemes": schemes})
            self.page({**self.result, "schemes": schemes, "sensitivity": {"layers": [{"layer": 1}, 5]}})
        self.page({**bare, "schemes": [scheme(f"s{i}", "kvbits", 4, .1) for i in range(200)]})

    def test_names_are_escaped(self):
        hostile = '<script>alert("1")</script>'
        document = json.loads(json.dumps(self.result).replace("5/3t64s", json.dumps(hostile)[1:-1]))
        document["text"] = document["model"]["file"] = document["model"]["name"] = hostile
        page = self.page(document)
        self.assertNotIn("<script", page)
        self.assertIn("&lt;script&gt;", page)

    def test_what_is_no_result_is_refused_in_one_sentence(self):
        for text in ("", "[]", '{"kvbits_eval": 2}', '{"kvbits_eval": "1"}', RESULT.read_text(encoding="utf-8")[:-20]):
            for option in ("--html", "--markdown"):
                done = report("-", option, "-", given=text)
                self.assertEqual((done.returncode, done.stdout), (2, ""), text[:20])
                self.assertRegex(done.stderr, r"^kvbits report: standard input: [^\n]+\n$")
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "page.html"
            self.assertEqual(report(RESULT, "--html", out).returncode, 0)
            self.assertTrue(out.read_text(encoding="utf-8").endswith("</html>\n"))


if __name__ == "__main__":
    unittest.main()
