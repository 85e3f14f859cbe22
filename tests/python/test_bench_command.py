"""kvbits bench: every row that was asked for, in table and JSON lines; goals met, missed and not measured; refusals.
Nothing here depends on how fast anything is."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

KVBITS = os.environ["KVBITS"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TINY = ("--quick", "--shapes", "C", "--kv-len", "40,128", "--bits", "4,6/3.5,16", "--memory", "2", "--seconds", "0.0005",
        "--rounds", "3", "--prefill", "4,70", "--no-peers")


def bench(*arguments):
    return subprocess.run([KVBITS, "bench", *map(str, arguments)], text=True, check=False, capture_output=True)


def rows_of(*arguments):
    done = bench(*TINY, "--json", "-", *arguments)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[0], lines[1:]


def of_work(rows, *work):
    return [row for row in rows if row["work"] in work]


class Rows(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.run_line, cls.rows = rows_of("--threads", "1,2", "--warm", "--cold", "--precision", "fast,precise")

    def test_the_first_line_describes_machine_and_run(self):
        self.assertEqual(self.run_line["kind"], "run")
        for key in ("kvbits", "processor", "compiler", "compiler_flags", "commit", "system", "ceiling_loops", "l1_bytes", "taken_by_others", "seconds"):
            self.assertIn(key, self.run_line)

    def test_missing_peers_mark_the_table_incomplete(self):
        self.assertIs(self.run_line["complete"], False)
        self.assertIn("--no-peers", self.run_line["peers_missing"])
        self.assertIn("INCOMPLETE", bench(*TINY, "--only", "encode").stdout)

    def test_ceilings_stand_for_each_level_and_number_of_threads(self):
        found = {(row["work"], row["from"], row["threads"]) for row in of_work(self.rows, "read", "copy")}
        self.assertEqual(found, {(work, level, threads) for work in ("read", "copy")
                                 for level in ("L1", "L2", "L3", "DRAM") for threads in (1, 2)})
        self.assertEqual([row["threads"] for row in of_work(self.rows, "fma")], [1, 2])

    def test_rotation_stands_for_four_dims(self):
        self.assertEqual([row["head_dim"] for row in of_work(self.rows, "rotate")], [64, 128, 256, 512])

    def test_encoding_and_decoding_stand_for_each_width(self):
        for work in ("encode", "encode-unchecked", "decode", "decode-rotated"):
            self.assertEqual([(row["k"], row["head_dim"]) for row in of_work(self.rows, work)],
                             [("3.5", 64), ("4", 64), ("6", 64)], work)

    def test_appending_stands_for_one_token_and_for_many(self):
        self.assertEqual([(row["k"], row["v"], row["kv_len"]) for row in of_work(self.rows, "append")],
                         [(k, v, n) for k, v in (("4", "4"), ("6", "3.5"), ("16", "16")) for n in (1, 256)])

    def test_bytes_and_operations_of_an_appended_token(self):
        for row in of_work(self.rows, "append"):
            if row["k"] == "16":
                self.assertEqual((row["bytes_per_unit"], row["slots_per_unit"]), (64 * (8 + 4), 64 * 2))
            else: # rotation 6 + 1, norm and scale 3, a comparison per bit
                bits = float(row["k"]) + float(row["v"])
                self.assertEqual(row["bytes_per_unit"], 64 * 8 + 64 * bits / 8 + 4)
                self.assertEqual(row["slots_per_unit"], 64 * (2 * (7 + 3) + bits))

    def test_floors_hold_appending_to_the_rate_of_copying(self):
        ceiling = {row["threads"]: row["value"] for row in of_work(self.rows, "fma")}
        copying = [row["value"] for row in of_work(self.rows, "copy") if row["threads"] == 1]
        for row in of_work(self.rows, "append"):
            of_operations = 2.0 * row["slots_per_unit"] / ceiling[1]
            floors = [max(row["bytes_per_unit"] / rate, of_operations) for rate in copying]
            self.assertTrue(any(abs(row["floor"] / floor - 1.0) < 1e-3 for floor in floors), row)

    def test_decode_attention_stands_for_every_combination(self):
        found = [(row["k"], row["v"], row["kv_len"], row["threads"], row["from"], row["precision"])
                 for row in of_work(self.rows, "attend")]
        wanted = {(k, v, kv_len, threads, place, precision) for k, v in (("4", "4"), ("6", "3.5"), ("16", "16"))
                  for kv_len in (40, 128) for threads in (1, 2) for place in ("cold", "warm")
                  for precision in ("fast", "precise")}
        self.assertEqual(len(found), len(wanted))
        self.assertEqual(set(found), wanted)

    def test_run_line_and_table_say_how_many_queries_a_prefill_has(self):
        self.assertEqual(self.run_line["prefill_queries"], 4)
        self.assertIn("prefill: 4 queries", bench(*TINY, "--only", "prefill", "--bits", "4").stdout)

    def test_prefill_stands_for_both_masks(self):
        found = {(row["k"], row["mask"], row["threads"], row["precision"]) for row in of_work(self.rows, "prefill")}
        self.assertEqual(found, {(k, mask, threads, precision) for k in ("4", "6", "16") for mask in ("causal", "all")
                                 for threads in (1, 2) for precision in ("fast", "precise")})

    def test_every_row_has_figures_in_order(self):
        for row in self.rows:
            self.assertGreater(row["least"], 0.0, row)
            order = [row[key] for key in ("least", "low_quartile", "value", "high_quartile", "most")]
            self.assertEqual(order, sorted(order), row)
            self.assertGreaterEqual(row["samples"], 3, row)
            self.assertTrue(0.0 < row["cpu_share"] <= 1.0, row)

    def test_floors_are_the_larger_of_bytes_and_operations(self):
        ceiling = {row["threads"]: row["value"] for row in of_work(self.rows, "fma")}
        reading = {(row["from"], row["threads"]): row["value"] for row in of_work(self.rows, "read")}
        for row in of_work(self.rows, "attend"):
            if row["from"] != "cold":
                continue
            of_bytes = row["bytes_per_unit"] / reading["DRAM", row["threads"]]
            of_operations = 2.0 * row["slots_per_unit"] / ceiling[row["threads"]]
            self.assertAlmostEqual(row["floor"] / max(of_bytes, of_operations), 1.0, places=4)
            self.assertAlmostEqual(row["percent_of_floor"], 100.0 * row["floor"] / row["value"], delta=0.01)

    def test_bytes_and_operations_of_a_token(self):
        for row in of_work(self.rows, "attend"):
            bits = float(row["k"]) + float(row["v"])
            scales = 0 if row["k"] == "16" else 4
            self.assertEqual(row["bytes_per_unit"], 64 * bits / 8 + scales)
            self.assertEqual(row["slots_per_unit"], 2 * 64 * 9 / 3)


class Choices(unittest.TestCase):
    def test_only_measures_what_it_names_and_the_ceilings(self):
        for name, works in (("ceilings", set()), ("fwht", {"rotate"}), ("encode", {"encode", "encode-unchecked"}),
                            ("decode", {"decode", "decode-rotated"}), ("attend", {"attend"}), ("prefill", {"prefill"}),
                            ("append", {"append"})):
            _, rows = rows_of("--only", name)
            self.assertEqual({row["work"] for row in rows} - {"read", "copy", "fma"}, works, name)

    def test_ceilings_alone_lack_no_peers(self):
        run_line, _ = rows_of("--only", "ceilings")
        self.assertIs(run_line["complete"], True)

    def test_every_backend_of_a_list_is_measured(self):
        _, rows = rows_of("--only", "attend", "--backend", "scalar", "--bits", "4")
        self.assertEqual({row["backend"] for row in of_work(rows, "attend")}, {"scalar"})

    def test_the_table_has_a_line_for_each_row(self):
        _, rows = rows_of("--only", "attend")
        table = bench(*TINY, "--only", "attend").stdout
        self.assertEqual(table.count("\nattend C"), len(of_work(rows, "attend")))
        self.assertIn("median", table)

    def test_files_and_a_chart(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            done = bench(*TINY, "--only", "attend", "--quiet", "--json", folder / "rows.json", "--chart", folder / "c.svg")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            self.assertEqual(json.loads((folder / "rows.json").read_text().splitlines()[0])["kind"], "run")
            svg = (folder / "c.svg").read_text()
            self.assertTrue(svg.rstrip().endswith("</svg>"))
            self.assertIn("kvbits, fast", svg)

    def test_a_chart_of_nothing_is_refused(self):
        with tempfile.TemporaryDirectory() as name:
            done = bench(*TINY, "--only", "fwht", "--chart", pathlib.Path(name) / "c.svg")
        self.assertEqual(done.returncode, 2)
        self.assertIn("none was measured", done.stderr)


class Goals(unittest.TestCase):
    ROW = {"work": "attend", "shape": "C", "kv_len": 128, "k": "4", "v": "4"}

    def judge(self, goals, *arguments):
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name) / "goals.json"
            path.write_text(goals if isinstance(goals, str) else json.dumps({"kvbits_goals": 1, "goals": goals}))
            return bench(*TINY, "--goals", path, *arguments)

    def goal(self, **changes):
        return {"name": "a goal", "row": self.ROW, "at_most": 1e12, "unit": "ns/token/kv head", **changes}

    def test_met_goals_end_with_0(self):
        done = self.judge([self.goal(), self.goal(name="b", row={"work": "fma"}, at_most=1e12, unit="GFLOP/s")],
                          "--goals-only")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^met +a goal +[\d.e+]+  at most 1e\+12 ns/token/kv head$")
        self.assertIn("2 goals met, 0 missed, 0 not measured", done.stdout)

    def test_a_missed_goal_ends_with_1(self):
        done = self.judge([self.goal(), self.goal(name="too much", at_most=1e-12)], "--goals-only")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^MISSED +too much ")
        self.assertIn("1 goals met, 1 missed, 0 not measured", done.stdout)

    def test_at_least_is_the_other_direction(self):
        least = {key: value for key, value in self.goal().items() if key != "at_most"}
        self.assertEqual(self.judge([{**least, "at_least": 1e-12}], "--goals-only").returncode, 0)
        self.assertEqual(self.judge([{**least, "at_least": 1e12}], "--goals-only").returncode, 1)

    def test_a_quotient_of_a_row_by_itself_is_1(self):
        same = {"name": "same", "row": self.ROW, "over": self.ROW}
        self.assertEqual(self.judge([{**same, "at_most": 1.0}], "--goals-only").returncode, 0)
        self.assertEqual(self.judge([{**same, "at_most": 0.99}], "--goals-only").returncode, 1)

    def test_what_was_not_measured_is_no_pass(self):
        done = self.judge([self.goal(row={**self.ROW, "by": "ggml", "k": "q4_0", "v": "q4_0"})], "--goals-only")
        self.assertEqual(done.returncode, 1)
        self.assertIn("NOT MEASURED", done.stdout)
        self.assertIn("0 goals met, 0 missed, 1 not measured", done.stdout)

    def test_goals_only_measures_no_more_than_they_need(self):
        done = self.judge([self.goal()], "--goals-only", "--json", "-")
        rows = [json.loads(line) for line in done.stdout.splitlines()[1:]]
        self.assertEqual([row["kv_len"] for row in rows if row["work"] not in ("read", "copy", "fma")], [128])

    def test_goals_only_measures_the_backends_and_precisions_that_they_name(self):
        """Unless options say which: then what they leave out stays unmeasured."""
        goals = [self.goal(row={**self.ROW, "backend": "scalar"}), self.goal(row={**self.ROW, "precision": "precise"})]
        done = self.judge(goals, "--goals-only", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()[1:]]
        found = {(row["backend"] == "scalar", row["precision"]) for row in of_work(rows, "attend")}
        self.assertEqual(found, {(True, "fast"), (False, "precise")})
        fastest = next(row["backend"] for row in of_work(rows, "attend") if row["precision"] == "precise")
        for option in (("--backend", fastest), ("--precision", "fast")):
            done = self.judge(goals, "--goals-only", *option)
            self.assertEqual(done.returncode, 1, option)
            self.assertIn("1 goals met, 0 missed, 1 not measured", done.stdout)

    def test_a_goal_that_means_several_rows_is_refused(self):
        row = {key: value for key, value in self.ROW.items() if key != "kv_len"}
        done = self.judge([self.goal(row=row)], "--goals-only")
        self.assertEqual(done.returncode, 2)
        self.assertIn("goal 'a goal' means more than one row", done.stderr)

    def test_broken_files_are_refused_before_the_measuring(self):
        for goals, complaint in (("[", "is no JSON"), ("{}", "is no list of goals"), ("[]", "is no list of goals"),
                                 ('{"kvbits_goals": 2, "goals": []}', "is no list of goals"),
                                 ([], "is no list of goals"), ([3], "goal 1 has no"),
                                 ([self.goal(extra=1)], "unknown key 'extra'"),
                                 ([self.goal(row={"work": "attend", "size": 3})], "unknown field 'size'"),
                                 ([self.goal(row={"work": "attend", "kv_len": "8"})], "must be a whole number"),
                                 ([self.goal(row={"work": "attend", "k": 4})], "must be a text"),
                                 ([self.goal(row={"shape": "A"})], "with \"work\""),
                                 ([self.goal(at_least=1)], "needs one of"), ([self.goal(at_most="3")], "above 0"),
                                 ([self.goal(at_most=0)], "above 0"), ([self.goal(over=self.ROW)], "not both")):
            done = self.judge(goals)
            self.assertEqual((done.returncode, done.stdout), (2, ""), goals)
            self.assertIn(complaint, done.stderr)

    def test_another_unit_than_the_row_s_is_refused(self):
        done = self.judge([self.goal(unit="GB/s")], "--goals-only")
        self.assertEqual(done.returncode, 2)
        self.assertIn("is in 'GB/s', but the row in 'ns/token/kv head'", done.stderr)

    def test_the_goals_of_the_project_are_well_formed(self):
        """Measured on another shape, so that nothing of them is: 1 and not 2."""
        done = bench(*TINY, "--only", "ceilings", "--goals", ROOT / "bench" / "goals.json")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("0 goals met, 0 missed", done.stdout)


class Gpu(unittest.TestCase):
    FEW = ("--quick", "--shapes", "C", "--kv-len", 200, "--batch", 3, "--bits", "4,16", "--prefill", "8,256", "--memory", 64,
           "--rounds", 3, "--json", "-")

    def test_it_is_measured_or_its_absence_has_a_sentence(self):
        info = subprocess.run([KVBITS, "info", "--json"], text=True, check=True, capture_output=True)
        built = json.loads(info.stdout)["cuda"]["built"]
        done = bench("--backend", "cuda:0", *self.FEW)
        if done.returncode == 0:
            self.check_rows([json.loads(line) for line in done.stdout.splitlines()])
            return
        self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)
        self.assertIn("no CUDA device" if built else "`make cuda` builds build-cuda/kvbits", done.stderr)
        if built:
            self.assertNotIn("cuda", os.environ.get("KVB_REQUIRE", ""), done.stderr)

    def check_rows(self, lines):
        run_line, rows = lines[0], lines[1:]
        for key in ("gpu", "gpu_capability", "gpu_driver", "gpu_runtime", "gpu_compiler_flags", "commit", "compiler_flags"):
            self.assertIn(key, run_line)
        self.assertEqual([row["work"] for row in rows[:3]], ["read", "copy", "mma"])
        found = {(row["work"], row["k"], row.get("kv_len"), row.get("batch"), row.get("variant"), row.get("precision")) for row in rows[3:]}
        wanted = {("append", bits, n, 1, None, None) for bits in ("4", "16") for n in (1, 8192)}
        wanted |= {("attend", bits, 200, 3, None, "fast") for bits in ("4", "16")}
        wanted |= {("attend", "4", 200, 3, name, "fast") for name in ("scattered", "tail", "window", "mixed", None)}
        wanted |= {("attend", "4", 200, 3, None, "precise"), ("plan", "4", 200, 3, "scattered", None),
                   ("plan", "4", 200, 3, None, None), ("prefill", "4", 256, 1, None, "fast")}
        self.assertEqual(found, wanted)
        reading, copying = rows[0]["value"], rows[1]["value"]
        for row in rows[3:]:
            order = [row[key] for key in ("least", "low_quartile", "value", "high_quartile", "most")]
            self.assertTrue(0.0 < order[0] and order == sorted(order), row)
            if row["work"] in ("append", "attend") and row["floor_set_by"] == "bytes":
                ceiling = copying if row["work"] == "append" else reading
                self.assertAlmostEqual(row["percent_of_floor"], 100.0 * row["gb_per_s"] / ceiling, delta=0.01)

    def test_what_means_nothing_there_is_refused(self):
        for option, legal in ((("--threads", 1), "--only, --shapes"), (("--warm",), "--only, --shapes"),
                              (("--no-peers",), "--only, --shapes"), (("--chart", "c.svg"), "--only, --shapes"),
                              (("--goals", ROOT / "bench" / "goals.json"), "--only, --shapes"),
                              (("--only", "fwht"), "append, attend and prefill")):
            done = bench("--backend", "cuda:0", *option)
            self.assertEqual((done.returncode, done.stdout), (2, ""), (option, done.stderr))
            self.assertIn(legal, done.stderr, option)


class Refusals(unittest.TestCase):
    def test_bad_values_are_named_with_the_legal_ones(self):
        for option, value, legal in (("--backend", "mmx", "this build has"), ("--backend", "scalar,scalar", "each once"),
                                     ("--backend", "cuda", "cuda:0"), ("--backend", "cuda:-1", "cuda:0"),
                                     ("--backend", "cuda:x", "cuda:0"), ("--backend", "scalar,cuda:0", "one GPU alone"),
                                     ("--batch", "4", "--backend cuda:N"), ("--batch", "0", "1 to 1024"),
                                     ("--shapes", "E", "A, B, C and D"), ("--shapes", "A,,B", "A, B, C and D"),
                                     ("--shapes", "A,A", "each once"), ("--kv-len", "0", "1 to"),
                                     ("--kv-len", "x", "whole numbers"), ("--bits", "9", "1 to 8 or 16"),
                                     ("--bits", "4/", "1 to 8 or 16"), ("--bits", "0/4", "1 to 8 or 16"),
                                     ("--bits", "4.25", "1 to 8 or 16"),
                                     ("--bits", "4,4/4", "each pair once"), ("--threads", "0", "1 to 1024"),
                                     ("--threads", "some", "1 to 1024"), ("--seconds", "0", "0.0001"),
                                     ("--rounds", "2", "3 to"), ("--memory", "0", "1 to"),
                                     ("--only", "all", "ceilings|fwht"), ("--precision", "exact", "fast|precise"),
                                     ("--prefill", "5", "queries,tokens"), ("--prefill", "9,8", "queries,tokens"),
                                     ("--json", "", "name of a file"), ("--goals", "", "name of a file")):
            done = bench(option, value)
            self.assertEqual((done.returncode, done.stdout), (2, ""), (option, value, done.stderr))
            self.assertIn(legal, done.stderr, (option, value))

    def test_unknown_options_and_stray_words(self):
        for arguments in (("--fast",), ("A",), ("--bits",), ("--goals-only",)):
            done = bench(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)

    def test_files_that_cannot_be_are_found_before_the_measuring(self):
        for arguments in (("--json", "/nowhere/rows.json"), ("--chart", "/nowhere/c.svg"), ("--goals", "/nowhere/g.json")):
            done = bench(*arguments)
            self.assertEqual((done.returncode, done.stdout), (3, ""), arguments)
            self.assertIn("/nowhere", done.stderr)

    def test_more_memory_than_there_is(self):
        done = bench(*TINY, "--memory", "1000000", "--only", "ceilings")
        self.assertEqual(done.returncode, 3)
        self.assertIn("--kv-len", done.stderr)


if __name__ == "__main__":
    unittest.main()
