#!/usr/bin/env python3
"""Record the queries, keys and values of a real model as a kvbits trace.

    pip install torch transformers accelerate gguf safetensors numpy
    record_trace.py MODEL --text FILE --tokens 384 --layers 0,15,29 -o trace.safetensors
    record_trace.py FILE.gguf --text FILE -o trace.safetensors
    kvbits ab --trace trace.safetensors

MODEL is a Hugging Face id or folder, or a GGUF file (inside a folder or repository: --gguf NAME). The script hooks into
the attention interface of transformers, so it works for every architecture that goes through it. Each layer is recorded
after rotary embedding and before keys and values are repeated for grouped queries, and its attention is then recomputed
from the recorded tensors alone: a model that does anything else (learned sinks, position biases, another mask) is
refused, never recorded wrongly.

The trace is a safetensors file with tensors layers.<i>.q, .k and .v of shape [tokens, heads, head_dim], positions, and
metadata (docs/evaluation.md).
"""

import argparse
import hashlib
import math
import os
import sys
from collections import Counter

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer
from transformers.masking_utils import AttentionMaskInterface, eager_mask

NAME = "kvbits_record"
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}
TOLERANCE = 1e-4  # NRMSE; models run in float32 here, where honest attention agrees to about 1e-6


class Refusal(Exception):
    """A sentence for the user: nothing was written."""


def on_one_line(error):
    return " ".join(str(error).split())


def nrmse(value, reference):
    power = float(np.sum(np.square(reference)))
    return math.sqrt(float(np.sum(np.square(value - reference))) / power) if power > 0 else 0.0


