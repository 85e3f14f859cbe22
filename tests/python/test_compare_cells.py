"""compare_cells.py accepts the golden file itself and notices every kind of difference."""
import contextlib
import copy
import io
import json
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))
import compare_cells  # noqa: E402

GOLDEN = TESTS / "golden" / "bitwidth_ab.json"


class CompareCells(unittest.TestCase):
    def setUp(self):
        self.document = json.loads(GOLDEN.read_text())
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def compare(self, document, *options):
        path = pathlib.Path(self.folder.name) / "result.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        arguments = [str(path), str(GOLDEN), "--round-trip", "1e-6", "--attention", "5e-5", *options]
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), \
                mock.patch.object(sys, "argv", ["compare_cells.py", *arguments]):
            try:
                code = compare_cells.main()
            except SystemExit as refused:
                code = refused.code
        self.output = output.getvalue()
        return code

    def cell(self, list_name, **key):
        return next(c for c in self.document[list_name] if all(c[k] == v for k, v in key.items()))

    def test_the_golden_file_agrees_with_itself(self):
        self.assertEqual(self.compare(self.document, "--verdict"), 0, self.output)
        counts = [line.split() for line in self.output.splitlines()]
        self.assertIn(["round", "trip", "18"], [words[:3] for words in counts])
        self.assertIn(["round", "trip,", "case", "C", "9"], [words[:5] for words in counts])
        self.assertIn(["attention", "9"], [words[:2] for words in counts])

    def test_each_figure_of_each_cell_is_compared(self):
        for list_name, step in (("round_trip_cells", 2e-6), ("sdpa_cells", 6e-5)):
            for i in range(len(self.document[list_name])):
                for figure in ("nrmse_mean", "nrmse_std"):
                    changed = copy.deepcopy(self.document)
                    changed[list_name][i][figure] += step
                    self.assertEqual(self.compare(changed), 1, (list_name, i, figure))

    def test_differences_within_the_bounds_pass(self):
        self.cell("round_trip_cells", bit_width=4, case="A", head_dim=128)["nrmse_mean"] += 0.9e-6
        self.cell("sdpa_cells", bit_width=6, kv_seq_len=64)["nrmse_std"] -= 4.9e-5
        self.assertEqual(self.compare(self.document), 0, self.output)

    def test_case_c_may_differ_by_a_fifth_of_itself(self):
        cell = self.cell("round_trip_cells", bit_width=5, case="C", head_dim=512)
        original = cell["nrmse_mean"]
        cell["nrmse_mean"] = original * 1.19
        self.assertEqual(self.compare(self.document), 0, self.output)
        cell["nrmse_mean"] = original * 1.3
        self.assertEqual(self.compare(self.document), 1)

    def test_a_missing_cell_fails(self):
        del self.document["sdpa_cells"][4]
        self.assertEqual(self.compare(self.document), 1)
        self.assertIn("missing", self.output)

    def test_nan_fails(self):
        self.cell("sdpa_cells", bit_width=4, kv_seq_len=64)["nrmse_mean"] = float("nan")
        self.assertEqual(self.compare(self.document), 1)

    def test_verdicts_are_compared_on_request(self):
        self.document["verdict_at_threshold_015"] = "bit_width_5_sufficient"
        self.assertEqual(self.compare(self.document), 0)
        self.assertEqual(self.compare(self.document, "--verdict"), 1)

    def test_bad_input_has_its_own_exit_code(self):
        for text in ("", "{", "[]", "{}", '{"round_trip_cells": [{}]}', '{"round_trip_cells": 5}',
                     '{"round_trip_cells": [3]}'):
            self.assertEqual(self.compare(text), 2, text)
        self.assertEqual(self.compare(self.document, "--attention", "nan"), 2)


if __name__ == "__main__":
    unittest.main()
