#!/usr/bin/env python3
"""Decodes packed rows: a second reader, written from docs/format.md alone, standard library only.

    import format_reader
    description = format_reader.Description.parse(description_bytes)
    rows = format_reader.decode(description, block_bytes, n_rows)

Or print what a golden file holds: python3 python/format_reader.py tests/golden/packed/d64-b4.json
"""

import argparse
import json
import math
import os
import struct
import sys
from dataclasses import dataclass


class FormatError(Exception):
    """The bytes break docs/format.md."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def run(show, description):
    """The command of a reader: show(path) prints. Exit code 1 and a sentence for a file that cannot be shown, 2 for a
    wrong call."""
    parser = Parser(description=description, epilog="Exit codes: 0 done, 1 the file is broken or cannot be read, 2 a "
                                                    "wrong call.")
    parser.add_argument("file", metavar="FILE")
    path = parser.parse_args().file
    try:
        show(path)
        sys.stdout.flush()
        return 0
    except FormatError as reason:
        sentence = str(reason)
    except OSError as reason:
        sentence = reason.strerror or str(reason)
        if isinstance(reason, BrokenPipeError):  # or Python complains once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(f"{parser.prog}: {path}: {sentence}", file=sys.stderr)
    return 1


def to_float(value):
    """Rounds a double to binary32. Sums and products of two floats are so exact in binary64 that rounding twice gives
    what rounding once would."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


# Section 3: the inputs whose exclusive or is bit 0 and bit 1 of a subset, by states.
SUBSETS = {
    8: ((2,), (0, 1, 3)),
    16: ((2,), (0, 1, 4)),
    64: ((2, 4), (0, 1, 6)),
    256: ((1, 4, 5, 6, 7), (0, 2, 3, 6, 8)),
}


# ---- Section 6: description ----


@dataclass
class Plane:
    width: int
    low_bit: int
    role: int
    first: int  # of the coordinates that it covers
    count: int

    def row_bytes(self):
        return self.count * self.width // 8


