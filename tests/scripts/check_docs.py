"""Keeps the documents true: each ```cpp block must stand in a source file that is compiled (examples/, tests/docs/,
tests/consumer/), and each line of a ```sh block that calls `levin` must succeed in a folder that holds data/. docs/from-lightning.md must name
every flag, hook and class of Lightning's, and of Levin's only what there is.

Usage: check_docs.py ROOT [LEVIN_BINARY]   (without the binary only the C++ blocks are checked)
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FENCE = re.compile(r"```(\w+)\n(.*?)```", re.S)


def squeeze(text):
    return re.sub(r"\s+", " ", text).strip()


def check_from_lightning(root):
    """The table names all that Lightning's users know, and nothing of Levin's that no header declares."""
    page = (root / "docs/from-lightning.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    surface = json.loads((root / "tests/golden/train/lightning_surface.json").read_text())
    surface.pop("versions")
    for group, names in surface.items():
        for name in names:
            if name not in named:
                yield f"from-lightning.md: {group} of Lightning has `{name}`, and the page does not name it"
    headers = " ".join(p.read_text() for p in (root / "src/levin").rglob("*.h"))
    declared = set(re.findall(r"\w+", headers))
    for row in rows:
        for code in re.findall(r"`([^`]+)`", row[1] if len(row) > 1 else ""):
            for name in re.findall(r"[A-Za-z_]\w+", code):
                if name not in declared | {"LEVIN_TRAINER_", "levin"}:
                    yield f"from-lightning.md: `{name}` stands in no header of Levin's"


def main(root, binary=None):
    root = pathlib.Path(root).resolve()
    sources = [squeeze(p.read_text()) for d in ("examples", "tests/docs", "tests/consumer") for p in (root / d).glob("*.cpp")]
    failures = list(check_from_lightning(root))
    with tempfile.TemporaryDirectory() as work:
        os.symlink(root / "data", pathlib.Path(work, "data"))
        for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
            for language, block in FENCE.findall(page.read_text()):
                if language == "cpp" and not any(squeeze(block) in source for source in sources):
                    failures.append(f"{page.name}: this block is in no compiled file:\n{block}")
                if language == "sh" and binary:
                    script = block.replace("\\\n", " ")
                    for line in script.splitlines():
                        if not line.startswith("levin "):
                            continue
                        done = subprocess.run(line, shell=True, cwd=work, capture_output=True, text=True,
                                              env={**os.environ, "PATH": f"{pathlib.Path(binary).parent}:{os.environ['PATH']}"})
                        if done.returncode != 0:
                            failures.append(f"{page.name}: `{line}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
    print("\n".join(failures) or "the documents hold")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
