"""The structs of include/kvbits/cuda.h that torch_sdpa.py fills, for ctypes; tests/python/test_cuda_ctypes.py holds them to
the header."""
import ctypes as c
import sys


class Error(c.Structure):
    _fields_ = [("text", c.c_char * 512)]


class CodecSpec(c.Structure):
    """Longer than the library's: it is only passed on."""
    _fields_ = [("head_dim", c.c_int), ("bits", c.c_int), ("rest", c.c_char * 248)]


class LayerSpec(c.Structure):
    _fields_ = [("device", c.c_int), ("k_codec", c.c_void_p), ("v_codec", c.c_void_p), ("n_kv_heads", c.c_int),
                ("n_q_heads", c.c_int), ("dense", c.c_int), ("k_mean", c.c_void_p), ("k_dim", c.c_int),
                ("v_dim", c.c_int), ("v_prefix_of_k", c.c_int)]


class Pages(c.Structure):
    _fields_ = [("pool", c.c_void_p), ("table", c.c_void_p), ("table_stride", c.c_size_t), ("first_page", c.c_void_p),
                ("lengths", c.c_void_p), ("n_sequences", c.c_int), ("sequences", c.c_void_p), ("packed_ends", c.c_void_p),
                ("page_stride", c.c_size_t), ("exact_first_k", c.c_void_p), ("exact_first_v", c.c_void_p),
                ("exact_last_k", c.c_void_p), ("exact_last_v", c.c_void_p), ("exact_first", c.c_int),
                ("exact_last", c.c_int), ("exact_last_slots", c.c_int)]


class Rows(c.Structure):
    _fields_ = [("k", c.c_void_p), ("v", c.c_void_p), ("dtype", c.c_int), ("row_begin", c.c_void_p),
                ("most_rows", c.c_int)]


class Queries(c.Structure):
    _fields_ = [("q", c.c_void_p), ("out", c.c_void_p), ("lse", c.c_void_p), ("q_dtype", c.c_int),
                ("out_dtype", c.c_int), ("q_begin", c.c_void_p), ("most_queries", c.c_int), ("scale", c.c_float),
                ("softcap", c.c_float), ("window", c.c_int), ("sinks", c.c_void_p), ("split_queries", c.c_int),
                ("positions", c.c_void_p), ("tree_mask", c.c_void_p), ("starts_early", c.c_int)]


class Library:
    """The library's calls; what fails ends the program with the library's sentence."""

    def __init__(self, path):
        self.so = c.CDLL(path)
        self.so.kvb_codec_spec_default.restype = CodecSpec
        for name in ("kvb_cuda_layer_page_bytes", "kvb_cuda_scratch_bytes"):
            getattr(self.so, name).restype = c.c_size_t
        self.error = Error()

    def must(self, name, *arguments):
        if getattr(self.so, name)(*arguments, c.byref(self.error)) != 0:
            sys.exit(f"{name}: {self.error.text.decode()}")
