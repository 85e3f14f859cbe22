"""Small GGUF models with random weights, one for each architecture that kvbits knows: for tests of what an engine computes,
where no trained model is at hand. The tokenizer has a token for every byte. Weights are so large that logits vary by 2 and
more, and queries, keys and values by about 1: with small ones a wholly wrong cache would hardly change the output."""
import array
import random
import struct

UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5
VOCABULARY = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + ["\u2581"]
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3")

LAYERS, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD = 3, 6, 2, 32, 96
WIDTH = HEADS * HEAD_DIM
CONTEXT, WINDOW = 2048, 24


def text(value):
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def field(key, kind, value):
    packed = {UINT32: lambda v: struct.pack("<I", v), FLOAT32: lambda v: struct.pack("<f", v), STRING: text}
    if kind == ARRAY:
        of, values = value
        each = {STRING: text, FLOAT32: lambda v: struct.pack("<f", v), INT32: lambda v: struct.pack("<i", v)}[of]
        return text(key) + struct.pack("<IIQ", ARRAY, of, len(values)) + b"".join(map(each, values))
    return text(key) + struct.pack("<I", kind) + packed[kind](value)


def fields(architecture):
    n = len(VOCABULARY)
    numbers = {
        "context_length": CONTEXT, "embedding_length": WIDTH, "block_count": LAYERS,
        "feed_forward_length": FEED_FORWARD, "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS,
        "attention.key_length": HEAD_DIM, "attention.value_length": HEAD_DIM, "rope.dimension_count": HEAD_DIM,
        "vocab_size": n}
    reals = {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0}
    if architecture.startswith("gemma"):
        numbers["attention.sliding_window"] = WINDOW
    if architecture == "gemma2":
        reals |= {"attn_logit_softcapping": 4.0, "final_logit_softcapping": 30.0}
    return [field("general.architecture", STRING, architecture), field("general.name", STRING, "random weights"),
            field("general.file_type", UINT32, 0)] + \
        [field(f"{architecture}.{key}", UINT32, value) for key, value in numbers.items()] + \
        [field(f"{architecture}.{key}", FLOAT32, value) for key, value in reals.items()] + \
        [field("tokenizer.ggml.model", STRING, "llama"), field("tokenizer.ggml.tokens", ARRAY, (STRING, VOCABULARY)),
         field("tokenizer.ggml.scores", ARRAY, (FLOAT32, [0.0] * n)),
         field("tokenizer.ggml.token_type", ARRAY, (INT32, [2, 3, 3] + [6] * 256 + [1])),
         field("tokenizer.ggml.bos_token_id", UINT32, 1), field("tokenizer.ggml.eos_token_id", UINT32, 2)]


def tensors(architecture):
    """(name, shape with the inner dimension first, mean, standard deviation)"""
    def matrix(name, inner, outer, gain=1.0):
        return (name + ".weight", (inner, outer), 0.0, gain / inner ** .5)

    def norm(name, width, deviation=.1):
        return (name + ".weight", (width,), 1.0, deviation)

    kv = KV_HEADS * HEAD_DIM
    yield ("token_embd.weight", (WIDTH, len(VOCABULARY)), 0.0, 1.0 / WIDTH ** .5 if "gemma" in architecture else 1.0)
    yield norm("output_norm", WIDTH)
    if architecture != "gemma2":
        yield matrix("output", WIDTH, len(VOCABULARY), 3.0)
    for i in range(LAYERS):
        block = f"blk.{i}."
        yield norm(block + "attn_norm", WIDTH)
        if architecture == "phi3":
            yield matrix(block + "attn_qkv", WIDTH, WIDTH + 2 * kv, 1.5)
        else:
            yield matrix(block + "attn_q", WIDTH, WIDTH, 1.5)
            yield matrix(block + "attn_k", WIDTH, kv, 1.5)
            yield matrix(block + "attn_v", WIDTH, kv, 1.5)
        yield matrix(block + "attn_output", WIDTH, WIDTH, 2.0)
        if architecture == "qwen2":
            for side, width in (("q", WIDTH), ("k", kv), ("v", kv)):
                yield (f"{block}attn_{side}.bias", (width,), 0.0, 1.0)
        if architecture in ("qwen3", "gemma3"):
            yield norm(block + "attn_q_norm", HEAD_DIM, .3)
            yield norm(block + "attn_k_norm", HEAD_DIM, .3)
        if architecture.startswith("gemma"):
            yield norm(block + "post_attention_norm", WIDTH)
            yield norm(block + "post_ffw_norm", WIDTH)
        yield norm(block + "ffn_norm", WIDTH)
        if architecture == "phi3":
            yield matrix(block + "ffn_up", WIDTH, 2 * FEED_FORWARD)
        else:
            yield matrix(block + "ffn_gate", WIDTH, FEED_FORWARD)
            yield matrix(block + "ffn_up", WIDTH, FEED_FORWARD)
        yield matrix(block + "ffn_down", FEED_FORWARD, WIDTH)


def write(path, architecture, seed=1, known_as=None):
    """known_as: the architecture that the file names, when another one's tensors are to go with it."""
    rng = random.Random(seed)
    infos, data = b"", []
    offset = n_tensors = 0
    for name, shape, mean, deviation in tensors(architecture):
        count = 1
        for size in shape:
            count *= size
        values = array.array("f", (rng.gauss(mean, deviation) for _ in range(count))).tobytes()
        infos += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        infos += struct.pack("<IQ", 0, offset)
        values += b"\0" * (-len(values) % 32)
        data.append(values)
        offset += len(values)
        n_tensors += 1
    metadata = fields(known_as or architecture)
    head = b"GGUF" + struct.pack("<IQQ", 3, n_tensors, len(metadata)) + b"".join(metadata) + infos
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32))
        file.writelines(data)


if __name__ == "__main__":
    import sys
    write(sys.argv[2], sys.argv[1])
