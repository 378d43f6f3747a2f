"""The LCBench surrogate in numpy: surrogate(task, configuration) as in surrogate.h. Run alone, it checks itself."""

import json
import pathlib
import struct

import numpy as np

HERE = pathlib.Path(__file__).parent


def read_safetensors(path):
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    return {name: np.frombuffer(data[8 + size + t["data_offsets"][0] : 8 + size + t["data_offsets"][1]], "<f4").reshape(t["shape"])
            for name, t in header.items()}


W = read_safetensors(HERE / "surrogate.safetensors")
TASKS = json.loads((HERE / "reference.json").read_text())["tasks"]


def surrogate(task, x):
    """The six targets for eight inputs (the order of reference.json)."""
    x = np.asarray(x, np.float32)
    log = W["input.log"] > 0
    x = np.where(log, np.log(np.where(log, x + W["input.offset"], 1)), x)
    x = (x - W["input.mean"]) / W["input.deviation"]
    h = W["first_layer.weight"] @ np.concatenate([W["embedding.weight"][TASKS[task]], x]) + W["first_layer.bias"]
    for i in range(3):
        z = W[f"layers.{i}.norm.scale"] * h + W[f"layers.{i}.norm.shift"]
        value, gate = np.split(W[f"layers.{i}.linear0.weight"] @ z + W[f"layers.{i}.linear0.bias"], 2)
        h = h + W[f"layers.{i}.linear1.weight"] @ (value * np.maximum(gate, 0)) + W[f"layers.{i}.linear1.bias"]
    h = np.maximum(W["last_normalization.scale"] * h + W["last_normalization.shift"], 0)
    y = 1 / (1 + np.exp(-(W["head.weight"] @ h + W["head.bias"])))
    y = W["output.scale"] * y + W["output.mean"]
    log = W["output.log"] > 0
    return np.where(log, np.exp(np.where(log, y, 0)) - W["output.offset"], y)


if __name__ == "__main__":
    cases = json.loads((HERE / "reference.json").read_text())["cases"]
    worst = max(np.max(np.abs(surrogate(c["task"], c["x"]) - c["y"]) / (1 + np.abs(c["y"]))) for c in cases)
    print(f"{len(cases)} cases, largest relative difference to ONNX Runtime {worst:.1e}")
    assert worst < 3e-4
