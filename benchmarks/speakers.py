"""Whose speech is it? Speakers of a play as labels: what they save, and whether samples obey.

python benchmarks/speakers.py PLAY [--budget 2m] [--seeds 1 2 3] [--least 50] [--samples 1000]

PLAY has a line such as `ROMEO:` before each speech; speakers with fewer than --least speeches are
left out as labels. Two models train on the same speeches, one with the speakers and one without.
Then the first writes --samples speeches, as many of each speaker, and a naive Bayes classifier on
character 1- to 4-grams that has learned from the real training speeches says whose they are.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from naive_bayes import NaiveBayes
from runs import one_line_errors

import charrnn
from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.text.vocab import END

PATTERN = r"^(?P<speaker>[A-Za-z' ]+):$"


def speeches_of(corpus: Corpus) -> tuple[list[str], list[int]]:
    """Return the labelled training speeches, and their speakers."""
    assert corpus.train_records is not None
    texts = corpus.vocab.decode(corpus.train)[1:-1].split(END)
    rows = corpus.train_records.labels[:, 0].tolist()
    known = [(text, row - 1) for text, row in zip(texts, rows, strict=True) if row]
    return [text for text, _ in known], [row for _, row in known]


@one_line_errors()
def main() -> None:
    """Train in turn; print medians and what the classifier says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("play")
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--least", type=int, default=50)
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    text = {"label_regex": PATTERN, "min_label_count": options.least}
    corpus = open_corpus([options.play], TextConfig(**text))
    speakers = corpus.labels.columns[0].values
    judge = NaiveBayes(*speeches_of(corpus), len(speakers))
    nats: dict[str, list[float]] = {"with speakers": [], "without": []}
    with TemporaryDirectory() as folder:
        for seed in options.seeds:
            for name, dropout in (("with speakers", 0.1), ("without", 1.0)):
                result = charrnn.fit(
                    options.play,
                    **text,
                    budget=options.budget,
                    seed=seed,
                    label_dropout=dropout,
                    checkpoints=str(Path(folder, f"{name} {seed}")),
                    name="play",
                )
                loss = result.val_nats
                nats[name].append(loss)
                print(f"seed {seed}, {name}: {loss:.4f} nats per character held out", flush=True)
            labelled = Path(folder, f"with speakers {seed}", "play", "best.safetensors")
            each = -(-options.samples // len(speakers))
            right = 0
            for number, speaker in enumerate(speakers):
                model = charrnn.load(labelled, labels={"speaker": speaker})
                written = model.generate_many(count=each, seed=seed, length=500)
                right += sum(judge.predict(sample.text) == number for sample in written)
            count = each * len(speakers)
            times = right / each  # right / count, where chance names one of len(speakers)
            print(
                f"seed {seed}: the asked speaker is named in {right:,} of {count:,} samples, "
                f"{times:.1f} times chance",
                flush=True,
            )
    for name, values in nats.items():
        print(f"{name}: median {statistics.median(values):.4f} nats per character")


if __name__ == "__main__":
    main()
