"""The equations of one unit in one step, from the character to the loss."""

from __future__ import annotations

import numpy as np

from charrnn.interpret.digits import share_digits, shown
from charrnn.interpret.equations import (
    DECIMALS,
    About,
    Line,
    Piece,
    equation,
    factors,
    largest_terms,
    product_details,
    sum_of,
)
from charrnn.interpret.trace import Array
from charrnn.interpret.unit_step import CELLS, NETWORK, SCORING, TRACE, WHAT, UnitStep, subscript

_GATE_CODE = {
    "lstm": 'return {"i": sigmoid(i), "f": sigmoid(f), "g": np.tanh(g), "o": sigmoid(o)}',
    "gru": 'return {"r": r, "z": z, "n": np.tanh(xs[2] + r * hs[2]), "n_h": hs[2]}',
}
_RNN_CODE = {
    "tanh": '"tanh": lambda sums, _: (np.tanh(sums[0], sums[0]),),',
    "relu": '"relu": lambda sums, _: (np.maximum(sums[0], 0, out=sums[0]),),',
    "logistic": '"logistic": lambda halved, _: (_sigmoid(halved[0]),),',
}


def forward_lines(u: UnitStep) -> list[Line]:
    """Return the equations of a unit, in the order in which they are computed."""
    lines = [_input(u)] if u.depth == 0 and u.step.config.ngram_rows else []
    for gate in u.gates:
        lines += _sums_of_n(u) if gate == "n" else _sums(u, gate)
        if gate:
            lines.append(_gate(u, gate))
    states = {"rnn": _rnn_state, "lstm": _lstm_state, "gru": _gru_state}
    return [*lines, *states[u.cell](u), _logit(u), _softmax(u), _loss(u)]


def _input(u: UnitStep) -> Line:
    """Return the largest number that is read, as the sum of embeddings that it is."""
    step = u.step
    x = u.vector("x")
    k = int(np.abs(x).argmax())
    scale = step.config.embedding_scale
    times = "" if scale == 1 else "s·"
    names = [f"{times}E[{u.quoted(step.token)},{k}]"]
    names += [f"G[{u.quoted_run(tokens)},{k}]" for tokens, _ in step.ngrams]
    parts = [scale * float(step.weights["embedding.weight"][step.token, k])]
    parts += [float(step.weights["ngrams.weight"][row, k]) for _, row in step.ngrams]
    digits = share_digits(parts, float(x[k]), DECIMALS)
    about = About(
        f"x[{k}]",
        f"{times}E[c,k] + Σ_g G[g,k]" + (f", with s = {scale:.5g}" if times else ""),
        "what is read, its largest number: the character's embedding, and those of the n-grams g "
        "that end with it" + ("" if step.ngrams else " (here none of them has one)"),
        f"{TRACE}: return x + self.from_ngrams() if self.config.ngram_rows else x",
    )
    return sum_of(about, float(x[k]), list(zip(names, digits, strict=True)))


def _sums(u: UnitStep, gate: str) -> list[Line]:
    """Return (U x)[j], (W h′)[j] and their sum with the bias."""
    j, row = u.unit, u.row(gate)
    from_x, from_h = _rows(u, gate)
    bias = float(u.weights["bias_ih"][row] + u.weights["bias_hh"][row])
    a = u.value(subscript("a", gate))
    digits = share_digits([float(from_x.sum()), float(from_h.sum()), bias], a, DECIMALS)
    matrices = subscript("U", gate), subscript("W", gate)
    names = [f"({matrices[0]} x)[{j}]", f"({matrices[1]} h′)[{j}]", f"{subscript('b', gate)}[{j}]"]
    about = About(
        f"{subscript('a', gate)}[{j}]",
        f"({matrices[0]} x)[j] + ({matrices[1]} h′)[j] + {subscript('b', gate)}[j]",
        f"what {_short(gate)} is computed from: the character, the state and a bias",
        f"{CELLS}: return activate(np.add(sums, added, sums), state)"
        if u.cell != "gru"
        else f"{CELLS}: gates += product[:2]",
    )
    return [
        _product(u, gate, "x", digits[0]),
        _product(u, gate, "h′", digits[1]),
        sum_of(about, a, list(zip(names, digits, strict=True))),
    ]


