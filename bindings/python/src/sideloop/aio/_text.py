"""Files of text: what `io.TextIOWrapper` is to the built-in files, on top of `BinaryFile`.

Encodings, errors and newlines as there, and positions that `tell` gives are for `seek` alone. Runs on the thread of the
event loop; one task at a time moves the position. Lines are split off a decoded piece at once and served from there.
"""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys
from types import TracebackType
from typing import Any, Coroutine, Iterable, List, Optional, Tuple, Type, TypeVar, Union

from ._buffered import Name
from ._file import BinaryFile
from ._lock import Lock

T = TypeVar("T")

# How many bytes are read and decoded at a time.
CHUNK = 65536
_NEWLINES = (None, "", "\n", "\r", "\r\n")


def default_encoding() -> str:
    """What the built-in open takes where no encoding is given."""
    encoding: str = "utf-8" if sys.flags.utf8_mode else locale.getpreferredencoding(False)
    return encoding


class TextFile:
    """An open file of text. Made by `aio.open` and `aio.wrap`; a context manager for `async with`."""

    def __init__(
        self,
        buffer: BinaryFile,
        mode: str,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
        line_buffering: bool = False,
    ) -> None:
        check_text_arguments(encoding, errors, newline)
        # The file of bytes below.
        self.buffer = buffer
        self.mode = mode
        self.encoding = encoding or default_encoding()
        self.errors = errors or "strict"
        self.line_buffering = line_buffering
        self._newline = newline
        # What "\n" becomes when it is written.
        self._written_newline = os.linesep if newline is None else newline or "\n"
        self._lock = Lock()
        self._decoder: Any = None
        self._encoder: Any = None
        # What has been decoded, and how much of it the program has had.
        self._text = ""
        self._at = 0
        # Lines split off before `_text`, the next one last.
        self._lines: List[str] = []
        # The decoder's flags at the beginning of what was decoded last, and the bytes that this was made from.
        self._snapshot: Optional[Tuple[int, bytes]] = None
        # What the read that is under way has decoded: the decoder's state before, and the bytes.
        self._decoded: List[Tuple[Any, bytes]] = []

    # Reading.

    async def read(self, size: Optional[int] = -1) -> str:
        """Reads `size` characters, or without a size everything up to the end; fewer only where the file ends."""
        self._begin(self.buffer._readable, "readable")
        async with self._lock:
            if size is None or size < 0:
                rest = self._get_decoder().decode(await self.buffer.read(), final=True)
                text: str = self._cut(len(self._text)) + rest
                self._text, self._at, self._snapshot = "", 0, None
                return text
            return await self._wholly(self._read(size))

    async def readline(self, size: Optional[int] = -1) -> str:
        """Reads up to and with the next newline, at most `size` characters; "" at the end."""
        self._begin(self.buffer._readable, "readable")
        async with self._lock:
            return await self._wholly(self._read_line(-1 if size is None else size))

    async def readlines(self, hint: Optional[int] = -1) -> List[str]:
        """Reads lines up to the end, or until they have more than `hint` characters together."""
        self._begin(self.buffer._readable, "readable")
        async with self._lock:
            return await self._wholly(self._read_lines(hint if hint is not None and hint > 0 else sys.maxsize))

    def __aiter__(self) -> TextFile:
        self._check(self.buffer._readable, "readable")
        return self

    async def __anext__(self) -> str:
        # Most lines were split off before.
        lines = self._lines
        if lines:
            return lines.pop()
        self._begin(self.buffer._readable, "readable")
        async with self._lock:
            line = await self._wholly(self._next_line())
        if not line:
            raise StopAsyncIteration
        return line

    # Writing.

    async def write(self, text: str) -> int:
        """Writes all of `text`, and says how many characters: into the buffer where it has room, else into the file."""
        self._begin(self.buffer._writable, "writable")
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        async with self._lock:
            data = await self._encode(text)
            self._text, self._at, self._snapshot = "", 0, None
            if self._decoder is not None:
                self._decoder.reset()
            await self.buffer.write(data)
            if self.line_buffering and ("\n" in text or "\r" in text):
                await self.buffer.flush()
        return len(text)

    async def writelines(self, lines: Iterable[str]) -> None:
        """Writes several pieces, one after the other."""
        for line in lines:
            await self.write(line)

    async def flush(self) -> None:
        """Writes what waits in the buffer into the file."""
        await self.buffer.flush()

    async def sync(self, *, data_only: bool = False) -> None:
        """Writes what waits, and makes the file safe on the device. data_only: without the times."""
        await self.buffer.sync(data_only=data_only)

    async def truncate(self, size: Optional[int] = None) -> int:
        """Makes the file `size` bytes long, or as long as the position says, and returns that."""
        return await self.buffer.truncate(await self.tell() if size is None else size)

    # The position.

    async def tell(self) -> int:
        """The position, as a number for `seek` that says nothing else."""
        self._begin(True, "")
        async with self._lock:
            position = await self.buffer.tell()
            if self._decoder is None or self._snapshot is None:
                return position
            flags, data = self._snapshot
            position -= len(data)
            return self._locate(position, flags, data)

    async def seek(self, cookie: int, whence: int = os.SEEK_SET) -> int:
        """Moves the position to what `tell` gave, to the start (0), or to the end (0, SEEK_END). Returns it."""
        self._begin(True, "")
        if whence == os.SEEK_CUR:
            if cookie != 0:
                raise io.UnsupportedOperation("can't do nonzero cur-relative seeks")
            cookie, whence = await self.tell(), os.SEEK_SET
        async with self._lock:
            if whence == os.SEEK_END:
                if cookie != 0:
                    raise io.UnsupportedOperation("can't do nonzero end-relative seeks")
                position = await self.buffer.seek(0, os.SEEK_END)
                self._reset(position)
                return position
            if whence != os.SEEK_SET:
                raise ValueError(f"whence is none of 0, 1 and 2: {whence}")
            if cookie < 0:
                raise ValueError(f"negative seek position {cookie}")
            position, flags, feed, skip, final = _parts(cookie)
            await self.buffer.seek(position)
            self._reset(position)
            if position or flags:
                # What a decoder does at the start of a file, such as looking for a byte order mark, is for there alone.
                self._get_decoder().setstate((b"", flags))
            if feed or skip:
                decoder = self._get_decoder()
                data = await self.buffer.read(feed)
                self._text = decoder.decode(data, final)
                self._snapshot = (flags, data)
                if len(self._text) < skip:
                    raise OSError("can't restore logical file position")
                self._at = skip
            return cookie

    # What it is.

    async def seekable(self) -> bool:
        """Says whether it has positions."""
        return await self.buffer.seekable()

    async def readable(self) -> bool:
        """Says whether it can be read from."""
        return await self.buffer.readable()

    async def writable(self) -> bool:
        """Says whether it can be written to."""
        return await self.buffer.writable()

    async def isatty(self) -> bool:
        """Says whether it is a terminal."""
        return await self.buffer.isatty()

    def fileno(self) -> int:
        """The descriptor (on Windows a HANDLE), which goes on belonging to this file."""
        return self.buffer.fileno()

    @property
    def name(self) -> Name:
        """What it was opened by."""
        return self.buffer.name

    @property
    def closed(self) -> bool:
        """Says whether it is closed."""
        return self.buffer.closed

    @property
    def newlines(self) -> Union[str, Tuple[str, ...], None]:
        """The kinds of newline that have been read so far."""
        found: Union[str, Tuple[str, ...], None] = getattr(self._decoder, "newlines", None)
        return found

    # Closing.

    async def close(self) -> None:
        """Writes what waits in the buffer, and closes the file. Does nothing where it is closed already."""
        self._lines = []
        await self.buffer.close()

    def detach(self) -> io.BufferedIOBase:
        """A blocking file of bytes in its place; this one is then closed. Not while something is to be written."""
        self._begin(True, "")
        raw = self.buffer.detach()
        if self.buffer._readable and self.buffer._writable:
            return io.BufferedRandom(raw)
        return io.BufferedReader(raw) if self.buffer._readable else io.BufferedWriter(raw)

    async def __aenter__(self) -> TextFile:
        self._check(True, "")
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<sideloop.aio.TextFile{state} name={self.name!r} mode={self.mode!r} encoding={self.encoding!r}>"

    # --- What the above is made of.

    def _check(self, can: bool, what: str) -> None:
        self.buffer._check(can, what)

    def _begin(self, can: bool, what: str) -> None:
        """For what works with the position: lines that were split off are put back."""
        self._check(can, what)
        if self._lines:
            # `_at` counts from where the snapshot's text begins, so what was had must stay before it.
            rest = "".join(reversed(self._lines))
            self._at -= len(rest)
            self._lines = []

    def _get_decoder(self) -> Any:
        if self._decoder is None:
            decoder: Any = codecs.getincrementaldecoder(self.encoding)(self.errors)
            if self._newline is None or self._newline == "":
                decoder = io.IncrementalNewlineDecoder(decoder, translate=self._newline is None)
            self._decoder = decoder
        return self._decoder

    async def _encode(self, text: str) -> bytes:
        if self._written_newline != "\n" and "\n" in text:
            text = text.replace("\n", self._written_newline)
        if self._encoder is None:
            self._encoder = codecs.getincrementalencoder(self.encoding)(self.errors)
            marked = codecs.lookup(self.encoding).name in ("utf-16", "utf-32", "utf-8-sig")
            if marked and await self.seekable() and await self.buffer.tell() != 0:
                # No second byte order mark.
                self._encoder.setstate(0)
        data: bytes = self._encoder.encode(text)
        return data

    def _reset(self, position: int) -> None:
        """The position has been moved: nothing is decoded."""
        self._text, self._at, self._snapshot = "", 0, None
        if self._decoder is not None:
            self._decoder.reset()
        if self._encoder is not None:
            if position == 0:
                self._encoder.reset()
            else:
                self._encoder.setstate(0)

    async def _wholly(self, reading: Coroutine[Any, Any, T]) -> T:
        """Where a read is cut short, all is there for the next one that it has taken."""
        before = self._text, self._at, self._snapshot
        self._decoded = []
        try:
            return await reading
        except UnicodeError:
            raise
        except BaseException:
            if self._decoded:
                self._text, self._at, self._snapshot = before
                self._decoder.setstate(self._decoded[0][0])
                self.buffer._put_back([data for _, data in self._decoded])
            else:
                self._at = before[1]
            raise
        finally:
            self._decoded = []

    def _cut(self, size: int) -> str:
        """Takes from what has been decoded."""
        text = self._text[self._at : self._at + size]
        self._at += len(text)
        return text

    async def _decode_more(self) -> bool:
        """Reads and decodes a piece; for when the program has had all that was decoded. False at the end."""
        decoder = self._get_decoder()
        held, flags = decoder.getstate()
        data = await self.buffer.read1(CHUNK)
        self._decoded.append(((held, flags), data))
        self._text, self._at = decoder.decode(data, final=not data), 0
        more = bool(data) or bool(self._text)
        self._snapshot = (flags, held + data) if more else None
        return more

    async def _read(self, size: int) -> str:
        pieces = [self._cut(size)]
        missing = size - len(pieces[0])
        while missing > 0 and await self._decode_more():
            pieces.append(self._cut(missing))
            missing -= len(pieces[-1])
        return "".join(pieces)

    async def _read_lines(self, hint: int) -> List[str]:
        lines: List[str] = []
        while hint >= 0:
            line = await self._read_line(-1)
            if not line:
                break
            lines.append(line)
            hint -= len(line)
        return lines

    async def _read_line(self, most: int) -> str:
        pieces: List[str] = []
        have = 0
        while True:
            end = self._line_end(self._text, self._at)
            if end < 0:
                piece = self._cut(len(self._text) if most < 0 else most - have)
            else:
                piece = self._cut(end - self._at if most < 0 else min(end - self._at, most - have))
            pieces.append(piece)
            have += len(piece)
            if end >= 0 or have == most:
                return "".join(pieces)
            if not await self._decode_more():
                return "".join(pieces)
            if self._newline == "\r\n" and piece.endswith("\r") and self._text.startswith("\n"):
                # A newline whose halves came apart. (Where "\r" alone counts, too, the decoder keeps it back.)
                return "".join(pieces) + self._cut(1)

    def _line_end(self, text: str, begin: int) -> int:
        """Where the line that begins there ends, behind its newline; -1 where that has not come."""
        if self._newline is None or self._newline == "\n":
            return text.find("\n", begin) + 1 or -1
        if self._newline == "":
            feed, carriage = text.find("\n", begin), text.find("\r", begin)
            if carriage < 0 or 0 <= feed < carriage:
                return feed + 1 or -1
            if carriage + 1 == len(text):
                return -1
            return carriage + (2 if text[carriage + 1] == "\n" else 1)
        found = text.find(self._newline, begin)
        return -1 if found < 0 else found + len(self._newline)

    async def _next_line(self) -> str:
        """The next line; those that have been decoded with it are split off."""
        if self._newline not in (None, "\n"):
            return await self._read_line(-1)
        end = self._text.rfind("\n") + 1
        if end <= self._at and not (self._at == len(self._text) and await self._decode_more()):
            return await self._read_line(-1)
        end = self._text.rfind("\n") + 1
        if end <= self._at:
            return await self._read_line(-1)
        lines = io.StringIO(self._text[self._at : end], newline="\n").readlines()
        self._at = end
        lines.reverse()
        line = lines.pop()
        self._lines = lines
        return line

    def _locate(self, position: int, flags: int, data: bytes) -> int:
        """The cookie of a place inside what was decoded last: where to begin, what to feed, what to skip."""
        decoder = self._decoder
        saved = decoder.getstate()
        try:
            # Where the decoder holds nothing back, that place is a fine one to begin at. Look for the last such place
            # by halving: decoding `n` bytes gives more text the greater `n` is.
            low, high = 0, len(data)
            while low < high:
                middle = (low + high + 1) // 2
                decoder.setstate((b"", flags))
                if len(decoder.decode(data[:middle])) <= self._at:
                    low = middle
                else:
                    high = middle - 1
            for begin in range(low, max(low - 8, -1), -1):
                decoder.setstate((b"", flags))
                count = len(decoder.decode(data[:begin]))
                held, state = decoder.getstate()
                if not held and count <= self._at:
                    return self._finish(position + begin, state, data[begin:], self._at - count)
            return self._finish(position, flags, data, self._at)
        finally:
            decoder.setstate(saved)

    def _finish(self, position: int, flags: int, data: bytes, skip: int) -> int:
        """Likewise, from a place to begin at: how many bytes it takes to get `skip` characters."""
        if skip == 0:
            return _cookie(position, flags, 0, 0, False)
        decoder = self._decoder
        decoder.setstate((b"", flags))
        count = 0
        for fed in range(len(data)):
            count += len(decoder.decode(data[fed : fed + 1]))
            if count >= skip and not decoder.getstate()[0]:
                return _cookie(position, flags, fed + 1, skip, False)
        return _cookie(position, flags, len(data), skip, True)