@dataclass
class Description:
    head_dim: int
    rotation: int
    scale_kind: int
    half_scales: bool
    sign_seed: int
    planes: list
    levels: list  # of half a bit those of the first half, then those of the second
    states: int = 0  # of a trellis code
    has_half: bool = False

    @property
    def bits(self):
        """Of a coordinate, on average."""
        return 8 * sum(plane.row_bytes() for plane in self.planes) / self.head_dim

    def scale_bytes(self):
        return 2 if self.half_scales else 4

    def row_bytes(self):
        return self.scale_bytes() + sum(plane.row_bytes() for plane in self.planes)

    def first_levels(self):
        """How many of the levels are those of coordinate 0."""
        return len(self.levels) // 3 * 2 if self.has_half else len(self.levels)

    @staticmethod
    def parse(data):
        if len(data) < 24:
            raise FormatError(f"description has {len(data)} bytes, at least 24 are needed")
        fields = struct.unpack_from("<HBBHBBBBHHHQ", data)
        version, kind, n_planes, head_dim, rotation, scale_kind, scale_type, zero, n_levels, states, zeros, seed = fields
        if version != 1 or not 1 <= kind <= 4 or zero or zeros:
            raise FormatError(f"version {version}, code kind {kind}: only 1 and 1 to 4 are known, reserved bytes must "
                              "be 0")
        if states not in (SUBSETS if kind in (2, 4) else (0,)):
            raise FormatError(f"{states} states of a code of kind {kind}")
        if rotation > 2 or scale_kind > 2 or scale_type > 1:
            raise FormatError(f"rotation {rotation}, scale kind {scale_kind} or scale type {scale_type} is unknown")
        if rotation == 0 and (head_dim % 8 or not 8 <= head_dim <= 576) or rotation and not order_of(head_dim):
            raise FormatError(f"head_dim {head_dim} is illegal for rotation {rotation}")
        if seed and rotation != 2:
            raise FormatError("sign_seed without signs")
        if len(data) != 24 + 8 * n_planes + 4 * n_levels:
            raise FormatError(f"description of {n_planes} planes and {n_levels} levels has {len(data)} bytes")
        planes = [Description._plane(data, 24 + 8 * p) for p in range(n_planes)]
        levels = list(struct.unpack_from(f"<{n_levels}f", data, 24 + 8 * n_planes))
        result = Description(head_dim, rotation, scale_kind, scale_type == 1, seed, planes, levels, states, kind > 2)
        result._check()
        return result

    @staticmethod
    def _plane(data, offset):
        width, low_bit, role, zero, first, count = struct.unpack_from("<BBBBHH", data, offset)
        if width not in (1, 2, 4, 8) or role > 1 or zero:
            raise FormatError(f"plane of width {width}, role {role}, reserved {zero} is unknown")
        return Plane(width, low_bit, role, first, count)

    def _check(self):
        """Of a whole row, or of two halves whose first has a bit more."""
        if not self.has_half:
            return self._check_part(self.planes, 0, self.head_dim, self.levels)
        if self.head_dim % 16:
            raise FormatError(f"head_dim {self.head_dim} of a code of half a bit is no multiple of 16")
        half, more = self.head_dim // 2, self.first_levels()
        n = sum(plane.first == 0 for plane in self.planes)
        bits = self._check_part(self.planes[:n], 0, half, self.levels[:more])
        if self._check_part(self.planes[n:], half, half, self.levels[more:]) != bits - 1:
            raise FormatError("the halves of a row are not one bit apart")
        return None

    def _check_part(self, planes, first, count, levels):
        """Section 4; returns the bits of a level's number."""
        next_bit, widths = 0, [plane.width for plane in planes]
        for p, plane in enumerate(planes):
            is_inputs = self.states != 0 and p == 0
            if plane.low_bit != next_bit or plane.role != is_inputs:
                raise FormatError(f"plane of role {plane.role} starts at bit {plane.low_bit}, not {next_bit}")
            if (plane.first, plane.count) != (first, count):
                raise FormatError(f"plane of coordinates {plane.first}+{plane.count}, not {first}+{count}")
            next_bit += 2 if is_inputs else plane.width
        bits = sum(widths)
        place = bits - 1 if self.states else bits
        legal = [8] if place == 8 else [width for width in (4, 2, 1) if place & width]
        if not 1 <= place <= 8 or self.states and not 2 <= bits <= 6 or widths != [1] * (self.states != 0) + legal:
            raise FormatError(f"planes of {widths} bits are those of no code")
        if len(levels) != 1 << next_bit:
            raise FormatError(f"{len(levels)} levels for {next_bit} bits")
        if not all(abs(level) <= 2.0**58 for level in levels):
            raise FormatError("a level is not finite or beyond 2^58")
        if any(not a < b for a, b in zip(levels, levels[1:])):
            raise FormatError("levels do not rise")
        return next_bit


# ---- Sections 4 and 5: blocks ----


def subset(states, inputs, i):
    """Section 3: the subset of coordinate i; inputs before the first are 0."""
    return sum(sum(inputs[i - lag] for lag in lags if i >= lag) % 2 << bit for bit, lags in enumerate(SUBSETS[states]))


