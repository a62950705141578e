"""What the names of files and samples say of the recordings they belong to."""

import re
from pathlib import Path


def recording_of(id: str) -> str:
    """What a sample's id names: without its window and channel, and the part of joined data sets it is in.

    Examples:
        >>> recording_of("boxes/XC41136@3.000s"), recording_of("XC41136_left"), recording_of("train_00001")
        ('XC41136', 'XC41136', 'train_00001')
    """
    return recording_id(id.split("/")[-1].split("@")[0])


_MOMENT = r"(?:\d{6}|\d{8})[_-]\d{6}"
"""Date and time in a file's name."""


def recording_id(stem: str) -> str:
    """The recording a file belongs to, from its name without suffix: channels may be files of their own.

    Examples:
        >>> recording_id("XC41136_left"), recording_id("xc118395_-_Fairy_Gerygone")
        ('XC41136', 'XC118395')
        >>> recording_id("dawn_right"), recording_id("dawn-L"), recording_id("dawn_ch2"), recording_id("dawn")
        ('dawn', 'dawn', 'dawn', 'dawn')

        What follows date and time, as recorders name their files, numbers the pieces of one recording.

        >>> recording_id("hill_20240501_053000_07"), recording_id("hill_20240501_053000")
        ('hill_20240501_053000', 'hill_20240501_053000')
    """
    xeno_canto = re.search(r"(?<![A-Za-z0-9])XC\d+", stem, flags=re.IGNORECASE)
    if xeno_canto:
        return xeno_canto.group().upper()
    recorded = re.match(rf".*?{_MOMENT}(?!\d)", stem)
    if recorded:
        return recorded.group()
    return re.sub(r"[ _-](left|right|l|r|ch\d+)$", "", stem, flags=re.IGNORECASE)


def source_recording(file: Path) -> str:
    """The recording that a clip was cut from, as far as its name tells.

    In this order: a xeno-canto id; date and time, as recorders name their files, wherever it stands (so that
    one recorder's clips and two recorders' of one moment stay together); the Freesound id of an ESC-50 clip
    (fold-ID-take); any number of five digits or more, which is an id of some archive; or else the name
    without ``_left`` and ``_right``.

    Examples:
        >>> source_recording(Path("XC99085_Bunting_02.ogg")), source_recording(Path("rain_1-17367-A.ogg"))
        ('XC99085', '17367')
        >>> source_recording(Path("swahar1_CF20_BIRX_141211_204448_000_01.ogg"))
        '141211_204448'
        >>> source_recording(Path("mallar3_614591_2_01.ogg")), source_recording(Path("beach_01.ogg"))
        ('614591', 'beach_01')
    """
    stem = recording_id(file.stem)
    patterns = (r"XC\d+", _MOMENT, r"(?<=\d-)\d+(?=-[A-Z]$)", r"\d{5,}")
    found = (re.search(pattern, stem) for pattern in patterns)
    return next((match.group() for match in found if match), stem)
