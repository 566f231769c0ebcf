"""What Debian's package manager knows."""

from __future__ import annotations

import functools
import subprocess


@functools.cache
def package_version(package: str) -> str:
    """The version of an installed Debian package, or "" where there is none (or no dpkg)."""
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False, timeout=30
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
