"""The default experiment agrees with the golden file, whatever the number of threads."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

KVBITS = os.environ["KVBITS"]
TESTS = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = TESTS / "golden" / "bitwidth_ab.json"


class Golden(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def run_ab(self, *options):
        out = tempfile.mkdtemp(dir=self.folder.name)
        done = subprocess.run([KVBITS, "ab", "--quiet", "--no-report", "--out", out, *options], capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return pathlib.Path(out) / "result.json"

    def compare(self, result, *options):
        done = subprocess.run([sys.executable, "-B", TESTS / "compare_cells.py", result, GOLDEN, *options],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_default_codebooks_give_the_figures_and_both_verdicts(self):
        self.compare(self.run_ab(), "--round-trip", "2e-5", "--attention", "1e-3", "--verdict")

    def test_golden_codebooks_give_the_figures_with_any_number_of_threads(self):
        first = self.run_ab("--codebook", GOLDEN, "--threads", "1")
        self.compare(first, "--round-trip", "1e-6", "--attention", "5e-5", "--verdict")
        other = self.run_ab("--codebook", GOLDEN, "--threads", "3")
        self.assertEqual(first.read_bytes(), other.read_bytes())

    @unittest.skipUnless(os.environ.get("KVBITS_BUILD") == "Release", "seconds in a release build, minutes in others")
    def test_every_value_gives_the_figures_of_the_skipping_run(self):
        self.assertEqual(self.run_ab("--no-skip").read_bytes(), self.run_ab().read_bytes())

    @unittest.skipUnless(os.environ.get("KVBITS_BUILD") == "Release", "half a minute in a release build, minutes in others")
    def test_sums_in_index_order_give_the_reference_run(self):
        result = self.run_ab("--codebook", GOLDEN, "--sums", "index-order")
        self.compare(result, "--round-trip", "5e-8", "--attention", "5e-8", "--verdict")


if __name__ == "__main__":
    unittest.main()
