"""A proxy in front of an emulator that breaks some of the requests on their way."""

import http.client
import http.server
import threading
import time
import urllib.parse


class FaultyProxy:
    """Passes requests on, but for those that a function says to break.

    Attributes:
      fault: Given method and path, "503", "drop" (half of the body is taken, then the connection
        closed), "slow" or None.
    """

    def __init__(self, target):
        self.target = urllib.parse.urlparse(target)
        self.fault = lambda method, path: None
        self.broken = []
        self._server = http.server.ThreadingHTTPServer(("localhost", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://localhost:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _handler(proxy):  # noqa: N805  # self is the handler's
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def _any(self):
                length = int(self.headers["Content-Length"] or 0)
                fault = proxy.fault(self.command, self.path)
                if fault:
                    proxy.broken.append((fault, self.command, self.path))
                if fault == "drop":
                    self.rfile.read(length // 2)
                    self.close_connection = True
                    self.connection.close()
                    return
                body = self.rfile.read(length)
                if fault == "503":
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if fault == "slow":
                    time.sleep(1.0)
                onward = http.client.HTTPConnection(proxy.target.hostname, proxy.target.port)
                del self.headers["Expect"]  # it is answered here
                headers = {**self.headers, "Host": f"localhost:{self.server.server_address[1]}"}
                onward.request(self.command, self.path, body, headers)
                answer = onward.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                told = answer.getheader("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", told or str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _any

        return Handler
