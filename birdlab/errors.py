"""The one exception for mistakes a user can mend: bad files, bad settings, occupied folders."""


class BirdlabError(ValueError):
    """Something in the user's files or settings is wrong.

    The message names the file or key, says what was found, and gives the way out. Commands print it in
    one paragraph without a traceback and exit with status 2.
    """
