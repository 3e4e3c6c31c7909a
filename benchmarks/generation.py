"""One token after another: a step of two LSTM layers and the output layer, by ours and by its peers.

    pip install "ostinato[bench]"
    GOMP_SPINCOUNT=500 python benchmarks/generation.py [--rounds 7] [--threads 2]

Microseconds a token, batch 1. Ours draws each token from the softmax of its scores; the peers' steps end at the scores,
which favours them. All run in turn in one process; a ratio is the median over rounds. The scores of all are compared
first. The read bandwidth is that of the C library's memchr over as many bytes as the packed weights, the same threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from machine import read_bandwidth, write
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from ostinato.kernels import native
from ostinato.types import Sampling

SIZES = ((65, 128), (65, 512), (10_000, 650), (256, 1024))
STREAMS = 64
Step = Callable[[], np.ndarray]


class Model:
    """The weights that all sides run."""

    def __init__(self, vocab: int, hidden: int) -> None:
        torch.manual_seed(0)
        self.vocab, self.hidden = vocab, hidden
        self.embedding = nn.Embedding(vocab, hidden)
        self.layers = nn.LSTM(hidden, hidden, 2)
        self.output = nn.Linear(hidden, vocab)

    def arrays(self, layer: int) -> dict[str, np.ndarray]:
        """A layer as ours has it."""
        found = {name: getattr(self.layers, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh")}
        found["bias"] = getattr(self.layers, f"bias_ih_l{layer}") + getattr(self.layers, f"bias_hh_l{layer}")
        return {name: tensor.detach().numpy() for name, tensor in found.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    rows = [measure(Model(*size), options.rounds, options.threads) for size in SIZES]
    streams = many_streams(Model(65, 512), options.rounds, options.threads)
    write("generation", rows, threads=options.threads, instruction_set=native.instruction_set(), streams=streams)


def measure(model: Model, rounds: int, threads: int) -> dict[str, Any]:
    """One row of the table."""
    engines = {kind: native_engine(model, kind == "int8", threads) for kind in ("fp32", "int8")}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        paths = export(model, Path(folder))
        peers: dict[str, Step] = {
            "nn_lstm": torch_step(model),
            "ort_fp32": ort_step(model, paths[0], threads),
            "ort_int8": ort_step(model, paths[1], threads),
        }
        check(model, engines["fp32"], peers)
        times: dict[str, list[float]] = {name: [] for name in ("fp32", "int8", *peers)}
        bandwidths: dict[str, list[float]] = {"fp32": [], "int8": []}
        for _ in range(rounds + 1):
            for kind, engine in engines.items():
                times[kind].append(our_seconds(engine, 1, threads))
                bandwidths[kind].append(read_bandwidth(engine.nbytes, threads))
            for name, step in peers.items():
                times[name].append(seconds(step))
    kept = {name: values[1:] for name, values in times.items()}
    row: dict[str, Any] = {"V": model.vocab, "H": model.hidden}
    row |= {f"{name}_us": round(1e6 * median(values), 1) for name, values in kept.items()}
    for kind, name in (("fp32", "ort_fp32"), ("int8", "ort_int8"), ("fp32", "nn_lstm")):
        ratio = median(there / here for there, here in zip(kept[name], kept[kind], strict=True))
        row[f"{kind}_faster_than_{name}"] = round(ratio, 2)
    for kind, engine in engines.items():
        row[f"{kind}_mb"] = round(engine.nbytes / 1e6, 1)
        reached = [engine.nbytes / s / b for s, b in zip(times[kind], bandwidths[kind], strict=True)]
        row[f"{kind}_share_of_bandwidth"] = round(median(reached[1:]), 2)
    print(row, flush=True)
    return row


def native_engine(model: Model, int8: bool, threads: int) -> native.NativeEngine:
    """Ours, without the table of input products that small vocabularies have, so that all read the same weights."""
    layers = [native.LayerWeights(model.arrays(k)) for k in range(2)]
    outer = [t.detach().numpy() for t in (model.embedding.weight, model.output.weight, model.output.bias)]
    return native.NativeEngine("lstm", "tanh", layers, *outer, int8=int8, threads=threads)


def our_seconds(engine: native.NativeEngine, streams: int, threads: int) -> float:
    """Of one step of all streams, drawing included."""
    states = np.zeros((streams, engine.state_width), np.float32)
    uniforms = np.random.default_rng(0).random((64, streams))
    return seconds(lambda: engine.write(states, uniforms, Sampling(), threads).ids) / len(uniforms)


def torch_step(model: Model) -> Step:
    """nn.LSTM, called for every token."""
    state = tuple(torch.zeros(2, 1, model.hidden) for _ in range(2))
    ids = torch.tensor([[1]])

    def step() -> np.ndarray:
        y, _ = model.layers(model.embedding(ids), state)
        return np.asarray(model.output(y)[0, 0])

    return step


def export(model: Model, folder: Path) -> tuple[Path, Path]:
    """The model as an ONNX graph, and the same with weights in eight bits (onnxruntime's dynamic quantization)."""
    H = model.hidden
    tensors = {"E": model.embedding.weight.detach().numpy(), "V": model.output.weight.detach().numpy().T.copy()}
    tensors["b"] = model.output.bias.detach().numpy()
    nodes = [helper.make_node("Gather", ["E", "ids"], ["x0"])]
    order = [0, 3, 1, 2]  # i, f, g, o to i, o, f, g
    for k in range(2):
        a = {name: w.reshape(4, H, -1)[order].reshape(1, 4 * H, -1) for name, w in model.arrays(k).items()}
        tensors |= {f"W{k}": a["weight_ih"], f"R{k}": a["weight_hh"]}
        tensors[f"B{k}"] = np.concatenate([a["bias"].reshape(1, -1), np.zeros((1, 4 * H), np.float32)], 1)
        inputs = [f"x{k}", f"W{k}", f"R{k}", f"B{k}", "", f"h{k}", f"c{k}"]
        nodes.append(helper.make_node("LSTM", inputs, [f"y{k}", f"h{k}_", f"c{k}_"], hidden_size=H))
        nodes.append(helper.make_node("Squeeze", [f"y{k}", "axis"], [f"x{k + 1}"]))
    tensors["axis"] = np.array([1])
    nodes += [helper.make_node("MatMul", ["x2", "V"], ["m"]), helper.make_node("Add", ["m", "b"], ["logits"])]
    states = [f"{part}{k}" for k in range(2) for part in "hc"]
    graph = helper.make_graph(
        nodes, "lm",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 1]),
         *(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, H]) for name in states)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, model.vocab]),
         *(helper.make_tensor_value_info(name + "_", TensorProto.FLOAT, [1, 1, H]) for name in states)],
        [numpy_helper.from_array(np.ascontiguousarray(t), name) for name, t in tensors.items()],
    )  # fmt: skip
    paths = folder / "fp32.onnx", folder / "int8.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), paths[0])
    quantize_dynamic(paths[0], paths[1], weight_type=QuantType.QInt8)
    return paths


