"""The second decoder (python/format_reader.py) against docs/format.md's rows and against the golden files."""

import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

import format_reader  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "packed"
HEAD_DIMS = (32, 64, 72, 80, 96, 112, 128, 192, 256, 320, 512, 576)


def describe(head_dim, rotation, scale_kind, half, seed, planes, levels, states=0):
    head = (1, 2 if states else 1, len(planes), head_dim, rotation, scale_kind, half, 0, len(levels), states, seed)
    data = struct.pack("<HBBHBBBBHIQ", *head)
    for p, (width, low_bit) in enumerate(planes):
        data += struct.pack("<BBBBHH", width, low_bit, states > 0 and p == 0, 0, 0, head_dim)
    return data + struct.pack(f"<{len(levels)}f", *levels)


def describe_half(head_dim, first, second, levels, states=0):
    """Of planes (width, lowest bit) of either half; rotation none, lsq scales in half."""
    data = struct.pack("<HBBHBBBBHIQ", 1, 4 if states else 3, len(first + second), head_dim, 0, 1, 1, 0, len(levels), states, 0)
    for start, planes in ((0, first), (head_dim // 2, second)):
        for p, (width, low_bit) in enumerate(planes):
            data += struct.pack("<BBBBHH", width, low_bit, states > 0 and p == 0, 0, start, head_dim // 2)
    return data + struct.pack(f"<{len(levels)}f", *levels)


def bits_of(value):
    return "nan" if math.isnan(value) else struct.pack("<f", value)


class HandRows(unittest.TestCase):
    def test_row_a(self):
        levels = [-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]
        description = format_reader.Description.parse(describe(8, 0, 0, 1, 0, [(2, 0), (1, 2)], levels))
        block = bytes.fromhex("0040e7c02d")
        codes, scales = format_reader.unpack(description, block, 1)
        self.assertEqual(codes, [[7, 0, 5, 4, 2, 4, 3, 3]])
        self.assertEqual(scales, [2.0])
        self.assertEqual(
            format_reader.decode(description, block, 1), [[3.5, -3.5, 1.5, 0.5, -1.5, 0.5, -0.5, -0.5]]
        )

    def test_row_b(self):
        description = format_reader.Description.parse(
            describe(64, 2, 1, 0, 0x6B766269, [(2, 0)], [-1.5, -0.5, 0.5, 1.5])
        )
        block = bytes.fromhex("00000040" "7722dd887722dd88dd887722dd887722")
        x = [0.0] * 64
        x[1], x[26] = 8.0, -16.0
        self.assertEqual(format_reader.decode(description, block, 1), [x])
        rotated = [(1 if i % 2 == 0 else -1) + (2 if bin(i & 26).count("1") % 2 == 0 else -2) for i in range(64)]
        self.assertEqual(format_reader.decode(description, block, 1, rotated=True), [rotated])


    def test_row_c(self):
        description = format_reader.Description.parse(
            describe(8, 0, 0, 1, 0, [(1, 0), (1, 2)], [-7, -5, -3, -1, 1, 3, 5, 7], states=8)
        )
        codes, scales = format_reader.unpack(description, bytes.fromhex("00386999"), 1)
        self.assertEqual(codes, [[6, 2, 1, 4, 6, 3, 2, 7]])
        self.assertEqual(scales, [0.5])

    def test_row_d(self):
        description = format_reader.Description.parse(
            describe_half(16, [(2, 0)], [(1, 0)], [-3, -1, 1, 3, -0.5, 0.5])
        )
        self.assertEqual(description.bits, 1.5)
        self.assertEqual(format_reader.decode(description, bytes.fromhex("00401be44d"), 1),
                         [[6, -6, 2, -2, -2, 2, -6, 6, 1, -1, 1, 1, -1, -1, 1, -1]])


class Golden(unittest.TestCase):
    def check(self, name):
        golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
        description = format_reader.Description.parse(bytes.fromhex(golden["description"]))
        self.assertEqual(description.head_dim, golden["head_dim"])
        self.assertEqual(description.bits, golden["bits"])
        self.assertEqual(("none", "hadamard", "signed")[description.rotation], golden["rotation"])
        self.assertEqual(("norm", "lsq", "search")[description.scale_kind], golden["scale"])
        self.assertEqual(description.states, golden.get("trellis_states", 0))
        self.assertEqual(("f32", "f16")[description.half_scales], golden["scale_dtype"])
        rows = format_reader.decode(description, bytes.fromhex(golden["block"]), golden["n_rows"])
        expected = bytes.fromhex(golden["decoded_f32"])
        values = struct.unpack(f"<{len(expected) // 4}f", expected)
        decoded = [value for row in rows for value in row]
        self.assertEqual(len(decoded), len(values))
        # Not assertEqual on the lists: its report of a difference takes minutes for a thousand values.
        wrong = [i for i, (a, b) in enumerate(zip(decoded, values)) if bits_of(a) != bits_of(b)]
        self.assertFalse(wrong, f"{name}: {len(wrong)} values differ, the first at {wrong[:1]}")

    def test_every_width_and_head_dim_decodes_to_the_same_bits(self):
        for head_dim in HEAD_DIMS:
            for bits in range(1, 9):
                with self.subTest(head_dim=head_dim, bits=bits):
                    self.check(f"d{head_dim}-b{bits}")

    def test_every_trellis_decodes_to_the_same_bits(self):
        for states in (8, 16, 64, 256, 0):
            for bits in range(2, 7):
                with self.subTest(states=states, bits=bits):
                    self.check(f"t{states}-b{bits}")

    def test_edge_rows_decode_to_the_same_bits(self):
        for scale in ("norm", "lsq"):
            for dtype in ("f32", "f16"):
                with self.subTest(scale=scale, dtype=dtype):
                    self.check(f"edges-{scale}-{dtype}")


class Refusals(unittest.TestCase):
    def test_broken_descriptions_are_refused(self):
        good = describe(64, 2, 1, 0, 5, [(2, 0)], [-1.5, -0.5, 0.5, 1.5])
        format_reader.Description.parse(good)
        for offset, value in ((0, 2), (2, 2), (3, 2), (4, 65), (6, 3), (6, 0), (7, 3), (8, 2), (9, 1), (10, 5), (12, 1),
                              (24, 3), (25, 1), (26, 1), (27, 1), (28, 8), (30, 8), (35, 0x7F)):
            with self.subTest(offset=offset), self.assertRaises(format_reader.FormatError):
                format_reader.Description.parse(good[:offset] + bytes([value]) + good[offset + 1 :])
        for size in range(len(good)):
            with self.subTest(size=size), self.assertRaises(format_reader.FormatError):
                format_reader.Description.parse(good[:size])

        good = describe(64, 2, 1, 0, 5, [(1, 0), (1, 2)], [-7, -5, -3, -1, 1, 3, 5, 7], states=16)
        format_reader.Description.parse(good)
        for offset, value in ((2, 1), (12, 0), (12, 32), (14, 1), (24, 2), (25, 1), (26, 0), (26, 2), (33, 1), (34, 1)):
            with self.subTest(offset=offset), self.assertRaises(format_reader.FormatError):
                format_reader.Description.parse(good[:offset] + bytes([value]) + good[offset + 1 :])

        good = describe_half(32, [(2, 0), (1, 2)], [(2, 0)], [-7, -5, -3, -1, 1, 3, 5, 7, -3, -1, 1, 3])
        format_reader.Description.parse(good)
        for offset, value in ((2, 1), (2, 4), (2, 5), (3, 2), (4, 40), (10, 11), (12, 16), (24, 1), (28, 16), (30, 32),
                              (33, 0), (36, 16), (40, 1), (40, 4), (41, 2), (42, 1), (44, 0), (46, 32), (79, 0x7F),
                              (83, 0x41)):
            with self.subTest(offset=offset), self.assertRaises(format_reader.FormatError):
                format_reader.Description.parse(good[:offset] + bytes([value]) + good[offset + 1 :])
        with self.assertRaises(format_reader.FormatError):  # two bits between the halves
            format_reader.Description.parse(describe_half(32, [(2, 0), (1, 2)], [(1, 0)],
                                                          [-7, -5, -3, -1, 1, 3, 5, 7, -1, 1]))

    def test_blocks_of_another_size_are_refused(self):
        description = format_reader.Description.parse(describe(64, 2, 1, 0, 5, [(2, 0)], [-1.5, -0.5, 0.5, 1.5]))
        for size in (19, 21):
            with self.assertRaises(format_reader.FormatError):
                format_reader.decode(description, bytes(size), 1)


class Command(unittest.TestCase):
    def reader(self, *arguments):
        command = [sys.executable, ROOT / "python" / "format_reader.py", *arguments]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)

    def test_a_golden_file_is_printed(self):
        done = self.reader(GOLDEN / "d64-b4.json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith("head_dim 64, 4 bits, rotation "), done.stdout[:80])
        self.assertEqual(self.reader("--help").returncode, 0)

    def test_what_cannot_be_shown_is_one_sentence(self):
        golden = json.loads((GOLDEN / "d64-b4.json").read_text(encoding="utf-8"))
        no_object = "not a JSON object with \"description\", \"block\" and \"n_rows\""
        cases = [("", no_object), ("[]", no_object), ("{}", no_object), ("\udcff".encode("utf-8", "surrogateescape"), no_object),
                 (json.dumps({**golden, "n_rows": "x"}), no_object), (json.dumps({**golden, "block": "0g"}), no_object),
                 (json.dumps({**golden, "block": golden["block"][2:]}), "block has "),
                 (json.dumps({**golden, "n_rows": -1}), "block has "),
                 (json.dumps({**golden, "description": golden["description"][:40]}), "description has 20 bytes")]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "broken.json"
            for content, sentence in cases:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
                done = self.reader(path)
                self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
                self.assertTrue(done.stderr.startswith(f"format_reader.py: {path}: {sentence}"), done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertEqual(self.reader("/nowhere/file").stderr, "format_reader.py: /nowhere/file: No such file or directory\n")
        for arguments in ((), ("a", "b"), ("--nonsense",)):
            done = self.reader(*arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), done.stderr)


if __name__ == "__main__":
    unittest.main()
