"""The tags of characters, and the text that they make. Never torch.

A text to restore is damaged first, as those of training were: what it has already is left to the
model, unless that is not sure enough of it. Long lines are cut as in training.

S = characters.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import TextConfig
from charrnn.data.restore import Damaged, Part, damage_line, repair
from charrnn.data.tags import spans, without_tags, write_tagged
from charrnn.errors import ConfigError, located
from charrnn.generation.tagger import Tagger
from charrnn.generation.text_format import text_format_of
from charrnn.tasks.predictions import Prediction, PredictRequest
from charrnn.text.substitutions import map_text
from charrnn.text.vocab import END, Ids, Vocab


class TagPredictor:
    """Tags the characters of texts, and writes what the tags make of them."""

    def __init__(self, file: ModelFile, request: PredictRequest) -> None:
        """Open the contents of a model file.

        Raises:
            ConfigError: a confidence is given, and nothing is restored; or the file does not say
                how its tags are written.
        """
        settings = file.summary.get("settings", {})
        text = TextConfig(tags=settings.get("tags"), restore=settings.get("restore"))
        self._layout = text.tags
        self._kinds = text.restored
        if request.confidence and not self._kinds:
            raise ConfigError(
                "--confidence leaves what is unsure as it was, and this model restores nothing; "
                "leave it out"
            )
        self._confidence = request.confidence
        self._network = Tagger(file.config, file.weights)
        self._names = file.labels.columns[0].values
        self._format = text_format_of(file.summary, has_end=file.vocab.has_end)
        self._vocab = file.vocab
        self._stand_ins: dict[str, str] = {}
        self._read = 0  # texts
        self.changes: Counter[str] = Counter()
        self.notes: list[str] = []  # long texts are cut

    def read(self, text: str) -> Ids:
        """Return the ids of the characters of a text that tags are given to (S,)."""
        parts = [part.example.source for part in self._cut(text)]
        return np.concatenate([np.zeros(0, np.int64), *(self._encode(each)[0] for each in parts)])

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return texts with their tags.

        Raises:
            VocabError: one holds half of a surrogate pair.
        """
        cut: list[list[Part]] = []
        for text in texts:
            self._read += 1
            with located(f"text {self._read}"):
                cut.append(self._cut(text))
        sources = [part.example.source for each in cut for part in each if part.example.source]
        named = self._iter_named(sources)
        return [self._join(text, each, named) for text, each in zip(texts, cut, strict=True)]

    def predict_tags(self, sources: Sequence[str]) -> list[Prediction]:
        """Return the tags of texts that are damaged already, or have no spaces between words."""
        return [
            Prediction(source, None, 1.0, (), source, *each)
            for source, each in zip(sources, self._iter_named(sources), strict=True)
        ]

    def _iter_named(
        self, sources: Sequence[str]
    ) -> Iterator[tuple[tuple[str, ...], tuple[float, ...]]]:
        """Yield the tags of the characters of each source, and how probable they are."""
        encoded = [self._encode(source) for source in sources]
        found = self._network.probable_tags([ids for ids, _ in encoded])
        for (_, starts), (tags, probs) in zip(encoded, found, strict=True):
            numbers = tags[starts]
            names = tuple(self._names[i] for i in numbers.tolist())
            yield names, tuple(probs[starts, numbers].tolist())

    def _cut(self, text: str) -> list[Part]:
        """Return the parts of a text, as training would read them."""
        text = self._format.normalized(text.replace(END, "").rstrip("\r\n"))
        if self._kinds:
            return [*damage_line(text, self._kinds)]
        source = without_tags(text, str(self._layout))
        return [Part("", Damaged(source[each], ()), "") for each in spans(source)]

    def _encode(self, source: str) -> tuple[Ids, Ids]:
        """Return the ids of a source, and where those of each character begin (S,)."""
        chars = [self._known(char) for char in source] if self._has_unknown(source) else source
        ids = self._vocab.encode("".join(chars))
        return ids, np.flatnonzero(self._vocab.starts_character[ids])

    def _has_unknown(self, source: str) -> bool:
        return not self._vocab.has_bytes and len(self._vocab.find_unknown(source)) > 0

    def _known(self, char: str) -> str:
        """Return a character, or one that the model knows in its place."""
        if char not in self._stand_ins:
            self._stand_ins[char] = _stand_in(char, self._vocab)
        if self._stand_ins[char] != char:
            self.changes[f"{char} → {self._stand_ins[char]} (to read)"] += 1
        return self._stand_ins[char]

    def _join(
        self,
        text: str,
        parts: Sequence[Part],
        found: Iterator[tuple[tuple[str, ...], tuple[float, ...]]],
    ) -> Prediction:
        """Return what the tags of all parts of a text make of it; found: has those of each."""
        written: list[str] = []
        tags: list[str] = []
        sure: list[float] = []
        for part in parts:
            source, given_tags = part.example
            own, probs = next(found) if source else ((), ())
            if self._confidence:
                own = tuple(
                    tag if prob >= self._confidence else given
                    for tag, given, prob in zip(own, given_tags, probs, strict=True)
                )
            tags += own
            sure += probs
            written.append(part.before + repair(source, own) + part.after)
        tagged = "".join(part.example.source for part in parts)
        whole = "".join(written) if self._kinds else write_tagged(tagged, tags, str(self._layout))
        least = min(sure, default=1.0)
        return Prediction(text, whole, least, (), tagged, tuple(tags), tuple(sure))


def _stand_in(char: str, vocab: Vocab) -> str:
    """Return the character of a vocabulary that is most like one that it lacks."""
    if char in vocab.alphabet:
        return char
    near = map_text(char, vocab).text
    if len(near) == 1 and near in vocab.alphabet:
        return near
    kind = unicodedata.category(char)
    alike = [each for each in vocab.alphabet if unicodedata.category(each) == kind]
    alike = alike or [each for each in vocab.alphabet if unicodedata.category(each)[0] == kind[0]]
    return (alike or [vocab.alphabet[-1]])[-1]
