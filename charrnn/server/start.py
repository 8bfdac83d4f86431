"""Where the server is imported: its packages are those of an extra, which may not be installed.

`server.py` runs uvicorn, `app.py` has the routes behind `guard.py`. Their handlers ask a `Service`,
whose `Engine` writes all texts in one thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.errors import missing_extra

if TYPE_CHECKING:
    from charrnn.server.server import Server

_OF_THE_EXTRA = ("anyio", "h11", "starlette", "uvicorn")


def import_server() -> type[Server]:
    """Return the class Server, for which the packages of an extra must be there.

    Raises:
        ConfigError: one is missing; says how to install it.
    """
    try:
        from charrnn.server.server import Server
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _OF_THE_EXTRA:
            raise
        raise missing_extra("charrnn serve", package, "serve") from error
    return Server
