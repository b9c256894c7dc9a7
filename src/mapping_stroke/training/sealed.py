"""Files that begin with a line of what they are and the SHA-256 of the rest, so that flipped bytes are found."""

import hashlib
import os
from pathlib import Path


def seal_of(magic: bytes, content: bytes | memoryview) -> bytes:
    """The line that a file with this content begins with."""
    return magic + hashlib.sha256(content).hexdigest().encode() + b"\n"


def write_sealed(path: Path, magic: bytes, content: bytes | memoryview) -> None:
    """Write the line and the content, and wait until the disk has them: a power cut must not leave a name alone."""
    with path.open("wb") as file:
        file.write(seal_of(magic, content))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
