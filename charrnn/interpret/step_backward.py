"""The derivatives of the loss of one step by what one unit computed in it, last thing first.

They are those of this step's loss alone. What the losses of later characters say of this step comes
on top of it in training: the view `gradients` shows that.
"""

from __future__ import annotations

import numpy as np

from charrnn.interpret.digits import decimals_for, read_number, shown
from charrnn.interpret.equations import About, Line, derivative, factors, largest_terms, sum_of
from charrnn.interpret.trace import Array
from charrnn.interpret.unit_step import DERIVATIVES, WHAT, UnitStep, subscript

_WEIGHT_CODE = {
    "W": 'found[f"{layer}.weight_hh"] += from_h.T @ _rows(trace.hidden(depth)[:-1])',
    "U": 'found[f"{layer}.weight_ih"] += from_x.T @ _rows(trace.inputs(depth))',
    "b": 'found[f"{layer}.bias_ih"] += from_x.sum(0)',
}


def backward_lines(u: UnitStep) -> list[Line]:
    """Return the derivatives of a unit, in the order in which they are computed."""
    lines = [*_by_logits(u), _by_output(u)]
    if u.cell == "lstm":
        lines.append(_by_memory(u))
    # A GRU's r is seen through n.
    gates = [*reversed(u.gates)] if u.cell == "gru" else u.gates
    lines += [_by_sum(u, gate) for gate in gates]
    lines.append(_by_state_before(u))
    if u.cell == "lstm":
        lines.append(_by_memory_before(u))
    return [*lines, *_by_weights(u)]


def _by_logits(u: UnitStep) -> list[Line]:
    """Return o − y of the likeliest characters and of the target."""
    lines = []
    for token in u.tokens:
        name = u.quoted(token)
        is_target = token == u.step.target
        value = float(u.step.gradients.logits[token])
        decimals = decimals_for([value])
        said = shown(value, decimals)
        about = About(
            f"∂ℓ/∂logit[{name}]",
            "p[w] − y[w], where y is 1 for what came and 0 for all others",
            f"it {'came' if is_target else 'did not come'}: its logit should "
            f"{'rise' if is_target else 'fall'}",
            f"{DERIVATIVES}: grad, targets[..., None], "
            "np.take_along_axis(grad, targets[..., None], -1) - 1, -1",
        )
        p = shown(read_number(said) + is_target, decimals)
        terms = [(f"p[{name}]", p), ("(−y)", shown(-float(is_target), decimals))]
        measured = u.step.measure("logits", token)
        lines.append(sum_of(about, value, terms, said=said, measured=measured))
    return lines


def _by_output(u: UnitStep) -> Line:
    """Return the derivative by what the unit gives upwards."""
    row, names, about = _output_terms(u) if _is_top(u) else _terms_of_layer_above(u)
    said = shown(u.grad_h, decimals_for([u.grad_h]))
    terms = largest_terms(row, names, said, decimals_for([u.grad_h]))
    return sum_of(about, u.grad_h, terms, said=said, measured=u.measure("h"))


def _is_top(u: UnitStep) -> bool:
    return u.depth == u.step.config.num_layers - 1


def _output_terms(u: UnitStep) -> tuple[Array, list[str], About]:
    """Return what each logit says of the unit."""
    row = u.step.output[:, u.unit] * u.step.gradients.logits
    names = [f"V[{u.quoted(token)},{u.unit}]·∂logit" for token in range(len(row))]
    about = About(
        f"∂ℓ/∂h[{u.unit}]",
        "Σ_w V[w,j]·∂ℓ/∂logit[w]",
        "whether this state should fall (above 0) or rise: all logits that it feeds say so",
        f"{DERIVATIVES}: grad: Array = grad_logits @ output",
    )
    return row, names, about


