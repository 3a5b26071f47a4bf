"""Fuzz the parsers with atheris (libFuzzer): `make fuzz`, or `python -m tests.fuzz jpeg url`.

Each target runs in a process of its own, for a given time, from its sound input and from whatever
earlier runs have found worth keeping (in .fuzz/, by target). What a target did not promise ends its
run: the input is left beside the corpus, and the status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

FOLDER = Path(".fuzz")
SECONDS = 60
MEMORY_MIB = 2_048
SLOW_SECONDS = 20  # for one input: none of ours is to take long for a few kilobytes
MAX_BYTES = 65_536


def main() -> None:
    """Run the named targets, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target")
    options = parser.parse_args()

    from tests.fuzz.targets import TARGETS

    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {', '.join(unknown)}: there are {', '.join(TARGETS)}")
    failed = []
    for name in names:
        corpus = FOLDER / name
        corpus.mkdir(parents=True, exist_ok=True)
        for blob in TARGETS[name].sound():
            (corpus / hashlib.sha256(blob).hexdigest()[:16]).write_bytes(blob)
        print(f"{name}:", end=" ", flush=True)
        status, last = _run(name, corpus, options.seconds)
        print(last)
        failed += [name] if status else []
    if failed:
        sys.exit(f"found something: {', '.join(failed)}; see {FOLDER}/NAME-*")


def _run(name: str, corpus: Path, seconds: int) -> tuple[int, str]:
    """One target in its own process: its status, and the last line that says how far it came."""
    limits = [
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-timeout={SLOW_SECONDS}",
        f"-max_len={MAX_BYTES}",
        f"-artifact_prefix={FOLDER / name}-",
    ]
    program = [sys.executable, "-m", "tests.fuzz.__main__", "--here", name]
    done = subprocess.run(
        [*program, *limits, str(corpus)], capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stderr.splitlines() if re.match(r"#\d", line)]
    if done.returncode:
        (FOLDER / f"{name}-log").write_text(done.stderr)
        return done.returncode, f"FOUND SOMETHING, see {FOLDER / name}-log"
    return 0, lines[-1] if lines else "nothing was run"


def _fuzz_here(name: str, options: list[str]) -> None:
    """In the target's own process; does not return."""
    import atheris

    warnings.simplefilter("ignore")
    with atheris.instrument_imports(["matchers", "pipeline"], _kernels()):
        from tests.fuzz.targets import TARGETS
    feed = TARGETS[name].feed
    TARGETS[name].sound()  # what it needs beside its input is made now, not in the first one's time
    atheris.Setup([name, *options], feed)
    atheris.Fuzz()


def _kernels() -> list[str]:
    """Modules that numba compiles: it would not know what a fuzzer puts into them."""
    return [
        ".".join(path.with_suffix("").parts)
        for path in Path("matchers").rglob("*.py")
        if "import numba" in path.read_text()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        _fuzz_here(sys.argv[2], sys.argv[3:])
    else:
        main()
