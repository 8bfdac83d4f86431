"""Requests that a server must survive: almost right, wrong, and hostile. Used by tests and benches.

`strategies` of hypothesis for the tests, and `Attacker`, plain random numbers, for long runs.
"""

from __future__ import annotations

import json
import random
from typing import Any

PATHS = (
    *("/v1/completions", "/v1/chat/completions", "/v1/score", "/v1/fill", "/v1/classify"),
    *("/v1/convert", "/v1/embeddings", "/tokenize", "/detokenize", "/generate", "/v1/models"),
    *("/", "/health", "/metrics", "/tokenizer_info", "/v1/models/book", "/v1/models/../../etc"),
)
WORDS = ("", "a", "ab\nba", "é", "x", "\0", "\ufffd", "😀", "a" * 500, "\n" * 50, "\U0010ffff")
PATTERNS = ("a+", "(a+)+b", "(", "[", "a{1,9999999}", "(?=a)", r"(a)\1", "(a|b){5,}", ".*", "")
FIELDS = (
    *(
        "model",
        "prompt",
        "text",
        "input",
        "tokens",
        "messages",
        "max_tokens",
        "length",
        "n",
        "seed",
    ),
    *("best_of", "echo", "logprobs", "suffix", "stream", "stop", "temperature", "top_p", "top_k"),
    *("logit_bias", "regex", "stop_regex", "template", "choices", "only", "ban", "must", "lines"),
    *("unknown", "label", "labels", "label_strength", "top", "column", "beam", "beam_width"),
    *("count", "max_gap", "blank", "gap", "sample", "user", "stream_options", "preset", "balanced"),
    *("response_format", "structured_outputs", "dry_penalty", "mirostat", "xtc", "encoding_format"),
)


class Attacker:
    """Makes requests from a stream of random numbers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def request(self) -> tuple[str, str, bytes, dict[str, str]]:
        """Return method, path, body and headers."""
        pick = self._random
        path = pick.choice(PATHS)
        is_get = path in ("/generate", *PATHS[10:])
        if pick.random() < 0.05:
            is_get = not is_get
        headers = {"Host": "127.0.0.1"}
        if pick.random() < 0.05:
            headers["Host"] = pick.choice(("evil.com", "localhost", "[::1]", "", "a b"))
        if pick.random() < 0.03:
            headers["Origin"] = pick.choice(("null", "http://evil.com", "http://127.0.0.1"))
        if is_get:
            return "GET", path + self._query(), b"", headers
        kind = "application/json" if pick.random() < 0.97 else pick.choice(("", "text/plain"))
        headers["Content-Type"] = kind
        return "POST", path, self.body(path), headers

    def body(self, path: str) -> bytes:
        """Return a body: mostly an object of known fields, sometimes bytes that are none."""
        pick = self._random
        if pick.random() < 0.05:
            return pick.randbytes(pick.randrange(200))
        wanted = {
            "/v1/completions": {"prompt": "a", "max_tokens": pick.randrange(20)},
            "/v1/score": {"text": "abab"},
            "/v1/fill": {"text": "a_b*", "max_gap": 2, "beam_width": 20},
            "/detokenize": {"tokens": [0, 1, 2]},
            "/tokenize": {"prompt": "ab"},
        }.get(path, {"input": "ab", "model": pick.choice(("book", "kinds", "cases", "xyz"))})
        body: dict[str, Any] = dict(wanted)
        for _ in range(pick.randrange(4)):
            body[pick.choice(FIELDS)] = self.value(3)
        raw = json.dumps(body).encode()
        if pick.random() < 0.05:
            place = pick.randrange(len(raw))
            raw = raw[:place] + pick.randbytes(pick.randrange(3)) + raw[place + pick.randrange(3) :]
        return raw

    def value(self, depth: int) -> Any:
        """Return a value of JSON, and of what Python writes besides."""
        pick = self._random
        kind = pick.randrange(8 if depth else 6)
        if kind == 0:
            return pick.choice(WORDS)
        if kind == 1:
            return pick.choice((0, 1, -1, 2, 5, 17, 10**6, 2**63, -(2**64), 10**30, True, False))
        if kind == 2:
            return pick.choice((0.5, 1.0, -0.0, 1e308, 1e-320, float("inf"), float("nan")))
        if kind == 3:
            return None
        if kind == 4:
            return pick.choice(PATTERNS)
        if kind == 5:
            return "".join(pick.choice("abé\n x_*") for _ in range(pick.randrange(30)))
        if kind == 6:
            return [self.value(depth - 1) for _ in range(pick.randrange(4))]
        return {pick.choice((*FIELDS, *WORDS)): self.value(depth - 1) for _ in range(3)}

    def _query(self) -> str:
        pick = self._random
        if pick.random() < 0.5:
            return "?start_text=ab&n=1"
        return "?" + "".join(pick.choice("abn=&%+;01234[]{}") for _ in range(pick.randrange(40)))
