"""What the processes of this package count, in the text format that Prometheus scrapes.

Counts, sizes and times only: no label ever names an item, an account, a set or a content.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from pipeline.rpc.server import CannotListen

_ACKNOWLEDGED_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Finest around 25 ms: ninety-nine of a hundred acknowledgements shall come sooner."""


class DoorMetrics:
    """The front door's."""

    def __init__(self) -> None:
        """All at zero, in a registry of their own."""
        self.registry = CollectorRegistry()
        self.uploads = Counter(
            "sluis_ingest_uploads",
            "Uploads answered, by outcome: accepted, repeated, skipped, refused.",
            ["outcome"],
            registry=self.registry,
        )
        self.skipped = Counter(
            "sluis_ingest_skipped",
            "Uploads that the order does not cover, by the gate's reason.",
            ["reason"],
            registry=self.registry,
        )
        self.refused = Counter(
            "sluis_ingest_refused",
            "Uploads that were not kept, by reason: malformed, too_many_bytes.",
            ["reason"],
            registry=self.registry,
        )
        self.sent_away = Counter(
            "sluis_ingest_sent_away",
            "Calls told to come again later, by cause: log_full, busy, closed.",
            ["cause"],
            registry=self.registry,
        )
        self.content_bytes = Counter(
            "sluis_ingest_content_bytes",
            "Bytes of content written to the upload log.",
            registry=self.registry,
        )
        self.acknowledged_seconds = Histogram(
            "sluis_ingest_acknowledgement_seconds",
            "From a batch's arrival until it is on disk.",
            buckets=_ACKNOWLEDGED_SECONDS,
            registry=self.registry,
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is looked up whenever it is scraped."""
        Gauge(name, text, registry=self.registry).set_function(value)


def serve(registry: CollectorRegistry, address: str) -> Callable[[], None]:
    """Serve metrics over plain HTTP on host:port; what it gives back stops that.

    Raises:
        CannotListen: the address is taken, or not this machine's.
    """
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host, registry=registry)
    except OSError as error:
        raise CannotListen(
            f"cannot serve metrics on {address}: is the port taken? Give another with --metrics"
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
