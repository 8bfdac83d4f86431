"""The texts of one served model that are being sampled: a batch, and what is shown of each.

Only the engine's thread calls this. A text becomes events here: pieces of what is shown, and the
end.
"""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.generation.batch import Batch
from charrnn.generation.sampler import Context
from charrnn.generation.samples import Cost, PartialSample, step_costs
from charrnn.server.jobs import Ended, Failed, News, Piece, PreparedJob, Ticket
from charrnn.server.sampled_model import SampledModel
from charrnn.state import State


@dataclass(eq=False)
class ServedText:
    """A text that is sampled. deadline: of `time.monotonic`."""

    ticket: Ticket
    prepared: PreparedJob
    partial: PartialSample
    deadline: float

    def take(self) -> list[News]:
        """Return what is shown since the last call, if anything."""
        text, costs = self.partial.take()
        if not text:
            return []
        return [(self.ticket, Piece(text, tuple(map(self._own, costs))))]

    def end(self) -> list[News]:
        """Return what is left to say of a text that has ended."""
        criteria = self.partial.criteria
        end_cost = self.partial.end_cost and self._own(self.partial.end_cost)
        ended = Ended(criteria.reason or "", criteria.stop, criteria.is_at_end, end_cost)
        return [*self.take(), (self.ticket, ended)]

    def _own(self, cost: Cost) -> Cost:
        """Return a cost with as many alternatives as were asked for; another text may have more."""
        most = self.prepared.job.logprobs or 0
        return cost if len(cost.top) <= most else Cost(cost.nats, cost.top[:most])


class TextBatch:
    """A batch of one served model.

    ended: texts that have ended, for those who want to remember their states.
    """

    def __init__(self, served: SampledModel) -> None:
        self.served = served
        self.ended: list[ServedText] = []
        self._vocab = served.generator.vocab
        self._texts: dict[int, ServedText] = {}  # by their number in the batch
        self._new: list[int] = []  # those of which nothing was shown yet
        self._batch = self._make_batch()

    def __len__(self) -> int:
        return len(self._texts)

    def join(
        self, ticket: Ticket, prepared: PreparedJob, state: State, deadline: float
    ) -> list[News]:
        """Begin a text whose prompt was read; return its end if it has one already.

        Raises:
            CharRNNError: this text cannot be sampled.
        """
        generator = self.served.generator
        job = prepared.job
        settings = prepared.settings
        criteria = generator.stopping_criteria(settings.config)
        reason = settings.constraint.reason if settings.constraint else ""
        partial = PartialSample(self._vocab, criteria, reason)
        text = ServedText(ticket, prepared, partial, deadline)
        if criteria.reason is not None:  # a length of 0
            return text.end()
        start = None if prepared.read is None else Context(state, prepared.prompt_ids)
        key = (job.config.seed or 0, job.index, job.stream)
        row = generator.begin_text(start, settings.chain, settings.constraint, key, job.logprobs)
        [number] = self._batch.join([row])
        self._texts[number] = text
        self._new.append(number)
        return []

    def step(self) -> list[News]:
        """Sample one more id of each text; return the news that should not wait.

        These are first characters and ends; what has ended is dropped.
        """
        try:
            step = self._batch.step()
        except Exception as error:  # of the model or of a chain, so of all these texts
            failed = self.fail_all(error)
            self._texts = {}
            self._new = []
            self._batch = self._make_batch()
            return failed
        self.served.is_exact |= self._batch.is_exact
        texts = self._texts
        rows = step.rows.tolist()
        over: list[int] = []
        errors = dict(step.errors)
        costs = step_costs(step, self._vocab)
        for number, token, cost in zip(rows, step.tokens.tolist(), costs, strict=True):
            partial = texts[number].partial
            try:
                partial.feed(token, cost)
            except Exception as error:  # of one text
                errors[number] = error
            if partial.criteria.reason is not None:
                over.append(number)
        news: list[News] = []
        for number, cause in errors.items():
            news.append((texts[number].ticket, Failed(cause)))
        news += self._take_first()
        over += errors
        if over:
            for number in over:
                if number not in errors:
                    news += texts[number].end()
                    self.ended.append(texts[number])
            self._drop({*over})
        return news

    def take(self) -> list[News]:
        """Return what is shown of each text since it was last told."""
        return [each for text in self._texts.values() for each in text.take()]

    def drop_cancelled(self) -> int:
        """Drop the texts that nobody waits for; return how many."""
        gone = {number for number, text in self._texts.items() if text.ticket.is_cancelled}
        self._drop(gone)
        return len(gone)

    def end_late(self, now: float) -> list[News]:
        """End and drop the texts whose time is over."""
        late = {number for number, text in self._texts.items() if text.deadline <= now}
        news: list[News] = []
        for number in late:
            text = self._texts[number]
            try:
                text.partial.stop("seconds")
                news += text.end()
            except Exception as error:  # of one text
                news.append((text.ticket, Failed(error)))
        self._drop(late)
        return news

    def fail_all(self, error: Exception) -> list[News]:
        """End all texts with an error."""
        return [(text.ticket, Failed(error)) for text in self._texts.values()]

    def _take_first(self) -> list[News]:
        """Return the first characters of those texts that have some now."""
        if not self._new:
            return []
        taken = {number: self._texts[number].take() for number in self._new}
        self._new = [number for number, news in taken.items() if not news]
        return [each for news in taken.values() for each in news]

    def _drop(self, numbers: set[int]) -> None:
        if numbers:
            self._batch.drop(numbers)
            self._new = [number for number in self._new if number not in numbers]
            for number in numbers:
                del self._texts[number]

    def _make_batch(self) -> Batch:
        batch = Batch(self.served.generator.language_model)
        batch.is_exact = self.served.is_exact
        return batch
