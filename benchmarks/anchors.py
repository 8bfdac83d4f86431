"""Other programs on the same rows: fastText, scikit-learn, python-crfsuite, jieba, sequitur-g2p.

Each function returns None where its program is not installed. Install them in an environment of
their own, beside charrnn: pip install scikit-learn fasttext-wheel python-crfsuite jieba
sequitur-g2p (1.0.1668.30 needs numpy < 2). N = texts, K = classes.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shutil import which

import numpy as np
from numpy.typing import NDArray
from runs import RunFailedError

_LABEL = "__label__"
_OUTSIDE = "\ue000"  # a character of private use, in the place of those before and after a text

Classified = Sequence[tuple[str, int]]  # a text and the index of its class
Words = Sequence[str]


def majority(rows: Classified, texts: Words, count: int) -> NDArray[np.float64]:
    """Return the share of each class (N, K), the same for every text."""
    shares = np.bincount([own for _, own in rows], minlength=count) / len(rows)
    return np.tile(shares, (len(texts), 1))


def regression(
    rows: Classified, texts: Words, longest: int, analyzer: str = "char_wb", strength: float = 10.0
) -> NDArray[np.float64] | None:
    """Return what a logistic regression on 1- to `longest`-grams of characters gives (N, K)."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        return None
    grams = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, longest), lowercase=False)
    model = make_pipeline(grams, LogisticRegression(C=strength, max_iter=1000))
    model.fit([text for text, _ in rows], [own for _, own in rows])
    probs: NDArray[np.float64] = model.predict_proba(list(texts))
    return probs


def fasttext(
    rows: Classified, texts: Words, count: int, **settings: object
) -> NDArray[np.float64] | None:
    """Return what fastText's `supervised` gives each class (N, K).

    settings: as of fasttext.train_supervised. It reads words between spaces, and with minn and maxn
    their n-grams of characters. It trains in the order of the rows, so they are shuffled.
    """
    try:
        import fasttext as library
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.txt")
        lines = [f"{_LABEL}{own} {text}\n" for text, own in rows]
        np.random.default_rng(1).shuffle(lines)
        path.write_text("".join(lines), encoding="utf-8")
        model = library.train_supervised(str(path), thread=1, verbose=0, seed=1, **settings)
    probs = np.zeros((len(texts), count))
    for i, text in enumerate(texts):
        # The call of the class Model fails with numpy 2.
        for probability, label in model.f.predict(f"{text}\n", count, 0.0, "strict"):
            probs[i, int(label.removeprefix(_LABEL))] = probability
    probs = np.clip(probs, 1e-9, 1)  # its sums are not 1
    return probs / probs.sum(1, keepdims=True)


def crfsuite(rows: Sequence[Words], texts: Words) -> list[list[str]] | None:
    """Return the words of texts by a CRF on characters, trained on the words of other texts.

    The features are the usual ones: the characters at −2 to 2 and pairs of neighbours. The tags
    say begin, middle, end or single; training is 100 rounds of L-BFGS.
    """
    try:
        import pycrfsuite
    except ImportError:
        return None
    trainer = pycrfsuite.Trainer(verbose=False)
    trainer.set_params({"c1": 0.0, "c2": 0.1, "max_iterations": 100})
    for words in rows:
        tags = [tag for word in words for tag in segment_tags(word)]
        trainer.append(crf_features("".join(words)), tags)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model"))
        trainer.train(path)
        tagger = pycrfsuite.Tagger()
        tagger.open(path)
        return [cut_by_tags(text, tagger.tag(crf_features(text))) for text in texts]


def segment_tags(word: str) -> list[str]:
    """Return a tag for each character of a word: S, or B, M …, E."""
    return ["S"] if len(word) == 1 else ["B", *"M" * (len(word) - 2), "E"]


def cut_by_tags(text: str, tags: Sequence[str]) -> list[str]:
    """Return the words of a text, cut before each B and S."""
    words: list[str] = []
    for char, tag in zip(text, tags, strict=True):
        if not words or tag in "BS":
            words.append(char)
        else:
            words[-1] += char
    return words


def crf_features(text: str) -> list[list[str]]:
    """Return the features of each character."""
    padded = f"{_OUTSIDE * 2}{text}{_OUTSIDE * 2}"
    features = []
    for i in range(2, len(text) + 2):
        near = padded[i - 2 : i + 3]
        own = [f"{place}{char}" for place, char in enumerate(near)]
        pairs = [f"p{place}{near[place : place + 2]}" for place in range(4)]
        features.append([*own, *pairs, f"j{near[1]}{near[3]}"])
    return features


def jieba(texts: Words) -> list[list[str]] | None:
    """Return the words of texts by jieba, which learns nothing from the rows."""
    try:
        import jieba as library
    except ImportError:
        return None
    library.setLogLevel(60)
    return [library.lcut(text) for text in texts]


def sequitur(rows: Sequence[tuple[str, str]], words: Words, order: int) -> list[str] | None:
    """Return the pronunciation of words by sequitur-g2p, trained up to n-grams of an order.

    A word that it cannot convert has none: "".
    """
    program = which("g2p.py")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lexicon").write_text("".join(f"{word} {own}\n" for word, own in rows))
        (folder / "words").write_text("".join(f"{word}\n" for word in words))
        common = [program, "--encoding", "UTF-8"]
        for step in range(order):
            older = ["--model", f"{step - 1}.model", "--ramp-up"] if step else []
            own = ["--train", "lexicon", "--devel", "5%", "--write-model", f"{step}.model"]
            _run([*common, *older, *own], folder)
        said = _run([*common, "--model", f"{order - 1}.model", "--apply", "words"], folder)
    found = dict(line.split("\t", 1) for line in said.splitlines() if "\t" in line)
    return [found.get(word, "") for word in words]


def _run(command: Sequence[str], folder: Path) -> str:
    """Return what a program prints; applying ends with an error too where it skips a word."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode and "--train" in command:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise RunFailedError(
            f"{' '.join(command)} failed: {said[-1] if said else 'it said nothing'}"
        )
    return done.stdout
