"""Pictures, what is measured of one, and the cache that keeps it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.effectiveness import kept, natural, ours, uploads
from benchmarks.effectiveness.pictures import Picture, corpus, joined
from matchers import images, pdq
from matchers.views import view_codes

PHOTOS = Path(__file__).parents[2] / "deploy" / "demo" / "photos"


def _jpeg(seed: int, size: tuple[int, int] = (160, 120)) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    written = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(written, "JPEG")
    return written.getvalue()


def _size(picture: Picture) -> kept.Arrays:
    """Work for the tests."""
    with Image.open(io.BytesIO(picture.blob)) as image:
        return {"size": np.array(image.size)}


def test_a_file_counts_once(tmp_path: Path) -> None:
    """Whatever its names, and in whichever corpus."""
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        (tmp_path / f"{name}.jpg").write_bytes(_jpeg(seed))
    (tmp_path / "small.jpg").write_bytes(_jpeg(3, (40, 40)))
    (tmp_path / "about.txt").write_text("Two pictures.\n")
    found = corpus(tmp_path, "photographs")
    assert [picture.name for picture in found.pictures] == ["a", "b"]
    assert (found.about, found.kind) == ("Two pictures.", "photographs")
    assert joined([found, corpus(tmp_path, "tuned on")]) == found.pictures


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(ValueError, match=r"no JPEG files.*give a folder"):
        corpus(tmp_path, "photographs")
    (tmp_path / "broken.jpg").write_text("none")
    with pytest.raises(ValueError, match=r"broken.jpg cannot be read.*remove it"):
        corpus(tmp_path, "photographs")


def test_work_is_kept_until_its_code_changes(tmp_path: Path) -> None:
    """What is there is taken, under a key of the code."""
    pictures = corpus(PHOTOS, "photographs", most=3).pictures
    code = ["benchmarks/effectiveness/edits.py"]
    first = list(kept.each(_size, pictures, code, tmp_path, workers=1))
    (folder,) = tmp_path.iterdir()
    files = sorted(folder.iterdir())
    assert len(files) == 3
    with files[0].open("wb") as file:
        np.savez(file, size=np.array([0, 0]))
    again = list(kept.each(_size, pictures, code, tmp_path, workers=1))
    assert (
        sum(not np.array_equal(a["size"], b["size"]) for a, b in zip(first, again, strict=True))
        == 1
    )
    other = list(kept.each(_size, pictures, ["matchers/limits.py"], tmp_path, workers=1))
    assert all(np.array_equal(a["size"], b["size"]) for a, b in zip(first, other, strict=True))


def test_an_upload_is_looked_up_as_the_profiles_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels are the profiles' own views; the unedited picture is found at once by all of them."""
    picture = corpus(PHOTOS, "photographs", most=1).pictures[0]
    few = [blob for n, blob in enumerate(uploads.blobs(picture)) if n in {0, 19}]
    monkeypatch.setattr(ours, "blobs", lambda _: few)
    monkeypatch.setattr(ours, "UPLOADS", ("unedited", "border"))
    found = ours.measure(picture)
    assert found["distances"][0].tolist() == [0, 0, 0, 0]
    plain, standard, thorough, refined = found["distances"][1].tolist()
    assert plain > standard >= thorough >= refined
    code, quality = pdq.hash_blob(picture.blob)
    assert np.array_equal(found["indicator"], code)
    assert found["quality"] == quality
    pixels = images.decode(few[1])
    for level, profile in enumerate(ours.LEVELS):
        expected = view_codes(pixels, profile)
        rows = (found["upload"] == 1) & (found["level"] <= level)
        good = expected.codes[expected.quality >= 50]
        assert {code.tobytes() for code in found["codes"][rows]} == {c.tobytes() for c in good}


def test_natural_codes_are_seeded_and_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight turns of each crop, the same for the same picture."""
    monkeypatch.setattr(natural, "CROPS", 4)
    one, other = corpus(PHOTOS, "photographs", most=2).pictures[:2]
    codes = natural.crops(one)["codes"]
    assert codes.shape == (32, 32)
    assert np.array_equal(codes, natural.crops(one)["codes"])
    assert not np.array_equal(codes, natural.crops(other)["codes"])
