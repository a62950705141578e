"""A run directory as a network: the same as in training, to the bit that matters; and the whole command."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

import birdlab
from birdlab.audio.levels import to_bytes, to_unit
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.data.boxes import read_boxes
from birdlab.data.resizing import resize_image
from birdlab.errors import BirdlabError
from birdlab.metrics import scaled
from birdlab.predict import app
from birdlab.prediction.denoise import Denoiser
from birdlab.prediction.library import Predictor
from birdlab.prediction.network import Network, threshold_for
from birdlab.prediction.run_network import RunNetwork
from birdlab.run import Run
from birdlab.tasks.segmentation import foreground_logits

RATE = 32_000


@pytest.fixture(scope="module")
def run(runs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Run:
    made: Run = runs.mask_run(tmp_path_factory.mktemp("runs") / "run")
    return made


@pytest.fixture(scope="module")
def levels_run(runs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Run:
    made: Run = runs.levels_run(tmp_path_factory.mktemp("runs") / "levels")
    return made


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, samples).astype(np.float32)


@pytest.mark.parametrize("sides", ["two", "one"])
def test_a_window_is_predicted_as_in_training(runs: ModuleType, tmp_path: Path, sides: str) -> None:
    """As the cache and the task see it, but for rounding images to bytes, twice."""
    network = RunNetwork.open(runs.mask_run(tmp_path / "run", f"data.sides={sides}").directory)
    windows = np.stack([noise(96_000), noise(96_001)[1:]])
    probabilities = network.probabilities(windows)
    assert probabilities.shape == (2, 513, 1499)
    assert probabilities.dtype == np.float32

    spectrogram = Spectrogram(sides=sides)  # type: ignore[arg-type]
    magnitude = spectrogram.magnitude(torch.from_numpy(windows)).clamp(max=1)
    seen = F.interpolate(magnitude[:, None], size=(32, 32), mode="bilinear", antialias=True)
    cached = [resize_image(spectrogram.image(torch.from_numpy(each)).numpy(), (32, 32)) for each in windows]
    assert np.abs(255 * seen[:, 0].numpy() - np.stack(cached)).max() <= 1.5
    with torch.inference_mode():
        logits = foreground_logits(network.task(seen))[:, None].double()
    native = F.interpolate(logits, size=(spectrogram.rows, 1499), mode="bilinear")[:, 0]
    if sides == "two":
        above, below = native[:, 511:].clone(), native[:, :511].flip(1)
        above[:, 1:-1] = (above[:, 1:-1] + below) / 2
        native = above
    np.testing.assert_allclose(probabilities, native.sigmoid().numpy(), atol=2e-6)
    assert probabilities.std() > 1e-4


def test_a_window_of_levels_is_predicted_as_in_training(levels_run: Run) -> None:
    """As the cache and the task see it, but for rounding levels to half decibels."""
    network = RunNetwork.open(levels_run.directory)
    windows = np.stack([noise(96_000), noise(96_001)[1:]])
    probabilities = network.probabilities(windows)
    assert probabilities.shape == (2, 513, 1499)
    assert network.picture is not None
    levels = network.picture.levels(torch.from_numpy(windows))
    with torch.inference_mode():
        logits = foreground_logits(network.task(network.task.of_picture(to_unit(levels))))[:, None].double()
        cached = foreground_logits(network.task(network.task.as_input(to_bytes(levels))))
    native = F.interpolate(logits, size=(513, 1499), mode="bilinear")[:, 0]
    np.testing.assert_allclose(probabilities, native.sigmoid().numpy(), atol=1e-5)
    np.testing.assert_allclose(cached.sigmoid(), logits[:, 0].sigmoid(), atol=0.05)
    assert probabilities.std() > 1e-4
    with pytest.raises(BirdlabError, match="give the recording"):
        network.image_probabilities(np.zeros((1, 513, 1499), np.uint8))


def test_a_picture_is_predicted_like_its_audio(run: Run) -> None:
    """But for the picture's bytes."""
    network = RunNetwork.open(run.directory)
    audio = noise(96_000)
    image = Spectrogram().image(torch.from_numpy(audio)).numpy()
    of_picture, of_audio = network.image_probabilities(image[None]), network.probabilities(audio[None])
    assert of_audio.std() > 1e-4
    np.testing.assert_allclose(of_picture, of_audio, atol=1e-3)


