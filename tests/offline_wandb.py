"""Read what an offline W&B run holds; wandb itself only writes such files.

A ``.wandb`` file is a LevelDB log of protobuf records: 7 bytes of header, then blocks of 32 KiB with chunks
of CRC-32 (of type and data), length, type and data; a record is one FULL chunk, or FIRST, MIDDLE... and LAST.
"""

import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_BLOCK = 32768
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class OfflineArtifact:
    """A versioned thing of a run: its type, and where each of its files lies."""

    type: str
    files: dict[str, Path]


@dataclass
class OfflineRun:
    """What a run has told W&B.

    Attributes:
        id, project, group, name: of the run.
        config: its configuration, nested as it was given.
        history: one dictionary for each call of ``log``.
        summary: the last value of each metric.
        artifacts: what was kept with the run, by name.
        files: paths of media and other files that would be uploaded, relative to ``files/``.
        exit_code: 0 for a run that was finished in order, None for one that was not finished.
    """

    id: str = ""
    project: str = ""
    group: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, "OfflineArtifact"] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    exit_code: int | None = None


def read_offline_run(directory: Path, patience_s: float = 10.0) -> OfflineRun:
    """The run in a folder ``offline-run-DATE_TIME-ID``.

    Args:
        directory: the folder.
        patience_s: wait so long for the end of the run: wandb's service may still be writing when ``finish``
            has returned.

    Raises:
        ValueError: if there is not exactly one file, or it is damaged.
    """
    (file,) = directory.glob("*.wandb")
    deadline = time.monotonic() + patience_s
    run = _read(file)
    while run.exit_code is None and time.monotonic() < deadline:
        time.sleep(0.02)
        run = _read(file)
    return run


def _read(file: Path) -> OfflineRun:
    run = OfflineRun()
    for data in _records(file.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.project = record.run.run_id, record.run.project
            run.group, run.name = record.run.run_group, record.run.display_name
            _update(run.config, record.run.config.update)
        elif kind == "config":
            _update(run.config, record.config.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            run.history.append(row)
        elif kind == "summary":
            _update(run.summary, record.summary.update)
        elif kind == "artifact":
            files = {entry.path: Path(entry.local_path) for entry in record.artifact.manifest.contents}
            run.artifacts[record.artifact.name] = OfflineArtifact(record.artifact.type, files)
        elif kind == "files":
            run.files += [saved.path for saved in record.files.files]
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    run.config.pop("_wandb", None)
    return run


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        *parents, last = item.nested_key or [item.key]
        node = target
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = json.loads(item.value_json)


def _records(log: bytes) -> Iterator[bytes]:
    if not log.startswith(_HEADER):
        raise ValueError("not a .wandb file")
    position, record = len(_HEADER), b""
    while position < len(log):
        left = _BLOCK - position % _BLOCK
        if left < 7:  # no room for another chunk's header
            position += left
            continue
        if len(log) - position < 7:
            return  # here and below: cut short while it was written
        checksum, length, kind = struct.unpack_from("<IHB", log, position)
        data = log[position + 7 : position + 7 + length]
        if len(data) < length:
            return
        if zlib.crc32(bytes([kind]) + data) != checksum:
            raise ValueError(f"damaged at byte {position}")
        position += 7 + length
        record = data if kind in (_FULL, _FIRST) else record + data
        if kind in (_FULL, _LAST):
            yield record
