"""What a backend is: something that answers exactly which codes lie within a radius."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

BackendName = Literal["auto", "faiss", "mih"]

BACKENDS: Final = ("auto", "faiss", "mih")


class Backend(Protocol):
    """Exact radius search over n codes."""

    def __len__(self) -> int: ...

    @property
    def name(self) -> str:
        """Its name in a saved index."""

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What there is to save."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """What else is needed to read the arrays."""

    def holds(self, codes: npt.NDArray[np.uint8]) -> bool:
        """Whether it is an index of exactly these codes (uint8 [n, 32]), row by row."""

    def codes(self, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.uint8]:
        """The codes of these rows, or of all in order, uint8 [n, 32]."""

    def search(
        self, queries: npt.NDArray[np.uint8], radius: int, threads: int = 1
    ) -> npt.NDArray[np.uint64]:
        """Every code within `radius` bits of each query (uint8 [m, 32]).

        Returns:
            uint64 [k], hits as in `_kernels.hits`, in no order.
        """
