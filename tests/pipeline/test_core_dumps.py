"""Commands hold keys and content: no file of their memory is left where one fails."""

from __future__ import annotations

import subprocess
import sys


def test_a_command_leaves_no_core():
    """Its limit is 0 before anything is read."""
    program = (
        "import resource, sys; from pipeline import cli\n"
        "sys.argv = ['sluis', 'order', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "(0, 0)"
