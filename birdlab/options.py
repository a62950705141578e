"""Options that several commands have."""

from typing import Annotated

import typer

Trust = Annotated[bool, typer.Option("--trust", help="Build what birdlab doesn't ship, too.")]
