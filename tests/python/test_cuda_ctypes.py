"""The structs that bench/peers fills through ctypes are the header's: names, places and sizes of all fields."""
import ctypes
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "peers"))
import kvbits_cuda  # noqa: E402

HEADER = (ROOT / "include" / "kvbits" / "cuda.h").read_text(encoding="utf-8")
STRUCTS = {"kvb_cuda_layer_spec": kvbits_cuda.LayerSpec, "kvb_cuda_pages": kvbits_cuda.Pages,
           "kvb_cuda_rows": kvbits_cuda.Rows, "kvb_cuda_queries": kvbits_cuda.Queries}


def fields_of(name):
    """A struct's fields in the header, in order."""
    body = re.search(r"typedef struct %s \{(.*?)\n\} %s;" % (name, name), HEADER, re.DOTALL).group(1)
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
    return [re.search(r"(\w+)\s*$", declarator).group(1) for line in body.split(";") if line.strip()
            for declarator in line.split(",")]


def layout_in_c():
    """What the C compiler says: {struct: {field: offset, ".": size}}."""
    lines = ["#include <kvbits/cuda.h>", "#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    for name in STRUCTS:
        lines.append(f'    printf("{name} . %zu\\n", sizeof({name}));')
        lines += [f'    printf("{name} {field} %zu\\n", offsetof({name}, {field}));' for field in fields_of(name)]
    lines.append('    printf("kvb_error . %zu\\n", sizeof(kvb_error));')
    lines.append('    printf("kvb_codec_spec . %zu\\n", sizeof(kvb_codec_spec));\n    return 0;\n}')
    with tempfile.TemporaryDirectory() as folder:
        source, program = pathlib.Path(folder) / "layout.c", pathlib.Path(folder) / "layout"
        source.write_text("\n".join(lines), encoding="utf-8")
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-I", ROOT / "include", source, "-o", program], check=True)
        printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in printed.splitlines():
        name, field, number = line.split()
        found.setdefault(name, {})[field] = int(number)
    return found


class Layout(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.in_c = layout_in_c()

    def test_every_field_is_there_where_c_has_it(self):
        for name, struct in STRUCTS.items():
            here = {field: getattr(struct, field).offset for field, _ in struct._fields_}
            here["."] = ctypes.sizeof(struct)
            self.assertEqual(here, self.in_c[name], name)

    def test_what_is_only_passed_on_is_long_enough(self):
        self.assertGreaterEqual(ctypes.sizeof(kvbits_cuda.Error), self.in_c["kvb_error"]["."])
        self.assertGreaterEqual(ctypes.sizeof(kvbits_cuda.CodecSpec), self.in_c["kvb_codec_spec"]["."])


if __name__ == "__main__":
    unittest.main()
