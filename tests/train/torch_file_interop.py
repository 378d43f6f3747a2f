"""Reads a checkpoint that the test wrote, continues the training in PyTorch, and writes one back.

    python torch_file_interop.py IN OUT
"""

import sys

import torch

data = torch.load(sys.argv[1], weights_only=True)

assert data["plain"] == {"none": None, "flag": True, "int": -5, "big": 2**40, "float": 0.1, "text": "gr\u00fc\u00df",
                         "list": [1], "tuple": (1, (), [])}, data["plain"]
assert data["keys"] == {0: "zero", 1.5: "x", None: "none", True: "t"}
assert data["bytes"] == b"\x00\x80\xff" and data["no_bytes"] == b""
assert data["size"] == torch.Size([2, 3]) and isinstance(data["size"], torch.Size)
assert data["dtype"] is torch.bfloat16 and data["device"] == torch.device("cpu")
assert type(data["state_dict"]).__name__ == "OrderedDict"
assert data["shared"][0].untyped_storage().data_ptr() == data["shared"][1].untyped_storage().data_ptr()
assert torch.equal(data["shared"][1], data["shared"][0][1])
for name, tensor in data["dtypes"].items():
    assert str(tensor.dtype) == "torch." + name, (name, tensor.dtype)
    assert tensor.double().abs().sum() == 3 if not tensor.is_complex() else tensor.abs().sum() == 3, (name, tensor)
assert data["empty"].shape == (0, 3) and data["scalar"].item() == 7
assert data["transposed"].stride() == (1, 3)
weight = data["state_dict"]["weight"]
assert weight.untyped_storage().nbytes() == weight.numel() * 4, "a view must not drag its buffer along"

# The optimizers go on in PyTorch where the test left off.
for name, case in data["optimizers"].items():
    params = [torch.nn.Parameter(p.clone()) for p in case["params"]]
    make = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}[case["kind"]]
    optimizer = make(params, lr=123.0)
    optimizer.load_state_dict(case["state"])
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scheduler.load_state_dict(case["scheduler"])
    for _ in range(5):
        optimizer.zero_grad()
        (params[0].pow(2).sum() + params[1].sin().sum() * params[0].sum()).backward()
        optimizer.step()
        scheduler.step()
    for ours, theirs in zip(params, case["after"]):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6), (name, ours, theirs)
    assert abs(optimizer.param_groups[0]["lr"] - case["lr_after"]) < 1e-12
    case["state_after"] = optimizer.state_dict()
    case["scheduler_after"] = scheduler.state_dict()

torch.save(data, sys.argv[2])
