"""Writes surrogate.safetensors, the LCBench surrogate of YAHPO Gym, from its model.onnx, and reference.json, values of
ONNX Runtime at random configurations.

Usage: python benchmarks/tune/lcbench/extract.py FOLDER (holds model.onnx and encoding.json of yahpo_data/lcbench)
Needs onnx, onnxruntime and numpy. The tensors are the network's own under its own names, batch normalisation folded
into a scale and a shift; input.* and output.* are the steps around it: each input is (log(x + offset) or x, minus mean)
/ deviation, each output scale * sigmoid + mean, then exp(y) - offset where it is on a log scale.
"""

import json
import pathlib
import struct
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

HERE = pathlib.Path(__file__).parent
INPUTS = ["epoch", "batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout"]
OUTPUTS = ["time", "val_accuracy", "val_cross_entropy", "val_balanced_accuracy", "test_cross_entropy", "test_balanced_accuracy"]


def steps(graph, source):
    """What the graph does to each column of a tensor: [(operation, constant), ...] in the order of the columns."""
    constants = {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in graph.node if n.op_type == "Constant"}
    users = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    columns = {}
    for gather in users[source]:
        if gather.op_type != "Gather" or gather.input[1] not in constants:
            continue
        chain, name = [], gather.output[0]
        while users[name][0].op_type not in ("Unsqueeze",):
            node = users[name][0]
            if node.op_type != "Cast":
                chain.append((node.op_type, float(constants[node.input[1]]) if len(node.input) > 1 else None))
            name = node.output[0]
        columns[int(constants[gather.input[1]])] = chain
    return [columns[i] for i in sorted(columns)]


def tensors(model):
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    out = {k.replace("embds_fct.0.weight", "embedding.weight"): v for k, v in weights.items()
           if not any(word in k for word in ("norm", "normalization"))}
    for prefix in [f"layers.{i}.norm" for i in range(3)] + ["last_normalization"]:
        scale = weights[prefix + ".weight"] / np.sqrt(weights[prefix + ".running_var"] + np.float32(1e-5))
        out[prefix + ".scale"] = scale
        out[prefix + ".shift"] = weights[prefix + ".bias"] - scale * weights[prefix + ".running_mean"]
    # An affine map of the embedding and the inputs, each of them in one of two forms.
    rows = []
    for chain in steps(model.graph, "x_cont"):
        names = [op for op, _ in chain]
        assert names in (["Add", "Log", "Sub", "Div"], ["Sub", "Div"]), names
        offset, log = (chain[0][1], 1) if len(chain) == 4 else (0, 0)
        rows.append([log, offset, chain[-2][1], chain[-1][1]])
    for i, name in enumerate(["log", "offset", "mean", "deviation"]):
        out["input." + name] = np.array([r[i] for r in rows], np.float32)
    rows = []
    sigmoid = next(n for n in model.graph.node if n.op_type == "Sigmoid").output[0]
    for chain in steps(model.graph, sigmoid):
        names = [op for op, _ in chain]
        assert names in (["Mul", "Add", "Exp", "Sub"], ["Mul", "Add"]), names
        rows.append([int(len(chain) == 4), chain[-1][1] if len(chain) == 4 else 0, chain[1][1], chain[0][1]])
    for i, name in enumerate(["log", "offset", "mean", "scale"]):
        out["output." + name] = np.array([r[i] for r in rows], np.float32)
    return out


def write_safetensors(path, values):
    header, offset = {}, 0
    for name, value in values.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.astype("<f4").tobytes() for v in values.values()))


def main():
    folder = pathlib.Path(sys.argv[1])
    model = onnx.load(folder / "model.onnx")
    write_safetensors(HERE / "surrogate.safetensors", tensors(model))
    tasks = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
    rng = np.random.default_rng(0)
    n = 64
    low = np.array([1, 16, 1e-4, 0.1, 1e-5, 1, 64, 0])
    high = np.array([52, 512, 1e-1, 0.99, 1e-1, 5, 1024, 1])
    log = np.array([0, 1, 1, 0, 0, 0, 1, 0], bool)
    unit = rng.uniform(size=(n, 8))
    x = np.where(log, np.exp(np.log(np.where(log, low, 1)) + unit * np.log(high / np.where(log, low, 1))), low + unit * (high - low))
    x[:, [0, 1, 5, 6]] = np.round(x[:, [0, 1, 5, 6]])
    x = x.astype(np.float32)
    names = [t for t in tasks if t not in ("#na#", "167083")]  # encoded, but not a task of the benchmark
    chosen = [names[i] for i in rng.integers(0, len(names), n)]
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    y = session.run(None, {"x_cat": np.array([[tasks[t]] for t in chosen], np.int32), "x_cont": x})[0]
    reference = {"inputs": INPUTS, "outputs": OUTPUTS, "tasks": {t: tasks[t] for t in names}, "onnxruntime": onnxruntime.__version__,
                 "cases": [{"task": t, "x": [float(v) for v in a], "y": [float(v) for v in b]} for t, a, b in zip(chosen, x, y)]}
    (HERE / "reference.json").write_text(json.dumps(reference) + "\n")


if __name__ == "__main__":
    main()
