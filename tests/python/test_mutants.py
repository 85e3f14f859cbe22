"""Each mutant's header is complete; `make mutants` does the rest."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mutants"))
import run  # noqa: E402


class Mutants(unittest.TestCase):
    def test_headers_name_a_test_and_a_bug(self):
        for path in sorted(run.HERE.glob("*.patch")):
            self.assertTrue(run.Mutant(path).test, path.name)

    def test_a_patch_without_a_header_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "01-anonymous.patch"
            path.write_text("# test: test_rotate\n--- a/x\n+++ b/x\n# bug: inside the patch does not count\n")
            with self.assertRaises(run.Broken):
                run.Mutant(path)


if __name__ == "__main__":
    unittest.main()
