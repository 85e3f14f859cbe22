#!/usr/bin/env python3
"""Reads .kvb files: a second reader, written from docs/format.md (sections 8 and 9) alone, standard library only.

    import kvb_reader
    cache = kvb_reader.File(bytes_of_the_file)
    for layer, token, head, side, row in cache.rows(sequence): ...

Or check a file and print a summary: python3 python/kvb_reader.py FILE
"""

import math
import pathlib
import struct
import sys
from dataclasses import dataclass

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import format_reader  # noqa: E402
from format_reader import FormatError  # noqa: E402

MAGIC = bytes.fromhex("894B56420D0A1A0A")
NONE = 0xFFFFFFFF
KEYS, VALUES = 0, 1


def make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = make_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def must(condition, text):
    if not condition:
        raise FormatError(text)


def halves(data, kind):
    """16-bit values as floats: kind 1 is half, 2 bfloat."""
    if kind == 1:
        values = struct.unpack(f"<{len(data) // 2}e", data)
    else:
        words = struct.unpack(f"<{len(data) // 2}H", data)
        values = struct.unpack(f"<{len(words)}f", struct.pack(f"<{len(words)}I", *(word << 16 for word in words)))
    must(all(abs(value) <= 2.0**58 for value in values), "a value is not finite or beyond 2^58")
    return list(values)


@dataclass
class Section:
    kind: str
    sequence: int
    layer: int
    offset: int
    content: bytes


