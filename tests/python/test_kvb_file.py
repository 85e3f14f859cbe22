"""Saved caches, by the command and by the second reader (python/kvb_reader.py): same rows to the last bit, same verdicts.
"""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

import kvb_reader  # noqa: E402

KVBITS, KVB_CASE = os.environ["KVBITS"], os.environ["KVB_CASE"]


def run(*command):
    return subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.names = run(KVB_CASE, "list").stdout.decode().split()
        cls.paths = {name: pathlib.Path(cls.folder.name) / f"{name}.kvb" for name in cls.names}
        for name, path in cls.paths.items():
            done = run(KVB_CASE, "write", name, 7, path)
            assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_there_are_cases(self):
        self.assertEqual(self.names, ["empty", "packed", "forks", "exact", "latent", "hole", "trellis"])

    def test_the_second_reader_decodes_every_row_to_the_library_s_bits(self):
        for name, path in self.paths.items():
            with self.subTest(name):
                done = run(KVB_CASE, "rows", path)
                self.assertEqual(done.returncode, 0, done.stderr)
                file = kvb_reader.File(path.read_bytes())
                rows = [(place, values) for sequence in file.sequences for *place, values in file.rows(sequence)]
                self.assertEqual(len(done.stdout), 4 * sum(len(values) for _, values in rows))
                at = 0
                for place, values in rows:
                    packed = struct.pack(f"<{len(values)}f", *values)
                    if packed != done.stdout[at : at + len(packed)]:
                        self.fail(f"layer, token, head, side {place}: the rows differ")
                    at += len(packed)

    def test_both_refuse_damage(self):
        data = bytearray(self.paths["exact"].read_bytes())
        broken = pathlib.Path(self.folder.name) / "broken.kvb"
        for at in range(0, len(data), len(data) // 40):
            data[at] ^= 0x10
            broken.write_bytes(data)
            done = run(KVBITS, "inspect", broken)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(b"verdict: broken: ", done.stdout)
            self.assertIn(b"kvbits inspect: ", done.stderr)
            with self.assertRaises(kvb_reader.FormatError):
                kvb_reader.File(bytes(data))
            data[at] ^= 0x10
        for size in range(0, len(data), len(data) // 20):
            with self.assertRaises(kvb_reader.FormatError):
                kvb_reader.File(bytes(data[:size]))

    def test_inspect_says_what_the_second_reader_finds(self):
        for name, path in self.paths.items():
            with self.subTest(name):
                done = run(KVBITS, "inspect", "--json", path)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                said, file = json.loads(done.stdout), kvb_reader.File(path.read_bytes())
                self.assertTrue(said["whole"])
                self.assertEqual(said["bytes"], path.stat().st_size)
                self.assertEqual([(s["type"], s["offset"], s["content_bytes"], s["crc32c"]) for s in said["sections"]],
                                 [(s.kind, s.offset, len(s.content), f"{kvb_reader.crc32c(s.content):08x}")
                                  for s in file.sections])
                self.assertTrue(all(s["crc_is_right"] for s in said["sections"]))
                self.assertEqual([(s["number"], s["n_tokens"], s["pages"]) for s in said["sequences"]],
                                 [(s.number, s.n_tokens, sum(len(part.pages) for part in s.parts))
                                  for s in file.sequences])
                self.assertEqual([layer["page_bytes"] for layer in said["layers"]],
                                 [layer.page_bytes(file.page_tokens) for layer in file.layers])

    def test_inspect_prints_layers_sequences_sections_and_the_verdict(self):
        done = run(KVBITS, "inspect", self.paths["forks"])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        text = done.stdout.decode()
        for expected in ("version 1, ", "cache: pages of 16 tokens, up to 7 sequences of 200 tokens", "own centroids",
                         "window 20", "sequence 3: 53 tokens; 0 pages of 0 bytes in all, 10 shared", "verdict: whole\n"):
            self.assertIn(expected, text)
        self.assertRegex(text, r"(?m)^ +8 PAGE +0 +0 +\d+ +\d+ [0-9a-f]{8}$")

    def test_inspect_of_a_broken_file_prints_what_comes_before_the_damage(self):
        data = bytearray(self.paths["packed"].read_bytes())
        data[2000] ^= 1
        broken = pathlib.Path(self.folder.name) / "broken.kvb"
        broken.write_bytes(data)
        done = run(KVBITS, "inspect", "--json", broken)
        said = json.loads(done.stdout)
        self.assertEqual(done.returncode, 2)
        self.assertFalse(said["whole"])
        self.assertIn("section 4 (PAGE of sequence 0, layer 0), byte 952: the CRC-32C of the content is", said["damage"])
        self.assertEqual([section["crc_is_right"] for section in said["sections"]], [True] * 4 + [False])
        self.assertEqual(len(said["layers"]), 2)

    def test_what_cannot_be_opened_ends_with_3_and_wrong_calls_with_2(self):
        self.assertEqual(run(KVBITS, "inspect", "/nowhere/file.kvb").returncode, 3)
        self.assertEqual(run(KVBITS, "inspect", self.folder.name).returncode, 3)
        self.assertEqual(run(KVBITS, "inspect").returncode, 2)
        self.assertEqual(run(KVBITS, "inspect", "a", "b").returncode, 2)


if __name__ == "__main__":
    unittest.main()
