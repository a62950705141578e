"""Whole folders: what lies there afterwards, and what happens if something happens."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from birdlab.data.boxes import read_boxes
from birdlab.errors import BirdlabError
from birdlab.prediction import batch, summaries, tables
from birdlab.prediction.inputs import collect
from birdlab.prediction.network import Network
from birdlab.prediction.outputs import Marking, Wanted
from birdlab.prediction.records import Record

RATE = 8_000
WANTED = Wanted(threshold=0.5, tables=("raven",), mask=False, overlay=False, denoised=False)


def predict(
    network: Network,
    inputs: Path,
    output: Path,
    wanted: Wanted = WANTED,
    *,
    overwrite: bool = False,
    workers: int = 1,
) -> tuple[list[Record], list[batch.Failure]]:
    todo = batch.plan(collect([inputs], output), output, Marking(network, wanted), overwrite=overwrite)
    return batch.run(todo, workers=workers)


def files(folder: Path) -> dict[str, bytes]:
    """Content by name, but for records, which hold paths."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".birdlab" not in path.parts
    }


def test_everything_of_two_recordings(loud_tones: Network, recordings: Path, tmp_path: Path) -> None:
    wanted = Wanted(threshold=0.5, tables=("raven", "audacity", "csv"), mask=True)
    records, failures = predict(loud_tones, recordings, tmp_path / "out", wanted)
    assert not failures
    assert [Path(record.source).parent.name for record in records] == ["dawn", "dusk"]
    endings = {".selections.txt", ".txt", ".csv", ".overlay.png", ".denoised.flac"}
    made = files(tmp_path / "out")
    singles = {name for name in made if ".masks" not in name}
    assert singles == {f"{folder}/a [1] é{end}" for folder in ("dawn", "dusk") for end in endings}
    for folder, hertz in (("dawn", 1500), ("dusk", 2500)):
        first, second = read_boxes(tmp_path / "out" / folder / "a [1] é.selections.txt")
        for box, begin, end in ((first, 0.3, 0.5), (second, 1.1, 1.2)):
            # Frames are 4 ms long and 125 Hz apart, and a Hamming window blurs a tone over some of them.
            assert box.begin_s == pytest.approx(begin, abs=0.005)
            assert box.end_s == pytest.approx(end, abs=0.005)
            assert hertz - 900 < box.low_hz < hertz < box.high_hz < hertz + 900
        clean, rate = soundfile.read(tmp_path / "out" / folder / "a [1] é.denoised.flac")
        noisy = soundfile.read(recordings / folder / "a [1] é.wav")[0]
        assert (len(clean), rate) == (12_000, RATE)
        assert np.std(clean[2560:3840]) == pytest.approx(np.std(noisy[2560:3840]), rel=0.05)
        assert np.std(clean[5000:8000]) == pytest.approx(np.std(noisy[5000:8000]) / 10, rel=0.1)


def test_masks_lie_where_the_events_are(loud_tones: Network, recordings: Path, tmp_path: Path) -> None:
    """Two-sided tiles of 40 columns each 41, as the network's pictures are."""
    predict(loud_tones, recordings, tmp_path / "out", replace(WANTED, mask=True))
    folder = tmp_path / "out/dawn/a [1] é.masks"
    tiles = {path.name: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in folder.iterdir()}
    # 12 000 samples are 749 columns: 19 tiles each 41, the last of 11.
    assert len(tiles) == 19
    assert tiles["a [1] é@0.082s.png"].shape == (64, 40)
    assert tiles["a [1] é@1.476s.png"].shape == (64, 11)
    assert np.unique(tiles["a [1] é@0.328s.png"]).tolist() == [0, 255]
    # Row 31 is 0 Hz, and 1000 Hz are eight rows off on both sides.
    assert tiles["a [1] é@0.328s.png"][[19, 43]].all()
    assert not tiles["a [1] é@0.656s.png"].any()


