"""The node's secret: key of dialog tokens and To tags, in a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

LENGTH: Final = 32


class SecretFault(Exception):
    """A secret that cannot be used; says what to do."""


def node_secret(path: Path) -> bytes:
    """Read the secret, or make one where there is no file. Raises SecretFault."""
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SecretFault(f"{path}: cannot be read: {error.strerror}") from None
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(secrets.token_bytes(LENGTH))
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, path)  # fails where another node on this host has made one meanwhile
        finally:
            aside.unlink()
    except FileExistsError:
        pass
    except OSError as error:
        raise SecretFault(f"{path}: cannot be made: {error.strerror}; name a writable place in [node] secret_file") from None
    return _read(path)


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & 0o077:
            raise SecretFault(f"{path}: others may read this secret (mode {mode & 0o777:04o}); chmod 600 {path}")
        secret = file.read()
    if len(secret) < LENGTH:
        raise SecretFault(f"{path}: {len(secret)} octets are too few for a secret; remove the file to have one of {LENGTH} made")
    return secret
