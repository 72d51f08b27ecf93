"""Frames over a socket pair: eight bytes of length (big-endian), then that many bytes."""

from __future__ import annotations

import socket

LENGTH_BYTES = 8
READ_BYTES = 1 << 18


def framed(body: bytes) -> bytes:
    """`body` as it goes over the wire."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_frame(end: socket.socket) -> bytes | None:
    """Wait for the next frame; None when the other side is gone."""
    head = _read_exactly(end, LENGTH_BYTES)
    return None if head is None else _read_exactly(end, int.from_bytes(head, "big"))


def _read_exactly(end: socket.socket, count: int) -> bytes | None:
    body = bytearray(count)
    left = memoryview(body)
    while left:
        try:
            taken = end.recv_into(left)
        except ConnectionError:
            return None
        if not taken:
            return None
        left = left[taken:]
    return bytes(body)


class FrameBuffer:
    """Cuts what arrives on a non-blocking socket into frames."""

    def __init__(self) -> None:
        self._arrived = bytearray()

    def read(self, end: socket.socket) -> bool:
        """Take in what is there now. False when the other side is gone."""
        while True:
            try:
                piece = end.recv(READ_BYTES)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not piece:
                return False
            self._arrived += piece
            if len(piece) < READ_BYTES:
                return True

    def frames(self) -> list[bytes]:
        """The complete frames; what is left of an incomplete one waits."""
        complete: list[bytes] = []
        begin = 0
        while len(self._arrived) - begin >= LENGTH_BYTES:
            body = begin + LENGTH_BYTES
            end = body + int.from_bytes(self._arrived[begin:body], "big")
            if len(self._arrived) < end:
                break
            complete.append(bytes(memoryview(self._arrived)[body:end]))
            begin = end
        del self._arrived[:begin]
        return complete
