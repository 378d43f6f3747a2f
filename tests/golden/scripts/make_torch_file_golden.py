"""Files of torch.save for tests/train/checkpoint_io_test.cpp.

    python tests/golden/scripts/make_torch_file_golden.py

torch 2.13.0, seed 5. The contents are spelled out again in the test.
"""

import collections
import pathlib

import torch

OUT = pathlib.Path(__file__).parent.parent / "torch_file"
torch.manual_seed(5)

model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
with torch.no_grad():
    for i, p in enumerate(model.parameters()):
        p.copy_(torch.arange(p.numel()).reshape(p.shape) + 10 * i)
torch.save(model.state_dict(), OUT / "state_dict.pt")

optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
model[0].weight.grad = torch.ones(3, 2)
optimizer.step()
torch.save({"epoch": 3, "optimizer_states": [optimizer.state_dict()]}, OUT / "optimizer.pt")

base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
torch.save(
    {
        "none": None, "true": True, "false": False, "float": 0.1, "inf": float("inf"), "nan": float("nan"),
        "ints": [0, 255, 256, 65535, 65536, -1, 2**31 - 1, -(2**31), 2**31, -(2**63), 2**63 - 1],
        "text": "gr\u00fc\u00df \u4f60\u597d \U0001F600", "empty": "", "bytes": b"\x00\x7f\x80\xff", "no_bytes": b"",
        "bytearray": bytearray(b"ab\xff"), "tuple": (1, (2,), ()), "one": [1], "nested": {1: {"a": []}, 2.5: {}, True: "t", None: 0},
        "size": torch.Size([2, 3]), "device": torch.device("cuda:1"), "cpu": torch.device("cpu"), "dtype": torch.bfloat16,
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
        "parameter": torch.nn.Parameter(torch.tensor([1.5, -2.0])),
        "frozen": torch.nn.Parameter(torch.tensor([3.0]), requires_grad=False),
        "base": base, "row": base[1], "transposed": base.t(), "column": base[:, 2], "same": base,
        "scalar": torch.tensor(7.0), "nothing": torch.empty(0, 3), "expanded": torch.tensor([4.0]).expand(3),
        "f64": torch.tensor([1 / 3], dtype=torch.float64), "f16": torch.tensor([0.5, 65504.0], dtype=torch.float16),
        "bf16": torch.tensor([1.5, -3.0], dtype=torch.bfloat16), "i64": torch.tensor([2**40, -1]),
        "i32": torch.tensor([7, -7], dtype=torch.int32), "i16": torch.tensor([300, -300], dtype=torch.int16),
        "i8": torch.tensor([-128, 127], dtype=torch.int8), "u8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]), "c64": torch.tensor([1 + 2j]), "u16": torch.tensor([65535], dtype=torch.uint16),
    },
    OUT / "zoo.pt",
)


class Custom:
    pass


torch.save({"model": Custom()}, OUT / "needs_code.pt")
torch.save({"a": torch.ones(2)}, OUT / "old_format.pt", _use_new_zipfile_serialization=False)
torch.jit.script(torch.nn.Linear(1, 1)).save(str(OUT / "script.pt"))
torch.save(torch.ones(2).to_sparse(), OUT / "sparse.pt")
