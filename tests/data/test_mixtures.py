from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from birdlab.audio import io
from birdlab.audio.spectrogram import Spectrogram
from birdlab.data.mixing import loud_box
from birdlab.data.mixtures import LEVELS, Call, Mixtures, MixtureSample
from birdlab.data.names import source_recording
from birdlab.data.source import SPLITS
from birdlab.errors import BirdlabError

RATE = 32_000
TONE_HZ = 4000.0
SIZE = {"train": 12, "val": 4, "test": 4}


def tone(seconds: float, hertz: float = TONE_HZ) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def white(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.02 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ten tones of .2 s and ten white noises of .6 s."""
    root = tmp_path_factory.mktemp("mixtures")
    for number in range(10):
        io.write(root / "calls" / f"XC{number}_a.wav", tone(0.2, 2000 + 1000 * number), RATE)
        io.write(root / "noise" / "deeper" / f"{20230101 + number}_120000_01.wav", white(0.6, number), RATE)
    return root / "calls", root / "noise"


def test_a_recording_that_is_call_here_and_background_there_is_refused(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for number in range(12):
        name = f"XC{number}_wind" if number < 6 else f"rain_{number}"
        io.write(tmp_path / f"{name}.wav", white(0.6, number), RATE)
    with pytest.raises(BirdlabError, match=r"XC\d_wind\.wav comes from .* Take it out of data\.noise"):
        # Two shares of one size, in the other order: whatever is drawn, some recording is on both sides.
        Mixtures(calls=folders[0], noise=tmp_path, size=SIZE, window_s=0.5).splits()


@pytest.fixture
def mixtures(folders: tuple[Path, Path]) -> Mixtures:
    return Mixtures(calls=folders[0], noise=folders[1], size=SIZE, window_s=0.5)


@pytest.fixture
def one_call(mixtures: Mixtures, tmp_path: Path) -> Callable[..., MixtureSample]:
    """A mixture of white noise and one call, by default a tone of .2 s in the middle."""

    def sample(
        audio: np.ndarray | None = None, *, snr_db: float = 10.0, centre: float = 0.5
    ) -> MixtureSample:
        call = tmp_path / "call.wav"
        io.write(call, tone(0.2) if audio is None else audio, RATE)
        noise = next(mixtures.noise.rglob("*.wav"))
        return MixtureSample(
            id="one",
            group="one",
            noise=noise,
            offset=0.0,
            level=0.05,
            calls=(Call(call, offset=0.0, centre=centre, snr_db=snr_db),),
        )

    return sample


def test_recordings_are_split_before_they_are_mixed(mixtures):
    splits = mixtures.splits()
    assert {split: len(samples) for split, samples in splits.items()} == SIZE
    recordings = {
        split: {source_recording(file) for sample in splits[split] for file in sample.files}
        for split in SPLITS
    }
    assert all(recordings.values())
    assert not recordings["train"] & recordings["val"]
    assert not recordings["train"] & recordings["test"]
    assert not recordings["val"] & recordings["test"]


def test_a_mixture_depends_on_its_number_only(mixtures):
    more = replace(mixtures, size={"train": 30, "val": 0, "test": 9})
    assert more.splits()["train"][:12] == mixtures.splits()["train"]
    assert more.splits()["val"] == []
    sample = mixtures.splits()["test"][3]
    for one, other in zip(mixtures.read(sample), more.read(sample), strict=True):
        np.testing.assert_array_equal(one, other)
    assert replace(mixtures, seed=1).splits()["train"] != mixtures.splits()["train"]


def test_images_are_of_the_audio_and_masks_are_mirrored(mixtures):
    columns = Spectrogram().columns(RATE // 2)
    for sample in mixtures.splits()["test"]:
        image, mask = mixtures.read(sample)
        assert image.shape == mask.shape == (1024, columns)
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}
        audio = mixtures.audio(sample)
        assert audio.shape == (RATE // 2,)
        np.testing.assert_array_equal(image, Spectrogram().image(torch.from_numpy(audio)).numpy())
        # Row 511 is 0 Hz, and the Nyquist frequency in row 1023 has no partner.
        np.testing.assert_array_equal(mask[:511], mask[512:1023][::-1])
        one_sided = replace(mixtures, sides="one")
        np.testing.assert_array_equal(one_sided.read(sample)[1], mask[511:])


def test_the_background_has_the_level_that_was_drawn(mixtures):
    drawn = []
    for sample in mixtures.splits()["train"]:
        background = torch.from_numpy(mixtures.scene(sample).background)
        assert float(Spectrogram(sides="one").magnitude(background).mean()) == pytest.approx(
            sample.level, rel=1e-4
        )
        drawn.append(sample.level)
    assert LEVELS[0] <= min(drawn) < max(drawn) <= LEVELS[1]


@pytest.mark.parametrize("snr_db", [-3.0, 10.0, 20.0])
def test_the_ratio_is_the_one_that_was_drawn(mixtures, one_call, snr_db):
    scene = mixtures.scene(one_call(snr_db=snr_db))
    spectrogram = Spectrogram(sides="one")
    clean, background = (
        spectrogram.magnitude(torch.from_numpy(part)) for part in (scene.clean, scene.background)
    )
    box = loud_box(clean)
    ratio = clean[box].square().mean() / background[box].square().mean()
    assert 10 * float(ratio.log10()) == pytest.approx(snr_db, abs=0.1)


def test_the_mask_is_where_the_tone_is(mixtures, one_call):
    _, mask = replace(mixtures, sides="one").read(one_call())
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    frequencies, times = Spectrogram(sides="one").frequencies(), Spectrogram().times(mask.shape[1])
    # A Hamming window of 128 samples makes a tone at most 2 * 500 Hz thick.
    assert mask[np.argmin(np.abs(frequencies - TONE_HZ)), columns].all()
    assert np.abs(frequencies[rows] - TONE_HZ).max() < 500
    # It sounds from .15 to .35 s; fades take 10 ms from its ends, the window adds 2.
    assert times[columns[0]] == pytest.approx(0.15, abs=0.008)
    assert times[columns[-1]] == pytest.approx(0.35, abs=0.008)


def test_calls_hang_over_both_ends(mixtures, one_call):
    for centre, silent_half in ((0.0, slice(RATE // 4, None)), (0.999, slice(None, RATE // 4))):
        clean = mixtures.clean(one_call(centre=centre))
        assert clean.any()
        assert not clean[silent_half].any()


def test_a_call_that_cannot_be_seen_stays_away(mixtures, one_call):
    sample = one_call(snr_db=-60.0)
    scene = mixtures.scene(sample)
    assert not scene.mask.any()
    assert not scene.clean.any()
    assert mixtures.describe(sample)["calls"] == []


def test_describe_names_the_parts(mixtures, one_call):
    sample = one_call(snr_db=7.0)
    assert mixtures.describe(sample) == {
        "noise": sample.noise.name,
        "level": 0.05,
        "calls": [{"file": "call.wav", "snr_db": 7.0}],
    }


def test_facts_are_the_length_and_the_level_of_the_loudest_call_that_is_seen(mixtures, one_call):
    assert mixtures.facts(one_call(snr_db=7.0)) == {"duration_s": mixtures.window_s, "snr_db": 7.0}
    assert mixtures.facts(one_call(snr_db=-60.0)) == {"duration_s": mixtures.window_s}


def test_a_long_call_is_cut_and_a_long_noise_read_in_part(mixtures, tmp_path):
    call, noise = tmp_path / "long_call.wav", tmp_path / "long_noise.wav"
    io.write(call, tone(2.0), RATE)
    io.write(noise, np.concatenate([white(10.0), np.zeros(10 * RATE, np.float32), white(10.0)]), RATE)
    for offset in (0.0, 1.0):
        sample = MixtureSample(
            id="long", group="", noise=noise, offset=offset, level=0.05, calls=(Call(call, offset, 0.5, 0.0),)
        )
        scene = mixtures.scene(sample)
        assert len(scene.background) == len(scene.clean) == RATE // 2
        assert scene.clean[2000:-2000].any()


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("XC118395_-_Fairy_Gerygone_-_Gerygone_palpebrosa.ogg", "XC118395"),
        ("whfher1_BI128_BIRD_131205_215925_001_02.ogg", "131205_215925"),
        ("mallar3_mallar3_614591_2_01.ogg", "614591"),
        ("20230615_151600_02.ogg", "20230615_151600"),
        ("20230325_000002_hinewai_03.ogg", "20230325_000002"),
        ("BZ0320130718-000000_01.ogg", "20130718-000000"),
        ("esc10_firecrackling_1-4211-A.ogg", "4211"),
        ("esc10_helicopter_1-172649-F.ogg", "172649"),
        ("background-wind-69717_01.ogg", "69717"),
        ("unknown_stream_03.ogg", "unknown_stream_03"),
        ("creek_left.wav", "creek"),
    ],
)
def test_source_recording(name, recording):
    assert source_recording(Path(name)) == recording


def test_folds_divide_the_recordings(mixtures):
    validated = []
    for number in range(3):
        splits = replace(mixtures, folds=3, fold=number, size={"train": 40, "val": 40, "test": 4}).splits()
        recordings = {
            split: {source_recording(file) for sample in splits[split] for file in sample.files}
            for split in SPLITS
        }
        assert not recordings["train"] & recordings["val"]
        assert splits["test"] == mixtures.splits()["test"]
        validated.append(recordings["val"])
    assert not set.intersection(*validated)
    assert len(set.union(*validated)) > max(map(len, validated)) * 2


def test_caps_keep_some_of_the_mixtures(mixtures):
    capped = replace(mixtures, n_train=5).splits()["train"]
    assert len(capped) == 5
    assert set(capped) < set(mixtures.splits()["train"])


def test_folders_that_do_not_do(mixtures, tmp_path):
    with pytest.raises(BirdlabError, match=r"data\.calls=.*no such folder"):
        replace(mixtures, calls=tmp_path / "nowhere").splits()
    with pytest.raises(BirdlabError, match=r"data\.noise=.*holds no recordings"):
        replace(mixtures, noise=tmp_path).splits()
    io.write(tmp_path / "only_1.wav", white(0.1), RATE)
    io.write(tmp_path / "only_2.wav", white(0.1), RATE)
    with pytest.raises(BirdlabError, match=r"2 files come from 2 recordings.*split gets none"):
        replace(mixtures, noise=tmp_path).splits()
    (tmp_path / "bad.wav").write_bytes(b"RIFF?")
    with pytest.raises(BirdlabError, match=r"bad\.wav"):
        replace(mixtures, noise=tmp_path).splits()


def test_nothing_but_silence_is_refused(mixtures, one_call, tmp_path):
    with pytest.raises(BirdlabError, match=r"call\.wav: holds nothing but digital silence"):
        mixtures.read(one_call(np.zeros(RATE // 5, np.float32)))
    io.write(tmp_path / "still.wav", np.zeros(RATE, np.float32), RATE)
    with pytest.raises(BirdlabError, match=r"still\.wav: holds nothing but digital silence"):
        mixtures.read(replace(one_call(), noise=tmp_path / "still.wav"))


def test_a_long_pause_is_no_silence(mixtures, one_call, tmp_path):
    """In a call it is a call that isn't heard; in a background the rest of it is."""
    call = np.concatenate([np.zeros(2 * RATE, np.float32), tone(0.2)])
    sample = one_call(call)
    silent = replace(sample, calls=(replace(sample.calls[0], offset=0.0),))
    assert not mixtures.scene(silent).mask.any()
    dropout = np.concatenate([np.zeros(40 * RATE, np.float32), white(1.0)])
    io.write(tmp_path / "dropout.wav", dropout, RATE)
    scene = mixtures.scene(replace(one_call(), noise=tmp_path / "dropout.wav", offset=0.0))
    assert scene.background.any()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"snr_db": (20, -10)}, r"data\.snr_db"),
        ({"size": {"train": 1, "val": 1}}, r"data\.size"),
        ({"size": {"train": 1, "val": 1, "test": -1}}, r"data\.size"),
        ({"window_s": None}, r"data\.window_s"),
        ({"window_s": 0.001}, r"data\.window_s"),
        ({"hop_s": 1.0}, r"data\.hop_s"),
        ({"folds": 5, "fold_tests": True}, r"data\.fold_tests=true.*Set data\.fold_tests=false"),
    ],
)
def test_settings_that_cannot_be(setting, message):
    with pytest.raises(BirdlabError, match=message):
        Mixtures(calls=Path("calls"), noise=Path("noise"), **setting)


def test_real_recordings_make_sparse_masks(real_data):
    source = Mixtures(calls=real_data / "calls", noise=real_data / "noise", n_train=20)
    samples = source.splits()["train"]
    shares = []
    for sample in samples:
        image, mask = source.read(sample)
        assert image.shape == (1024, 1499)
        assert image.any()
        shares.append(mask.mean())
    assert 0.005 < np.median(shares) < 0.1
    assert np.mean(np.array(shares) < 0.1) > 0.8
