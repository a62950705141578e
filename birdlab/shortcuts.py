"""What a species model could learn without hearing the bird: the baseline beside every result."""

import torch
from torch import Tensor
from torch.nn import functional as F

from birdlab.audio.mel import power_of
from birdlab.data.classification import ClassificationData
from birdlab.data.source import Split

_TOP_DB = 60.0
_RIDGE = 1e-2


class LoudnessBandwidthLength:
    """Logistic regression on how loud a recording is, how far up and down it reaches, and how long it is.

    Of a stack as it is cached, before any normalisation: mean level, loudest and quietest frame (dB), the
    lowest and highest band whose median level is within 60 dB of the loudest band's (clicks where repetition
    begins reach all bands), the seconds of the recording and those of real sound in the stack; and the
    squares of all that, so that a middling length can speak for a species, too.

    Species count alike in the fit, as they do in the macro scores that a study is read by: a network that
    scores no better may have learned nothing else.
    """

    def __init__(self) -> None:
        self.mean = self.scale = self.weights = torch.empty(0)

    def fit(self, data: ClassificationData, split: Split = "train") -> "LoudnessBandwidthLength":
        """Fit to the labels of a split: by cross-entropy, of each species by itself in multi-label mode."""
        features, targets = features_of(data, split), targets_of(data, split)
        self.mean, self.scale = features.mean(dim=0), features.std(dim=0, correction=0).clamp(min=1e-6)
        inputs = self._inputs(features)
        alike = len(targets) / (targets.shape[1] * targets.sum(dim=0).clamp(min=1))
        self.weights = torch.zeros(inputs.shape[1], targets.shape[1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([self.weights], max_iter=500, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            logits = inputs @ self.weights
            if data.source.multilabel:
                fit = F.binary_cross_entropy_with_logits(logits, targets)
            else:
                fit = F.cross_entropy(logits, targets, alike)
            total: Tensor = fit + _RIDGE * self.weights[:-1].square().sum() / len(inputs)
            total.backward()  # type: ignore[no-untyped-call]
            return total

        with torch.enable_grad():
            optimizer.step(loss)  # type: ignore[no-untyped-call]
        self.weights = self.weights.detach()
        return self

    def predict(self, data: ClassificationData, split: Split) -> Tensor:
        """Logits float32 [N, K] for a split's samples in order of id, as its loader gives them."""
        return (self._inputs(features_of(data, split)) @ self.weights).float()

    def _inputs(self, features: Tensor) -> Tensor:
        even = (features - self.mean) / self.scale
        return torch.cat([even, even.square(), torch.ones(len(even), 1, dtype=even.dtype)], dim=1)


def features_of(data: ClassificationData, split: Split) -> Tensor:
    """Loudness, bandwidth and length of each sample of a split, float64 [N, 7]."""
    dataset = data.stacks(split)
    rows = []
    for index, sample in enumerate(data.labelled(split)):
        power = power_of(dataset[index]["stack"][0].float())
        bands = _decibels(power.transpose(0, 1).flatten(1).median(dim=1).values)
        heard = (bands > bands.max() - _TOP_DB).nonzero()[:, 0]
        frames = _decibels(power.sum(dim=1).flatten())
        levels = [float(value) for value in (_decibels(power.mean()), frames.max(), frames.min())]
        rows.append([*levels, float(heard[0]), float(heard[-1]), sample.duration_s, sample.real_s])
    return torch.tensor(rows, dtype=torch.float64)


def targets_of(data: ClassificationData, split: Split) -> Tensor:
    """Shares of species float64 [N, K] of a split."""
    return torch.tensor([sample.targets for sample in data.labelled(split)], dtype=torch.float64)


def origins_of(data: ClassificationData, split: Split) -> list[str]:
    """The collection of each sample of a split, for accuracy within each; empty where not known."""
    return [sample.origin for sample in data.labelled(split)]


def origins_of_species(data: ClassificationData) -> list[set[str]]:
    """The collections of each species' recordings."""
    found: list[set[str]] = [set() for _ in data.names]
    for samples in data.splits.values():
        for sample in samples:
            found[sample.label].add(sample.origin)  # type: ignore[attr-defined]
    return found


def _decibels(power: Tensor) -> Tensor:
    return 10 * power.log10()
