import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fileserver import FileServer, Served, serving

from launch import download as module
from launch.download import SourceError, download

CONTENT = bytes(range(256)) * 4000
PATH = "/data.gz"


def problem(path: Path) -> str:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    wanted = hashlib.sha256(CONTENT).hexdigest()
    return "" if found == wanted else f"SHA-256 is {found}, wanted {wanted}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    with serving() as server:
        server.files[PATH] = Served(CONTENT, etag='"1"')
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data.gz"


def fetch(server: FileServer, target: Path) -> None:
    download(server.url + PATH[1:], target, problem, quiet=True)


def half(target: Path, content: bytes = CONTENT) -> Path:
    part = target.with_name("data.gz.part")
    part.write_bytes(content[:500_000])
    return part


def assert_complete(target: Path) -> None:
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["data.gz"]


def test_a_file_arrives_whole(
    server: FileServer, target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    download(server.url + PATH[1:], target, problem)
    assert_complete(target)
    assert server.requests == [(PATH, "", "")]
    assert capfd.readouterr().err.startswith("data.gz: 100% 1.02M/1.02M [")


def test_what_an_earlier_run_left_is_continued(server: FileServer, target: Path) -> None:
    half(target)
    fetch(server, target)
    assert_complete(target)
    assert server.requests == [(PATH, "bytes=500000-", "")]


def test_a_server_without_ranges_sends_all_again(server: FileServer, target: Path) -> None:
    half(target)
    server.files[PATH].ranges = False
    fetch(server, target)
    assert_complete(target)


def test_broken_transfers_go_on_where_they_broke(server: FileServer, target: Path) -> None:
    server.files[PATH].breaks = [300_000, 400_000, 100_000]
    fetch(server, target)
    assert_complete(target)
    assert server.requests == [
        (PATH, "", ""),
        (PATH, "bytes=300000-", '"1"'),
        (PATH, "bytes=700000-", '"1"'),
        (PATH, "bytes=800000-", '"1"'),
    ]


def test_a_file_that_changes_meanwhile_is_begun_again(server: FileServer, target: Path) -> None:
    server.files[PATH] = Served(
        b"old" * 300_000, etag='"0"', breaks=[600_000], becomes=server.files[PATH]
    )
    fetch(server, target)
    assert_complete(target)
    assert server.requests == [(PATH, "", ""), (PATH, "bytes=600000-", '"0"')]


def test_a_part_of_another_version_is_begun_again(server: FileServer, target: Path) -> None:
    half(target, b"old" * 300_000)
    fetch(server, target)
    assert_complete(target)
    assert [asked for _, asked, _ in server.requests] == ["bytes=500000-", ""]


@pytest.mark.parametrize("extra", [0, 7])
def test_a_part_that_is_complete_or_too_long(server: FileServer, target: Path, extra: int) -> None:
    target.with_name("data.gz.part").write_bytes(CONTENT + bytes(extra))
    fetch(server, target)
    assert_complete(target)
    assert len(server.requests) == (2 if extra else 1)


def test_bytes_are_kept_as_sent(server: FileServer, target: Path) -> None:
    # Some servers call a .gz file an encoding of what is inside; it must not be inflated.
    server.files[PATH].headers = {"Content-Encoding": "gzip"}
    fetch(server, target)
    assert_complete(target)


def test_giving_up_keeps_what_came(server: FileServer, target: Path) -> None:
    server.files[PATH].breaks = [300_000, *[0] * 9]
    with pytest.raises(SourceError, match="300000 bytes are kept: run it again to go on"):
        fetch(server, target)
    assert len(server.requests) == 1 + module.PATIENCE
    server.files[PATH].breaks = []
    fetch(server, target)
    assert_complete(target)


def test_a_server_that_always_breaks_at_the_same_byte(server: FileServer, target: Path) -> None:
    server.files[PATH].ranges = False
    server.files[PATH].breaks = [300_000] * 9
    with pytest.raises(SourceError, match="300000 bytes are kept"):
        fetch(server, target)


def test_wrong_bytes_are_deleted(server: FileServer, target: Path) -> None:
    server.files[PATH].content = b"something else"
    with pytest.raises(SourceError, match=r"SHA-256 is [0-9a-f]{64}, wanted [0-9a-f]{64}"):
        fetch(server, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (Served(status=404), "HTTP 404 Not Found"),
        (Served(status=503), "HTTP 503 Service Unavailable"),
        (
            Served(b"<html>" * 100_000, headers={"Content-Type": "text/html; charset=utf-8"}),
            "data.gz is a web page, not the file",
        ),
        (
            Served(CONTENT, headers={"Content-Range": "bytes 600000-1023999/1024000"}),
            "asked for bytes 500000-, it sent Content-Range 'bytes 600000-1023999/1024000'",
        ),
    ],
)
def test_other_answers_leave_a_part_alone(
    server: FileServer, target: Path, served: Served, message: str
) -> None:
    part = half(target)
    server.files[PATH] = served
    with pytest.raises(SourceError, match=message):
        fetch(server, target)
    assert part.stat().st_size == 500_000


def test_no_server(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(SourceError, match="no connection: Connection refused"):
            download(url, target, problem)

    def resolve(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    with pytest.raises(SourceError, match=r"cannot resolve nowhere\.invalid: Name or service not"):
        download("https://nowhere.invalid/x", target, problem)


def test_silence_is_not_waited_for(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.05)
    tested = threading.Event()

    def connect(*_: object) -> None:
        tested.wait(10)
        raise TimeoutError

    monkeypatch.setattr(module.socket, "create_connection", connect)
    with pytest.raises(SourceError, match=r"no connection within 0\.05 s"):
        download("http://127.0.0.1/x", target, problem)
    tested.set()


def test_a_server_that_stalls(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/x"
        with pytest.raises(SourceError, match=r"Read timed out"):
            download(url, target, problem)


def test_tls_trouble_is_told(server: FileServer, target: Path) -> None:
    with pytest.raises(SourceError, match="SSL"):
        download(server.url.replace("http:", "https:") + "x", target, problem)


def test_a_proxy_is_used(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("http_proxy", server.url)
    download("http://nowhere.invalid/data.gz", target, problem, quiet=True)
    assert_complete(target)
