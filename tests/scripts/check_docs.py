"""Keeps the documents true: each ```cpp block must stand in a source file that is compiled (examples/, tests/docs/,
tests/consumer/), and each line of a ```sh block that calls `levin` must succeed in a folder that holds data/.

Usage: check_docs.py ROOT [LEVIN_BINARY]   (without the binary only the C++ blocks are checked)
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FENCE = re.compile(r"```(\w+)\n(.*?)```", re.S)


def squeeze(text):
    return re.sub(r"\s+", " ", text).strip()


def main(root, binary=None):
    root = pathlib.Path(root).resolve()
    sources = [squeeze(p.read_text()) for d in ("examples", "tests/docs", "tests/consumer") for p in (root / d).glob("*.cpp")]
    failures = []
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
