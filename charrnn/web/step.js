// One step of a network with all its numbers: what the page's view `step` shows, as
// charrnn/interpret/one_step.py and its neighbours compute it. Every sum has its largest terms and
// the rest, which add up to the sum digit for digit as printed. Every derivative has a central
// difference beside it, which proves it.
//
// A line is {name, formula, value, shown, sign, pieces: [{symbol, number, detail}], measured,
// meaning}: pieces are the terms of a sum or the factors of a product, and `sign` stands between
// them. Where a text names a token, its id stands between « and »; several in a row stand in quotes,
// with ? for what there is none of.

(function (charrnn) {
  "use strict";

  const DECIMALS = 4;
  const MOST_DECIMALS = 12;
  const TERMS = 6;
  const GUESSES = 5;
  const LITTLE = 1e-5; // the error of a central difference grows as its square
  const GATES = { rnn: [""], lstm: ["i", "f", "g", "o"], gru: ["r", "z", "n"] };
  const WHAT = {
    i: "the input gate: how much of the new value is taken in",
    f: "the forget gate: how much of the memory is kept",
    g: "the new value",
    o: "the output gate: how much of the memory is shown",
    r: "the reset gate: how much of the state the new value may see",
    z: "the update gate: how much of the old state is kept",
    n: "the new value",
    "": "the new state",
  };
  const { multiply, multiplyBack } = charrnn;
  const sigmoid = (a) => 0.5 + 0.5 * Math.tanh(0.5 * a);
  const total = (numbers) => numbers.reduce((sum, each) => sum + each, 0);
  const sub = (name, gate) => (gate ? `${name}_${gate}` : name);
  const short = (gate) => WHAT[gate].split(":")[0];

  // ---- numbers as they are printed

  // Return how many decimals show four digits of a value.
  function decimalsFor(value) {
    if (!value) return DECIMALS;
    const places = 3 - Math.floor(Math.log10(Math.abs(value)));
    return Math.min(Math.max(places, DECIMALS), MOST_DECIMALS);
  }

  function asText(units, decimals) {
    const digits = String(Math.abs(units)).padStart(decimals + 1, "0");
    const text = `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
    return units < 0 ? `−${text}` : text;
  }

  const shown = (value, decimals = DECIMALS) =>
    asText(Math.round(value * 10 ** decimals), decimals);

  const readNumber = (text) => Number(text.replace("−", "-"));

  // Return the terms of a sum as printed, so that they add up to the printed sum exactly: each is
  // rounded down, and the units that are missing go to those that lost most by it.
  function shareDigits(terms, sum, decimals = DECIMALS) {
    const unit = 10 ** decimals;
    const whole = terms.map((term) => Math.floor(term * unit));
    const missing = Math.round(sum * unit) - total(whole);
    const lost = terms.map((term, k) => term * unit - whole[k]);
    const order = [...terms.keys()].sort((a, b) => lost[b] - lost[a]);
    if (missing < 0) order.reverse();
    for (let k = 0; k < Math.abs(missing); k += 1) whole[order[k % order.length]] += Math.sign(missing);
    return whole.map((each) => asText(each, decimals));
  }

  // ---- the step

  class OneStep {
    // before: the state before the token. target: the token that comes next.
    constructor(network, token, target, before) {
      Object.assign(this, { network, token, target, config: network.config });
      const double = (array) => Float64Array.from(array);
      const context = before[network.layers.length]?.context;
      this.input = network.input(token, context);
      this.ngrams = ngramsOf(network, token, context);
      this.before = before.slice(0, network.layers.length).map(({ h, c }) => (c ? { h: double(h), c: double(c) } : { h: double(h) }));
      this.values = this.run();
      this.gradients = this.goBack();
    }

    // Return every value of the step by its name: of layer 1 "0.x", "0.h_before", "0.a_f", "0.f", …
    // nudge: {name, index, change} of one value, or of one weight, that is changed.
    run(nudge = null) {
      const { network, config } = this;
      const values = {};
      const put = (name, array) => {
        if (nudge?.name === name) {
          array = array.slice();
          array[nudge.index[0]] += nudge.change;
        }
        values[name] = array;
        return array;
      };
      let y = this.input;
      network.layers.forEach((layer, depth) => {
        const x = put(`${depth}.x`, y);
        const { c: cBefore, h: hBefore } = this.before[depth];
        const h = put(`${depth}.h_before`, hBefore);
        const c = cBefore && put(`${depth}.c_before`, cBefore);
        const fromX = multiply(layer.weightIh, x, layer.biasIh);
        const fromH = multiply(layer.weightHh, h, layer.biasHh);
        // A changed weight changes one sum by its input.
        const [, name] = nudge?.name.split(`layers.${depth}.`) ?? [];
        if (name === "weight_ih") fromX[nudge.index[0]] += nudge.change * x[nudge.index[1]];
        if (name === "weight_hh") fromH[nudge.index[0]] += nudge.change * h[nudge.index[1]];
        if (name === "bias_ih") fromX[nudge.index[0]] += nudge.change;
        const after = CELLS[config.cell](
          (part, array) => put(`${depth}.${part}`, array), fromX, fromH, h, c, config.nonlinearity,
        );
        y = config.residual && depth ? after.map((each, j) => each + x[j]) : after;
      });
      values.top = y;
      const logits = put("logits", this.logitsOf(y));
      const most = logits.reduce((a, b) => Math.max(a, b));
      const raised = logits.map((each) => Math.exp(each - most));
      values.p = raised.map((each) => each / total(raised));
      values.loss = [-Math.log(values.p[this.target])];
      return values;
    }

    logitsOf(y) {
      const { network } = this;
      const zeros = new Float32Array(this.config.embedding_size);
      const features = network.projection ? multiply(network.projection, y, zeros) : y;
      return multiply(network.output, features, network.weights["output.bias"]);
    }

    // Return the derivative of the loss by a value or a weight, by a central difference.
    measure(name, ...index) {
      const [high, low] = [LITTLE, -LITTLE].map(
        (change) => this.run({ name, index, change }).loss[0],
      );
      return (high - low) / (2 * LITTLE);
    }

    // Return the derivatives by formula: {logits, state, whole, sums}, as `charrnn.back` has them.
    goBack() {
      const { network, config, values } = this;
      const size = config.hidden_size;
      const join = (depth, name) =>
        Float64Array.of(...values[`${depth}.${name}_before`], ...values[`${depth}.${name}`]);
      const states = this.before.map(({ c }, depth) =>
        c ? { h: join(depth, "h"), c: join(depth, "c") } : { h: join(depth, "h") },
      );
      const parts = ["i", "f", "g", "o", "r", "z", "n", "n_h"];
      const gates = network.layers.map((_, depth) =>
        Object.fromEntries(parts.map((name) => [name, values[`${depth}.${name}`]])),
      );
      const logits = values.p.slice();
      logits[this.target] -= 1;
      const zeros = () => new Float64Array(size);
      const nothing = states.map(({ c }) => (c ? { h: zeros(), c: zeros() } : { h: zeros() }));
      const top = charrnn.gradFeatures(network, logits);
      return { logits, ...charrnn.back({ network, states, gates }, 0, nothing, top) };
    }
  }

  // Return {tokens, embedding} of the n-grams that end with a token and have one, the shortest first.
  // Of their tokens, the oldest first, one is −1 where there is none, before the text.
  function ngramsOf({ ngrams }, token, context) {
    if (!ngrams) return [];
    const before = Array.from(context, (key) => ngrams.key.indexOf(key));
    return ngrams.find(token, context).flatMap((embedding, k) =>
      embedding ? [{ tokens: [...before.slice(0, k + 1).reverse(), token], embedding }] : [],
    );
  }

  const split = (sums, count) => {
    const size = sums.length / count;
    return [...Array(count).keys()].map((k) => sums.slice(k * size, (k + 1) * size));
  };

  // Each computes h after a step and puts every value on the way.
  const CELLS = {
    rnn(put, fromX, fromH, h, c, nonlinearity) {
      const f = { tanh: Math.tanh, relu: (a) => Math.max(0, a), logistic: sigmoid }[nonlinearity];
      return put("h", put("a", fromX.map((each, j) => each + fromH[j])).map(f));
    },
    lstm(put, fromX, fromH, h, c) {
      const a = split(fromX.map((each, j) => each + fromH[j]), 4);
      const [i, f, g, o] = GATES.lstm.map((gate, k) =>
        put(gate, put(`a_${gate}`, a[k]).map(gate === "g" ? Math.tanh : sigmoid)),
      );
      const after = put("c", c.map((each, j) => f[j] * each + i[j] * g[j]));
      return put("h", after.map((each, j) => o[j] * Math.tanh(each)));
    },
    gru(put, fromX, fromH, h) {
      const x = split(fromX, 3);
      const own = split(fromH, 3);
      const [r, z] = ["r", "z"].map((gate, k) =>
        put(gate, put(`a_${gate}`, x[k].map((each, j) => each + own[k][j])).map(sigmoid)),
      );
      const recurrent = put("n_h", own[2]);
      const a = put("a_n", x[2].map((each, j) => each + r[j] * recurrent[j]));
      const n = put("n", a.map(Math.tanh));
      return put("h", n.map((each, j) => (1 - z[j]) * each + z[j] * h[j]));
    },
  };

  // ---- lines

  const line = (name, formula, value, sign, pieces, meaning, more = {}) => ({
    name, formula, value, shown: more.said ?? shown(value), sign, pieces, meaning,
    measured: more.measured ?? null,
  });

  const piece = (symbol, number, detail = "") => ({ symbol, number, detail });

  // Return the places of the largest terms in their order, and those of the rest.
  function largest(terms) {
    const order = [...terms.keys()].sort((a, b) => Math.abs(terms[b]) - Math.abs(terms[a]) || a - b);
    const count = terms.length > TERMS + 1 ? TERMS : terms.length;
    return [order.slice(0, count).sort((a, b) => a - b), order.slice(count)];
  }

  // Return a sum's largest terms and the rest. name, detail: of the k-th. last: [name, term] that is
  // always shown.
  function largestTerms(terms, said, decimals, name, detail = () => "", last = null) {
    const [order, rest] = largest(terms);
    const parts = order.map((k) => [name(k), terms[k], detail(k)]);
    if (rest.length) parts.push([`the other ${rest.length}`, total(rest.map((k) => terms[k])), ""]);
    if (last) parts.push([...last, ""]);
    const digits = shareDigits(parts.map((each) => each[1]), readNumber(said), decimals);
    return parts.map(([symbol, , how], k) => piece(symbol, digits[k], how));
  }

  // Return what is shown of a step and one unit of a layer.
  class UnitStep {
    constructor(step, depth, unit) {
      Object.assign(this, { step, depth, unit, cell: step.config.cell, size: step.config.hidden_size });
      this.gates = GATES[this.cell];
      this.layer = step.network.layers[depth];
      const { whole, state, sums } = step.gradients;
      this.gradH = whole[depth].h[unit];
      this.gradC = whole[depth].c?.[unit];
      this.before = state[depth];
      this.sums = sums[depth];
    }

    vector(name) {
      return this.step.values[`${this.depth}.${name}`];
    }

    value(name) {
      return this.vector(name)[this.unit];
    }

    row(gate) {
      return this.gates.indexOf(gate) * this.size + this.unit;
    }

    measure(name) {
      return this.step.measure(`${this.depth}.${name}`, this.unit);
    }

    gradA(gate) {
      return this.sums.fromX[this.row(gate)];
    }

    // Return the terms of a row of a matrix times a vector.
    terms(gate, isX) {
      const matrix = isX ? this.layer.weightIh : this.layer.weightHh;
      const x = this.vector(isX ? "x" : "h_before");
      const start = this.row(gate) * x.length;
      const weights = matrix.subarray(start, start + x.length);
      return { weights, x, terms: x.map((each, k) => each * weights[k]) };
    }
  }

  function forwardLines(u) {
    const lines = u.gates.flatMap((gate) => [
      ...(gate === "n" ? sumsOfN(u) : sumsOf(u, gate)),
      ...(gate ? [gateLine(u, gate)] : []),
    ]);
    if (u.step.network.ngrams && u.depth === 0) lines.unshift(inputLine(u));
    return [...lines, ...STATES[u.cell](u), ...outputLines(u)];
  }

  // Return the largest number that is read, as the sum of embeddings that it is.
  function inputLine(u) {
    const { network, config, token, ngrams } = u.step;
    const x = u.vector("x");
    const k = strongestOf(x);
    const times = network.scale === 1 ? "" : "s·";
    const own = network.weights["embedding.weight"][token * config.embedding_size + k];
    const parts = [
      [`${times}E[«${token}»,${k}]`, network.scale * own],
      ...ngrams.map(({ tokens, embedding }) => [`G[${runOf(tokens)},${k}]`, embedding[k]]),
    ];
    const digits = shareDigits(parts.map(([, value]) => value), x[k]);
    return line(
      `x[${k}]`,
      `${times}E[c,k] + Σ_g G[g,k]${times && `, with s = ${Number(network.scale.toPrecision(5))}`}`,
      x[k], "+", parts.map(([name], place) => piece(name, digits[place])),
      "what is read, its largest number: the character's embedding, and those of the n-grams g " +
        `that end with it${ngrams.length ? "" : " (here none of them has one)"}`,
    );
  }

  const runOf = (tokens) => `'${tokens.map((token) => (token < 0 ? "?" : `«${token}»`)).join("")}'`;

  // Return the place of the number that is largest by size.
  const strongestOf = (vector) =>
    vector.reduce((most, each, k) => (Math.abs(each) > Math.abs(vector[most]) ? k : most), 0);

  function productLine(u, gate, isX, said) {
    const { weights, x, terms } = u.terms(gate, isX);
    const matrix = sub(isX ? "U" : "W", gate);
    const vector = isX ? "x" : "h′";
    const pieces = largestTerms(
      terms, said, DECIMALS, (k) => `${matrix}[${u.unit},${k}]·${vector}[${k}]`,
      (k) => `${shown(weights[k], 2)}·${shown(x[k], 2)}`,
    );
    return line(
      `(${matrix} ${vector})[${u.unit}]`, `Σ_k ${matrix}[j,k]·${vector}[k]`, total(terms), "+", pieces,
      `what ${isX ? "the character" : "the state before"} adds to ${short(gate)}`, { said },
    );
  }

  function sumsOf(u, gate) {
    const { unit: j } = u;
    const bias = u.layer.biasIh[u.row(gate)] + u.layer.biasHh[u.row(gate)];
    const [U, W, b, a] = ["U", "W", "b", "a"].map((name) => sub(name, gate));
    const parts = [total(u.terms(gate, true).terms), total(u.terms(gate, false).terms), bias];
    const digits = shareDigits(parts, u.value(a));
    const names = [`(${U} x)[${j}]`, `(${W} h′)[${j}]`, `${b}[${j}]`];
    return [
      productLine(u, gate, true, digits[0]),
      productLine(u, gate, false, digits[1]),
      line(
        `${a}[${j}]`, `(${U} x)[j] + (${W} h′)[j] + ${b}[j]`, u.value(a), "+",
        names.map((name, k) => piece(name, digits[k])),
        `what ${short(gate)} is computed from: the character, the state and a bias`,
      ),
    ];
  }

  function sumsOfN(u) {
    const { unit: j } = u;
    const [recurrent, r, a] = ["n_h", "r", "a_n"].map((name) => u.value(name));
    const fromH = total(u.terms("n", false).terms);
    const inner = shareDigits([fromH, u.layer.biasHh[u.row("n")]], recurrent);
    const fromX = total(u.terms("n", true).terms);
    const outer = shareDigits([fromX, r * recurrent, u.layer.biasIh[u.row("n")]], a);
    return [
      productLine(u, "n", true, outer[0]),
      productLine(u, "n", false, inner[0]),
      line(
        `n_h[${j}]`, "(W_n h′)[j] + b_hh[j]", recurrent, "+",
        [piece(`(W_n h′)[${j}]`, inner[0]), piece(`b_hh[${j}]`, inner[1])],
        "what the state would add to the new value",
      ),
      line(
        `a_n[${j}]`, "(U_n x)[j] + r[j]·n_h[j] + b_ih[j]", a, "+",
        [
          piece(`(U_n x)[${j}]`, outer[0]),
          piece("r·n_h", outer[1], `${shown(r)}·${shown(recurrent)}`),
          piece(`b_ih[${j}]`, outer[2]),
        ],
        "what the new value is computed from: the reset gate scales what comes from the state",
      ),
    ];
  }

  function gateLine(u, gate) {
    const f = "gn".includes(gate) ? "tanh" : "σ";
    const right = piece(`${f}(a_${gate})`, `${f}(${shown(u.value(`a_${gate}`))})`);
    return line(`${gate}[${u.unit}]`, `${f}(a_${gate}[j])`, u.value(gate), "", [right], WHAT[gate]);
  }

  const STATES = {
    rnn(u) {
      const { nonlinearity } = u.step.config;
      const f = nonlinearity === "logistic" ? "σ" : nonlinearity;
      const right = piece(`${f}(a)`, `${f}(${shown(u.value("a"))})`);
      const meaning = "the new state: all that the layer knows of the text";
      return [line(`h[${u.unit}]`, `${f}(a[j])`, u.value("h"), "", [right], meaning)];
    },
    lstm(u) {
      const [i, f, g, o, before, c] = ["i", "f", "g", "o", "c_before", "c"].map((n) => u.value(n));
      const digits = shareDigits([f * before, i * g], c);
      const terms = [
        piece("f·c′", digits[0], `${shown(f)}·${shown(before)}`),
        piece("i·g", digits[1], `${shown(i)}·${shown(g)}`),
      ];
      return [
        line(
          `c[${u.unit}]`, "f[j]·c′[j] + i[j]·g[j]", c, "+", terms,
          "the memory: what is kept of it, and what is added",
        ),
        line(
          `h[${u.unit}]`, "o[j]·tanh(c[j])", u.value("h"), "·",
          [piece("o", shown(o)), piece("tanh(c)", `tanh(${shown(c)})`)],
          "the new state: what the cell shows of its memory",
        ),
      ];
    },
    gru(u) {
      const [z, n, before, h] = ["z", "n", "h_before", "h"].map((name) => u.value(name));
      const digits = shareDigits([(1 - z) * n, z * before], h);
      const terms = [
        piece("(1 − z)·n", digits[0], `${shown(1 - z)}·${shown(n)}`),
        piece("z·h′", digits[1], `${shown(z)}·${shown(before)}`),
      ];
      return [
        line(
          `h[${u.unit}]`, "(1 − z[j])·n[j] + z[j]·h′[j]", h, "+", terms,
          "the new state: a mixture of the new value and the old state",
        ),
      ];
    },
  };

  // Return the logit, the probability and the loss of the token that comes next.
  function outputLines(u) {
    const { network, values, target } = u.step;
    const name = `«${target}»`;
    const weights = outputRow(network, target);
    const y = values.top;
    const terms = y.map((each, k) => each * weights[k]);
    const logit = values.logits[target];
    const p = values.p[target];
    const loss = values.loss[0];
    const sum = total(values.logits.map(Math.exp));
    const pieces = largestTerms(
      terms, shown(logit), DECIMALS, (k) => `V[${name},${k}]·y[${k}]`,
      (k) => `${shown(weights[k], 2)}·${shown(y[k], 2)}`,
      [`b[${name}]`, network.weights["output.bias"][target]],
    );
    return [
      line(
        `logit[${name}]`, "Σ_k V[w,k]·y[k] + b[w], with y from the top layer", logit, "+", pieces,
        "the score of the character that comes next",
      ),
      line(
        `p[${name}]`, "e^logit[w] / Σ_v e^logit[v]", p, "",
        [piece(`e^logit[${name}] / Σ e^logit`, `e^${shown(logit)} / ${Number(sum.toPrecision(5))}`)],
        "softmax: its probability",
      ),
      line(
        "ℓ", "−ln p[w]", loss, "", [piece(`−ln p[${name}]`, `−ln ${Number(p.toPrecision(5))}`)],
        `the loss of this step in nats, or ${(loss / Math.LN2).toFixed(3)} bits`,
      ),
    ];
  }

  // Return the weights from what the top layer gives to the logit of a token (H).
  function outputRow(network, token) {
    const { config, output, projection } = network;
    const size = projection ? config.embedding_size : config.hidden_size;
    const row = output.subarray(token * size, (token + 1) * size);
    return projection ? multiplyBack(projection, row, config.hidden_size) : row;
  }

  // ---- backwards

  function backwardLines(u) {
    const gates = u.cell === "gru" ? [...u.gates].reverse() : u.gates; // r is seen through n
    const isLstm = u.cell === "lstm";
    return [
      ...logitLines(u),
      outputLine(u),
      ...(isLstm ? [memoryLine(u)] : []),
      ...gates.map((gate) => sumLine(u, gate)),
      stateBeforeLine(u),
      ...(isLstm ? [memoryBeforeLine(u)] : []),
      ...weightLines(u),
    ];
  }

  // Return a derivative that is a product of factors [[symbol, value]].
  function productOf(name, formula, factors, meaning, measured) {
    const value = factors.reduce((product, [, each]) => product * each, 1);
    const decimals = decimalsFor(factors[0][1]);
    const pieces = factors.map(([symbol, each]) =>
      piece(symbol, shown(each, symbol.includes("∂") ? decimals : DECIMALS)),
    );
    return line(name, formula, value, "·", pieces, meaning, {
      said: shown(value, decimalsFor(value)), measured,
    });
  }

  // Return a derivative that is a sum of terms.
  function sumOf(name, formula, terms, named, meaning, measured) {
    const value = total(terms);
    const decimals = decimalsFor(value);
    const said = shown(value, decimals);
    const pieces = largestTerms(terms, said, decimals, named);
    return line(name, formula, value, "+", pieces, meaning, { said, measured });
  }

  // Return the likeliest tokens, and the target.
  function tokensOf(step) {
    const { p } = step.values;
    const tokens = [...p.keys()].sort((a, b) => p[b] - p[a] || a - b).slice(0, GUESSES);
    if (!tokens.includes(step.target)) tokens[tokens.length - 1] = step.target;
    return tokens;
  }

  function logitLines(u) {
    return tokensOf(u.step).map((token) => {
      const isTarget = token === u.step.target;
      const value = u.step.gradients.logits[token];
      const decimals = decimalsFor(value);
      const said = shown(value, decimals);
      const pieces = [
        piece(`p[«${token}»]`, shown(readNumber(said) + isTarget, decimals)),
        piece("(−y)", shown(-Number(isTarget), decimals)),
      ];
      return line(
        `∂ℓ/∂logit[«${token}»]`, "p[w] − y[w], where y is 1 for what came and 0 for all others",
        value, "+", pieces,
        isTarget ? "it came: its logit should rise" : "it did not come: its logit should fall",
        { said, measured: u.step.measure("logits", token) },
      );
    });
  }

  function outputLine(u) {
    const { network, gradients } = u.step;
    const above = u.depth + 1;
    const name = `∂ℓ/∂h[${u.unit}]`;
    const says = "whether this state should fall (above 0) or rise: all";
    const measured = u.measure("h");
    if (above === network.layers.length) {
      const terms = Array.from(gradients.logits, (each, w) => each * outputRow(network, w)[u.unit]);
      return sumOf(
        name, "Σ_w V[w,j]·∂ℓ/∂logit[w]", terms, (w) => `V[«${w}»,${u.unit}]·∂logit`,
        `${says} logits that it feeds say so`, measured,
      );
    }
    const { weightIh } = network.layers[above];
    const terms = Array.from(gradients.sums[above].fromX, (each, k) => each * weightIh[k * u.size + u.unit]);
    const count = terms.length;
    if (u.step.config.residual) terms.push(gradients.whole[above].h[u.unit]);
    const named = (k) => (k < count ? termName(u, "U", k) : "∂y above (residual)");
    return sumOf(
      name, "Σ_k U[k,j]·∂ℓ/∂a[k], of the layer above", terms, named,
      `${says} units above that read it say so`, measured,
    );
  }

  // Return the name of weight[row, unit] · ∂a[row].
  function termName(u, matrix, row) {
    const gate = u.gates[Math.floor(row / u.size)];
    const place = row % u.size;
    const grad = matrix === "W" && gate === "n" ? "∂n_h" : sub("∂a", gate);
    return `${sub(matrix, gate)}[${place},${u.unit}]·${grad}[${place}]`;
  }

  function memoryLine(u) {
    const slope = 1 - Math.tanh(u.value("c")) ** 2;
    return productOf(
      `∂ℓ/∂c[${u.unit}]`, "∂ℓ/∂h[j]·o[j]·(1 − tanh²(c[j]))",
      [["∂ℓ/∂h", u.gradH], ["o", u.value("o")], ["(1 − tanh² c)", slope]],
      "the same for the memory, which is seen through the output gate", u.measure("c"),
    );
  }

  function sumLine(u, gate) {
    const factors = slopesOf(u, gate);
    return productOf(
      `∂ℓ/∂${sub("a", gate)}[${u.unit}]`, factors.map(([symbol]) => symbol).join("·"), factors,
      `the same before the nonlinearity of ${short(gate)}`, u.measure(sub("a", gate)),
    );
  }

  // Return the factors of the derivative by what a gate is computed from.
  function slopesOf(u, gate) {
    const h = ["∂ℓ/∂h", u.gradH];
    const c = ["∂ℓ/∂c", u.gradC];
    if (!gate) {
      const y = u.value("h");
      const slopes = {
        tanh: ["(1 − h²)", 1 - y * y],
        relu: ["[a > 0]", Number(u.value("a") > 0)],
        logistic: ["h·(1 − h)", y * (1 - y)],
      };
      return [h, slopes[u.step.config.nonlinearity]];
    }
    const value = u.value(gate);
    const isTanh = "gn".includes(gate);
    const slope = isTanh ? [`(1 − ${gate}²)`, 1 - value ** 2] : [`${gate}·(1 − ${gate})`, value * (1 - value)];
    const of = {
      i: () => [c, ["g", u.value("g")]],
      f: () => [c, ["c′", u.value("c_before")]],
      g: () => [c, ["i", u.value("i")]],
      o: () => [h, ["tanh(c)", Math.tanh(u.value("c"))]],
      n: () => [h, ["(1 − z)", 1 - u.value("z")]],
      z: () => [h, ["(h′ − n)", u.value("h_before") - u.value("n")]],
      r: () => [["∂ℓ/∂a_n", u.gradA("n")], ["n_h", u.value("n_h")]],
    };
    return [...of[gate](), slope];
  }

  function stateBeforeLine(u) {
    const terms = Array.from(u.sums.fromH, (each, k) => each * u.layer.weightHh[k * u.size + u.unit]);
    const count = terms.length;
    if (u.cell === "gru") terms.push(u.gradH * u.value("z"));
    const formula = u.cell === "gru" ? "Σ_k W[k,j]·∂ℓ/∂a[k] + ∂ℓ/∂h[j]·z[j]" : "Σ_k W[k,j]·∂ℓ/∂a[k], over all gates";
    return sumOf(
      `∂ℓ/∂h′[${u.unit}]`, formula, terms, (k) => (k < count ? termName(u, "W", k) : "∂ℓ/∂h·z"),
      "what goes back in time to this unit, from all units that read it", u.measure("h_before"),
    );
  }

  function memoryBeforeLine(u) {
    return productOf(
      `∂ℓ/∂c′[${u.unit}]`, "∂ℓ/∂c[j]·f[j]", [["∂ℓ/∂c", u.gradC], ["f", u.value("f")]],
      "what goes back through the memory: no matrix, only the forget gate", u.measure("c_before"),
    );
  }

  // Return this step's share of the gradient of a few weights of the unit.
  function weightLines(u) {
    const [h, x] = [u.vector("h_before"), u.vector("x")];
    const [from, input] = [strongestOf(h), strongestOf(x)];
    const gate = u.gates[strongestOf(u.gates.map((each) => u.gradA(each)))];
    const share = (letter, of, column, factors) => {
      const matrix = { W: "weight_hh", U: "weight_ih", b: "bias_ih" }[letter];
      const index = column === null ? [u.row(of)] : [u.row(of), column];
      const place = column === null ? `${u.unit}` : `${u.unit},${column}`;
      return productOf(
        `∂ℓ/∂${sub(letter, of)}[${place}]`, factors.map(([symbol]) => symbol).join("·"), factors,
        "this step's share of the gradient of one weight, an element of an outer product",
        u.step.measure(`layers.${u.depth}.${matrix}`, ...index),
      );
    };
    const byA = [`∂ℓ/∂${sub("a", gate)}`, u.gradA(gate)];
    return [
      ...u.gates.map((each) => {
        const name = each === "n" ? "∂ℓ/∂n_h" : `∂ℓ/∂${sub("a", each)}`;
        const by = [name, u.sums.fromH[u.row(each)]];
        return share("W", each, from, [by, [`h′[${from}]`, h[from]]]);
      }),
      share("U", gate, input, [byA, [`x[${input}]`, x[input]]]),
      share("b", gate, null, [byA]),
    ];
  }

  // Return {forward, backward: lines, guesses: [{token, probability, shown}], target}: the step that
  // reads token `at` of a trace, for one unit of layer `depth`. target: the token that comes next, or
  // null for the likeliest. At the end of a record no step is computed: null.
  charrnn.step = function (trace, { at, depth, unit, target = null }) {
    if (trace.isEnd(at)) return null;
    const { network } = trace;
    const likeliest = charrnn.probabilities(trace.logits(at), 0).indexOf(1);
    const step = new OneStep(network, trace.ids[at], target ?? likeliest, trace.state(at));
    const own = new UnitStep(step, depth, unit);
    const tokens = tokensOf(step);
    const parts = tokens.map((token) => step.values.p[token]);
    const digits = shareDigits([...parts, Math.max(1 - total(parts), 0)], 1);
    return {
      target: step.target,
      forward: forwardLines(own),
      backward: backwardLines(own),
      guesses: tokens.map((token, k) => ({ token, probability: parts[k], shown: digits[k] })),
    };
  };
})((globalThis.charrnn ??= {}));