def _terms_of_layer_above(u: UnitStep) -> tuple[Array, list[str], About]:
    """Return what each unit of the layer above says of this one."""
    above = u.depth + 1
    sums = np.asarray(u.step.gradients.sums[above][0])
    row = u.step.weights[f"layers.{above}.weight_ih"][:, u.unit] * sums
    names = [u.term_name("U", place) for place in range(len(row))]
    if u.step.config.residual:
        row = np.append(row, u.step.gradients.outputs[above][u.unit])
        names.append("∂y above (residual)")
    about = About(
        f"∂ℓ/∂h[{u.unit}]",
        "Σ_k U[k,j]·∂ℓ/∂a[k], of the layer above",
        "whether this state should fall (above 0) or rise: all units above that read it say so",
        f"{DERIVATIVES}: below = from_x @ layer.weight_ih",
    )
    return row, names, about


def _by_memory(u: UnitStep) -> Line:
    slope = 1 - float(np.tanh(u.value("c"))) ** 2
    about = About(
        f"∂ℓ/∂c[{u.unit}]",
        "∂ℓ/∂h[j]·o[j]·(1 − tanh²(c[j]))",
        "the same for the memory, which is seen through the output gate",
        f"{DERIVATIVES}: return (h, c + h * self._h_by_c[t])",
    )
    right = factors(
        *(("∂ℓ/∂h", u.grad_h), ("o", u.value("o")), ("(1 − tanh² c)", slope)),
        decimals=decimals_for([u.grad_h]),
    )
    return derivative(about, u.grad_c, right, u.measure("c"))


def _by_sum(u: UnitStep, gate: str) -> Line:
    """Return the derivative by what a gate is computed from."""
    named, code = _slopes(u, gate)
    about = About(
        f"∂ℓ/∂{subscript('a', gate)}[{u.unit}]",
        "·".join(name for name, _ in named),
        f"the same before the nonlinearity of {WHAT[gate].split(':')[0]}",
        f"{DERIVATIVES}: {code}",
    )
    right = factors(*named, decimals=decimals_for([named[0][1]]))
    return derivative(about, u.grad_a(gate), right, u.measure(subscript("a", gate)))


def _slopes(u: UnitStep, gate: str) -> tuple[list[tuple[str, float]], str]:
    """Return the factors of that derivative, and its line of code."""
    h = ("∂ℓ/∂h", u.grad_h)
    if not gate:
        y = u.value("h")
        slopes = {
            "tanh": ("(1 − h²)", 1 - y * y),
            "relu": ("[a > 0]", float(u.value("a") > 0)),
            "logistic": ("h·(1 − h)", y * (1 - y)),
        }
        return [h, slopes[u.step.config.nonlinearity]], "grad = state[0] * self._slope[t]"
    value = u.value(gate)
    slope = (f"{gate}·(1 − {gate})", value * (1 - value))
    if gate in ("g", "n"):
        slope = (f"(1 − {gate}²)", 1 - value**2)
    if u.cell == "gru":
        n, z = u.value("n"), u.value("z")
        of = {
            "n": ([h, ("(1 − z)", 1 - z)], "n = h * self._by_n[t]"),
            "z": ([h, ("(h′ − n)", u.value("h_before") - n)], "z = h * self._by_z[t]"),
            "r": ([("∂ℓ/∂a_n", u.grad_a("n")), ("n_h", u.value("n_h"))], "r = n * self._by_r[t]"),
        }
    else:
        c = ("∂ℓ/∂c", u.grad_c)
        code = "i, f, g = (c * slope[t] for slope in self._of_c)"
        tanh_c = float(np.tanh(u.value("c")))
        of = {
            "i": ([c, ("g", u.value("g"))], code),
            "f": ([c, ("c′", u.value("c_before"))], code),
            "g": ([c, ("i", u.value("i"))], code),
            "o": ([h, ("tanh(c)", tanh_c)], "h * self._h_by_o[t]"),
        }
    named, line = of[gate]
    return [*named, slope], line


