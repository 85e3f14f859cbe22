"""The command's front: --help, --version, wrong names, exit codes, and output that cannot be written."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

KVBITS = os.environ["KVBITS"]


def kvbits(*arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([KVBITS, *arguments], text=True, check=False, **options)


class Command(unittest.TestCase):
    def test_help_lists_every_command(self):
        done = kvbits("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for name in ("ab", "bench", "codebook", "info", "inspect", "report"):
            self.assertRegex(done.stdout, rf"(?m)^  {name} ")

    def test_each_command_explains_itself_under_its_full_name(self):
        for name in ("ab", "bench", "codebook", "info", "inspect", "report"):
            done = kvbits(name, "--help")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(f"Usage: kvbits {name}", done.stdout)

    def test_version_is_the_library_s(self):
        done = kvbits("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^kvbits \d+\.\d+\.\d+\n$")

    def test_an_unknown_command_is_refused_with_the_legal_ones(self):
        for name in ("abc", "", "--ab", "-v"):
            done = kvbits(name)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(f"'{name}' is no command; the commands are ab, bench, codebook, eval, info, inspect, plan, record and report", done.stderr)

    def test_no_command_prints_the_help_as_an_error(self):
        done = kvbits()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("Usage: kvbits COMMAND", done.stderr)

    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = kvbits("--version", stdout=full)
        self.assertEqual(done.returncode, 3)
        self.assertIn("could not be written", done.stderr)

    def test_an_interrupted_run_leaves_nothing_and_says_how_to_go_on(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with tempfile.TemporaryDirectory() as folder:
                out = pathlib.Path(folder) / "out"
                with subprocess.Popen([KVBITS, "ab", "--trials", "1000000", "--kv-lens", "1000000", "--out", out, "--no-report"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
                    while not out.exists():
                        time.sleep(.02)
                    time.sleep(.1)
                    running.send_signal(number)
                    output, error = running.communicate(timeout=60)
                self.assertEqual((running.returncode, output), (-number, ""))
                self.assertRegex(error, r"^kvbits: interrupted; [^\n]*run the same command again\n$")
                self.assertEqual(list(out.iterdir()), [])

    def test_a_failed_check_ends_with_1_and_leaves_its_evidence(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "lopsided.json").write_text('{"codebooks": {"1_bit": [-0.8, 0.9]}}')
            done = kvbits("ab", "--codebook", folder / "lopsided.json", "--bits", "1", "--heads", "2", "--kv-heads", "1",
                          "--head-dim", "32", "--kv-lens", "8", "--trials", "2", "--head-dims", "32", "--vectors", "4",
                          "--no-report", "--out", folder / "out")
            result = json.loads((folder / "out" / "result.json").read_text())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual([check["name"] for check in result["checks"] if not check["passed"]],
                         ["codebook symmetric and strictly increasing"])
        self.assertIn("1 check failed", done.stderr)


if __name__ == "__main__":
    unittest.main()