def _sums_of_n(u: UnitStep) -> list[Line]:
    """Return the same of a GRU's new value, where the reset gate scales what the state adds."""
    j, row = u.unit, u.row("n")
    from_x, from_h = _rows(u, "n")
    bias_ih, bias_hh = (float(u.weights[f"bias_{end}"][row]) for end in ("ih", "hh"))
    n_h, r, a = u.value("n_h"), u.value("r"), u.value("a_n")
    inner = share_digits([float(from_h.sum()), bias_hh], n_h, DECIMALS)
    outer = share_digits([float(from_x.sum()), r * n_h, bias_ih], a, DECIMALS)
    about_inner = About(
        f"n_h[{j}]",
        "(W_n h′)[j] + b_hh[j]",
        "what the state would add to the new value",
        f"{CELLS}: new += recurrent_bias",
    )
    about = About(
        f"a_n[{j}]",
        "(U_n x)[j] + r[j]·n_h[j] + b_ih[j]",
        "what the new value is computed from: the reset gate scales what comes from the state",
        f"{CELLS}: new *= gates[0]",
    )
    names = [f"(U_n x)[{j}]", "r·n_h", f"b_ih[{j}]"]
    details = ["", f"{shown(r)}·{shown(n_h)}"]
    return [
        _product(u, "n", "x", outer[0]),
        _product(u, "n", "h′", inner[0]),
        sum_of(about_inner, n_h, list(zip([f"(W_n h′)[{j}]", f"b_hh[{j}]"], inner, strict=True))),
        sum_of(about, a, list(zip(names, outer, strict=True)), details=details),
    ]


def _rows(u: UnitStep, gate: str) -> tuple[Array, Array]:
    """Return the terms of (U x)[j] and of (W h′)[j]."""
    row = u.row(gate)
    from_x = u.weights["weight_ih"][row] * u.vector("x")
    return from_x, u.weights["weight_hh"][row] * u.vector("h_before")


def _product(u: UnitStep, gate: str, vector: str, said: str) -> Line:
    """Return a row of a matrix times a vector; said: its sum as printed in the line it is for."""
    j = u.unit
    is_x = vector == "x"
    matrix = subscript("U" if is_x else "W", gate)
    weights = u.weights["weight_ih" if is_x else "weight_hh"][u.row(gate)]
    values = u.vector("x" if is_x else "h_before")
    row = weights * values
    names = [f"{matrix}[{j},{k}]·{vector}[{k}]" for k in range(len(row))]
    about = About(
        f"({matrix} {vector})[{j}]",
        f"Σ_k {matrix}[j,k]·{vector}[k]",
        f"what {'the character' if is_x else 'the state before'} adds to {_short(gate)}",
        f"{CELLS}: return inputs @ self.weight_ih.T + self.bias_ih"
        if is_x
        else f"{CELLS}: sums: Vector = x.dot(by_rows).reshape(-1, size)",
    )
    terms = largest_terms(row, names, said)
    details = product_details(row, weights, values)
    return sum_of(about, float(row.sum()), terms, details=details, said=said)


def _gate(u: UnitStep, gate: str) -> Line:
    function = "tanh" if gate in ("g", "n") else "σ"
    about = About(
        f"{gate}[{u.unit}]",
        f"{function}(a_{gate}[j])",
        WHAT[gate],
        f"{TRACE}: {_GATE_CODE[u.cell]}",
    )
    right = Piece(f"{function}(a_{gate})", f"{function}({shown(u.value(f'a_{gate}'))})")
    return equation(about, u.value(gate), [right])


def _rnn_state(u: UnitStep) -> list[Line]:
    kind = u.step.config.nonlinearity
    f = {"logistic": "σ"}.get(kind, kind)
    about = About(
        f"h[{u.unit}]",
        f"{f}(a[j])",
        "the new state: all that the layer knows of the text",
        f"{CELLS}: {_RNN_CODE[kind]}",
    )
    return [equation(about, u.value("h"), [Piece(f"{f}(a)", f"{f}({shown(u.value('a'))})")])]


