"""The one exception for mistakes a user can mend: bad files, bad settings, occupied folders."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class BirdlabError(ValueError):
    """Something in the user's files or settings is wrong.

    The message names the file or key, says what was found, and gives the way out. Commands print it in
    one paragraph without a traceback and exit with status 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or else its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def command() -> Iterator[None]:
    """Around a command's body: the user's mistakes end it with their message and status 2.

    So do files that can't be read or written.
    """
    try:
        yield
    except BirdlabError as error:
        said = str(error)
    except OSError as error:
        if error.filename is None:
            raise
        said = f"{error.filename}: {error.strerror}."
    else:
        return
    print(f"birdlab: {said}", file=sys.stderr)
    sys.exit(2)
