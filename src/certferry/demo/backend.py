"""The server behind the demo page: plain HTTP on one loopback port.

`up` starts it as a process of its own (``certferry demo backend``). It knows nothing of TLS:
that is the load balancer's part.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NoReturn

PAGE = """Hello from the demo backend.
You reached it over HTTPS: the load balancer ended TLS with the certificate that you gave it.
Host: {host}
Path: {path}
"""


class _Page(BaseHTTPRequestHandler):
    """Any GET or HEAD: a few lines of text."""

    protocol_version = "HTTP/1.1"
    server_version = "certferry-demo"
    sys_version = ""
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = PAGE.format(host=self.headers.get("Host", ""), path=self.path).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        """Requests are not worth a line each."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # Not HTTPServer's: that one asks the resolver for our name, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that goes away is no news; anything else is a defect, and is shown.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def serve(address: str, port: int) -> NoReturn:
    """Answer until SIGTERM or SIGINT. Raises OSError when the port is taken."""
    for number in (signal.SIGTERM, signal.SIGINT):  # SIGINT is ignored at first in a background job of a script
        # An exception from a handler would be lost if the signal arrives in a finalizer.
        signal.signal(number, lambda *_: os._exit(0))
    _Server((address, port), _Page).serve_forever()
    os._exit(0)