def test_boxes_in_place_of_sounds(
    loud_tones: Network, make_tones: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    audio = make_tones((0.2, 0.3, 1000.0), (0.4, 0.5, 1200.0), duration_s=1.0)
    soundfile.write(tmp_path / "in/a.wav", audio, RATE)
    (sounds,), _ = predict(loud_tones, tmp_path / "in", tmp_path / "sounds")
    wanted = replace(WANTED, boxes=True, mask=True, overlay=True)
    (boxes,), _ = predict(loud_tones, tmp_path / "in", tmp_path / "boxes", wanted)
    assert len(sounds.events) == 2
    (box,) = boxes.events
    assert (box.begin_s, box.end_s) == (sounds.events[0].begin_s, sounds.events[1].end_s)
    tile = cv2.imread(str(tmp_path / "boxes/a.masks/a@0.328s.png"), cv2.IMREAD_GRAYSCALE)
    assert tile[39].all()  # the pause is in the box
    overlay = cv2.imread(str(tmp_path / "boxes/a.overlay.png"))
    drawn = (overlay == [0, 140, 255]).all(axis=2).sum(axis=0)[44:]  # by pixel of 20 ms, from the axis on
    assert (drawn[10:25] >= [9, *[2] * 13, 9]).all()  # its sides, and between them its upper and lower edge
    assert not drawn[:10].any()
    assert not drawn[25:].any()


def test_workers_change_nothing(loud_tones: Network, recordings: Path, tmp_path: Path) -> None:
    wanted = Wanted(threshold=0.5)
    for name, workers in (("one", 1), ("three", 3)):
        predict(loud_tones, recordings, tmp_path / name, wanted, workers=workers)
    predict(loud_tones, recordings / "dawn", tmp_path / "single", wanted, workers=3)
    one, three, single = (files(tmp_path / name) for name in ("one", "three", "single"))
    assert one == three
    assert {f"dawn/{name}": content for name, content in single.items()}.items() <= one.items()


def test_finished_files_are_skipped_and_others_done(
    loud_tones: Network, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict(loud_tones, recordings, out)
    table = out / "dawn/a [1] é.selections.txt"
    table.write_text("corrected in Raven")
    (out / "dusk/a [1] é.selections.txt").unlink()
    soundfile.write(recordings / "new.wav", np.zeros(800), RATE)
    todo = batch.plan(collect([recordings], out), out, Marking(loud_tones, WANTED))
    assert [job.input.path.name for job in todo.jobs] == ["a [1] é.wav", "new.wav"]
    records, _ = batch.run(todo)
    assert len(records) == 3
    assert table.read_text() == "corrected in Raven"
    assert (out / "dusk/a [1] é.selections.txt").exists()


def test_recordings_of_one_name_size_and_time_are_told_apart(
    loud_tones: Network, make_tones: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """Recorders that were started together."""
    found = []
    for site, begin in (("A", 0.1), ("B", 0.5)):
        file = tmp_path / site / "20200101_000000.WAV"
        file.parent.mkdir()
        soundfile.write(file, make_tones((begin, begin + 0.2, 2000), duration_s=1.0), RATE, format="WAV")
        os.utime(file, (1_000_000, 1_000_000))
        found.append(Record.of(file, {}, {}))
    assert found[0].size == found[1].size
    assert not found[0].same(found[1])
    assert found[0].same(Record.of(tmp_path / "A" / "20200101_000000.WAV", {}, {}))


def test_results_that_would_meet_are_refused(loud_tones: Network, tmp_path: Path) -> None:
    for name in ("a.wav", "a.selections.wav", "_summary.wav"):
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "in" / name, np.zeros(800), RATE)
    wanted = replace(WANTED, tables=("raven", "audacity", "csv"))
    todo = batch.plan(
        collect([tmp_path / "in"], tmp_path / "out"), tmp_path / "out", Marking(loud_tones, wanted)
    )
    reasons = sorted(failure.reason for failure in todo.failures)
    assert ["_summary.wav: its _summary.selections.txt" in reasons[0]] == [True]
    assert "would replace that of" in reasons[1]
    assert len(reasons) == 2


def test_corrected_tables_survive_the_removal_of_others(
    loud_tones: Network, recordings: Path, tmp_path: Path
) -> None:
    out, wanted = tmp_path / "out", replace(WANTED, denoised=True)
    predict(loud_tones, recordings, out, wanted)
    for folder in ("dawn", "dusk"):
        (out / folder / "a [1] é.denoised.flac").unlink()
    (out / "dawn/a [1] é.selections.txt").write_text("corrected in Raven")
    with pytest.raises(BirdlabError, match=r"holds dawn/a \[1\] é\.selections\.txt, made"):
        predict(loud_tones, recordings, out, wanted)


def test_nothing_is_overwritten_without_a_word(loud_tones: Network, recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    theirs = out / "dawn/a [1] é.selections.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    with pytest.raises(BirdlabError, match=r"holds dawn/a \[1\] é\.selections\.txt.*--overwrite"):
        predict(loud_tones, recordings, out)
    assert files(out) == {"dawn/a [1] é.selections.txt": b"mine"}
    predict(loud_tones, recordings, out, overwrite=True)
    assert len(read_boxes(theirs)) == 2
    with pytest.raises(BirdlabError, match="with other settings"):
        predict(loud_tones, recordings, out, replace(WANTED, threshold=0.7))
    audio, rate = soundfile.read(recordings / "dusk/a [1] é.wav")
    soundfile.write(recordings / "dusk/a [1] é.wav", audio[:9000], rate)
    with pytest.raises(BirdlabError, match="made of other files"):
        predict(loud_tones, recordings, out)


def test_what_replaces_results_goes_on_where_it_was_stopped(
    loud_tones: Network, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, wanted = tmp_path / "out", replace(WANTED, threshold=0.7)
    predict(loud_tones, recordings, out)
    predict(loud_tones, recordings / "dawn", tmp_path / "elsewhere")

    def todo() -> list[str]:
        planned = batch.plan(collect([recordings], out), out, Marking(loud_tones, wanted), overwrite=True)
        return [job.input.path.parent.name for job in planned.jobs]

    assert todo() == ["dawn", "dusk"]
    first = batch.plan(collect([recordings], out), out, Marking(loud_tones, wanted), overwrite=True)
    batch.run(replace(first, jobs=first.jobs[:1]))
    assert todo() == ["dusk"]
    predict(loud_tones, recordings, out, wanted, overwrite=True)
    assert todo() == []
    (out / "dawn/a [1] é.selections.txt").write_text("corrected in Raven")
    assert todo() == ["dawn"]
    monkeypatch.setattr("birdlab.prediction.records.__version__", "9.0")
    assert todo() == ["dawn", "dusk"]


def test_the_summary_is_of_all_that_was_made_in_one_way(
    loud_tones: Network, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, _ = predict(loud_tones, recordings / "dawn", out)
    second, _ = predict(loud_tones, recordings, out)
    assert len(second) == 2
    both = [record.source for record in second]

    def sources(of: list[Record]) -> tuple[list[str], int]:
        found, others = summaries.with_earlier(of, out)
        return [record.source for record in found], others

    assert sources(first) == sources(second) == (both, 0)  # dawn was done twice, and is one file
    audio, rate = soundfile.read(recordings / "dusk/a [1] é.wav")
    soundfile.write(tmp_path / "third.wav", audio, rate)
    third, _ = predict(loud_tones, tmp_path / "third.wav", out, replace(WANTED, threshold=0.7))
    alone = [record.source for record in third]
    assert sources(third) == (alone, 2)
    for table in out.glob("*/*.txt"):
        table.unlink()
    assert sources(third) == (alone, 1)


def test_moved_recordings_are_still_done(loud_tones: Network, recordings: Path, tmp_path: Path) -> None:
    predict(loud_tones, recordings, tmp_path / "out")
    moved = recordings.rename(tmp_path / "moved")
    for _ in range(2):
        planned = batch.plan(
            collect([moved], tmp_path / "out"), tmp_path / "out", Marking(loud_tones, WANTED), overwrite=True
        )
        assert not planned.jobs
        # The page looks for the recordings there.
        assert all(Path(record.source).is_relative_to(moved) for record in planned.done)


def test_what_other_settings_left_is_no_recording(
    loud_tones: Network, recordings: Path, tmp_path: Path
) -> None:
    inside = recordings / "results"
    predict(loud_tones, recordings, inside, replace(WANTED, denoised=True))
    there = collect([recordings], tmp_path / "other")
    for _ in range(2):  # the second time of records that were begun and not finished
        planned = batch.plan(there, inside, Marking(loud_tones, WANTED), overwrite=True)
        for job in planned.jobs:
            job.record.write(inside / job.input.record)
        assert [each.path for each in collect([recordings], tmp_path / "other")] == [e.path for e in there]
    batch.run(planned)
    assert list(inside.rglob("*.denoised.*"))
    assert [each.path for each in collect([recordings], tmp_path / "other")] == [e.path for e in there]


def test_interrupted_work_goes_on(
    loud_tones: Network, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the outputs of the second file: what it left is its own, and is made anew."""
    out, wanted = tmp_path / "out", replace(WANTED, denoised=True)
    real = tables.FORMATS["raven"]

    def dying(path: Path, detections: object) -> None:
        if "dusk" in str(path):
            raise KeyboardInterrupt
        real.write(path, detections)  # type: ignore[arg-type]

    monkeypatch.setitem(tables.FORMATS, "raven", replace(real, write=dying))
    with pytest.raises(KeyboardInterrupt):
        predict(loud_tones, recordings, out, wanted)
    assert set(files(out)) == {
        "dawn/a [1] é.denoised.flac",
        "dawn/a [1] é.selections.txt",
        "dusk/a [1] é.denoised.flac",
    }
    monkeypatch.undo()
    todo = batch.plan(collect([recordings], out), out, Marking(loud_tones, wanted))
    assert [job.input.path.parent.name for job in todo.jobs] == ["dusk"]
    records, _ = batch.run(todo)
    predict(loud_tones, recordings, tmp_path / "at once", wanted)
    assert len(records) == 2
    assert files(out) == files(tmp_path / "at once")


def test_a_full_disk_ends_it_with_a_way_out(
    loud_tones: Network, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, detections: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setitem(tables.FORMATS, "raven", replace(tables.FORMATS["raven"], write=full))
    with pytest.raises(
        BirdlabError, match=r"No space left.*stays: make room, and give the same command again"
    ):
        predict(loud_tones, recordings, tmp_path / "out")
    assert files(tmp_path / "out") == {}
    monkeypatch.undo()
    assert len(predict(loud_tones, recordings, tmp_path / "out")[0]) == 2


class Caller:
    """Stands in for a network that names species."""

    name = "caller"
    sample_rate = RATE
    seconds = 0.5
    species = ("Bubo bubo", "Parus major")
    multilabel = False

    def scores(self, audio: np.ndarray) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(audio))
        low = np.argmax(spectrum) * RATE / len(audio) < 2000
        return np.array([0.75, 0.25] if low else [0.25, 0.75], np.float32)


def test_species_are_named(loud_tones: Network, recordings: Path, tmp_path: Path) -> None:
    todo = batch.plan(
        collect([recordings], tmp_path), tmp_path / "out", Marking(loud_tones, WANTED, Caller())
    )
    records, _ = batch.run(todo)
    assert [[event.label for event in record.events] for record in records] == [
        ["Bubo bubo"] * 2,
        ["Parus major"] * 2,
    ]
    assert {event.label_score for record in records for event in record.events} == {0.75}
    assert batch.plan(collect([recordings], tmp_path), tmp_path / "new", Marking(loud_tones, WANTED)).jobs


def test_pictures_are_inputs_too(loud_tones: Network, tmp_path: Path) -> None:
    """An official picture, two-sided: its mask has its size, its events true seconds and Hz."""
    image = np.zeros((64, 100), np.uint8)
    image[[22, 23, 24, 38, 39, 40], 30:60] = 255
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/a.png"), image)
    cv2.imwrite(str(tmp_path / "in/wrong.png"), image[:50])
    records, failures = predict(
        loud_tones, tmp_path / "in", tmp_path / "out", replace(WANTED, mask=True, denoised=True)
    )
    (event,) = records[0].events
    # Rows of 125 Hz, columns each 2 ms centred at 2 ms.
    assert (event.low_hz, event.high_hz) == (812.5, 1187.5)
    assert (event.begin_s, event.end_s) == pytest.approx((0.061, 0.121))
    assert np.array_equal(cv2.imread(str(tmp_path / "out/a.mask.png"), cv2.IMREAD_GRAYSCALE), image)
    assert set(files(tmp_path / "out")) == {"a.mask.png", "a.selections.txt"}
    assert "wrong.png: a picture of 50 rows" in failures[0].reason


def test_records_that_cannot_be_understood_are_nobodys(
    loud_tones: Network, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict(loud_tones, recordings, out)
    for record, content in zip(sorted(out.rglob("*.json")), ["{", json.dumps({"schema": 99})], strict=True):
        record.write_text(content)
    with pytest.raises(BirdlabError, match=r"selections\.txt, dusk"):
        predict(loud_tones, recordings, out)