def test_what_travels_with_the_weights(runs: ModuleType, run: Run, tmp_path: Path) -> None:
    network = RunNetwork.open(run.directory)
    assert (network.threshold, network.window_columns, dict(network.classes)) == (
        0.4,
        1499,
        {0: "background", 255: "bird"},
    )
    moved = tmp_path / "moved"
    moved.symlink_to(run.directory)
    assert RunNetwork.open(moved).name == network.name
    assert RunNetwork.open(runs.mask_run(tmp_path / "other", "seed=1").directory).name != network.name


def test_a_threshold_for_a_precision(runs: ModuleType, run: Run, tmp_path: Path) -> None:
    network = RunNetwork.open(run.directory)
    assert threshold_for(network, 0.3) == pytest.approx(0.61)  # .3 = 60 / 200, at 61 / 100
    with pytest.raises(BirdlabError, match=r"reaches 0\.490 at most, at --threshold 0\.99"):
        threshold_for(network, 0.9)
    old = RunNetwork.open(runs.mask_run(tmp_path / "old", birdlab={}).directory)
    with pytest.raises(BirdlabError, match="trained by an older birdlab"):
        threshold_for(old, 0.3)


def test_a_temperature_changes_probabilities_and_not_what_is_marked(
    runs: ModuleType, run: Run, tmp_path: Path
) -> None:
    cold = RunNetwork.open(run.directory)
    hot = RunNetwork.open(runs.mask_run(tmp_path / "hot", temperature=3.0).directory)
    assert hot.threshold == pytest.approx(1 / (1 + (0.6 / 0.4) ** (1 / 3)))
    windows = noise(96_000)[None]
    before, after = cold.probabilities(windows), hot.probabilities(windows)
    assert np.abs(after - 0.5).max() < np.abs(before - 0.5).max()
    # Its own threshold is below all that it says of noise.
    middle = float(np.median(before))
    # But for a cell whose probability is the threshold, to the last bit.
    assert ((after > scaled(middle, 3.0)) != (before > middle)).sum() <= 10
    assert np.array_equal(after > hot.threshold, before > cold.threshold)


def test_boxes_have_a_threshold_of_their_own(runs: ModuleType, run: Run, tmp_path: Path) -> None:
    """Where validation data chose one; whoever gives another gets that."""
    assert RunNetwork.open(run.directory).box_threshold == pytest.approx(0.4)
    chosen = runs.mask_run(tmp_path / "run")
    chosen.write_metrics(threshold=0.4, box_threshold=0.65)
    predictor = birdlab.load(chosen.directory)
    for boxes, at, expected in ((False, None, 0.4), (True, None, 0.65), (True, 0.2, 0.2)):
        assert predictor.predict(noise(RATE), RATE, at, boxes=boxes).threshold == pytest.approx(expected)
    soundfile.write(tmp_path / "a.wav", noise(RATE), RATE)
    words = [str(chosen.directory), str(tmp_path / "a.wav"), "--no-page", "--no-denoised"]
    for options, said in (([], "0.4"), (["--boxes"], "0.65"), (["--boxes", "--threshold", "0.2"], "0.2")):
        told = CliRunner().invoke(app, [*words, "--output", str(tmp_path / f"out{said}"), *options])
        assert f"events above {said}," in told.output


def test_runs_from_before_there_was_a_temperature(runs: ModuleType, run: Run, tmp_path: Path) -> None:
    old = runs.mask_run(tmp_path / "old", birdlab={})
    content = torch.load(old.best, weights_only=True)
    del content["state_dict"]["temperature"]
    torch.save(content, old.best)
    network = RunNetwork.open(old.directory)
    assert (network.threshold, network.validation_recall) == (0.4, {})
    windows = noise(96_000)[None]
    assert np.array_equal(
        network.probabilities(windows), RunNetwork.open(run.directory).probabilities(windows)
    )


def test_runs_that_cannot_predict_say_why(runs: ModuleType, run: Run, tmp_path: Path) -> None:
    with pytest.raises(BirdlabError, match="no such run directory"):
        birdlab.load(tmp_path / "nowhere")
    with pytest.raises(BirdlabError, match=r"no config\.yaml"):
        birdlab.load(tmp_path)
    empty = runs.mask_run(tmp_path / "empty")
    empty.best.unlink()
    with pytest.raises(BirdlabError, match=r"best\.ckpt is absent"):
        birdlab.load(empty.directory)
    other = runs.mask_run(tmp_path / "other")
    text = other.config_file.read_text()
    other.config_file.write_text(
        text.replace("birdlab.tasks.SegmentationTask", "birdlab.tasks.ClassificationTask")
    )
    with pytest.raises(BirdlabError, match="trained for another task"):
        RunNetwork.open(other.directory, trust=True)
    foreign = runs.mask_run(tmp_path / "foreign")
    foreign.config_file.write_text(text.replace("birdlab.models.resunet.ResUNet", "os.system"))
    with pytest.raises(BirdlabError, match="--trust"):
        birdlab.load(foreign.directory)


