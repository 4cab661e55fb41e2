"""HTTP downloads that go on where they broke off and never leave half a file under its name."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    import requests

# Networks without a way out often drop packets silently: a source is given up after this time,
# name resolution and every address of the host included.
CONNECT_SECONDS = 3.0
STALL_SECONDS = 30.0
# Failures in a row, once bytes have come, after which a source is given up, and the time between.
PATIENCE = 3
PAUSE_SECONDS = 2.0
CHUNK_BYTES = 1 << 18


class SourceError(InputError):
    """One source did not deliver; another one may."""


def part_of(target: Path) -> Path:
    """Where the bytes of `target` gather until they are complete and checked."""
    return target.with_name(f"{target.name}.part")


def settle(part: Path, target: Path) -> None:
    """Gives a complete file its final name, once its bytes are on the disk."""
    with open(part, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(part, target)


def download(
    url: str, target: Path, problem: Callable[[Path], str], *, quiet: bool = False
) -> None:
    """Downloads a file, checks it, and only then gives it its name.

    Args:
      url: http or https.
      target: The file to make. What an earlier, broken call left beside it is continued.
      problem: Says what is wrong with a complete file; "" when nothing is.
      quiet: Show no progress.

    Raises:
      SourceError: No complete and sound file came from there.
      OSError: The file cannot be written.
    """
    part = part_of(target)
    resumed = part.exists()
    _transfer(url, part, quiet)
    found = problem(part)
    if not found:
        settle(part, target)
        return
    part.unlink()
    if not resumed:
        raise SourceError(found)
    # The two halves may be of two versions of the file, or of two sources.
    download(url, target, problem, quiet=quiet)


def _transfer(url: str, part: Path, quiet: bool) -> None:
    """Appends to `part` what it lacks, in as many requests as that takes."""
    import requests
    import urllib3

    _require_route(url)
    version, patience = "", 1
    with requests.Session() as session:
        while True:
            offset = _size(part)
            # A server that inflates a .gz on the way would break both offsets and digest.
            headers = {"Accept-Encoding": "identity"}
            if offset:
                headers["Range"] = f"bytes={offset}-"
            if offset and version:
                headers["If-Range"] = version
            try:
                with session.get(
                    url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)
                ) as response:
                    if response.status_code == 416 and offset:
                        if response.headers.get("Content-Range") == f"bytes */{offset}":
                            return
                        part.unlink()
                        continue
                    _require_file(response)
                    etag = response.headers.get("ETag", "")
                    version = "" if etag.startswith("W/") else etag
                    _save(response, part, offset, quiet)
                    return
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                grown = _size(part) > offset
                patience = PATIENCE if grown else patience - 1
                if not patience:
                    kept = f"; {_size(part)} bytes are kept: run it again to go on"
                    raise SourceError(_why(error) + (kept if _size(part) else "")) from error
                if not grown:
                    time.sleep(PAUSE_SECONDS)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_file(response: requests.Response) -> None:
    if response.status_code not in (200, 206):
        raise SourceError(f"HTTP {response.status_code} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise SourceError(f"{response.url} is a web page, not the file")


def _save(response: requests.Response, part: Path, offset: int, quiet: bool) -> None:
    from .progress import progress

    # Without status 206 the server sends the file from its start, whatever was asked for.
    start = 0
    if response.status_code == 206:
        said = response.headers.get("Content-Range", "")
        match = re.match(r"bytes (\d+)-", said)
        start = int(match[1]) if match else -1
        if not 0 <= start <= offset:
            raise SourceError(f"asked for bytes {offset}-, it sent Content-Range {said!r}")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    with (
        open(part, "ab") as stream,
        progress(total, part.stem, "B", initial=start, quiet=quiet) as bar,
    ):
        stream.truncate(start)
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            stream.write(chunk)
            bar.update(len(chunk))


def _require_route(url: str) -> None:
    """Finds out in CONNECT_SECONDS whether a server can be reached at all.

    Connection timeouts of HTTP clients hold for each address of a host (S3 has eight), and none
    covers the resolution of the name: both would make a machine without internet wait.
    """
    import requests.utils
    import urllib3.util

    if requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)):
        return
    parsed = urllib3.util.parse_url(url)
    address = (str(parsed.host), parsed.port or {"http": 80, "https": 443}[str(parsed.scheme)])
    outcome = [f"no connection within {CONNECT_SECONDS:g} s"]

    def connect() -> None:
        try:
            # A third for each address: one that drops packets must not hide the next.
            socket.create_connection(address, CONNECT_SECONDS / 3).close()
            outcome[0] = ""
        except socket.gaierror as error:
            outcome[0] = f"cannot resolve {address[0]}: {error.strerror}"
        except OSError as error:
            outcome[0] = f"no connection: {error.strerror or error}"

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if outcome[0]:
        raise SourceError(outcome[0])


def _why(error: Exception) -> str:
    """The innermost of the errors that HTTP clients wrap around each other."""
    cause = error.args[0] if error.args else error
    return str(getattr(cause, "reason", cause))
