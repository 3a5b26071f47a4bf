"""Write the conformance set into a folder, for other implementations to be tested on.

    python -m tests.conformance FOLDER

The files stand beside `conformance.json`, which says of each what its code should be: by rendering,
the reference core's code of the RGB pixels, and the most bits that it may be away from that.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from tests.conformance import judge
from tests.conformance.ways import WAYS, originals
from tests.support.pictures import reference


def write(folder: Path) -> int:
    """Write all files and the list of them; says how many files there are."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for way, what in WAYS.items():
        name = re.sub(r"[^a-z0-9]+", "-", way.lower()).strip("-")
        for original in originals():
            for number, stored in enumerate(judge.written(way, original), start=1):
                file = f"{name}.{original}.{number}"
                (folder / file).write_bytes(stored.blob)
                codes = {
                    rendering: reference(pixels)[0].tobytes().hex()
                    for rendering, pixels in stored.shows.items()
                }
                listed.append({"file": file, "way": way, "bound_bits": what.bits, "pdq": codes})
    text = json.dumps({"format": "sluis-conformance/1", "files": listed}, indent=1)
    (folder / "conformance.json").write_text(text + "\n", encoding="utf-8")
    return len(listed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    chosen = parser.parse_args().folder
    print(f"{write(chosen)} files and conformance.json in {chosen}")  # noqa: T201
