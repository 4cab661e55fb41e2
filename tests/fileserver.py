"""A small HTTP server for tests of downloads, which misbehaves when told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file, and how it is served."""

    content: bytes = b""
    etag: str = ""
    status: int = 200
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    # After so many bytes the connection breaks: one number for each request to come.
    breaks: list[int] = field(default_factory=list)
    # What the file becomes once a transfer has broken.
    becomes: Served | None = None


@dataclass
class FileServer:
    """Files by path, and the requests that came: `(path, Range, If-Range)`."""

    url: str
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            path = self.path.replace("http://nowhere.invalid", "")
            asked = self.headers.get("Range", "")
            condition = self.headers.get("If-Range", "")
            server.requests.append((path, asked, condition))
            file = server.files.get(path, Served(status=404))
            if file.status != 200:
                self.send_error(file.status)
                return
            start = 0
            if asked and file.ranges and condition in ("", file.etag):
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(file.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(file.content)}")
                self.end_headers()
                return
            headers = {
                "Content-Length": str(len(file.content) - start),
                "Content-Type": "application/gzip",
            }
            if start:
                last = len(file.content) - 1
                headers["Content-Range"] = f"bytes {start}-{last}/{len(file.content)}"
            if file.etag:
                headers["ETag"] = file.etag
            self.send_response(206 if start else 200)
            for name, value in (headers | file.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if file.breaks:
                self.wfile.write(file.content[start : start + file.breaks.pop(0)])
                server.files[path] = file.becomes or file
            else:
                self.wfile.write(file.content[start:])

    return Handler


@contextmanager
def serving() -> Iterator[FileServer]:
    """Serves on a free port of the loopback address until the block ends."""
    server = FileServer("")
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{http.server_port}/"
    thread = threading.Thread(target=lambda: http.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
