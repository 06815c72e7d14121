"""From one port on loopback to another, byte by byte: what kube-proxy does for a NodePort."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading


class Forward(socketserver.ThreadingTCPServer):
    """Listens on a port of the kernel's choice, in a thread, until this process ends."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, to: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.to = to
        self.port: int = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Relay(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Forward)
        with socket.create_connection(("127.0.0.1", server.to), timeout=10) as there:
            back = threading.Thread(target=_pump, args=(there, self.request), daemon=True)
            back.start()
            _pump(self.request, there)
            back.join()


def _pump(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