def unpack(description, block, n_rows):
    """Numbers of levels in the description, which are the codes of scalar codes of whole bits, and scales of all rows."""
    d = description.head_dim
    scale_format = "e" if description.half_scales else "f"
    expected = n_rows * description.row_bytes()
    if len(block) != expected:
        raise FormatError(f"block has {len(block)} bytes, {n_rows} rows take {expected}")
    scales = list(struct.unpack_from(f"<{n_rows}{scale_format}", block))
    codes = [[0] * d for _ in range(n_rows)]
    start = n_rows * description.scale_bytes()
    for plane in description.planes:
        stride = plane.row_bytes()
        mask = (1 << plane.width) - 1
        for row in range(n_rows):
            fields = [block[start + i % stride] >> (i // stride * plane.width) & mask for i in range(plane.count)]
            if plane.role == 1:
                fields = [subset(description.states, fields, i) for i in range(plane.count)]
            for i, field in enumerate(fields, plane.first):
                codes[row][i] |= field << plane.low_bit
            start += stride
    if description.has_half:
        codes = [row[: d // 2] + [code + description.first_levels() for code in row[d // 2 :]] for row in codes]
    return codes, scales


# ---- Section 1: rotation ----


def order_of(head_dim):
    """m, or 0 for a head_dim that cannot be rotated."""
    if head_dim % 8 or not 32 <= head_dim <= 576:
        return 0
    odd = head_dim
    while odd % 2 == 0:
        odd //= 2
    return {1: 1, 3: 12, 5: 20, 7: 28, 9: 36}.get(odd, 0)


def chi(t, q):
    if t % q == 0:
        return 0
    return 1 if any(i * i % q == t % q for i in range(1, q)) else -1


def matrix(m):
    """The Hadamard matrix of order 12, 20, 28 or 36."""
    if m in (12, 20):
        q = m - 1
        return [[1 if i == 0 or j == 0 else -1 if i == j else chi(j - i, q) for j in range(m)] for i in range(m)]
    p = m // 2
    conference = [
        [0 if i == j == 0 else 1 if i == 0 or j == 0 else chi(j - i, p - 1) for j in range(p)] for i in range(p)
    ]
    plus = [[conference[i][j] + (i == j) for j in range(p)] for i in range(p)]
    minus = [[conference[i][j] - (i == j) for j in range(p)] for i in range(p)]
    h = [plus[i] + minus[i] for i in range(p)] + [minus[i] + [-value for value in plus[i]] for i in range(p)]
    h[p] = [-value for value in h[p]]
    for row in h:
        row[p] = -row[p]
    return h


def butterflies(u):
    h = 1
    while h < len(u):
        for c in range(len(u)):
            if c // h % 2 == 0:
                u[c], u[c + h] = to_float(u[c] + u[c + h]), to_float(u[c] - u[c + h])
        h *= 2


def signs(seed, n):
    """-1 or 1 for each coordinate."""
    wrap = (1 << 64) - 1
    result = []
    while len(result) < n:
        seed = (seed + 0x9E3779B97F4A7C15) & wrap
        z = seed
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & wrap
        z = (z ^ z >> 27) * 0x94D049BB133111EB & wrap
        z ^= z >> 31
        result += [-1.0 if z >> bit & 1 else 1.0 for bit in range(64)]
    return result[:n]


def unrotate(description, y):
    d = description.head_dim
    if description.rotation == 0:
        return y
    m = order_of(d)
    n = d // m
    rows = [y[a * n : (a + 1) * n] for a in range(m)]
    for row in rows:
        butterflies(row)
    if m > 1:
        h = matrix(m)
        mixed = []
        for a in range(m):
            sums = list(rows[0])
            for k in range(1, m):
                sums = [to_float(s + h[k][a] * u) for s, u in zip(sums, rows[k])]
            mixed.append(sums)
        rows = mixed
    factor = to_float(1.0 / math.sqrt(d))
    x = [to_float(value * factor) for row in rows for value in row]
    if description.rotation == 2:
        x = [sign * value for sign, value in zip(signs(description.sign_seed, d), x)]
    return x


# ---- Section 5: decoding ----


def decode(description, block, n_rows, rotated=False):
    """Rows as lists of floats, in the input's domain or, on request, in the rotated domain."""
    rows = []
    for codes, scale in zip(*unpack(description, block, n_rows)):
        y = [to_float(description.levels[code] * scale) for code in codes]
        rows.append(y if rotated else unrotate(description, y))
    return rows


def show(path):
    with open(path, encoding="utf-8") as file:
        try:
            golden = json.load(file)
            described, block, n_rows = (bytes.fromhex(golden["description"]), bytes.fromhex(golden["block"]),
                                        int(golden["n_rows"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise FormatError("not a JSON object with \"description\", \"block\" and \"n_rows\"") from None
    description = Description.parse(described)
    rows = decode(description, block, n_rows)
    print(f"head_dim {description.head_dim}, {description.bits:g} bits, rotation {description.rotation}")
    for row in rows:
        print(" ".join(f"{value:.9g}" for value in row))


if __name__ == "__main__":
    sys.exit(run(show, "Decodes the packed rows of a golden file (tests/golden/packed), by docs/format.md alone."))
