"""A folder of files as a tarball, for somebody who has none of this."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping


def tarball(name: str, files: Mapping[str, bytes]) -> bytes:
    """A folder of these files as .tar.gz: the same bytes for the same files."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(data)
            member.mode = 0o755 if path.endswith(".sh") else 0o644
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()
