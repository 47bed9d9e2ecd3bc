"""A TCP relay between a service and its Redis that can take its time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from tests.support.service_client import free_port

CHUNK = 65536


class SlowLink:
    """Listens on `port` and relays to `target` on this machine; every piece of a reply waits `delay` seconds."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.delay = 0.0
        self._target = target
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """Begin to relay."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Take no more connections; those there are end with their ends."""
        if self._listener is not None:
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=1)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            threading.Thread(target=self._relay, args=(near, far), daemon=True).start()

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            asking = threading.Thread(target=self._pump, args=(near, far, False), daemon=True)
            asking.start()
            self._pump(far, near, True)
            asking.join()

    def _pump(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(CHUNK):
                if slow and self.delay:
                    time.sleep(self.delay)
                sink.sendall(content)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the other direction, which a close would not