def attend(q, k, v, scale, softcap, window):
    """Causal attention of [tokens, heads, head_dim] in float64, by the definitions of docs/evaluation.md."""
    tokens, heads, _ = q.shape
    group = heads // k.shape[1]
    distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
    visible = (distance >= 0) & ((distance < window) if window else True)
    out = np.empty((tokens, heads, v.shape[2]))
    for h in range(heads):
        logits = q[:, h] @ k[:, h // group].T * scale
        if softcap:
            logits = softcap * np.tanh(logits / softcap)
        logits = np.where(visible, logits, -np.inf)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        out[:, h] = weights / weights.sum(axis=1, keepdims=True) @ v[:, h // group]
    return out


class Recorder:
    """Stands in for every layer's attention function: lets the model's own code compute, and keeps its arguments."""

    def __init__(self, layers, dtype):
        self.wanted = layers  # None: all
        self.dtype = dtype
        self.seen = set()
        self.layers = {}

    def __call__(self, module, query, key, value, attention_mask, scaling=None, **kwargs):
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        index = getattr(module, "layer_idx", None)
        if eager is None or index is None:
            raise Refusal(f"{type(module).__name__} has no layer_idx or no eager attention of its own to compare with")
        if index in self.seen:
            raise Refusal(f"layer {index} attends more than once in one pass, so its trace would be ambiguous")
        self.seen.add(index)
        output, weights = eager(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        if self.wanted is None or index in self.wanted:
            self.record(index, query, key, value, scaling, kwargs, output)
        return output, weights

    def record(self, index, query, key, value, scaling, kwargs, output):
        """query, key, value: [1, heads, tokens, head_dim]; output: [1, tokens, heads, head_dim]."""
        for side in (query, key, value):
            one_sequence = side.dim() == 4 and side.shape[0] == 1 and side.shape[2] == query.shape[2]
            if not one_sequence or query.shape[1] % side.shape[1]:
                shapes = ", ".join(str(list(s.shape)) for s in (query, key, value))
                raise Refusal(f"layer {index}: q, k and v of shapes {shapes} are not one sequence of grouped heads")
            if side.shape[3] % 8 or not 8 <= side.shape[3] <= 576:
                raise Refusal(f"layer {index} has head_dim {side.shape[3]}, but kvbits takes multiples of 8, 8 to 576")
        settings = {
            "scale": float(scaling if scaling is not None else query.shape[3] ** -0.5),
            "softcap": float(kwargs.get("softcap") or 0),
            # A window at least as long as the text changes nothing here, and cannot be checked either.
            "window": int(kwargs.get("sliding_window") or 0),
        }
        exact = [side[0].transpose(0, 1).contiguous() for side in (query, key, value)]
        stored = [self.round(index, name, side) for name, side in zip("qkv", exact)]
        own = output[0].reshape(*exact[0].shape[:2], exact[2].shape[2]).double().numpy()
        error, stored_error = (nrmse(attend(*(s.double().numpy() for s in sides), **settings), own)
                               for sides in (exact, stored))
        if not error <= TOLERANCE:
            raise Refusal(f"layer {index}: attention recomputed from its queries, keys and values differs from the "
                          f"model's by an NRMSE of {error:.2g} (limit {TOLERANCE:g}), so it computes more than causal "
                          f"softmax attention with scale, softcap and window, and a trace would mislead")
        print(f"layer {index}: {exact[0].shape[0]} tokens, {exact[0].shape[1]} heads on {exact[1].shape[1]}, NRMSE of "
              f"recomputed attention {error:.2g}, from the stored tensors {stored_error:.2g}")
        self.layers[index] = (stored, settings)

    def round(self, index, name, side):
        if not bool(torch.isfinite(side).all()):
            raise Refusal(f"layers.{index}.{name} holds NaN or Inf")
        stored = side.to(self.dtype)
        if not bool(torch.isfinite(stored).all()):
            raise Refusal(f"layers.{index}.{name} reaches {float(side.abs().max()):g}, which overflows the chosen "
                          f"dtype: use --dtype bf16 or --dtype f32")
        return stored


def digest(path):
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            total.update(part)
    return total.hexdigest()


def locate(options):
    """What from_pretrained takes, and what the metadata say about the model."""
    model, gguf_name = options.model, options.gguf
    if gguf_name is None and model.endswith(".gguf"):
        model, gguf_name = os.path.split(os.path.abspath(model))
    about = {"model": options.model_name, "license": options.license}
    arguments = {"pretrained_model_name_or_path": model}
    if gguf_name is not None:
        arguments["gguf_file"] = gguf_name
        path = os.path.join(model, gguf_name)
        if os.path.isfile(path):
            from gguf import GGUFReader

            fields = GGUFReader(path).fields
            for key, field in (("model", "general.name"), ("license", "general.license")):
                if about[key] is None and field in fields:
                    about[key] = str(fields[field].contents())
            about |= {"model_file": gguf_name, "model_sha256": digest(path)}
    about["model"] = about["model"] or (model if not os.path.isdir(model) else os.path.basename(os.path.abspath(model)))
    about["license"] = about["license"] or "unknown"
    return arguments, about


def load(arguments, recorder):
    AttentionInterface.register(NAME, recorder)
    AttentionMaskInterface.register(NAME, eager_mask)
    try:
        model = AutoModelForCausalLM.from_pretrained(**arguments, dtype=torch.float32, attn_implementation=NAME)
    except (OSError, ValueError, KeyError, ImportError) as error:
        name = arguments["pretrained_model_name_or_path"]
        raise Refusal(f"cannot load {name} for recording: {on_one_line(error)}") from error
    if model.config.get_text_config()._attn_implementation != NAME:
        raise Refusal(f"{type(model).__name__} does not let its attention function be chosen, so it cannot be recorded")
    return model.eval()


def read_tokens(arguments, path, limit):
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"cannot read {path}: {on_one_line(error)}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(**arguments)
    except (OSError, ValueError, KeyError, ImportError) as error:
        name = arguments["pretrained_model_name_or_path"]
        raise Refusal(f"cannot load the tokenizer of {name}: {on_one_line(error)}") from error
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    if tokens.shape[1] < (limit or 1):
        raise Refusal(f"{path} gives {tokens.shape[1]} tokens, fewer than the {limit or 1} asked for")
    return tokens[:, :limit]


def describe(layers):
    """Settings as metadata: the most common value for the file, the others per layer."""
    metadata = {}
    for key in ("scale", "softcap", "window"):
        values = {index: settings[key] for index, (_, settings) in layers.items()}
        common = Counter(values.values()).most_common(1)[0][0]
        metadata[key] = repr(common)
        metadata |= {f"layers.{index}.{key}": repr(value) for index, value in values.items() if value != common}
    return metadata


def record(options):
    folder = os.path.dirname(options.output) or "."
    if not os.access(folder, os.W_OK):
        raise Refusal(f"cannot write {options.output}: {folder} is not a folder that may be written to")
    recorder = Recorder(options.layers, DTYPES[options.dtype])
    arguments, about = locate(options)
    tokens = read_tokens(arguments, options.text, options.tokens)
    model = load(arguments, recorder)
    with torch.no_grad():
        model(tokens, use_cache=False)
    if not recorder.seen:
        raise Refusal(f"the attention of {type(model).__name__} does not go through transformers' attention interface, "
                      f"so it cannot be recorded")
    missing = sorted(set(options.layers or ()) - set(recorder.layers))
    if missing:
        raise Refusal(f"no attention passed through the interface in layer {missing[0]}; it did in layers "
                      f"{', '.join(map(str, sorted(recorder.seen)))}")
    tensors = {"positions": torch.arange(tokens.shape[1], dtype=torch.int32)}
    for index, (sides, _) in recorder.layers.items():
        tensors |= {f"layers.{index}.{name}": side for name, side in zip("qkv", sides)}
    metadata = about | describe(recorder.layers) | {
        "text": options.text_source or os.path.basename(options.text),
        "text_sha256": digest(options.text),
        "recorded_with": f"record_trace.py, transformers {transformers.__version__}, torch {torch.__version__}",
    }
    try:
        save_file(tensors, options.output, metadata)
    except Exception as error:  # the writer raises a type of its own for everything, I/O included
        raise Refusal(f"cannot write {options.output}: {on_one_line(error)}") from error
    print(f"{options.output}: {os.path.getsize(options.output)} bytes")


def layer_list(text):
    layers = [int(part) for part in text.split(",")]
    if min(layers) < 0 or len(set(layers)) < len(layers):
        raise ValueError
    return layers


def count(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="Hugging Face id, folder or GGUF file")
    parser.add_argument("--gguf", metavar="NAME", help="GGUF file inside the folder or repository")
    parser.add_argument("--text", metavar="FILE", required=True, help="UTF-8 text to run the model on")
    parser.add_argument("--layers", type=layer_list, help="distinct layer indices, such as 0,10,20 (default: all)")
    parser.add_argument("--tokens", type=count, help="number of tokens, at least 1 (default: the whole text)")
    parser.add_argument("--dtype", choices=DTYPES, default="f16", help="how to store the tensors (default: f16)")
    parser.add_argument("--model-name", help="metadata: the model's name (default: what the file or id says)")
    parser.add_argument("--license", help="metadata: the model's license (default: the GGUF file's, else unknown)")
    parser.add_argument("--text-source", help="metadata: provenance of the text (default: its file name)")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.safetensors")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        record(options)
    except Refusal as refusal:
        print(f"record_trace.py: {refusal}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
