"""Object stores on this machine: processes that speak Google's and Amazon's protocols."""

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from launch.cluster import free_port

START_SECONDS = 30


def _wait(port, process):
    ending = time.monotonic() + START_SECONDS
    while time.monotonic() < ending and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("localhost", port), timeout=1).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"the emulator at port {port} did not start")


@contextlib.contextmanager
def _running(command, port):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def gcs(folder, bucket):
    """A Google Cloud Storage with one bucket; its address."""
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator"]
    command += [f"--data-dir={os.path.join(folder, 'gcs')}", "start", f"--port={port}"]
    command += [f"--default-bucket={bucket}"]
    with _running(command, port):
        yield f"http://localhost:{port}"


@contextlib.contextmanager
def google_account(folder):
    """A made-up service account whose tokens are issued here; the path of its key.

    Without one, Google's clients look for credentials for half a minute in each process.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(*encoding, serialization.NoEncryption()).decode()
    server = http.server.ThreadingHTTPServer(("localhost", 0), _Tokens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k",
        "private_key": pem,
        "client_email": "mill@p.example",
        "token_uri": f"http://localhost:{server.server_address[1]}/token",
    }
    path = os.path.join(folder, "account.json")
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(account, stream)
    yield path
    server.shutdown()
    server.server_close()


class _Tokens(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        body = b'{"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}'
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def s3(bucket):
    """An Amazon S3 with one bucket; its address."""
    import boto3

    port = free_port()
    with _running([sys.executable, "-m", "moto.server", f"-p{port}"], port):
        address = f"http://localhost:{port}"
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=bucket)
        yield address
