"""charrnn serve: answer requests over HTTP, as OpenAI's API words them."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.formatting import one_line
from charrnn.cli.inputs import checkpoints_option, complete_run
from charrnn.cli.options import Command, settings_from_options, settings_options
from charrnn.config.serve import ServeConfig, check_key
from charrnn.server.neighbours import own_address
from charrnn.server.start import import_server

if TYPE_CHECKING:
    from charrnn.server.server import Server

_EXAMPLES = """
charrnn serve                          the newest model, at 127.0.0.1:8000
charrnn serve book names --port 0      two models, on a free port
charrnn serve book --open              and show the page to write with it
charrnn serve book --host 0.0.0.0 --api-key-file key.txt
charrnn serve book --uds book.sock --root-path /charrnn
curl "localhost:8000/generate?start_text=Once&n=3"
"""
_COMMON = (
    *("host", "port", "open_page", "api_key_file", "allow_host", "allow_origin"),
    *("batch", "max_chars", "max_seconds", "log_requests", "role_template"),
)


@click.command("serve", cls=Command, examples=_EXAMPLES, common=_COMMON)
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=complete_run)
@click.option("--open", "open_page", is_flag=True, help="show the page in a browser")
@settings_options(ServeConfig)
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    open_page: bool,
    checkpoints: str,
    **_: Any,
) -> None:
    """Answer requests over HTTP, as OpenAI's API words them.

    Each MODEL, a run's name, a run's folder or a model file, is served by its name; without MODEL
    it is the newest one. A character is a token: max_tokens counts characters. The same seed gives
    the text that charrnn sample gives with the same settings, however many requests are answered
    at once. Where a request names no temperature, it is 1.

    Only this machine can ask, unless --host says otherwise; then a key is needed, which a request
    brings as Authorization: Bearer KEY. CHARRNN_API_KEY holds one, or --api-key-file, which other
    users of the machine cannot see in the list of processes.

    Routes: POST /v1/completions, /v1/chat/completions (with --role-template), /v1/score, /v1/fill,
    /v1/classify, /v1/convert, /v1/embeddings, /tokenize, /detokenize; GET /v1/models, /generate,
    /health, /metrics, and / for the page.

    One line on stdout says the address once requests are answered. Ctrl-C ends the server within
    two seconds: streams are told so. A second Ctrl-C ends it at once.
    """
    _check_given_key(ctx)
    config = settings_from_options(ctx, ServeConfig)
    with _log_on_stderr(has_requests=config.log_requests):
        _serve(import_server()(models, config, Path(checkpoints)), config, is_opened=open_page)


def _serve(server: Server, config: ServeConfig, *, is_opened: bool) -> None:
    """Answer requests until a signal comes, and end the program."""

    def announce() -> None:
        names = ", ".join(server.service.served)
        elsewhere = _url_elsewhere(server.url, config)
        click.echo(one_line(f"serving {names} at {server.url}{elsewhere} (Ctrl-C stops it)"))
        sys.stdout.flush()
        if is_opened and config.uds is None:
            import webbrowser  # 10 ms, which nobody else should wait for

            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()

    with server.stopped_by_signals() as came:
        server.run(announce)
    code = 128 + came[0] if came else 0
    if server.service.is_busy:  # Python would wait for the worker
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _url_elsewhere(url: str, config: ServeConfig) -> str:
    """Return, in words, the address for other machines of a server that listens on every one."""
    address = own_address(config.host) if config.uds is None else None
    if address is None:
        return ""
    shown = f"[{address}]" if ":" in address else address
    named = "" if config.allow_host else "; by a name only with --allow-host NAME"
    return f", from other machines at http://{shown}:{url.rpartition(':')[2]}{named}"


def _check_given_key(ctx: click.Context) -> None:
    """Refuse a bad key by the name under which it was given, the variable or the option."""
    if (key := ctx.params["api_key"]) is not None:
        source = ctx.get_parameter_source("api_key")
        is_variable = source is click.core.ParameterSource.ENVIRONMENT
        check_key("CHARRNN_API_KEY" if is_variable else "--api-key", key)


class _OneLine(logging.Formatter):
    """A line of the log that is safe to look at; the traceback of a failure is left whole."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.exc_info else one_line(text)


@contextmanager
def _log_on_stderr(*, has_requests: bool) -> Iterator[None]:
    """Write the server's log on stderr within the block."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("charrnn.serve")
    before = (log.handlers, log.propagate, log.level)
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO if has_requests else logging.WARNING)
    try:
        yield
    finally:
        log.handlers, log.propagate, level = before
        log.setLevel(level)