def _by_state_before(u: UnitStep) -> Line:
    """Return what goes back in time to the unit."""
    row = u.weights["weight_hh"][:, u.unit] * u.grad_h_sums.ravel()
    names = [u.term_name("W", place) for place in range(len(row))]
    formula = "Σ_k W[k,j]·∂ℓ/∂a[k], over all gates"
    if u.cell == "gru":
        row = np.append(row, u.grad_h * u.value("z"))
        names.append("∂ℓ/∂h·z")
        formula = "Σ_k W[k,j]·∂ℓ/∂a[k] + ∂ℓ/∂h[j]·z[j]"
    about = About(
        f"∂ℓ/∂h′[{u.unit}]",
        formula,
        "what goes back in time to this unit, from all units that read it",
        f"{DERIVATIVES}: "
        "grads[depth] = (from_h @ layer.weight_hh + grads[depth][0], *grads[depth][1:])",
    )
    value = float(u.step.gradients.before[u.depth][0][u.unit])
    said = shown(value, decimals_for([value]))
    terms = largest_terms(row, names, said, decimals_for([value]))
    return sum_of(about, value, terms, said=said, measured=u.measure("h_before"))


def _by_memory_before(u: UnitStep) -> Line:
    about = About(
        f"∂ℓ/∂c′[{u.unit}]",
        "∂ℓ/∂c[j]·f[j]",
        "what goes back through the memory: no matrix, only the forget gate",
        f"{DERIVATIVES}: return sums, sums, (np.zeros_like(h), c * self._f[t])",
    )
    named = (("∂ℓ/∂c", u.grad_c), ("f", u.value("f")))
    value = float(u.step.gradients.before[u.depth][1][u.unit])
    right = factors(*named, decimals=decimals_for([u.grad_c]))
    return derivative(about, value, right, u.measure("c_before"))


def _by_weights(u: UnitStep) -> list[Line]:
    """Return this step's share of the gradient of a few weights of the unit."""
    h, x = u.vector("h_before"), u.vector("x")
    from_unit, from_input = int(np.abs(h).argmax()), int(np.abs(x).argmax())
    strongest = u.gates[int(np.abs(u.grad_x_sums[:, u.unit]).argmax())]
    lines = []
    for number, gate in enumerate(u.gates):
        grad = ("∂ℓ/∂n_h" if gate == "n" else f"∂ℓ/∂{subscript('a', gate)}",
                float(u.grad_h_sums[number, u.unit]))  # fmt: skip
        by = (f"h′[{from_unit}]", float(h[from_unit]))
        lines.append(_share(u, "W", gate, from_unit, [grad, by]))
    grad = (f"∂ℓ/∂{subscript('a', strongest)}", u.grad_a(strongest))
    by = (f"x[{from_input}]", float(x[from_input]))
    lines.append(_share(u, "U", strongest, from_input, [grad, by]))
    lines.append(_share(u, "b", strongest, None, [grad]))
    return lines


def _share(
    u: UnitStep, letter: str, gate: str, column: int | None, named: list[tuple[str, float]]
) -> Line:
    """Return the share of one weight, an element of an outer product."""
    value = float(np.prod([factor for _, factor in named]))
    matrix = {"W": "weight_hh", "U": "weight_ih", "b": "bias_ih"}[letter]
    index = (u.row(gate),) if column is None else (u.row(gate), column)
    place = f"{u.unit}" if column is None else f"{u.unit},{column}"
    about = About(
        f"∂ℓ/∂{subscript(letter, gate)}[{place}]",
        "·".join(name for name, _ in named),
        "this step's share of the gradient of one weight, an element of an outer product",
        f"{DERIVATIVES}: {_WEIGHT_CODE[letter]}",
    )
    right = factors(*named, decimals=decimals_for([named[0][1]]))
    measured = u.step.measure(f"layers.{u.depth}.{matrix}", *index)
    return derivative(about, value, right, measured)
