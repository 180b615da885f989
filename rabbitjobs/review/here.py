"""Who sits at this machine: the name of somebody who did not log in anywhere."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Container


def local_name(people: Container[str]) -> str:
    """The user of this machine as ``user@host``, or as ``user`` if ``people`` knows only that."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    here = f"{user}@{socket.gethostname()}"
    return user if user in people and here not in people else here
