"""uvicorn's websocket with a short way: what flows all the time passes neither its parser, its queue nor a task.

A carrier sends fifty text messages a second and call, each whole, in one frame. uvicorn takes such a frame through the
steps of a sans-I/O protocol, queues it, stops reading the socket, wakes the application's task, and reads on. Here a
frame like that is taken apart on the spot, and given to a listener that the application has named (`divert`), within
the same callback of the event loop; `write_text` is the same for the other direction. Everything else takes uvicorn's
way, frame by frame: handshakes, pings, closes, fragments, binary messages, and whatever breaks the rules (RFC 6455,
section 5).

The application finds the short way in its scope, as the ASGI extension `EXTENSION`. Under another server it is missing,
and `receive` and `send` are all there is.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import frames
from websockets.protocol import OPEN

EXTENSION = "sidetone.short_way"

Take = Callable[[str | bytes], None]
"""Told each message. Must not raise: it is called from the event loop, not from the application's task."""

_TEXT = 0x80 | frames.Opcode.TEXT  # FIN, and none of the reserved bits
_FIN, _CONTROL = 0x80, 0x08
_MASKED, _LENGTH = 0x80, 0x7F
_LENGTH_16, _LENGTH_64 = 126, 127
_QUEUED = 64
"""Messages that wait for the application before the socket is read no further."""

_unmask: Callable[[bytes, bytes], bytes] = frames.apply_mask  # type: ignore[attr-defined] # in C where that was built


class ShortWay(Protocol):
    """A websocket's messages without a detour. For the event loop's thread, between accept and close."""

    def divert(self, take: Take) -> None:
        """Tell `take` each message from now on, and first of all those that `receive` has not fetched yet. `receive`
        then yields nothing but the end."""
        ...

    def write_text(self, text: str) -> bool:
        """Send one message at once; False if it would have to wait, or nobody is there: `send` knows how."""
        ...


class ShortWayProtocol(WebSocketsSansIOProtocol):
    """What uvicorn's setting `ws` is to name. A `ShortWay`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._take: Take | None = None
        self._rest = b""
        """The beginning of a frame."""
        self._in_fragments = False
        """A message has begun whose end is still to come: only the long way knows whether a text frame may follow."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # else it was no upgrade, and has been refused
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self

    # in

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        if not self.handshake_complete or self.close_sent:
            super().data_received(data)
            return
        at, end = 0, len(data)
        while end - at >= 2:
            length, mask_at = data[at + 1] & _LENGTH, at + 2
            if length >= _LENGTH_16:
                mask_at += 2 if length == _LENGTH_16 else 8
                if mask_at > end:
                    break
                length = int.from_bytes(data[at + 2 : mask_at])
            if not data[at + 1] & _MASKED or length > self.config.ws_max_size:
                super().data_received(data[at:])  # which fails the connection
                return
            begin = mask_at + 4
            stop = begin + length
            if stop > end:
                break
            if data[at] == _TEXT and not self._in_fragments:
                self._text(_unmask(data[begin:stop], data[mask_at:begin]))
            elif not self._long_way(data[at:stop]):
                return
            at = stop
        self._rest = data[at:]

    def _long_way(self, frame: bytes) -> bool:
        """Whether the connection goes on after this frame."""
        if not frame[0] & _CONTROL:
            self._in_fragments = not frame[0] & _FIN
        super().data_received(frame)
        return self.conn.state is OPEN

    def _text(self, content: bytes) -> None:
        """A whole text message."""
        if self.close_sent:  # the application is done
            return
        try:
            text = content.decode()
        except UnicodeDecodeError:
            self.frames, self.curr_msg_data_type = [content], "text"
            super().send_receive_event_to_app()  # which fails the connection
            return
        if self._take is not None:
            self._take(text)
            return
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        if self.queue.qsize() >= _QUEUED and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def send_receive_event_to_app(self) -> None:
        """A message that came the long way."""
        if self._take is None:
            super().send_receive_event_to_app()
            return
        content, self.frames = b"".join(self.frames), []
        if self.curr_msg_data_type == "text":
            self._text(content)
        elif not self.close_sent:
            self._take(content)

    def divert(self, take: Take) -> None:
        self._take = take
        for _ in range(self.queue.qsize()):
            message: Any = self.queue.get_nowait()
            if message["type"] != "websocket.receive":
                self.queue.put_nowait(message)
            elif message.get("bytes") is not None:
                take(message["bytes"])
            else:
                take(message["text"])
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    # out

    def write_text(self, text: str) -> bool:
        if self.close_sent or self.transport.is_closing() or not self.writable.is_set():
            return False
        content = text.encode()
        length = len(content)
        if length < _LENGTH_16:
            head = bytes((_TEXT, length))
        elif length < 1 << 16:
            head = bytes((_TEXT, _LENGTH_16)) + length.to_bytes(2)
        else:
            head = bytes((_TEXT, _LENGTH_64)) + length.to_bytes(8)
        self.transport.write(head + content)
        return True