@dataclass
class Layer:
    n_kv_heads: int
    dims: tuple
    codecs: tuple  # of keys and values; None where they are dense
    dense: int
    latent: bool
    window: int
    exact_first: int
    exact_last: int
    k_mean: list  # of each KV head, what packed keys are stored less; None: nothing

    @property
    def sides(self):
        return (KEYS,) if self.latent else (KEYS, VALUES)

    def block_bytes(self, side, n):
        """Bytes of one head's rows, up to the next block."""
        codec = self.codecs[side]
        row = codec.row_bytes() if codec else 2 * self.dims[side]
        return -(-row * n // 64) * 64

    def page_bytes(self, n):
        return self.n_kv_heads * sum(self.block_bytes(side, n) for side in self.sides)

    def exact_bytes(self):
        """What the exact tokens of a sequence take of the budget."""
        return sum(-(-2 * n * self.n_kv_heads * self.dims[side] // 64) * 64
                   for n in (self.exact_first, self.exact_last) for side in self.sides)


@dataclass
class Part:
    """One sequence in one layer."""

    packed_end: int
    released: int
    first: int  # number of the first page in the table
    owners: list
    pages: dict  # number -> bytes, those that it holds itself
    exact: list  # [first keys, first values, last keys, last values], values
    n_first: int


@dataclass
class Sequence:
    number: int
    n_tokens: int
    parts: list


class File:
    def __init__(self, data):
        self.data = data
        self._header()
        self.sections = list(self._sections())
        self._left = iter([section for section in self.sections if section.kind])
        self._codecs(self._next("CODC"))
        centered = self._layers(self._next("LAYR"))
        if centered:
            self._means(self._next("MEAN"), centered)
        self.sequences = []
        for ordinal in range(self.n_sequences):
            self.sequences.append(self._sequence(self._next("SEQU", ordinal), ordinal))
        must(self._budget_bytes() <= self.budget, "pages and exact tokens take more than the budget")
        for ordinal, sequence in enumerate(self.sequences):
            for layer in range(self.n_layers):
                self._exact(self._next("EXAC", ordinal, layer), sequence, layer)
                self._pages(self._next("PAGE", ordinal, layer), ordinal, layer)
        must(self._next("END.").content == b"" and next(self._left, None) is None, "the end is not the end")

    # ---- The parts of a file ----

    def _header(self):
        data = self.data
        must(len(data) >= 64 and data[:8] == MAGIC, "not a .kvb file")
        fields = struct.unpack_from("<HHIQIIIIQQII", data, 8)
        version, zero, self.n_sections, size, self.n_layers, self.n_sequences = fields[:6]
        self.page_tokens, self.max_sequences, self.max_tokens, self.budget, zeros, crc = fields[6:]
        must(version == 1, f"version {version} is unknown")
        must(crc == crc32c(data[:60]), "the header's CRC is wrong")
        must(zero == 0 and zeros == 0, "reserved bytes of the header are not 0")
        must(size == len(data), f"the file has {len(data)} bytes and says {size}")
        must(1 <= self.n_layers <= 1024 and self.n_sequences <= self.max_sequences <= 65536, "layers or sequences")
        must(self.page_tokens in (16, 32, 64, 128, 256, 512, 1024), f"page_tokens {self.page_tokens}")
        must(1 <= self.max_tokens <= 1 << 40, f"max_tokens {self.max_tokens}")
        must(self.budget >= 64, f"budget {self.budget}")

    def _sections(self):
        at = 64
        for index in range(self.n_sections):
            must(at + 36 <= len(self.data), f"section {index} does not fit the file")
            head = self.data[at : at + 32]
            kind, flags, sequence, layer, size, zero, crc = struct.unpack("<4sIIIQII", head)
            must(crc == crc32c(head[:28]), f"section {index}: the head's CRC is wrong")
            must(flags in (0, 1) and zero == 0, f"section {index}: unknown flags {flags}")
            must(at + 36 + size <= len(self.data), f"section {index} does not fit the file")
            content = self.data[at + 32 : at + 32 + size]
            stored = struct.unpack_from("<I", self.data, at + 32 + size)[0]
            name = kind.decode("ascii", "backslashreplace")
            must(stored == crc32c(content), f"section {index} ({name}): its CRC is wrong")
            known = kind in (b"CODC", b"LAYR", b"MEAN", b"SEQU", b"EXAC", b"PAGE", b"END.")
            must(known != bool(flags), f"section {index}: {name} with flags {flags}")
            yield Section(name if known else "", sequence, layer, at, content)
            at += 36 + size
        must(at == len(self.data), "bytes behind the last section")

    def _next(self, kind, sequence=NONE, layer=NONE):
        section = next(self._left, None)
        must(section and (section.kind, section.sequence, section.layer) == (kind, sequence, layer),
             f"{kind} of sequence {sequence}, layer {layer} is missing or out of order")
        return section

    def _codecs(self, section):
        data = section.content
        must(len(data) >= 8, "CODC is too short")
        count, zero = struct.unpack_from("<II", data)
        must(zero == 0 and count <= 2 * self.n_layers, "CODC: count")
        self.codecs, seen, at = [], [], 8
        for _ in range(count):
            must(len(data) >= at + 24, "CODC is too short")
            size = 24 + 8 * data[at + 3] + 4 * struct.unpack_from("<H", data, at + 10)[0]
            seen.append(data[at : at + size])
            self.codecs.append(format_reader.Description.parse(seen[-1]))
            at += size
        must(at == len(data) and len(set(seen)) == count, "CODC: its size, or a codec twice")

    def _layers(self, section):
        """Returns the layers with mean keys."""
        must(len(section.content) == 32 * self.n_layers, "LAYR: its size")
        self.layers, named, centered_layers = [], 0, []
        for i in range(self.n_layers):
            fields = struct.unpack_from("<IHHIIBBBBIII", section.content, 32 * i)
            heads, k_dim, v_dim, k, v, dense, latent, centered, zero, window, first, last = fields
            must(zero == 0 and dense in (1, 2) and latent in (0, 1), f"layer {i}: type, latent or reserved")
            must(1 <= heads <= 1024 and first <= 65536 and last <= 65536 and window < 1 << 31, f"layer {i}: a number")
            must(not latent or (v == NONE and v_dim <= k_dim), f"layer {i}: values of a latent layer")
            must(not centered or centered == 1 and k != NONE and not latent, f"layer {i}: centered")
            codecs = []
            for place, dim in ((k, k_dim), (v, v_dim)):
                must(dim % 8 == 0 and 8 <= dim <= 576, f"layer {i}: head_dim {dim}")
                must(place == NONE or place <= named and place < len(self.codecs), f"layer {i}: codec {place}")
                named += place == named
                codecs.append(None if place == NONE else self.codecs[place])
                must(not codecs[-1] or codecs[-1].head_dim == dim, f"layer {i}: head_dim {dim} is not the codec's")
            must(not latent or not codecs[0] or codecs[0].rotation == 0, f"layer {i}: latent and rotated")
            self.layers.append(
                Layer(heads, (k_dim, v_dim), tuple(codecs), dense, bool(latent), window, first, last, None))
            centered_layers += [self.layers[-1]] if centered else []
        must(named == len(self.codecs), "a codec that no layer names")
        return centered_layers

    def _means(self, section, layers):
        sizes = [(layer.n_kv_heads, layer.dims[KEYS]) for layer in layers]
        must(len(section.content) == 4 * sum(heads * d for heads, d in sizes), "MEAN: its size")
        values = struct.unpack(f"<{len(section.content) // 4}f", section.content)
        must(all(abs(value) <= 65504 for value in values), "MEAN: a value is not finite or beyond 65504")
        at = 0
        for layer, (heads, d) in zip(layers, sizes):
            layer.k_mean = [values[at + head * d : at + head * d + d] for head in range(heads)]
            at += heads * d

    def _sequence(self, section, ordinal):
        data, n = section.content, self.page_tokens
        must(len(data) >= 16 + 24 * self.n_layers, "SEQU is too short")
        n_tokens, number, zero = struct.unpack_from("<QII", data)
        before = self.sequences[-1].number if self.sequences else -1
        must(n_tokens <= self.max_tokens and before < number < self.max_sequences and zero == 0, "SEQU: a number")
        parts, at = [], 16 + 24 * self.n_layers
        for i, layer in enumerate(self.layers):
            packed_end, released, count, zero = struct.unpack_from("<QQII", data, 16 + 24 * i)
            front = min(layer.exact_first, n_tokens)
            must(front <= packed_end <= n_tokens and n_tokens - packed_end <= layer.exact_last, f"layer {i}: packed_end")
            most = max(0, min(packed_end, n_tokens - layer.window + 1)) if layer.window else 0
            must(released * n <= most and zero == 0, f"layer {i}: released")
            first, last = max(released, front // n), (packed_end - 1) // n
            must(count == (0 if packed_end == front or last < first else last - first + 1), f"layer {i}: pages")
            must(at + 4 * count <= len(data), f"layer {i}: its table does not fit")
            owners = list(struct.unpack_from(f"<{count}I", data, at))
            at += 4 * count
            for page, owner in enumerate(owners, first):
                must(owner == ordinal or owner < ordinal and self.sequences[owner].parts[i].pages.get(page) is not None,
                     f"layer {i}: page {page} is of sequence {owner}")
            pages = {page: b"" for page, owner in enumerate(owners, first) if owner == ordinal}
            parts.append(Part(packed_end, released, first, owners, pages, [], front))
        must(len(data) == at + -at % 8 and not any(data[at:]), "SEQU: its end")
        return Sequence(number, n_tokens, parts)

    def _budget_bytes(self):
        return sum(len(part.pages) * layer.page_bytes(self.page_tokens) + (sequence.n_tokens > 0) * layer.exact_bytes()
                   for sequence in self.sequences for part, layer in zip(sequence.parts, self.layers))

    def _exact(self, section, sequence, i):
        layer, part, at = self.layers[i], sequence.parts[i], 0
        for count in (part.n_first, sequence.n_tokens - part.packed_end):
            for side in layer.sides:
                size = 2 * count * layer.n_kv_heads * layer.dims[side]
                must(at + size <= len(section.content), f"layer {i}: EXAC is too short")
                part.exact.append(halves(section.content[at : at + size], layer.dense))
                at += size
        must(at == len(section.content), f"layer {i}: EXAC is too long")

    def _pages(self, section, ordinal, i):
        layer, part = self.layers[i], self.sequences[ordinal].parts[i]
        size = layer.page_bytes(self.page_tokens)
        must(len(section.content) == size * len(part.pages), f"layer {i}: PAGE has another size")
        for place, page in enumerate(sorted(part.pages)):
            part.pages[page] = section.content[place * size : (place + 1) * size]
            ends = [other.parts[i].packed_end for other in self.sequences
                    if page - other.parts[i].first in range(len(other.parts[i].owners))
                    and other.parts[i].owners[page - other.parts[i].first] == ordinal]
            start = page * self.page_tokens
            self._check_page(layer, part.pages[page], max(0, part.n_first - start), min(self.page_tokens, max(ends) - start))

    def _check_page(self, layer, page, first, end):
        """Everything that is not of rows first to end - 1 is 0."""
        n, start = self.page_tokens, 0
        for _ in range(layer.n_kv_heads):
            for side in layer.sides:
                at = start
                for row in self._row_bytes(layer, side):
                    must(not any(page[at : at + first * row]) and not any(page[at + end * row : at + n * row]),
                         "bytes where no row lies")
                    at += n * row
                start += layer.block_bytes(side, n)
                must(not any(page[at:start]), "bytes between blocks")

    @staticmethod
    def _row_bytes(layer, side):
        codec = layer.codecs[side]
        if not codec:
            return [2 * layer.dims[side]]
        return [codec.scale_bytes()] + [plane.row_bytes() for plane in codec.planes]

    # ---- Rows ----

    def _blocks(self, page, layer):
        """(head, side) -> decoded rows of a page."""
        n, at, result = self.page_tokens, 0, {}
        for head in range(layer.n_kv_heads):
            for side in layer.sides:
                codec, size = layer.codecs[side], layer.block_bytes(side, n)
                if codec:
                    block = page[at : at + n * codec.row_bytes()]
                    must(all(map(math.isfinite, format_reader.unpack(codec, block, n)[1])), "a scale is not finite")
                    rows = format_reader.decode(codec, block, n)
                    if side == KEYS and layer.k_mean:
                        rows = [[format_reader.to_float(x + m) for x, m in zip(row, layer.k_mean[head])] for row in rows]
                    result[head, side] = rows
                else:
                    d = layer.dims[side]
                    values = halves(page[at : at + 2 * n * d], layer.dense)
                    result[head, side] = [values[row * d : row * d + d] for row in range(n)]
                at += size
        return result

    def _exact_row(self, layer, part, token, head, side, packed_end):
        last = token >= packed_end
        slot = token - packed_end if last else token
        values = part.exact[(len(layer.sides) if last else 0) + side]
        d = layer.dims[side]
        at = (slot * layer.n_kv_heads + head) * d
        return values[at : at + d]

    def rows(self, sequence):
        """(layer, token, head, side, values) of every row that the sequence holds."""
        cache = {}
        for i, layer in enumerate(self.layers):
            part = sequence.parts[i]
            for token in range(sequence.n_tokens):
                exact = token < part.n_first or token >= part.packed_end
                page = token // self.page_tokens
                if not exact and page < part.released:
                    continue
                if not exact and (i, page) not in cache:
                    owner = self.sequences[part.owners[page - part.first]]
                    cache[i, page] = self._blocks(owner.parts[i].pages[page], layer)
                for head in range(layer.n_kv_heads):
                    for side in (KEYS, VALUES):
                        source = KEYS if layer.latent else side
                        if exact:
                            row = self._exact_row(layer, part, token, head, source, part.packed_end)
                        else:
                            row = cache[i, page][head, source][token % self.page_tokens]
                        yield i, token, head, side, row[: layer.dims[side]]


def show(path):
    file = File(pathlib.Path(path).read_bytes())
    counts = [sum(1 for _ in file.rows(sequence)) for sequence in file.sequences]
    print(f"{file.n_layers} layers, pages of {file.page_tokens} tokens, {len(file.sections)} sections: whole")
    for sequence, count in zip(file.sequences, counts):
        print(f"sequence {sequence.number}: {sequence.n_tokens} tokens, {count} rows")


if __name__ == "__main__":
    sys.exit(format_reader.run(show, "Checks a .kvb file, by docs/format.md alone, and counts its rows."))