def test_the_library(run: Run) -> None:
    audio = noise(5 * 44_100).reshape(-1, 1) * np.array([1.0, 0.5], np.float32)
    prediction = birdlab.load(str(run.directory)).predict(audio, 44_100, threshold=0.5)
    # 5 s are 160 000 samples, which 2499 columns of 128 each 64 cover.
    assert prediction.probabilities.shape == prediction.mask.shape == (513, 2499)
    assert prediction.frequencies[[0, -1]].tolist() == [0, 16_000]
    assert prediction.times[[0, -1]].tolist() == pytest.approx([0.002, 0.002 + 2498 * 0.002])
    assert np.array_equal(prediction.mask, prediction.probabilities > 0.5)
    assert all(event.begin_s < event.end_s for event in prediction.events)
    clean = prediction.denoised()
    assert clean.shape == audio.shape
    assert np.abs(clean).max() <= np.abs(audio).max() * 1.5
    denoiser = Denoiser(Spectrogram(), 44_100, 2, 0.5)
    denoiser.hear(audio)
    parts = [denoiser.see(prediction.probabilities), denoiser.finish()]
    assert np.array_equal(clean, np.concatenate(parts))


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros((2, 2, 2)), [np.nan, 0.0]])
def test_the_library_refuses_what_is_no_audio(run: Run, audio: object) -> None:
    with pytest.raises(BirdlabError, match="audio"):
        birdlab.load(run.directory).predict(audio, RATE)  # type: ignore[arg-type]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    (tmp_path / "my birds (1)").mkdir()
    for name in ("a", "b"):
        soundfile.write(tmp_path / "my birds (1)" / f"{name}.wav", noise(4 * RATE), RATE)
    return tmp_path / "my birds (1)"