def check_text_arguments(encoding: Optional[str], errors: Optional[str], newline: Optional[str]) -> None:
    """Raises what the built-in open raises for what cannot be."""
    if newline not in _NEWLINES:
        raise ValueError(f"illegal newline value: {newline!r}")
    codecs.lookup(encoding or default_encoding())
    codecs.lookup_error(errors or "strict")


# A cookie of five numbers: the position that decoding begins at, the decoder's flags there, how many bytes to feed it,
# how many characters to skip, and whether the file ends with those bytes.


def _cookie(position: int, flags: int, feed: int, skip: int, final: bool) -> int:
    return position | flags << 64 | feed << 128 | skip << 192 | int(final) << 256


def cookie_of_built_in(cookie: int) -> int:
    """What `tell` of a built-in text file gave, for ours: the same numbers, of 32 bits behind the position."""
    mask = (1 << 32) - 1
    parts = cookie >> 64 & mask, cookie >> 96 & mask, cookie >> 128 & mask
    return _cookie(cookie & (1 << 64) - 1, *parts, bool(cookie >> 160))


def _parts(cookie: int) -> Tuple[int, int, int, int, bool]:
    mask = (1 << 64) - 1
    return cookie & mask, cookie >> 64 & mask, cookie >> 128 & mask, cookie >> 192 & mask, bool(cookie >> 256)
