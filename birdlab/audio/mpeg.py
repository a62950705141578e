"""How long an MP3 is that doesn't say so: its frames, counted (ISO/IEC 11172-3 and 13818-3)."""

import mmap
from pathlib import Path

from birdlab.files import remembered

_MPEG1, _RESERVED_VERSION = 3, 1
_HALVED = {3: 0, 2: 1, 0: 2}
"""By version: MPEG-2 has half, MPEG-2.5 a quarter of the rates of MPEG-1."""
_RATES = (44_100, 48_000, 32_000)
_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by whether it is MPEG-1, and by layer."""


@remembered  # for each stretch of a recording
def counted(path: Path) -> int:
    """Samples per channel in all frames of an MPEG file, nothing decoded.

    Args:
        path: not empty. What stands before, between and after the frames, such as tags, is passed over.
    """
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position, samples = after_tag(content[:10]), 0
        while (position := content.find(b"\xff", position)) >= 0:
            frame = _frame(content[position : position + 3])
            samples += frame[0] if frame else 0
            position += frame[1] if frame else 1
        return samples


def after_tag(start: bytes) -> int:
    """Where the first frame may begin: behind an ID3 tag, which the file's first ten bytes tell of."""
    if not start.startswith(b"ID3") or len(start) < 10:
        return 0
    size = 0
    for byte in start[6:10]:
        size = size << 7 | byte
    return 10 + size


def _frame(header: bytes) -> tuple[int, int] | None:
    """Samples and bytes of a frame that begins with these three bytes; None if none does."""
    if len(header) < 3 or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, bit_rate, padding = header[2] >> 2 & 3, header[2] >> 4, header[2] >> 1 & 1
    # A bit rate of 0 is free: the frame doesn't say how long it is.
    if version == _RESERVED_VERSION or layer == 4 or rate == len(_RATES) or bit_rate in (0, 15):
        return None
    bits_per_s = 1000 * _KBPS[version == _MPEG1, layer][bit_rate - 1]
    hz = _RATES[rate] >> _HALVED[version]
    if layer == 1:
        return 384, 4 * (12 * bits_per_s // hz + padding)
    samples = 576 if layer == 3 and version != _MPEG1 else 1152
    return samples, samples // 8 * bits_per_s // hz + padding
