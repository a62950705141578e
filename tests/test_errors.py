"""How commands end: with what the user can mend, and nothing hidden that a programmer must."""

import pytest

from birdlab.errors import BirdlabError, command


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BirdlabError("data.root=x: no such folder."), "birdlab: data.root=x: no such folder.\n"),
        (
            PermissionError(13, "Permission denied", "scores.json"),
            "birdlab: scores.json: Permission denied.\n",
        ),
    ],
)
def test_mistakes_end_a_command_in_one_line(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"), command():
        raise error
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("error", [OSError("a worker died"), RuntimeError("why")])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), command():
        raise error