def _lstm_state(u: UnitStep) -> list[Line]:
    i, f, g, o = (u.value(name) for name in "ifgo")
    before, c = u.value("c_before"), u.value("c")
    digits = share_digits([f * before, i * g], c, DECIMALS)
    memory = About(
        f"c[{u.unit}]",
        "f[j]·c′[j] + i[j]·g[j]",
        "the memory: what is kept of it, and what is added",
        f"{CELLS}: memory += gates[0] * gates[3]",
    )
    state = About(
        f"h[{u.unit}]",
        "o[j]·tanh(c[j])",
        "the new state: what the cell shows of its memory",
        f"{CELLS}: hidden *= gates[2]",
    )
    details = [f"{shown(f)}·{shown(before)}", f"{shown(i)}·{shown(g)}"]
    terms = list(zip(["f·c′", "i·g"], digits, strict=True))
    right = [*factors(("o", o)), Piece("·", "·"), Piece("tanh(c)", f"tanh({shown(c)})")]
    return [sum_of(memory, c, terms, details=details), equation(state, u.value("h"), right)]


def _gru_state(u: UnitStep) -> list[Line]:
    z, n, before, h = (u.value(name) for name in ("z", "n", "h_before", "h"))
    digits = share_digits([(1 - z) * n, z * before], h, DECIMALS)
    about = About(
        f"h[{u.unit}]",
        "(1 − z[j])·n[j] + z[j]·h′[j]",
        "the new state: a mixture of the new value and the old state",
        f"{CELLS}: return (new + gates[1] * (state[0] - new),)",
    )
    details = [f"{shown(1 - z)}·{shown(n)}", f"{shown(z)}·{shown(before)}"]
    terms = list(zip(["(1 − z)·n", "z·h′"], digits, strict=True))
    return [sum_of(about, h, terms, details=details)]


def _logit(u: UnitStep) -> Line:
    """Return the logit of the character that comes next."""
    step = u.step
    name = u.quoted(step.target)
    top = step.values[f"{step.config.num_layers - 1}.y"]
    weights = step.output[step.target]
    row = weights * top
    logit = float(step.values["logits"][step.target])
    about = About(
        f"logit[{name}]",
        "Σ_k V[w,k]·y[k] + b[w], with y from the top layer",
        "the score of the character that comes next",
        f"{NETWORK}: logits += self._output_bias",
    )
    names = [*(f"V[{name},{k}]·y[{k}]" for k in range(len(row))), f"b[{name}]"]
    bias = float(step.weights["output.bias"][step.target])
    terms = largest_terms(row, names, shown(logit), last=bias)
    return sum_of(about, logit, terms, details=product_details(row, weights, top))


def _softmax(u: UnitStep) -> Line:
    """Return the probability of that character."""
    step = u.step
    name = u.quoted(step.target)
    logits = step.values["logits"]
    total = float(np.exp(logits).sum())
    about = About(
        f"p[{name}]",
        "e^logit[w] / Σ_v e^logit[v]",
        "softmax: its probability",
        f"{TRACE}: shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))",
    )
    numbers = f"e^{shown(float(logits[step.target]))} / {total:,.5g}"
    said = next(guess.shown for guess in u.guesses() if guess.is_target)
    right = [Piece(f"e^logit[{name}] / Σ e^logit", numbers)]
    return equation(about, float(step.values["p"][step.target]), right, said=said)


def _loss(u: UnitStep) -> Line:
    p = float(u.step.values["p"][u.step.target])
    loss = float(u.step.values["loss"])
    about = About(
        "ℓ",
        "−ln p[w]",
        f"the loss of this step in nats, or {loss / np.log(2):.3f} bits",
        f"{SCORING}: nats: Floats = np.log(np.exp(logits, out=logits).sum(1, dtype=np.float64)) - "
        "targets",
    )
    return equation(about, loss, [Piece(f"−ln p[{u.quoted(u.step.target)}]", f"−ln {p:.5g}")])


def _short(gate: str) -> str:
    """Return what a gate is called."""
    return WHAT[gate].split(":")[0]
