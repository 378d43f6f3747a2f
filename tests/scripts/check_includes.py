"""Holds the include arrows of docs/architecture.md: which folder of src/levin may include which, and that core, tune
and dist never see torch, and torch's umbrella headers stand in levin.h alone. Prints each offence as file:line."""
import pathlib
import re
import sys

ALLOWED = {
    "core": set(),
    "tune": {"core"},
    "dist": {"core"},
    "data": {"core"},
    "nn": {"core"},
    "optim": {"core"},
    "compile": {"core", "data", "optim"},
    "train": {"core", "data", "nn", "optim", "compile"},
    "sweep": {"core", "data", "nn", "optim", "compile", "train", "tune"},
}
TOP = {"report", "app"}  # may include everything below them
TORCH = re.compile(r'#include\s*[<"](torch|ATen|c10|caffe2)/')
WHOLE_TORCH = re.compile(r'#include\s*[<"]torch/(torch|all|nn)\.h[>"]')
OURS = re.compile(r'#include\s*[<"]levin/([a-z0-9_]+)/')
# The command line starts without LibTorch: only its engine may see the training half.
APP_WITHOUT_TORCH = {"core", "tune", "app"}


def main(root):
    offences = []
    for path in sorted(pathlib.Path(root, "src", "levin").rglob("*")):
        if path.suffix not in (".h", ".cpp"):
            continue
        parts = path.relative_to(pathlib.Path(root, "src", "levin")).parts
        folder = parts[0] if len(parts) > 1 else None
        torch_free = folder in ("core", "tune", "dist") or parts[:2] == ("compile", "kernels") or (folder == "app" and parts[1] != "engine")
        if folder is None:
            continue  # the umbrella header
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if torch_free and TORCH.match(line):
                offences.append(f"{path}:{number}: {folder} must not include torch: {line.strip()}")
            if WHOLE_TORCH.match(line):
                offences.append(f"{path}:{number}: torch/torch.h costs half a minute here: include torch/types.h, "
                                "torch/nn/module.h or the ATen header of what is used")
            match = OURS.match(line)
            if not match or match[1] == folder:
                continue
            if folder == "app" and parts[1] != "engine":
                allowed = APP_WITHOUT_TORCH
            elif folder in TOP:
                allowed = set(ALLOWED) | TOP
            else:
                allowed = ALLOWED.get(folder, set())
            if match[1] not in allowed:
                offences.append(f"{path}:{number}: {folder} must not include {match[1]}")
    print("\n".join(offences) or "the include arrows hold")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
