"""Generate pipeline/rpc/sluis from proto/, or with --check say whether it is up to date.

protoc writes imports as `from sluis.…`; the stubs live below `pipeline.rpc`, so that the project
installs no third top-level package. Only that prefix is rewritten.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parent
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
TARGET = PROTO.parent / "pipeline" / "rpc" / "sluis"


def generate(folder: Path) -> None:
    """Write the stubs of every .proto below PROTO into `folder`."""
    beside = Path(sys.executable).parent
    well_known = resources.files("grpc_tools") / "_proto"
    sources = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as made:
        status = protoc.main(
            [
                "protoc",
                *(f"--plugin={name}={beside / name}" for name in PLUGINS),
                f"-I{PROTO}",
                f"-I{well_known}",
                f"--python_out={made}",
                f"--grpc_python_out={made}",
                f"--mypy_out={made}",
                f"--mypy_grpc_out={made}",
                *sources,
            ]
        )
        if status != 0:
            sys.exit("protoc failed: see its message above")
        for path in sorted(Path(made).rglob("*.py*")):
            place = folder / path.relative_to(Path(made) / "sluis")
            place.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text()
            text = re.sub(r"\b(from|import) sluis\.", r"\1 pipeline.rpc.sluis.", text)
            text = re.sub(r"(?<![\w.])sluis\.(?=[\w.]+_pb2\b)", "pipeline.rpc.sluis.", text)
            place.write_text(text)
    for inner in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        (inner / "__init__.py").write_text('"""Generated from proto/: see proto/generate.py."""\n')


def main() -> None:
    """Generate, or check for drift."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail on drift")
    if not parser.parse_args().check:
        shutil.rmtree(TARGET, ignore_errors=True)
        generate(TARGET)
        return
    with tempfile.TemporaryDirectory() as made:
        generate(Path(made))
        fresh = {p.relative_to(made): p.read_bytes() for p in Path(made).rglob("*.py*")}
    kept = {
        p.relative_to(TARGET): p.read_bytes()
        for p in TARGET.rglob("*.py*")
        if "__pycache__" not in p.parts
    }
    drifted = sorted(str(n) for n in {*fresh, *kept} if fresh.get(n) != kept.get(n))
    if drifted:
        sys.exit(f"generated code is out of date ({', '.join(drifted)}): run make proto")


if __name__ == "__main__":
    main()
