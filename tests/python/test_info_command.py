#!/usr/bin/env python3
"""`kvbits info`: its figures are those of docs/format.md, worked out here anew; its errors name value and legal ones."""
import json
import os
import re
import subprocess
import unittest

KVBITS = os.environ["KVBITS"]
EXAMPLE = "--layers 32 --kv-heads 8 --head-dim 128 --tokens 131072 --k-bits 6 --v-bits 4".split()


def run(*arguments):
    return subprocess.run([KVBITS, "info", *map(str, arguments)], capture_output=True, text=True, check=False)


def printed(*arguments):
    done = run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def up_to_64(n):
    return -(-n // 64) * 64


def row_bytes(bits, dim, scale):
    return 2 * dim if bits == 16 else int(bits * dim) // 8 + scale


def layer_bytes(bits, dims, heads, tokens, page=64, scale=2, window=0, first=0, last=0):
    """Token by token: which ones lie in a page that is still held?"""
    held = set()
    for t in range(first, max(tokens - last, first if tokens > first else tokens)):
        end = (t // page + 1) * page
        if not window or end > min(tokens - window + 1, max(tokens - last, first)):
            held.add(t // page)
    page_bytes = heads * sum(up_to_64(row_bytes(b, d, scale) * page) for b, d in zip(bits, dims, strict=True))
    exact = sum(up_to_64(n * heads * d * 2) for n in (first, last) for d in dims)
    return len(held) * page_bytes + exact


class Gpus(unittest.TestCase):
    def test_they_are_listed_or_why_not(self):
        cuda, text = printed()["cuda"], run().stdout
        self.assertEqual(cuda["built"], "built without CUDA" not in text)
        self.assertTrue(cuda["built"] or not cuda["devices"])
        listed = re.findall(r"^  (cuda:\d+) +(.*), compute capability (\d+\.\d+).*, (\d+) multiprocessors, ", text, re.M)
        self.assertEqual(listed, [(d["backend"], d["name"], d["capability"], str(d["multiprocessors"])) for d in cuda["devices"]])
        self.assertEqual(bool(listed), re.search(r"^GPUs$", text, re.M) is not None)


class Figures(unittest.TestCase):
    def test_the_example(self):
        done = run(*EXAMPLE)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        total = 32 * 131072 * 8 * (98 + 66)
        self.assertIn("32 layers of 8 KV heads, head_dim 128; 131072 tokens in pages of 64; scales f16\n", done.stdout)
        self.assertIn("K 6 bits, V 4 bits: 5.125 bits per value, scales included\n", done.stdout)
        self.assertIn(f"  per token     {total / 131072:.1f} bytes\n", done.stdout)
        self.assertIn(f"  total         {total} bytes ({total / 2**30:.3f} GiB)\n", done.stdout)
        self.assertIn(f"  against f16   {512 / 164:.3f} times smaller\n", done.stdout)

    def test_the_tables_hold_every_pair(self):
        text, pairs = run(*EXAMPLE).stdout, printed(*EXAMPLE)["pairs"]
        tables = re.findall(r"^(\S.*)\n  K \\ V((?: +\d+)+)\n((?:  .*\n)+)", text, re.M)
        self.assertEqual([t[0] for t in tables], ["Bytes per token", "Total, GiB", "Times smaller than f16"])
        for (_, head, rows), key, unit in zip(tables, ("bytes_per_token", "bytes", "ratio_to_f16"), (1, 2**30, 1),
                                              strict=True):
            self.assertEqual(head.split(), "1 2 3 4 5 6 7 8 16".split())
            cells = {(int(line.split()[0]), v): float(cell) for line in rows.splitlines()
                     for v, cell in zip((1, 2, 3, 4, 5, 6, 7, 8, 16), line.split()[1:], strict=True)}
            self.assertEqual(len(cells), 81)
            for pair in pairs:
                cell, exact = cells[pair["k_bits"], pair["v_bits"]], pair[key] / unit
                self.assertAlmostEqual(cell, exact, delta=max(6e-4 if unit > 1 or exact < 100 else 0.51, 5e-4))

    def test_json_is_the_same_from_first_principles(self):
        shapes = [
            {"heads": 8, "dims": (128, 128), "tokens": 131072},
            {"heads": 3, "dims": (72, 72), "tokens": 1001, "page": 16},
            {"heads": 1, "dims": (192, 128), "tokens": 777, "scale": 4, "first": 70, "last": 33},
            {"heads": 2, "dims": (64, 64), "tokens": 5000, "window": 1000, "page": 128},
            {"heads": 2, "dims": (64, 8), "tokens": 130, "window": 20, "first": 5, "last": 64, "page": 32},
            {"heads": 1, "dims": (64, 64), "tokens": 3, "first": 5, "last": 64},
        ]
        for s in shapes:
            options = ["--layers", 2, "--kv-heads", s["heads"], "--head-dim", s["dims"][0], "--v-head-dim", s["dims"][1],
                       "--tokens", s["tokens"], "--page-tokens", s.get("page", 64), "--window", s.get("window", 0),
                       "--exact-first", s.get("first", 0), "--exact-last", s.get("last", 0),
                       "--scale-dtype", "f32" if s.get("scale") == 4 else "f16"]
            found = printed(*options)
            halves = layer_bytes((16, 16), **{k: v for k, v in s.items() if k not in ("first", "last")})
            self.assertEqual(len(found["pairs"]), 81)
            for pair in found["pairs"]:
                bits = pair["k_bits"], pair["v_bits"]
                expected = 2 * layer_bytes(bits, **s)
                self.assertEqual(pair["bytes"], expected, (s, bits))
                self.assertAlmostEqual(pair["bytes_per_token"], expected / s["tokens"])
                self.assertAlmostEqual(pair["ratio_to_f16"], 2 * halves / expected, places=6)
                values = 8 * sum(row_bytes(b, d, s.get("scale", 2)) for b, d in zip(bits, s["dims"], strict=True))
                self.assertAlmostEqual(pair["bits_per_value"], values / sum(s["dims"]), places=6)

    def test_half_bits(self):
        chosen = printed("--k-bits", "4.5", "--v-bits", "3.5")["chosen"]
        self.assertEqual((chosen["k_bits"], chosen["v_bits"], chosen["bits_per_value"]), (4.5, 3.5, 4.125))
        self.assertEqual(chosen["bytes"], 32 * 131072 * 8 * (74 + 58))
        text = run("--k-bits", "4.5", "--v-bits", "3.5").stdout
        self.assertIn("K 4.5 bits, V 3.5 bits: 4.125 bits per value, scales included\n", text)
        self.assertRegex(text, r"K \\ V +1 +2 +3")
        text = run("--half-bits").stdout
        self.assertEqual(len(re.findall(r"K \\ V +1 +1.5 +2 +2.5 +3 +3.5 +4 +4.5 +5 +5.5 +6 +6.5 +7 +7.5 +8 +16\n", text)), 3)
        pairs = printed("--half-bits", "--layers", 1)["pairs"]
        widths = [*(half / 2 for half in range(2, 17)), 16]
        self.assertEqual([(p["k_bits"], p["v_bits"]) for p in pairs], [(k, v) for k in widths for v in widths])
        for p in pairs:
            self.assertEqual(p["bytes"], layer_bytes((p["k_bits"], p["v_bits"]), (128, 128), 8, 131072))
        whole = [p for p in pairs if p["k_bits"] % 1 == 0 and p["v_bits"] % 1 == 0]
        self.assertEqual(whole, printed("--layers", 1)["pairs"])

    def test_defaults_are_the_example(self):
        self.assertEqual(printed(), printed(*EXAMPLE))
        self.assertEqual(printed()["chosen"], next(p for p in printed()["pairs"] if (p["k_bits"], p["v_bits"]) == (6, 4)))

    def test_the_largest_cache_that_can_be_asked_for(self):
        shape = ["--kv-heads", 1024, "--head-dim", 576, "--tokens", 2**40]
        self.assertEqual(printed("--layers", 7, *shape)["pairs"][-1]["bytes"], 7 * 2**40 * 1024 * 576 * 4)
        done = run("--layers", 8, *shape)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("more than 2^64 bytes", done.stderr)


class Errors(unittest.TestCase):
    def expect(self, named, *arguments):
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("kvbits info: "), done.stderr)
        self.assertIn(named, done.stderr)

    def test_bad_options_name_value_and_legal_ones(self):
        self.expect("--layers is '0'; legal: a whole number from 1 to 1024", "--layers", "0")
        self.expect("--layers is '3x'", "--layers", "3x")
        self.expect("--kv-heads is '1025'; legal: a whole number from 1 to 1024", "--kv-heads", "1025")
        self.expect("--head-dim is 100; legal: multiples of 8 from 8 to 576", "--head-dim", "100")
        self.expect("--v-head-dim is 584", "--v-head-dim", "584")
        self.expect("--tokens is '99999999999999999999'; legal: a whole number from 1 to 1099511627776",
                    "--tokens", "99999999999999999999")
        self.expect("--tokens is ' 5'", "--tokens", " 5")
        for bits in ("9", "0", "8.5", "16.5", "4.25", "4.", "4.5x", "-4", ".5", "0.5", ""):
            self.expect(f"--k-bits is '{bits}'; legal: 1 to 8 in steps of 0.5, or 16 for dense rows", "--k-bits", bits)
        self.expect("--v-bits is '0'; legal: 1 to 8 in steps of 0.5, or 16", "--v-bits", "0")
        for arguments in (("--half-bits",), ("--k-bits", "4.5")):
            self.expect("head_dim 72 of a code with half a bit is not a multiple of 16", "--head-dim", "72", *arguments)
        self.expect("--page-tokens is 48; legal: powers of two from 16 to 1024", "--page-tokens", "48")
        self.expect("--window is '-1'", "--window", "-1")
        self.expect("--exact-first is '65537'; legal: a whole number from 0 to 65536", "--exact-first", "65537")
        self.expect("--exact-last is 'all'", "--exact-last", "all")
        self.expect("--scale-dtype is 'bf16'; legal: f16|f32", "--scale-dtype", "bf16")
        self.expect("--tokens needs a value", "--tokens")
        self.expect("'--nonsense'", "--nonsense")
        self.expect("'operand'", "operand")

    def test_full_disk_is_an_input_output_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([KVBITS, "info"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 3)


if __name__ == "__main__":
    unittest.main()