def ort_step(model: Model, path: Path, threads: int) -> Step:
    """An onnxruntime session, its inputs bound."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {f"{part}{k}": np.zeros((1, 1, model.hidden), np.float32) for k in range(2) for part in "hc"}
    feeds["ids"] = np.array([[1]])
    return lambda: np.asarray(session.run(None, feeds)[0]).ravel()


def check(model: Model, engine: native.NativeEngine, peers: dict[str, Step]) -> None:
    """All sides give the same scores; those of eight bits nearly."""
    wanted = engine.read(np.array([1]), np.zeros((1, engine.state_width), np.float32), 1)
    assert wanted is not None
    for name, step in peers.items():
        apart = np.abs(step() - wanted[0]).max() / np.abs(wanted).max()
        assert apart < (0.05 if "int8" in name else 1e-4), f"{name} is {apart} off at H {model.hidden}"


def many_streams(model: Model, rounds: int, threads: int) -> dict[str, Any]:
    """64 streams at once: operations a second, as a share of the GEMM peak (torch.mm at 512, 768 and 1024)."""
    engine = native_engine(model, False, threads)
    H, V = model.hidden, model.vocab
    operations = 2.0 * STREAMS * (4 * H * (H + 2 * H) + H * V)  # the first layer's input is looked up
    shares, speeds = [], []
    for _ in range(rounds + 1):
        speeds.append(operations / our_seconds(engine, STREAMS, threads))
        peaks = [_gemm(size) for size in (512, 768, 1024)]
        shares.append(speeds[-1] / max(peaks))
    found: dict[str, Any] = {"streams": STREAMS, "H": H, "gflops": round(median(speeds[1:]) / 1e9)}
    found["share_of_gemm_peak"] = round(median(shares[1:]), 2)
    print(found, flush=True)
    return found


def _gemm(size: int) -> float:
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2.0 * size**3 / seconds(lambda: a @ b, 0.05)


def seconds(run: Callable[[], Any], enough: float = 0.15) -> float:
    """Of one run; the median of those that fit."""
    times: list[float] = []
    end = time.perf_counter() + enough
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


if __name__ == "__main__":
    main()
