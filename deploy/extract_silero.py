"""Reproduces `telephony/silero_8k.npz`: the 8 kHz half of Silero VAD, out of the wheel that its authors publish.

    pip download --no-deps silero-vad==6.2.3
    python deploy/extract_silero.py silero_vad-6.2.3-py3-none-any.whl telephony/silero_8k.npz

The model is pinned by hash: the wheel holds several, with different weights, and another one would silently move every
threshold that was measured with this one. Only numpy is needed, because an ONNX file is a protocol buffer of which the
weights use a handful of fields. With `--golden FILE.npz`, where this project and onnxruntime are installed, the model's
own probabilities for the µ-law audio in that file are written back to it: `tests/telephony/test_silero.py` compares.
"""

import argparse
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MODEL = "silero_vad/data/silero_vad.onnx"
MODEL_SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"
LICENSE = "silero_vad-6.2.3.dist-info/licenses/LICENSE"
BRANCH_8K = b"else_branch"  # the model is one `If` on the rate; 16 kHz is the other branch

NAMES = {
    "encoder.0.reparam_conv": "conv1",
    "encoder.1.reparam_conv": "conv2",
    "encoder.2.reparam_conv": "conv3",
    "encoder.3.reparam_conv": "conv4",
    "decoder.rnn": "lstm",
    "decoder.decoder.2": "output",
}

# Field numbers of onnx.proto: of the model, a graph, a node, an attribute and a tensor
MODEL_GRAPH = 7
GRAPH_NODE = 1
NODE_ATTRIBUTE = 5
ATTRIBUTE_NAME, ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH = 1, 5, 6
TENSOR_DIMS, TENSOR_NAME, TENSOR_RAW = 1, 8, 9


def varint(message: bytes, at: int) -> tuple[int, int]:
    """The base-128 number at `at`, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Every field of a protocol buffer message: its number, and a number or bytes as the wire type says."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        match key & 7:
            case 0:
                value, at = varint(message, at)
                yield key >> 3, value
            case 1 | 5 as wire_type:
                size = 8 if wire_type == 1 else 4
                yield key >> 3, message[at : at + size]
                at += size
            case 2:
                size, at = varint(message, at)
                yield key >> 3, message[at : at + size]
                at += size
            case wire_type:
                raise ValueError(f"wire type {wire_type} at byte {at}: not an ONNX file")


def parts(message: bytes, number: int) -> Iterator[bytes]:
    """The bytes of every field `number`."""
    return (value for field, value in fields(message) if field == number and isinstance(value, bytes))


def numbers(message: bytes, number: int) -> tuple[int, ...]:
    return tuple(value for field, value in fields(message) if field == number and isinstance(value, int))


def attributes(graph: bytes) -> Iterator[bytes]:
    for node in parts(graph, GRAPH_NODE):
        yield from parts(node, NODE_ATTRIBUTE)


def weights(model: bytes) -> dict[str, NDArray[np.float16]]:
    """The tensors of the 8 kHz branch by our names. Float16 moves a probability by at most 0.002."""
    (graph,) = parts(model, MODEL_GRAPH)
    (branch,) = (
        next(parts(attribute, ATTRIBUTE_GRAPH))
        for attribute in attributes(graph)
        if BRANCH_8K in parts(attribute, ATTRIBUTE_NAME)
    )
    found = {}
    for attribute in attributes(branch):
        for tensor in parts(attribute, ATTRIBUTE_TENSOR):
            name = b"".join(parts(tensor, TENSOR_NAME)).decode()
            layer, _, kind = name.rpartition(".")
            if layer in NAMES:
                values = np.frombuffer(next(parts(tensor, TENSOR_RAW)), "<f4")
                shaped = values.reshape(numbers(tensor, TENSOR_DIMS))
                found[f"{NAMES[layer]}.{kind}"] = shaped.astype(np.float16)
    return dict(sorted(found.items()))


def judge_by_onnx(model: bytes, mulaw: bytes) -> NDArray[np.float32]:
    """What the pinned model itself thinks of each 32 ms, which is what our own network is tested against."""
    # Imported here: the bridge has no use for them, this is the only thing they do for it.
    import onnxruntime

    from telephony.codecs.g711 import mulaw_to_float

    session = onnxruntime.InferenceSession(model)
    chunks = mulaw_to_float(mulaw)[: len(mulaw) // 256 * 256].reshape(-1, 1, 256)
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, 32), np.float32)
    probabilities = []
    for chunk in chunks:
        inputs = {"input": np.hstack([context, chunk]), "state": state, "sr": np.array(8000)}
        probability, state = session.run(None, inputs)
        probabilities.append(probability[0, 0])
        context = chunk[:, -32:]
    return np.array(probabilities, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("target", type=Path, help="the .npz to write; the licence goes beside it")
    parser.add_argument("--golden", type=Path, help="an .npz of `mulaw`, to which `probabilities` are added")
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        model, notice = wheel.read(MODEL), wheel.read(LICENSE)
    if hashlib.sha256(model).hexdigest() != MODEL_SHA256:
        raise SystemExit(f"{MODEL} in {arguments.wheel} is not the pinned model {MODEL_SHA256}")
    np.savez(arguments.target, **weights(model))
    arguments.target.with_suffix(".LICENSE").write_bytes(notice.rstrip() + b"\n")
    if arguments.golden:
        mulaw = np.load(arguments.golden)["mulaw"]
        np.savez_compressed(arguments.golden, mulaw=mulaw, probabilities=judge_by_onnx(model, mulaw.tobytes()))
    print(f"{arguments.target}: sha256 {hashlib.sha256(arguments.target.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
