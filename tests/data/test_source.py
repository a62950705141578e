from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from birdlab.data.annotated_audio import AnnotatedAudio
from birdlab.errors import BirdlabError


def test_settings_from_a_config_are_one_data_set_with_those_from_python(toy: ModuleType) -> None:
    from_config = toy.ToySource(root="~/birds", image_size=[16, 32])
    from_python = toy.ToySource(root=Path.home() / "birds", image_size=(16, 32))

    assert from_config == from_python
    assert from_config.settings() == from_python.settings()


NO_SIZE = [5, [16], [16, 32, 64], "ab", ["a", "b"], [16.5, 32], [16, True], [16, float("inf")]]


@pytest.mark.parametrize("given", NO_SIZE)
def test_what_is_no_pair_of_numbers_is_refused_with_an_example(toy: ModuleType, given: object) -> None:
    said = r"data\.image_size=.*: give 2 whole numbers, such as data\.image_size=\[16, 16\]"
    with pytest.raises(BirdlabError, match=said):
        toy.ToySource(root=Path("birds"), image_size=given)


@dataclass(frozen=True, kw_only=True)
class Wide(AnnotatedAudio):
    """A data set of one's own, with attributes of many kinds."""

    band_hz: tuple[float, float]
    species: tuple[str, ...] = ("a", "b", "c")
    extra: tuple[float, float] | None = None
    more: tuple[int, int] = field(default_factory=lambda: (1, 2))


def test_whole_numbers_and_others_are_one_data_set_and_words_are_left_alone() -> None:
    one, other = (
        Wide(root=Path("birds"), band_hz=band, extra=band, more=[3, 4])
        for band in ([-10, 200], (-10.0, 200.0))
    )
    assert one == other
    assert one.settings() == other.settings()
    assert one.extra == (-10.0, 200.0)
    assert one.more == (3, 4)
    assert one.species == ("a", "b", "c")
    with pytest.raises(BirdlabError, match=r"data\.band_hz=5: give 2 numbers\.$"):
        Wide(root=Path("birds"), band_hz=5)
