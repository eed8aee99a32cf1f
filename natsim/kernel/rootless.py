"""The kernel world for users who are not root, where they may make user namespaces.

In a user namespace one is root over whatever is made there, network namespaces too, and nobody outside.  A process can
enter one only before it has threads, so a command line begins anew in one; a notebook's kernel, which has threads, must
have been started in one (`requirements.available` says how).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

#: From util-linux: a new user namespace, in which we are root.
_UNSHARE = ("unshare", "--user", "--map-root-user")


def command_as_root(module: str, arguments: Sequence[str]) -> list[str] | None:
    """The command that runs a Python module as root of a user namespace; None if we are root, or if that cannot be."""
    if not sys.platform.startswith("linux") or os.geteuid() == 0 or shutil.which(_UNSHARE[0]) is None:
        return None
    if subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode:
        return None
    return [*_UNSHARE, sys.executable, "-m", module, *arguments]