def test_the_command(run: Run, recordings: Path, tmp_path: Path) -> None:
    (recordings / "empty.wav").touch()
    words = [str(run.directory), str(recordings), "--output", str(tmp_path / "out"), "--table", "raven"]
    words += ["--table", "csv", "--precision", "0.2", "--workers", "2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    assert "2 files, 0.00 hours" in done.stdout
    assert "above 0.41" in done.stdout
    assert "1 files could not be predicted" in done.stderr
    assert "empty.wav: the file is empty" in done.stderr.replace("\n", "")
    made = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {f"{name}{end}" for name in "ab" for end in (".selections.txt", ".csv", ".denoised.flac")}
    expected |= {f"{name}{end}" for name in "ab" for end in (".masks", ".overlay.png")}
    assert made == expected | {".birdlab", "_summary.csv", "_summary.html", "_summary.selections.txt"}
    (recordings / "empty.wav").unlink()
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0, again.output
    assert "(2 of them finished before)" in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "0.5", "--precision", "0.9"], "exclude each other"),
        (["--threshold", "1.5"], "--threshold 1.5: give a number between 0 and 1"),
        (["--table", "excel"], "there is no such format"),
        (["--output", "{in}"], "is an input, too"),
    ],
)
def test_mistakes_end_the_command(
    run: Run, recordings: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    words = [word.replace("{in}", str(recordings)) for word in words]
    given = [str(run.directory), str(recordings), "--output", str(tmp_path / "out"), *words]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_corrected_tables_are_training_data(run: Run, recordings: Path, tmp_path: Path) -> None:
    """Predict, correct one table in Raven and one in Audacity, and read both back."""
    for table in ("raven", "audacity"):
        words = [str(run.directory), str(recordings), "--output", str(tmp_path / table), "--table", table]
        words += ["--threshold", "0.5", "--no-denoised", "--no-mask", "--no-overlay", "--no-page"]
        assert CliRunner().invoke(app, words).exit_code == 0
    labels = tmp_path / "labels"
    labels.mkdir()
    raven = (tmp_path / "raven/a.selections.txt").read_text().splitlines()[0]
    row = "1\tSpectrogram 1\t1\t0.5\t1.0\t2000\t3000\ta.wav\t0.5\t\tParus major\t"
    (labels / "a.selections.txt").write_text(f"{raven}\n{row}\n")
    (labels / "b.txt").write_text("1.0\t1.5\tbird\n\\\t4000\t5000\n")
    source = AnnotatedAudio(root=recordings, labels=labels, fractions=(1.0, 0.0, 0.0), window_s=4.0)
    samples = {sample.id: sample for sample in source.splits()["train"]}
    assert set(samples) == {"a@0.000s", "b@0.000s"}
    for name, columns, hertz in (("a", (250, 500), (2000, 3000)), ("b", (500, 750), (4000, 5000))):
        _, mask = source.read(samples[f"{name}@0.000s"])
        rows, times = np.nonzero(mask[511:])
        assert (times.min(), times.max()) == pytest.approx(columns, abs=2)
        assert (rows.min() * 31.25, rows.max() * 31.25) == pytest.approx(hertz, abs=32)
    # What wasn't corrected is read as it was written, too.
    untouched = AnnotatedAudio(root=recordings, labels=tmp_path / "raven", window_s=4.0)
    sample = untouched.splits()["test"][0]
    found = read_boxes(tmp_path / "raven/a.selections.txt")
    assert untouched.read(sample)[1].any() == bool(found)


@pytest.mark.slow
def test_a_network_is_trained_from_corrected_tables(run: Run, tmp_path: Path) -> None:
    """The README's loop: predict, correct in Audacity, train, and predict with what was trained."""
    (tmp_path / "recordings").mkdir()
    for number in range(8):
        audio = np.random.default_rng(number).normal(0, 0.05, 3 * RATE)
        soundfile.write(tmp_path / f"recordings/{number}.wav", audio, RATE)
    predicting = ["birdlab.predict", "recordings", "--no-denoised", "--no-page"]

    def command(module: str, *words: str) -> None:
        subprocess.run([sys.executable, "-m", module, *words], cwd=tmp_path, check=True, timeout=600)

    command(predicting[0], str(run.directory), *predicting[1:], "--output", "found", "--table", "audacity")
    for number in range(8):
        (tmp_path / f"found/{number}.txt").write_text("1.0\t1.5\tbird\n\\\t4000.0\t5000.0\n")
    words = ["data=annotated_audio", "data.root=recordings", "data.labels=found", "scale=smoke", "logger=csv"]
    words += ["data.fractions=[0.5,0.25,0.25]", "model.widths=[4,8]", "hydra.run.dir=trained"]
    command("birdlab.train", "+experiment=focal_tversky", *words)
    chosen = Run.open(tmp_path / "trained").read_json("metrics.json")["box_threshold"]
    assert RunNetwork.open(tmp_path / "trained").box_threshold == chosen
    command(predicting[0], "trained", *predicting[1:], "--output", "again")
    assert len(list((tmp_path / "again").glob("[0-7].selections.txt"))) == 8


def test_audio_that_would_be_misread_is_refused(loud_tones: Network) -> None:
    predictor = Predictor(loud_tones)
    with pytest.raises(BirdlabError, match=r"int16.*Divide 16-bit integers by 32768"):
        predictor.predict(np.zeros(800, np.int16), 8000)
    with pytest.raises(BirdlabError, match=r"\[2, 800\]: more channels than samples. Transpose it"):
        predictor.predict(np.zeros((2, 800)), 8000)
    for rate in (0, float("nan"), float("inf"), None):
        with pytest.raises(BirdlabError, match=f"sample_rate={rate}: give that of the audio in Hz"):
            predictor.predict(np.zeros(800), rate)  # type: ignore[arg-type]


def test_events_of_the_library_end_with_the_audio(
    loud_tones: Network, make_tones: Callable[..., np.ndarray]
) -> None:
    audio = make_tones((0.05, 0.1003, 1000), duration_s=0.1003)
    (event,) = Predictor(loud_tones).predict(audio, 8000).events
    assert event.end_s == len(audio) / 8000
    assert event.label == "bird"


def test_importing_birdlab_is_light() -> None:
    """Whatever an exported network needs to predict comes without torch, Lightning, Hydra and OpenCV."""
    modules = ["batch", "outputs", "library", "stream", "events", "denoise", "tables", "naming", "records"]
    program = (
        "import sys\n"
        "for name in ('torch', 'lightning', 'hydra', 'omegaconf', 'cv2', 'scipy', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "import birdlab, birdlab.predict\n"
        + "".join(f"import birdlab.prediction.{module}\n" for module in modules)
        + "birdlab.load\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
