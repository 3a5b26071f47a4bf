"""Pictures that nothing here was ever tuned on, out of free Debian packages: `--images` folders.

    apt-get download $(python -m benchmarks.effectiveness.gather --names)
    python -m benchmarks.effectiveness.gather *.deb --out ~/held-out

Two folders come of it. `photographs`: animals, monuments, tools, landscapes. `cut-outs`: one thing
or one drawing on white, the simple pictures whose codes come nearest to each other. Each is scaled
to at most 768 pixels and written as JPEG, as the demo's photographs are, with an `about.txt` that
the page quotes. What shows the same thing twice was left out by looking, not by any hash.
Needs dpkg-deb.
"""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from PIL import Image

PACKAGES: Final = (
    "gcompris-qt-data", "mate-backgrounds", "palapeli-data", "plasma-workspace-wallpapers",
    "tuxpaint-stamps-default",
)  # fmt: skip
LONGEST_SIDE_PIXELS: Final = 768
_SHORTEST_SIDE_PIXELS: Final = 160
_LEAST_BYTES: Final = 30_000  # of a stamp: below that they are drawings of few pixels
_JPEG_QUALITY: Final = 90

_PHOTOGRAPHS: Final = (  # resource files of gcompris
    "categorization", "clickgame", "details", "erase", "explore_farm_animals", "explore_monuments",
    "explore_world_animals", "explore_world_music", "louis-braille",
)  # fmt: skip
_WALLPAPERS: Final = (  # of plasma: photographs, not drawings
    "Autumn", "BytheWater", "ColdRipple", "ColorfulCups", "EveningGlow", "FallenLeaf", "Grey",
    "Kite", "OneStandsOut", "Path", "summer_1am",
)  # fmt: skip
_LEFT_OUT: Final = frozenset(
    {
        # the same photograph again
        "explore_monuments-011", "explore_monuments-039", "explore_monuments-046",
        "explore_world_animals-016",
        # diagrams
        "louis-braille-003", "louis-braille-007",
        # the same drawing in other colours, or with an arrow
        *(f"lang-{n:03d}" for n in (14, 21, 22, 23, 31, 36, 37, 59, 65, 86, 106, 113)),
        # the same stamp again, or nearly nothing on white
        "fireman240a", "lightningbolt", "fireworks", "explosion", "0_sun",
    }
)  # fmt: skip


def main(
    packages: Annotated[list[Path] | None, typer.Argument(help="The .deb files.")] = None,
    out: Annotated[Path, typer.Option(help="Where the two folders go.")] = Path("held-out"),
    names: Annotated[bool, typer.Option("--names", help="Print the packages to download.")] = False,
) -> None:
    """Take the pictures out of Debian packages."""
    if names:
        typer.echo(" ".join(PACKAGES))
        return
    if not packages:
        raise typer.BadParameter("give the .deb files; --names says which to download")
    written: dict[str, set[str]] = {}
    for package in sorted(packages):
        with tempfile.TemporaryDirectory(prefix="sluis-gather-") as unpacked:
            subprocess.run(["dpkg-deb", "-x", str(package), unpacked], check=True)
            for folder, name, blob in _pictures(Path(unpacked)):
                if name not in _LEFT_OUT:
                    _write(blob, out / folder / f"{name}.jpg")
                    written.setdefault(folder, set()).add(name)
    versions = ", ".join(path.name.removesuffix(".deb") for path in sorted(packages))
    for folder, known in written.items():
        about = f"what gather.py takes for {folder} out of the Debian packages {versions}."
        (out / folder / "about.txt").write_text(about + "\n", encoding="utf-8")
        typer.echo(f"{len(known)} pictures in {out / folder}")


def _pictures(root: Path) -> Iterator[tuple[str, str, bytes]]:
    """Folder, name and encoded bytes of what a package has."""
    for path in sorted(root.rglob("*.rcc")):
        folder = "photographs" if path.stem in _PHOTOGRAPHS else "cut-outs"
        if path.stem in (*_PHOTOGRAPHS, "lang"):
            for number, blob in enumerate(_embedded(path.read_bytes())):
                yield folder, f"{path.stem}-{number:03d}", blob
    for path in sorted(root.glob("usr/share/backgrounds/mate/nature/*.jpg")):
        yield "photographs", f"mate-{path.stem}", path.read_bytes()
    for path in sorted(root.glob("usr/share/palapeli/collection/*.jpg")):
        yield "photographs", f"palapeli-{path.stem}", path.read_bytes()
    for name in _WALLPAPERS:
        for path in root.glob(f"usr/share/wallpapers/{name}/contents/images/*.jpg"):
            yield "photographs", f"plasma-{name}", path.read_bytes()
    yield from _stamps(root)


def _stamps(root: Path) -> Iterator[tuple[str, str, bytes]]:
    """Photographs of one thing each, cut out."""
    for path in sorted(root.rglob("stamps/*/**/*.png")):
        is_drawing = "cartoon" in path.parts or path.stat().st_size < _LEAST_BYTES
        if not (is_drawing or path.stem.endswith("_mirror")):
            yield "cut-outs", path.stem, path.read_bytes()


def _embedded(resources: bytes) -> Iterator[bytes]:
    """The WebP and JPEG files that a Qt resource file holds uncompressed, those that are large."""
    spans = [
        (found.start(), 8 + int.from_bytes(found[1], "little"))
        for found in re.finditer(rb"RIFF(.{4})WEBP", resources, re.DOTALL)
    ]
    spans += [
        (found.start() + 4, int.from_bytes(found[1], "big"))
        for found in re.finditer(rb"(.{4})\xff\xd8\xff[\xe0\xe1\xdb]", resources, re.DOTALL)
    ]
    for start, size in spans:
        blob = resources[start : start + size]
        if _is_large(blob):
            yield blob


def _is_large(blob: bytes) -> bool:
    """Whether a picture can be read from it: the magic may be there by chance."""
    try:
        with Image.open(io.BytesIO(blob)) as image:
            image.load()
            return min(image.size) >= _SHORTEST_SIDE_PIXELS
    except (OSError, SyntaxError):
        return False


def _write(blob: bytes, path: Path) -> None:
    """Scale, lay on white, write as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(blob)) as image:
        shown = image.convert("RGBA")
    white = Image.new("RGBA", shown.size, "white")
    white.alpha_composite(shown)
    picture = white.convert("RGB")
    picture.thumbnail((LONGEST_SIDE_PIXELS, LONGEST_SIDE_PIXELS), Image.Resampling.LANCZOS)
    picture.save(path, "JPEG", quality=_JPEG_QUALITY, subsampling=0)


if __name__ == "__main__":
    typer.run(main)
