"""Containers in a confined child: the same parts as outside, so that nothing needed was missed."""

from __future__ import annotations

import io
import zipfile

from PIL import Image
from support.archives import JPEG, PNG, TEXT, tarred, zipped

from matchers.examine import Wanted, examine
from pipeline.sandbox import Sandbox
from pipeline.sandbox.warm_up_containers import containers

WANTED = Wanted(frozenset({"image", "video"}), ("sha256", "md5"), "plain")


def test_every_kind_of_container_is_opened_in_a_child_as_outside() -> None:
    """A module that is not loaded, or a file that is not read yet, would show as another part."""
    colours = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(colours, "JPEG")
    blobs = [
        *containers(colours.getvalue()),
        zipped({"a": JPEG, "b": tarred({"c": PNG, "d": TEXT}, "xz")}, zipfile.ZIP_BZIP2),
    ]
    sandbox = Sandbox(1)
    try:
        for blob in blobs:
            inside = [(part.locator, part.reason) for part in sandbox.examine(blob, WANTED)]
            assert inside == [(part.locator, part.reason) for part in examine(blob, WANTED)]
    finally:
        sandbox.close()
