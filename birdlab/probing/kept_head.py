"""A head on embeddings, kept in a file to name birds with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Self
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from scipy.special import softmax

from birdlab import __version__
from birdlab.errors import BirdlabError
from birdlab.files import replacing
from birdlab.metrics import species_temperature
from birdlab.prediction.naming import middle
from birdlab.probing.backbone import Backbone, Embeddings
from birdlab.probing.curve import Fold, fitted, out_of_fold
from birdlab.probing.embeddings import windows_of
from birdlab.probing.head import Head
from birdlab.probing.origin import Origin

SUFFIX = ".npz"


@dataclass(frozen=True)
class KeptHead:
    """See `birdlab.prediction.naming.Namer`: a backbone and a head, window by window.

    Attributes:
        backbone: see `Backbone`.
        head: has learnt from all recordings there were.
        species: that it tells apart.
        temperature: by which its log-probabilities are divided, as whole recordings ask for that heads had
            not learnt from. These are means over windows: of single windows it is surer than it should be.
    """

    backbone: Backbone
    head: Head
    species: tuple[str, ...]
    temperature: float
    _alone: Lock = field(default_factory=Lock, repr=False, compare=False)

    @classmethod
    def fit(
        cls,
        backbone: Backbone,
        folds: Sequence[Fold],
        embeddings: Mapping[str, Embeddings],
        species: Sequence[str],
    ) -> Self:
        """Learn from all recordings of all folds; how sure it may be is what heads of single folds say.

        Args:
            backbone: that embedded them.
            folds: see `birdlab.probing.curve.folds_of`.
            embeddings: of each recording by id.
            species: K names.
        """
        named = out_of_fold(folds, embeddings, len(species))
        truth = torch.nn.functional.one_hot(named.truth, len(species)).double()
        temperature = species_temperature(named.logits, truth)
        recordings = {sample.id: sample for fold in folds for sample in fold.everything}
        head = fitted(list(recordings.values()), embeddings, len(species))
        return cls(backbone, head, tuple(species), temperature)

    @classmethod
    def open(cls, path: Path, *, trust: bool = False) -> Self:
        """Read what `write` wrote, and build the backbone; the licence of its weights is printed.

        Args:
            path: of the file.
            trust: build a backbone that birdlab doesn't ship, too.

        Raises:
            BirdlabError: if it is no such file, or its backbone can't be built or isn't the same any more.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                head = Head(arrays["weights"].astype(np.float64), arrays["bias"].astype(np.float64))
            origin = Origin.of_dict(about["origin"])
            _check(head, about["species"], about["temperature"])
            species, temperature, of = tuple(about["species"]), about["temperature"], about["backbone"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise BirdlabError(f"{path} wasn't written by birdlab.probe --head ({error}).") from error
        try:
            backbone = origin.open(trust=trust)
        except BirdlabError as error:
            raise BirdlabError(f"{path} can't bring back its backbone. {error}") from error
        if backbone.name != of:
            raise BirdlabError(
                f"{path} was fitted to embeddings of {of}, and what is here is {backbone.name}. Bring back "
                "those weights, or fit a head to these by birdlab.probe --head."
            )
        if backbone.licence:
            console = Console(stderr=True)
            console.print(f"{escape(path.name)}: {escape(backbone.licence)}", highlight=False, soft_wrap=True)
        width = backbone.embed(
            np.zeros((1, round(backbone.seconds * backbone.sample_rate)), np.float32)
        ).shape[1]
        if width != len(head.weights):
            raise BirdlabError(
                f"{path} is a head on {len(head.weights)} features, and its backbone has {width}."
            )
        return cls(backbone, head, species, temperature)

    def write(self, path: Path, origin: Origin) -> None:
        """Write the head, and where its backbone comes from."""
        about = {
            "birdlab": __version__,
            "origin": asdict(origin),
            "backbone": self.backbone.name,
            "licence": self.backbone.licence,
            "species": self.species,
            "temperature": self.temperature,
        }
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                about=json.dumps(about, ensure_ascii=False),
                weights=self.head.weights,
                bias=self.head.bias,
            )

    @property
    def name(self) -> str:
        """See `Namer`."""
        said = f"{self.species} {self.temperature}".encode()
        digest = hashlib.sha256(said + self.head.weights.tobytes() + self.head.bias.tobytes()).hexdigest()
        return f"head {digest[:16]} on {self.backbone.name}"

    @property
    def sample_rate(self) -> int:
        """See `Namer`."""
        return self.backbone.sample_rate

    @property
    def seconds(self) -> float:
        """See `Namer`."""
        return self.backbone.seconds

    @property
    def multilabel(self) -> bool:
        """See `Namer`."""
        return False

    @property
    def validation_accuracy(self) -> Mapping[float, float]:
        """See `Namer`: it isn't known of single windows."""
        return {}

    def scores(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Namer`."""
        length = round(self.seconds * self.sample_rate)
        with self._alone:  # not every backbone may be asked by several threads at once
            embedding = self.backbone.embed(windows_of(middle(audio, length), length))
        logits = self.head.log_probabilities(embedding)[0] / self.temperature
        scores: NDArray[np.float32] = softmax(logits).astype(np.float32)
        return scores


def _check(head: Head, species: object, temperature: object) -> None:
    """Refuse what can't name anything.

    Raises:
        ValueError: says why.
    """
    if not isinstance(species, list) or not all(isinstance(name, str) for name in species):
        raise ValueError("its species are no names")
    if len(set(species)) < len(species):
        raise ValueError("two of its species have the same name")
    if head.weights.shape[1:] != head.bias.shape or head.bias.shape != (len(species),):
        raise ValueError(f"{len(species)} species, weights {head.weights.shape}")
    if not np.isfinite(head.weights).all() or np.isnan(head.bias).any():
        raise ValueError("its weights are no numbers")
    if not isinstance(temperature, float) or not 0 < temperature < np.inf:
        raise ValueError(f"temperature {temperature}")
