"""Grey 8-bit PNG pictures, read whole or refused, written whole or not at all."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from birdlab.errors import BirdlabError
from birdlab.files import replacing

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = len(_SIGNATURE) + 8 + 13


def image_size(path: Path) -> tuple[int, int]:
    """(rows, columns) of a PNG, from its header alone.

    Raises:
        BirdlabError: for a file that is absent, empty, not a PNG, or has 16 bits per channel.
    """
    try:
        with path.open("rb") as file:
            return _size(path, file.read(_HEADER_BYTES))
    except OSError as error:
        raise _unreadable(path, error) from error


def read_image(path: Path) -> NDArray[np.uint8]:
    """A PNG as grey uint8 [rows, columns], rows as in the file.

    Colour becomes grey by 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), palettes count as their colours,
    transparency is dropped, and 1, 2 or 4 bits are spread to 0..255.

    Raises:
        BirdlabError: for what ``image_size`` refuses, and a file that is truncated or damaged anywhere.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    size = _size(path, data)
    _check_chunks(path, data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape != size:
        raise BirdlabError(f"{path}: damaged PNG: its pixels cannot be decoded. Fetch or export it again.")
    return image.astype(np.uint8, copy=False)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 [rows, columns] as a grey PNG, whole or not at all; an existing file is replaced.

    Run-length strategy at level 1: on spectrograms and masks as small as zlib's default and twice as fast.
    """
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise BirdlabError(
            f"{path}: expected uint8 [rows, columns], found {image.dtype} {list(image.shape)}."
        )
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    _, encoded = cv2.imencode(".png", image, settings)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _size(path: Path, header: bytes) -> tuple[int, int]:
    if not header:
        raise BirdlabError(f"{path}: the file is empty (0 bytes). Remove it or fetch it again.")
    if not header.startswith(_SIGNATURE):
        raise BirdlabError(f"{path}: not a PNG (it begins with {header[:8]!r}). Convert it to 8-bit PNG.")
    if len(header) < _HEADER_BYTES:
        raise BirdlabError(f"{path}: truncated PNG: its header is incomplete. Fetch or export it again.")
    columns, rows, bits = struct.unpack_from(">IIB", header, len(_SIGNATURE) + 8)
    if bits == 16:
        raise BirdlabError(f"{path}: has 16 bits per channel, and images are 8-bit. Convert it to 8-bit PNG.")
    return rows, columns


def _check_chunks(path: Path, data: bytes) -> None:
    """Walk the chunks up to IEND; some OpenCV versions fill what is missing with grey instead of failing."""
    position, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 12 + length
        if end > len(data):
            raise BirdlabError(
                f"{path}: truncated PNG: it ends after {len(data)} bytes. Fetch or export it again."
            )
        kind = data[position + 4 : position + 8]
        checksum = int.from_bytes(data[end - 4 : end], "big")
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise BirdlabError(f"{path}: damaged PNG: a checksum fails. Fetch or export it again.")
        position = end


def _unreadable(path: Path, error: OSError) -> BirdlabError:
    return BirdlabError(f"{path}: cannot be read ({error.strerror}).")
