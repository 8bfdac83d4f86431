"""The text that a run is judged by: a part of it while it trains, much more of it at the end.

How a network is scored on a text is evaluation.py's; which network, and when, is not known here.
"""

from __future__ import annotations

from charrnn.config import TrainConfig
from charrnn.errors import CorpusError
from charrnn.model.network import CharRNN
from charrnn.text.baselines import HELD_OUT_SYMBOLS
from charrnn.text.corpus import Corpus
from charrnn.text.vocab import Ids
from charrnn.training.distributed import Peers
from charrnn.training.evaluation import Watch, evaluate_carried, evaluate_windowed

_MOST_AT_THE_END = 10_000_000  # symbols; more would take hours and tell no more


class HeldOut:
    """A corpus's held-out text, which several processes score together.

    All of it counts at the end, up to 10,000,000 symbols; with eval_chars 0 all there is, always.

    part: the ids (S,) of it that are used while training, its beginning or all.

    Raises:
        CorpusError: it has no character to predict.
    """

    def __init__(self, corpus: Corpus, config: TrainConfig, peers: Peers) -> None:
        self._whole = corpus.val[: _MOST_AT_THE_END + 1] if config.eval_chars else corpus.val
        self._vocab, self._peers = corpus.vocab, peers
        self.part = _part_of(corpus, config)

    @property
    def part_chars(self) -> int:
        """How many characters are used while training."""
        return self._vocab.count_characters(self.part)

    def score(self, model: CharRNN, watch: Watch) -> float:
        """Give the nats per character of the part."""
        return self._carried(model, self.part, watch)

    def score_whole(
        self, model: CharRNN, part_nats: float, watch: Watch
    ) -> tuple[float, float, float]:
        """Give the nats of the whole: carried, by windows, and where others are compared.

        part_nats: what `score` gave for this model.
        """
        whole, carried = self._whole, part_nats
        if len(self.part) < len(whole):
            carried = self._carried(model, whole, watch)
        windowed = evaluate_windowed(
            model, whole, self._vocab, watch=watch, peers=self._peers
        ).loss_nats
        first = whole[:HELD_OUT_SYMBOLS]
        if len(first) == len(whole):
            return carried, windowed, carried
        return carried, windowed, self._carried(model, first, watch)

    def _carried(self, model: CharRNN, ids: Ids, watch: Watch) -> float:
        return evaluate_carried(model, ids, self._vocab, watch, self._peers).loss_nats


def _part_of(corpus: Corpus, config: TrainConfig) -> Ids:
    val = corpus.val[: config.eval_chars + 1] if config.eval_chars else corpus.val
    if corpus.vocab.count_characters(val[1:]) < 1:
        raise CorpusError(
            f"{corpus.name} has {corpus.chars:,} characters, of which {corpus.val_chars} are held "
            "out for validation: at least 2 are needed; give more text, or a larger --val-fraction "
            "or --val-file"
        )
    return val
