// The network in plain JavaScript: what the page computes when a text is edited. It needs no page:
// it runs in a worker. The equations are those of docs/equations.md, the names those of
// charrnn/generation/network.py and charrnn/interpret/, whose numbers it gives.
//
// T = tokens, V = vocabulary, E = embedding size, I = input size of a layer, H = hidden size,
// G = gates. Matrices are Float32Array by rows, sums are doubles, states are rounded to float32.
// A state is an array of layers {h} or, of an LSTM, {h, c}, each a Float32Array (H). Layers count
// from 0 here, and from 1 in the names of units: h2.17 is number 17 of h in layers[1].

(function (charrnn) {
  "use strict";

  // The gates of a cell in the order of its weights; n_h is W_n h + b_n, which r scales.
  const GATES = { rnn: [], lstm: ["i", "f", "g", "o"], gru: ["r", "z", "n"] };
  const KEPT = { rnn: [], lstm: GATES.lstm, gru: [...GATES.gru, "n_h"] };
  const MAX_PRODUCTS = 4_000_000; // numbers of input products that are kept, 16 MB

  // ---- weights -------------------------------------------------------------------------------

  // Return {name: Float32Array} from base64 of little-endian numbers. index: [{name, shape, start}],
  // start counted in numbers. dtype: "float32" or "float16".
  charrnn.decodeWeights = function (base64, index, dtype) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < bytes.length; k += 1) bytes[k] = text.charCodeAt(k);
    const view = new DataView(bytes.buffer);
    const numbers = new Float32Array(bytes.length / (dtype === "float16" ? 2 : 4));
    for (let k = 0; k < numbers.length; k += 1) {
      numbers[k] =
        dtype === "float16" ? fromHalf(view.getUint16(2 * k, true)) : view.getFloat32(4 * k, true);
    }
    const weights = {};
    for (const { name, shape, start } of index) {
      weights[name] = numbers.subarray(start, start + shape.reduce((a, b) => a * b, 1));
    }
    return weights;
  };

  // Return the number that 16 bits stand for (IEEE 754 binary16).
  function fromHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  // ---- products ------------------------------------------------------------------------------

  // out = matrix · x + bias, of a matrix (rows, x.length). Four rows at once: x is loaded once.
  function multiply(matrix, x, bias, out) {
    const columns = x.length;
    const rows = out.length;
    let r = 0;
    for (; r + 3 < rows; r += 4) {
      const first = r * columns;
      const second = first + columns;
      const third = second + columns;
      const fourth = third + columns;
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      for (let k = 0; k < columns; k += 1) {
        const each = x[k];
        a += matrix[first + k] * each;
        b += matrix[second + k] * each;
        c += matrix[third + k] * each;
        d += matrix[fourth + k] * each;
      }
      out[r] = a + bias[r];
      out[r + 1] = b + bias[r + 1];
      out[r + 2] = c + bias[r + 2];
      out[r + 3] = d + bias[r + 3];
    }
    for (; r < rows; r += 1) {
      let sum = bias[r];
      for (let k = 0; k < columns; k += 1) sum += matrix[r * columns + k] * x[k];
      out[r] = sum;
    }
    return out;
  }

  // Return matrixᵀ · x of a matrix (x.length, columns): a gradient goes back through it.
  function multiplyBack(matrix, x, columns) {
    const out = new Float64Array(columns);
    for (let r = 0; r < x.length; r += 1) {
      const each = x[r];
      if (each === 0) continue;
      const row = r * columns;
      for (let k = 0; k < columns; k += 1) out[k] += each * matrix[row + k];
    }
    return out;
  }

  const sigmoid = (a) => 1 / (1 + Math.exp(-a));

  // ---- cells ---------------------------------------------------------------------------------

  // Each takes the sums from the input and from the state (G·H), the layer's state before, and
  // writes the state after, and the gates.
  const STEPS = {
    rnn(fromX, fromH, before, after, gates, nonlinearity) {
      for (let j = 0; j < after.h.length; j += 1) {
        const a = fromX[j] + fromH[j];
        if (nonlinearity === "tanh") after.h[j] = Math.tanh(a);
        else after.h[j] = nonlinearity === "relu" ? Math.max(0, a) : sigmoid(a);
      }
    },

    lstm(fromX, fromH, before, after, gates) {
      const size = after.h.length;
      for (let j = 0; j < size; j += 1) {
        const i = sigmoid(fromX[j] + fromH[j]);
        const f = sigmoid(fromX[size + j] + fromH[size + j]);
        const g = Math.tanh(fromX[2 * size + j] + fromH[2 * size + j]);
        const o = sigmoid(fromX[3 * size + j] + fromH[3 * size + j]);
        after.c[j] = f * before.c[j] + i * g;
        after.h[j] = o * Math.tanh(after.c[j]);
        gates.i[j] = i;
        gates.f[j] = f;
        gates.g[j] = g;
        gates.o[j] = o;
      }
    },

    gru(fromX, fromH, before, after, gates) {
      const size = after.h.length;
      for (let j = 0; j < size; j += 1) {
        const r = sigmoid(fromX[j] + fromH[j]);
        const z = sigmoid(fromX[size + j] + fromH[size + j]);
        const recurrent = fromH[2 * size + j];
        const n = Math.tanh(fromX[2 * size + j] + r * recurrent);
        after.h[j] = n + z * (before.h[j] - n);
        gates.r[j] = r;
        gates.z[j] = z;
        gates.n[j] = n;
        gates.n_h[j] = recurrent;
      }
    },
  };

  // ---- the network ---------------------------------------------------------------------------

  // Return the network of a model file. config: the fields of charrnn.config.ModelConfig. weights:
  // {name: Float32Array}, by their names in a model file.
  charrnn.makeNetwork = (config, weights) => new Network(config, weights);

  class Network {
    constructor(config, weights) {
      this.config = config;
      this.weights = weights;
      this.end = config.has_end ? config.vocab_size - 1 : -1;
      this.scale = config.tie_embeddings ? Math.sqrt(config.embedding_size) : 1;
      this.layers = Array.from({ length: config.num_layers }, (_, depth) =>
        makeLayer(config, weights, depth),
      );
      this.output = weights[config.tie_embeddings ? "embedding.weight" : "output.weight"];
      this.projection = weights["projection.weight"];
      // The lowest layer has only V inputs: the product of each token that was read is kept.
      this.products = new Map();
      this.scratch = makeGates(this, 1).map((gates) => rowOf(gates, 0, config.hidden_size));
    }

    // Return the state before the text.
    initialState() {
      return this.layers.map((layer) => copyLayer(layer.initial));
    }

    // Return the state after one more token. clamps: [{unit: "c1.203", value}], see `applyClamps`.
    advance(token, state, clamps = []) {
      const after = state.map(copyLayer);
      this.step(token, state, after, this.scratch, parseClamps(clamps, this.config));
      return after;
    }

    // Write the state after a token into `after`, and the gates of each layer into `gates`.
    step(token, before, after, gates, clamps) {
      if (token === this.end) {
        this.layers.forEach((layer, depth) => {
          after[depth].h.set(layer.initial.h);
          after[depth].c?.set(layer.initial.c);
        });
        return;
      }
      const { cell, nonlinearity, residual } = this.config;
      let below = null;
      this.layers.forEach((layer, depth) => {
        const fromX = depth
          ? multiply(layer.weightIh, below, layer.biasIh, layer.fromX)
          : this.product(token);
        const fromH = multiply(layer.weightHh, before[depth].h, layer.biasHh, layer.fromH);
        STEPS[cell](fromX, fromH, before[depth], after[depth], gates[depth], nonlinearity);
        applyClamps(clamps, depth, after[depth], gates[depth]);
        below = residual && depth ? add(below, after[depth].h) : after[depth].h;
      });
    }

    // Return what a token adds to the gates of the lowest layer (G·H).
    product(token) {
      const found = this.products.get(token);
      if (found) return found;
      const { weightIh, biasIh } = this.layers[0];
      const product = multiply(weightIh, this.input(token), biasIh, new Float32Array(biasIh.length));
      if ((this.products.size + 1) * biasIh.length <= MAX_PRODUCTS) {
        this.products.set(token, product);
      }
      return product;
    }

    // Return what the lowest layer reads of a token (E).
    input(token) {
      const size = this.config.embedding_size;
      const row = this.weights["embedding.weight"].subarray(token * size, (token + 1) * size);
      return row.map((each) => each * this.scale);
    }

    // Return what the output layer reads of a state (H).
    features(state) {
      const top = state[state.length - 1].h;
      if (!this.config.residual) return top;
      return state.slice(1).reduce((sum, layer) => add(sum, layer.h), state[0].h);
    }

    // Return the logits of the next token (V).
    logits(state) {
      let features = this.features(state);
      if (this.projection) {
        const zeros = new Float32Array(this.config.embedding_size);
        features = multiply(this.projection, features, zeros, zeros.slice());
      }
      const bias = this.weights["output.bias"];
      return multiply(this.output, features, bias, new Float32Array(bias.length));
    }

    // Return the trace of a text. ids: (T). start: the state before it, else the initial one.
    // clamps: as in `advance`. gates: whether they are kept. from: an earlier trace, whose states
    // are taken over up to the first token that differs.
    read(ids, options = {}) {
      const trace = this.open(ids, options);
      trace.readMore(trace.length);
      return trace;
    }

    // Return the trace of a text of which nothing is read yet, but what `from` knows.
    open(ids, { start = null, clamps = [], gates = true, from = null } = {}) {
      return new Trace(this, ids, start ?? this.initialState(), clamps, gates, from);
    }
  }

  function makeLayer(config, weights, depth) {
    const size = config.hidden_size;
    const get = (name) => weights[`layers.${depth}.${name}`];
    const initial = get("initial");
    const biasIh = get("bias_ih");
    return {
      weightIh: get("weight_ih"),
      weightHh: get("weight_hh"),
      biasIh,
      biasHh: get("bias_hh"),
      initial:
        config.cell === "lstm"
          ? { h: initial.subarray(0, size), c: initial.subarray(size) }
          : { h: initial },
      fromX: new Float64Array(biasIh.length),
      fromH: new Float64Array(biasIh.length),
    };
  }

  const copyLayer = ({ h, c }) => (c ? { h: h.slice(), c: c.slice() } : { h: h.slice() });

  const add = (a, b) => a.map((each, k) => each + b[k]);

  // ---- clamps --------------------------------------------------------------------------------

  // Return {array, depth, unit, value} of each clamp, those of c first: a clamped h is what counts.
  function parseClamps(clamps, config) {
    const parsed = clamps.map(({ unit: name, value }) => {
      const [, array, layer, unit] = /^([hc])(\d+)\.(\d+)$/.exec(name) ?? [];
      const isKnown = layer >= 1 && layer <= config.num_layers && unit < config.hidden_size;
      if (!isKnown || (array === "c" && config.cell !== "lstm")) {
        throw new RangeError(
          `${name} is no unit of this network; give h or, of an LSTM, c, a layer from 1 to ` +
            `${config.num_layers} and a number from 0 to ${config.hidden_size - 1}, as in h1.0`,
        );
      }
      return { array, depth: layer - 1, unit: Number(unit), value };
    });
    return parsed.sort((a, b) => (a.array < b.array ? -1 : a.array > b.array ? 1 : 0));
  }

  // Set the clamped units of a layer's new state. A clamped c of an LSTM also changes h.
  function applyClamps(clamps, depth, after, gates) {
    for (const clamp of clamps) {
      if (clamp.depth !== depth) continue;
      after[clamp.array][clamp.unit] = clamp.value;
      if (clamp.array === "c") {
        after.h[clamp.unit] = gates.o[clamp.unit] * Math.tanh(after.c[clamp.unit]);
      }
    }
  }

  // ---- traces --------------------------------------------------------------------------------

  // A text that was read. states: of each layer {h, c}, Float32Array ((T + 1)·H): row 0 is the state
  // before the text, row t + 1 the state after ids[t]. gates: of each layer, by name, (T·H). At the
  // end of a record (`isEnd`) nothing is computed: the gates there are 0 and mean nothing.
  class Trace {
    constructor(network, ids, start, clamps, hasGates, from) {
      const { hidden_size: size } = network.config;
      this.network = network;
      this.ids = Int32Array.from(ids);
      this.length = this.ids.length;
      this.clamps = clamps;
      this.parsedClamps = parseClamps(clamps, network.config);
      this.states = start.map(({ h, c }) => {
        const rows = (this.length + 1) * size;
        const layer = { h: new Float32Array(rows) };
        layer.h.set(h);
        if (c) {
          layer.c = new Float32Array(rows);
          layer.c.set(c);
        }
        return layer;
      });
      this.gates = hasGates ? makeGates(network, this.length) : null;
      this.done = 0; // tokens that were read
      if (from) this.takeOver(from);
    }

    // Copy what an earlier trace has of the same beginning.
    takeOver(from) {
      const size = this.network.config.hidden_size;
      const isSame = (a, b) => a.every((each, k) => each === b[k]);
      if (
        from.network !== this.network ||
        (this.gates && !from.gates) ||
        JSON.stringify(from.clamps) !== JSON.stringify(this.clamps) ||
        !this.state(0).every((layer, depth) =>
          Object.keys(layer).every((name) => isSame(layer[name], from.state(0)[depth][name])),
        )
      ) {
        return;
      }
      const most = Math.min(from.done, this.length);
      while (this.done < most && this.ids[this.done] === from.ids[this.done]) this.done += 1;
      const copy = (to, old, rows) => {
        for (const name of Object.keys(to)) to[name].set(old[name].subarray(0, rows * size));
      };
      this.states.forEach((layer, depth) => copy(layer, from.states[depth], this.done + 1));
      this.gates?.forEach((layer, depth) => copy(layer, from.gates[depth], this.done));
    }

    // Read up to `count` more tokens.
    readMore(count) {
      const { network } = this;
      const size = network.config.hidden_size;
      const stop = Math.min(this.length, this.done + count);
      let before = this.state(this.done);
      for (let t = this.done; t < stop; t += 1) {
        const after = this.state(t + 1);
        const gates = this.gates?.map((layer) => rowOf(layer, t, size)) ?? network.scratch;
        network.step(this.ids[t], before, after, gates, this.parsedClamps);
        before = after;
      }
      this.done = stop;
    }

    // Return the state after `count` tokens, as views.
    state(count) {
      const size = this.network.config.hidden_size;
      return this.states.map((layer) => rowOf(layer, count, size));
    }

    // Return the logits (V) after token t; −1 is before the text.
    logits(t) {
      return this.network.logits(this.state(t + 1));
    }

    isEnd(t) {
      return this.ids[t] === this.network.end;
    }
  }

  function makeGates(network, length) {
    const { cell, hidden_size: size } = network.config;
    return network.layers.map(() =>
      Object.fromEntries(KEPT[cell].map((name) => [name, new Float32Array(length * size)])),
    );
  }

  // Return row `row` of each array of a layer, as views.
  function rowOf(layer, row, size) {
    const views = {};
    for (const name in layer) views[name] = layer[name].subarray(row * size, (row + 1) * size);
    return views;
  }

  // ---- probabilities -------------------------------------------------------------------------

  // Return softmax(logits / temperature) (V), doubles. At temperature 0 the likeliest has 1.
  charrnn.probabilities = function (logits, temperature = 1) {
    const found = new Float64Array(logits.length);
    let most = 0;
    for (let k = 1; k < logits.length; k += 1) if (logits[k] > logits[most]) most = k;
    if (temperature === 0) {
      found[most] = 1;
      return found;
    }
    let total = 0;
    for (let k = 0; k < logits.length; k += 1) {
      found[k] = Math.exp((logits[k] - logits[most]) / temperature);
      total += found[k];
    }
    return found.map((each) => each / total);
  };
})((globalThis.charrnn ??= {}));
