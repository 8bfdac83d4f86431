// Gradients through a text that network.js has read, and what is left of each token in the memory. The
// numbers are those of charrnn/interpret/.
//
// T = tokens, V = vocabulary, H = hidden size, G = gates.

(function (charrnn) {
  "use strict";

  const { multiply, add, changeParts } = charrnn;

  // Return matrixᵀ · x, doubles, of a matrix (x.length, columns): a gradient goes back through it.
  function multiplyBack(matrix, x, columns) {
    const grads = new Float64Array(x);
    const out = new Float64Array(columns);
    const fours = grads.length - (grads.length % 4);
    for (let r = 0; r < fours; r += 4) {
      const a = grads[r];
      const b = grads[r + 1];
      const c = grads[r + 2];
      const d = grads[r + 3];
      let first = r * columns;
      let second = first + columns;
      let third = second + columns;
      let fourth = third + columns;
      for (let k = 0; k < columns; k += 1) {
        out[k] += a * matrix[first++] + b * matrix[second++];
        out[k] += c * matrix[third++] + d * matrix[fourth++];
      }
    }
    for (let r = fours; r < grads.length; r += 1) {
      for (let k = 0; k < columns; k += 1) out[k] += grads[r] * matrix[r * columns + k];
    }
    return out;
  }

  // ---- backwards

  // Each takes the gradients {h, c} by a layer's state after token t, and t·H. It adds to grad.c what
  // reaches c through h, and returns the gradients by the sums from the input and from the state
  // (G·H), and `rest`: what reaches the state before the token without going through the sums.
  const BACK = {
    rnn(grad, { h }, gates, at, nonlinearity) {
      const size = grad.h.length;
      const sums = grad.h.map((each, j) => each * slopeOf(nonlinearity, h[at + size + j]));
      return { fromX: sums, fromH: sums, rest: { h: new Float64Array(size) } };
    },

    lstm(grad, states, gates, at) {
      const size = grad.h.length;
      const sums = new Float64Array(4 * size);
      const rest = { h: new Float64Array(size), c: new Float64Array(size) };
      for (let j = 0; j < size; j += 1) {
        const [i, f, g, o] = [gates.i[at + j], gates.f[at + j], gates.g[at + j], gates.o[at + j]];
        const tanhC = Math.tanh(states.c[at + size + j]);
        grad.c[j] += grad.h[j] * o * (1 - tanhC * tanhC);
        sums[j] = grad.c[j] * g * i * (1 - i);
        sums[size + j] = grad.c[j] * states.c[at + j] * f * (1 - f);
        sums[2 * size + j] = grad.c[j] * i * (1 - g * g);
        sums[3 * size + j] = grad.h[j] * tanhC * o * (1 - o);
        rest.c[j] = grad.c[j] * f;
      }
      return { fromX: sums, fromH: sums, rest };
    },

    gru(grad, states, gates, at) {
      const size = grad.h.length;
      const fromX = new Float64Array(3 * size);
      const fromH = new Float64Array(3 * size);
      const rest = { h: new Float64Array(size) };
      for (let j = 0; j < size; j += 1) {
        const [r, z, n] = [gates.r[at + j], gates.z[at + j], gates.n[at + j]];
        const byN = grad.h[j] * (1 - z) * (1 - n * n);
        fromX[j] = byN * gates.n_h[at + j] * r * (1 - r);
        fromX[size + j] = grad.h[j] * (states.h[at + j] - n) * z * (1 - z);
        fromX[2 * size + j] = byN;
        fromH[j] = fromX[j];
        fromH[size + j] = fromX[size + j];
        fromH[2 * size + j] = byN * r;
        rest.h[j] = grad.h[j] * z;
      }
      return { fromX, fromH, rest };
    },
  };

  function slopeOf(nonlinearity, h) {
    if (nonlinearity === "tanh") return 1 - h * h;
    return nonlinearity === "relu" ? Number(h > 0) : h * (1 - h);
  }

  // Go back over token t. state: the gradients by the state after it. features: by what the output
  // layer reads after it (H). Return {state, whole, sums, x}: by the state before the token, by that
  // after it with what reaches it within the step (h from the layers above, c from h), by the sums,
  // and by the token's row of the embedding.
  function back(trace, t, state, features) {
    const { config, layers, scale } = trace.network;
    const size = config.hidden_size;
    const [before, whole, sums] = [[], [], []];
    let top = features;
    for (let depth = layers.length - 1; depth >= 0; depth -= 1) {
      const layer = layers[depth];
      const grad = { ...state[depth], h: add(state[depth].h, top) };
      const { fromX, fromH, rest } = BACK[config.cell](
        grad, trace.states[depth], trace.gates[depth], t * size, config.nonlinearity,
      );
      rest.h = add(rest.h, multiplyBack(layer.weightHh, fromH, size));
      before[depth] = rest;
      whole[depth] = grad;
      sums[depth] = { fromX, fromH };
      const below = multiplyBack(layer.weightIh, fromX, depth ? size : config.embedding_size);
      top = config.residual && depth ? add(top, below) : below;
    }
    return { state: before, whole, sums, x: top.map((each) => each * scale) };
  }

  // Return the gradient by what the output layer reads (H) from that by the logits (V).
  function gradFeatures({ config, output, projection }, gradLogits) {
    const { embedding_size: width, hidden_size: size } = config;
    if (!projection) return multiplyBack(output, gradLogits, size);
    return multiplyBack(projection, multiplyBack(output, gradLogits, width), size);
  }

  // Call visit(s, step) for s = t, t − 1, … to `first`, or to after the last end, with what `back`
  // returns over token s. gradLogits: the gradient of a loss by the logits after token t (V).
  function goBack(whole, t, gradLogits, first, visit) {
    const { trace, offset } = charrnn.withGates(whole, first, t + 1);
    const size = trace.network.config.hidden_size;
    const zeros = () => new Float64Array(size);
    let features = gradFeatures(trace.network, gradLogits);
    let state = trace.states.map((layer) => changeParts(layer, zeros));
    for (let s = t; s >= first && !whole.isEnd(s); s -= 1) {
      const step = back(trace, s - offset, state, features);
      visit(s, step);
      state = step.state;
      features = zeros();
    }
  }

  // Return {trace, offset}: a trace with gates from token `first` to before `stop`, which is read
  // again from the state there if gates were not kept; its token 0 is token `offset` of the text.
  charrnn.withGates = function (trace, first, stop) {
    if (trace.gates) return { trace, offset: 0 };
    const { network, clamps } = trace;
    const start = trace.state(first);
    const part = network.read(trace.ids.subarray(first, stop), { start, clamps });
    return { trace: part, offset: first };
  };

  // Return what the logit of `token` after token t rests on: ‖∂ z_t[token] / ∂ x_s‖₂ for each
  // s = 0 … t, where x_s is token s as a one-hot vector (V). reach: how many tokens to go back.
  charrnn.links = function (trace, t, token, reach = Infinity) {
    const { config, weights } = trace.network;
    const gradLogits = new Float64Array(config.vocab_size);
    gradLogits[token] = 1;
    const found = new Float64Array(t + 1);
    const embedding = weights["embedding.weight"];
    const zeros = new Float32Array(config.vocab_size);
    goBack(trace, t, gradLogits, Math.max(0, t + 1 - reach), (s, { x }) => {
      found[s] = norm(multiply(embedding, x, zeros));
    });
    return found;
  };

  // Return, of each layer, {h, c}: by distance k = 0, 1, … ‖∂ ℓ / ∂ s‖₂, where s is h or c after
  // token t − k and ℓ = −ln p of `target` after token t.
  charrnn.gradients = function (trace, t, target, reach = Infinity) {
    const gradLogits = charrnn.probabilities(trace.logits(t));
    gradLogits[target] -= 1;
    const norms = trace.states.map((layer) => changeParts(layer, () => []));
    goBack(trace, t, gradLogits, Math.max(0, t + 1 - reach), (_, { whole }) => {
      norms.forEach((layer, depth) => {
        for (const name in layer) layer[name].push(norm(whole[depth][name]));
      });
    });
    return norms;
  };

  const norm1 = (x) => x.reduce((sum, each) => sum + Math.abs(each), 0);

  const norm = (x) => Math.sqrt(x.reduce((sum, each) => sum + each * each, 0));

  // ---- the ledger of the memory

  // Return what is left, after token t, of what each token wrote into layer `depth`: {norms: ‖m_s‖₁
  // of s = 0 … t, initial: that of the state before the text, residual: how far the sum of all parts
  // is from the memory, relative to its length}. LSTM: m_s = f_t ⊙ … ⊙ f_{s+1} ⊙ i_s ⊙ g_s. GRU: z in
  // f's place, (1 − z_s) ⊙ n_s in i_s ⊙ g_s's. The end of a record keeps nothing and writes the
  // initial state. groups: for each token the number of its word, whose parts are added up before
  // the norm is taken; it stands at the word's last token. Null for a cell rnn, which has no parts.
  charrnn.ledger = function (whole, depth, t, groups = null) {
    const { config } = whole.network;
    if (config.cell === "rnn") return null;
    const { trace } = charrnn.withGates(whole, 0, t + 1);
    const size = config.hidden_size;
    const gates = trace.gates[depth];
    const isLstm = config.cell === "lstm";
    const keep = isLstm ? gates.f : gates.z;
    const memory = isLstm ? trace.states[depth].c : trace.states[depth].h;
    const coefficient = new Float64Array(size).fill(1);
    const sum = new Float64Array(size);
    const norms = new Float64Array(t + 1);
    let part = new Float64Array(size);
    let last = t; // of the group that is added up
    for (let s = t; s >= 0; s -= 1) {
      if (!groups || groups[s] !== groups[last]) {
        last = s;
        part = new Float64Array(size);
      }
      const isEnd = whole.isEnd(s);
      for (let j = 0; j < size; j += 1) {
        const k = s * size + j;
        let written = isLstm ? gates.i[k] * gates.g[k] : (1 - keep[k]) * gates.n[k];
        if (isEnd) written = memory[k + size];
        part[j] += coefficient[j] * written;
        sum[j] += coefficient[j] * written;
        coefficient[j] *= isEnd ? 0 : keep[k];
      }
      norms[last] = norm1(part);
      if (isEnd) break;
    }
    const first = coefficient.map((each, j) => each * memory[j]);
    const found = memory.subarray(t * size + size, t * size + 2 * size);
    const residual = norm(first.map((each, j) => sum[j] + each - found[j])) / (norm(found) || 1);
    const initial = norm1(first);
    return { norms, initial, residual };
  };

  Object.assign(charrnn, { multiplyBack, back, gradFeatures }); // for step.js
})((globalThis.charrnn ??= {}));
