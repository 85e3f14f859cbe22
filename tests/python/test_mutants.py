"""Each mutant's header is complete and its patch fits; `make mutants` does the rest."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mutants"))
import run  # noqa: E402


class Mutants(unittest.TestCase):
    def test_headers_name_a_test_and_a_bug(self):
        for path in sorted(run.HERE.glob("*.patch")):
            self.assertTrue(run.Mutant(path).test, path.name)

    def test_patches_fit_the_code(self):
        """What they break has moved where they do not: they are made anew then."""
        for path in sorted(run.HERE.rglob("*.patch")):
            done = subprocess.run(["git", "apply", "--check", path], cwd=run.ROOT, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_patch_without_a_header_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "01-anonymous.patch"
            path.write_text("# test: test_rotate\n--- a/x\n+++ b/x\n# bug: inside the patch does not count\n")
            with self.assertRaises(run.Broken):
                run.Mutant(path)


if __name__ == "__main__":
    unittest.main()
