from pathlib import Path
from types import ModuleType

import pytest

from birdlab.errors import BirdlabError


def test_settings_from_a_config_are_one_data_set_with_those_from_python(toy: ModuleType) -> None:
    from_config = toy.ToySource(root="~/birds", image_size=[16, 32])
    from_python = toy.ToySource(root=Path.home() / "birds", image_size=(16, 32))

    assert from_config == from_python
    assert from_config.settings() == from_python.settings()


@pytest.mark.parametrize("given", [5, [16], [16, 32, 64], "ab", ["a", "b"]])
def test_too_few_or_too_many_numbers_are_refused_with_an_example(toy: ModuleType, given: object) -> None:
    said = r"data\.image_size=.*: give 2 numbers, such as data\.image_size=\[16, 16\]"
    with pytest.raises(BirdlabError, match=said):
        toy.ToySource(root=Path("birds"), image_size=given)
