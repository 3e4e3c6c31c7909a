"""An ONNX model of one node, written as the bytes of its protobuf: all weights are inputs."""

from __future__ import annotations

import numpy as np
import onnxruntime

FLOAT, INT32 = 1, 6


def varint(value: int) -> bytes:
    """Seven bits a byte, the low ones first."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, value: int | str | bytes) -> bytes:
    """One protobuf field: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(number: int, name: str, shape: tuple[int, ...] | None, element: int) -> bytes:
    """A graph's input or output (ValueInfoProto)."""
    dims = b"" if shape is None else field(2, b"".join(field(1, field(1, size)) for size in shape))
    return field(number, field(1, name) + field(2, field(1, field(1, element) + dims)))


def run_node(op: str, inputs: dict[str, np.ndarray], order: list[str], outputs: list[str], **attributes: int):
    """The outputs of one operator on ``inputs``; ``order`` names its slots, an empty name is a slot left out."""
    node = b"".join(field(1, name) for name in order) + b"".join(field(2, name) for name in outputs) + field(4, op)
    for name, value in attributes.items():
        node += field(5, field(1, name) + field(3, value) + field(20, 2))
    graph = field(1, node) + field(2, "graph")
    for name, array in inputs.items():
        graph += tensor(11, name, array.shape, INT32 if array.dtype == np.int32 else FLOAT)
    for name in outputs:
        graph += tensor(12, name, None, FLOAT)
    model = field(1, 8) + field(7, graph) + field(8, field(2, 14))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(outputs, inputs)
