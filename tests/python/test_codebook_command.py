#!/usr/bin/env python3
"""`kvbits codebook`: what it prints can be read back, and its exit codes tell good tables from bad ones."""
import json
import math
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

KVBITS = os.environ["KVBITS"]
TESTS = pathlib.Path(__file__).resolve().parents[1]
UNCONVERGED = TESTS / "data" / "unconverged_8bit.json"
GOLDEN = TESTS / "golden" / "bitwidth_ab.json"


def run(*arguments):
    return subprocess.run([KVBITS, "codebook", *map(str, arguments)], capture_output=True, text=True, check=False)


def printed_json(*arguments):
    done = run(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Printing(unittest.TestCase):
    def test_library_prints_eight_tables_with_their_figures(self):
        text = run().stdout
        self.assertEqual(re.findall(r"^(\d) bits?: library table$", text, re.M), list("12345678"))
        sqnr = [float(x) for x in re.findall(r"SQNR ([\d.]+) dB", text)]
        for found, expected in zip(sqnr[1:7], [9.30, 14.62, 20.22, 26.01, 31.91, 37.87]):
            self.assertAlmostEqual(found, expected, delta=0.02)

    def test_decibels_follow_from_the_error(self):
        for key, figures in printed_json()["figures"].items():
            self.assertAlmostEqual(figures["sqnr_db"], -10 * math.log10(figures["mse"]), places=6)
            bound = 4.0 ** -int(key[0])
            self.assertAlmostEqual(figures["db_above_bound"], 10 * math.log10(figures["mse"] / bound), places=6)

    def test_json_is_a_codebook_file_that_gives_the_same_values_back(self):
        for source in (["library"], ["optimum"], ["beta", "--dim", "128"], ["lloyd", "--bits", "3,5"]):
            made = printed_json("--codebook", *source)
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder, "tables.json")
                path.write_text(json.dumps(made))
                self.assertEqual(printed_json("--codebook", path)["codebooks"], made["codebooks"])

    def test_lloyd_reports_its_rounds(self):
        figures = printed_json("--codebook", "lloyd", "--bits", "4,5,6")["figures"]
        self.assertEqual([figures[k]["rounds"] for k in ("4_bit", "5_bit", "6_bit")], [415, 1454, 5110])

    def test_c_is_the_library_table(self):
        text = run("--bits", 8, "--format", "c").stdout
        values = [float(x) for x in re.findall(r"(-?[\d.e-]+)f\b", text.split("{")[1])]
        self.assertEqual(len(values), 256)
        committed = (TESTS.parent / "src" / "codebook_tables.inc").read_text()
        body = committed.split("codebook_8_bit[256] = {")[1].split("}")[0]
        self.assertTrue(all(abs(a - b) < 1e-8 for a, b in
                            zip(values, [float(x) for x in re.findall(r"(-?[\d.]+)f", body)], strict=True)))

    def test_factor_multiplies_the_values_and_not_the_figures(self):
        plain, scaled = printed_json("--bits", 3), printed_json("--bits", 3, "--factor", 0.125)
        self.assertEqual([x / 8 for x in plain["codebooks"]["3_bit"]], scaled["codebooks"]["3_bit"])
        self.assertEqual(plain["figures"]["3_bit"]["mse"], scaled["figures"]["3_bit"]["mse"])


class Checking(unittest.TestCase):
    def test_unconverged_table_fails_and_its_loss_is_told(self):
        done = run("--check", UNCONVERGED, "--factor", 0.0625)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("8 bits: not a Lloyd-Max fixed point", done.stdout)
        self.assertIn("15.2457 % more than the optimum's", done.stdout)
        self.assertIn("42.2095 % more than the optimum's", done.stdout)

    def test_unconverged_table_is_what_the_documented_command_makes(self):
        made = run("--bits", 8, "--codebook", "lloyd", "--stop", "1e-4", "--factor", 0.0625, "--format", "json")
        self.assertEqual(made.stdout, UNCONVERGED.read_text())

    def test_scaled_optimum_passes_and_its_factor_is_found(self):
        made = printed_json("--codebook", "optimum", "--bits", 8, "--factor", 0.0625)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "tables.json")
            path.write_text(json.dumps(made))
            done = run("--check", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("8 bits: a Lloyd-Max fixed point\n  factor that fits best: 0.0625 = 1/sqrt(256)", done.stdout)
            found = json.loads(run("--check", path, "--format", "json").stdout)["checks"]["8_bit"]
            self.assertTrue(found["fixed_point"])

    def test_golden_tables_pass_at_the_default_tolerance_and_fail_at_a_tight_one(self):
        self.assertEqual(run("--check", GOLDEN).returncode, 0)
        self.assertEqual(run("--check", GOLDEN, "--tolerance", 1e-3).returncode, 1)
        self.assertEqual(run("--check", GOLDEN, "--tolerance", 1e-3, "--bits", "4,5").returncode, 0)


class Errors(unittest.TestCase):
    def expect(self, code, named, *arguments):
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stdout), (code, ""), arguments)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("kvbits codebook: "), done.stderr)
        self.assertIn(named, done.stderr)

    def test_bad_options_name_value_and_legal_ones(self):
        self.expect(2, "--bits lists 9; legal: 1 to 8", "--bits", "9")
        self.expect(2, "--bits lists 4 twice", "--bits", "4,4")
        self.expect(2, "'four'", "--bits", "four")
        self.expect(2, "legal: text|json|c", "--format", "xml")
        self.expect(2, "legal: erfc|as26.2.17", "--codebook", "lloyd", "--cdf", "erf")
        self.expect(2, "needs --dim", "--codebook", "beta")
        self.expect(2, "--dim is '1'; legal: a whole number from 2 to 1048576", "--codebook", "beta", "--dim", "1")
        self.expect(2, "--codebook lloyd only", "--round-limit", "5")
        self.expect(2, "--stop is '0'", "--codebook", "lloyd", "--stop", "0")
        self.expect(2, "--check only", "--tolerance", "1")
        self.expect(2, "leave --codebook out", "--check", GOLDEN, "--codebook", "library")
        self.expect(2, "legal: text|json", "--check", GOLDEN, "--format", "c")
        self.expect(2, "'--nonsense'", "--nonsense")
        self.expect(2, "'operand'", "operand")

    def test_widths_that_a_file_lacks_are_named(self):
        self.expect(2, 'no "8_bit" table', "--codebook", GOLDEN, "--bits", "8")
        self.expect(2, 'no "8_bit" table', "--check", GOLDEN, "--bits", "4,8")

    def test_iteration_that_does_not_converge_is_an_error(self):
        self.expect(1, "256 levels has not converged: after 3000 rounds", "--codebook", "lloyd", "--bits", "8",
                    "--round-limit", "3000")

    def test_files_that_cannot_be_read_or_break_the_format(self):
        self.expect(3, "no-such-file.json", "--check", "no-such-file.json")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "bad.json")
            path.write_text('{"codebooks": {"2_bit": [1, 2, 2, 3]}}')
            self.expect(2, "codebooks.2_bit must rise strictly", "--check", path)

    def test_full_disk_is_an_input_output_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([KVBITS, "codebook"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 3)


if __name__ == "__main__":
    unittest.main()
