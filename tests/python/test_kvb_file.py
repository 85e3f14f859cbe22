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

CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "kvb_file"
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
        self.assertEqual(self.names, ["empty", "packed", "forks", "exact", "latent", "hole", "trellis", "halves",
                                      "centered"])

    def test_files_that_were_written_before_are_still_written_and_read(self):
        """Those of tests/fuzz/corpus are as the version wrote them that first had what they hold."""
        for name in self.names:
            with self.subTest(name):
                committed, written = CORPUS / f"{name}.kvb", pathlib.Path(self.folder.name) / "again.kvb"
                self.assertEqual(run(KVB_CASE, "write", name, 1, written).returncode, 0)
                self.assertEqual(committed.read_bytes(), written.read_bytes())
                old, new = run(KVB_CASE, "rows", committed), run(KVB_CASE, "rows", written)
                self.assertEqual((old.returncode, old.stdout), (0, new.stdout))

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
            self.assertTrue(done.stdout.endswith(b"verdict: broken\n"), done.stdout)
            self.assertTrue(done.stderr.startswith(f"kvbits inspect: {broken}: ".encode()), done.stderr)
            self.assertEqual(done.stderr.count(b"\n"), 1)
            with self.assertRaises(kvb_reader.FormatError):
                kvb_reader.File(bytes(data))
            data[at] ^= 0x10
        for size in range(0, len(data), len(data) // 20):
            with self.assertRaises(kvb_reader.FormatError):
                kvb_reader.File(bytes(data[:size]))

    def test_both_refuse_the_same_lies_about_codecs_layers_and_mean_keys(self):
        """Bytes of these sections changed, with CRCs that fit: of the codecs all of the first but its levels."""
        lie, verdicts = pathlib.Path(self.folder.name) / "lie.kvb", []
        for name in ("halves", "centered"):
            data = self.paths[name].read_bytes()
            for section in kvb_reader.File(data).sections[: 2 if name == "halves" else 3]:
                start, end = section.offset + 32, section.offset + 32 + len(section.content)
                step = {"CODC": 41, "LAYR": 1, "MEAN": 97}[section.kind]
                for at in [*range(start, start + 56), *range(start + 56, end, step)]:
                    changed = bytearray(data)
                    changed[at] ^= (0x01, 0x02, 0x80, 0x7F)[at % 4]
                    changed[end : end + 4] = struct.pack("<I", kvb_reader.crc32c(changed[start:end]))
                    lie.write_bytes(changed)
                    done = run(KVBITS, "inspect", "--json", lie)
                    try:
                        kvb_reader.File(bytes(changed))
                        second = 0
                    except kvb_reader.FormatError:
                        second = 2
                    self.assertEqual(done.returncode, second, f"{name}, {section.kind}, byte {at - start}: {done.stderr}")
                    verdicts.append(second)
        self.assertIn(0, verdicts)
        self.assertIn(2, verdicts)

    def test_the_second_reader_says_in_one_sentence_what_is_wrong(self):
        reader, folder = ROOT / "python" / "kvb_reader.py", pathlib.Path(self.folder.name)
        data = self.paths["centered"].read_bytes()
        (folder / "cut.kvb").write_bytes(data[:1000])
        (folder / "damaged.kvb").write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
        (folder / "empty").write_bytes(b"")
        for path, sentence in ((folder / "cut.kvb", "the file has 1000 bytes and says"),
                               (folder / "damaged.kvb", "section 2 (MEAN): its CRC is wrong"),
                               (folder / "empty", "not a .kvb file"), ("/nowhere/file", "No such file or directory"),
                               (folder, "Is a directory")):
            done = run(sys.executable, reader, path)
            self.assertEqual((done.returncode, done.stdout), (1, b""), done.stderr)
            self.assertTrue(done.stderr.decode().startswith(f"kvb_reader.py: {path}: {sentence}"), done.stderr)
            self.assertEqual(done.stderr.count(b"\n"), 1)
        for arguments in ((), ("a", "b"), ("--nonsense",)):
            done = run(sys.executable, reader, *arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count(b"\n")), (2, b"", 1), done.stderr)
        done = run(sys.executable, reader, "--help")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"FILE", done.stdout)
        done = run(sys.executable, reader, self.paths["halves"])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"sequence 0: 53 tokens, 318 rows\n", done.stdout)

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

    def test_inspect_names_half_bits_and_centered_keys(self):
        text = run(KVBITS, "inspect", self.paths["halves"]).stdout.decode()
        self.assertIn("keys 64 x 4.5 bits, signed, lsq f16; values 64 x 3.5 bits, signed, lsq f16; 4.25 bits per", text)
        self.assertIn("keys 80 x 5.5 bits, trellis of 16 states, signed, lsq f16; values 48 x 7.5 bits, none, lsq f32;",
                      text)
        text = run(KVBITS, "inspect", self.paths["centered"]).stdout.decode()
        self.assertIn("layer 0: 2 KV heads; keys 32 x 4 bits, signed, lsq f16, centered; values 32 x 3 bits, ", text)
        self.assertIn("layer 1: 1 KV heads; keys 32 x 4 bits, signed, lsq f16; values", text)
        layers = json.loads(run(KVBITS, "inspect", "--json", self.paths["centered"]).stdout)["layers"]
        self.assertEqual([layer["centered"] for layer in layers], [True, False, True])
        self.assertEqual([layer["k"]["bits"] for layer in layers], [4, 4, 3.5])
        self.assertTrue(layers[2]["k"]["library_centroids"])

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
