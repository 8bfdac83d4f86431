// The network in plain JavaScript: what a page computes when a text is edited or written. It needs no
// page: it runs in a worker. The equations are those of docs/equations.md, the names those of
// charrnn/generation/network.py and charrnn/interpret/, whose numbers it gives.
//
// T = tokens, V = vocabulary, E = embedding size, I = input size of a layer, H = hidden size,
// G = gates. Matrices are Float32Array by rows, sums are doubles, states are rounded to float32.
// A state is an array of layers {h} or, of an LSTM, {h, c}, each a Float32Array (H). Layers count
// from 0 here, and from 1 in the names of units: h2.17 is number 17 of h in layers[1]. With n-grams
// one more entry follows the layers: {context}, the keys of the last tokens, newest first.

(function (charrnn) {
  "use strict";

  // The gates of a cell in the order of its weights; n_h is W_n h + b_n, which r scales.
  const GATES = { rnn: [], lstm: ["i", "f", "g", "o"], gru: ["r", "z", "n", "n_h"] };
  const MAX_PRODUCTS = 4_000_000; // numbers of input products that are kept, 32 MB
  const [STEP, TO_BUCKET, TO_CHECK] = [0x2c9277b5, 0x5bd1e995, 0x27d4eb2f]; // of charrnn/text/ngrams.py
  const BUCKET = 4;

  // ---- weights

  // Return {name: Float32Array} from base64, as charrnn/web/weights.py packs weights.
  charrnn.decodeWeights = function (base64, index, dtype) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < bytes.length; k += 1) bytes[k] = text.charCodeAt(k);
    const view = new DataView(bytes.buffer);
    const read = {
      float32: (start, k) => view.getFloat32(4 * (start + k), true),
      float16: (start, k) => fromHalf(view.getUint16(2 * (start + k), true)),
    }[dtype];
    const weights = {};
    for (const { name, shape, start, scales, whole } of index) {
      const size = shape.reduce((a, b) => a * b, 1);
      if (whole !== undefined) weights[name] = decodeWhole(bytes, whole, size);
      else if (scales !== undefined) weights[name] = decodeInt8(view, start, scales, shape);
      else {
        weights[name] = new Float32Array(size);
        for (let k = 0; k < size; k += 1) weights[name][k] = read(start, k);
      }
    }
    return weights;
  };

  // Return a matrix of 8 bits, whose rows have scales.
  function decodeInt8(view, start, scales, [rows, columns]) {
    const array = new Float32Array(rows * columns);
    for (let r = 0; r < rows; r += 1) {
      const scale = view.getFloat32(scales + 4 * r, true);
      for (let k = r * columns; k < (r + 1) * columns; k += 1) array[k] = view.getInt8(start + k) * scale;
    }
    return array;
  }

  // Return whole numbers as charrnn/web/weights.py packs them, from byte `at` on: a bit for each says
  // whether it is there, else it is −1; then come those that are, in three bytes each.
  function decodeWhole(bytes, at, size) {
    const numbers = new Float32Array(size).fill(-1);
    let next = at + Math.ceil(size / 8);
    for (let k = 0; k < size; k += 1) {
      if (!((bytes[at + (k >> 3)] >> (k & 7)) & 1)) continue;
      numbers[k] = bytes[next] | (bytes[next + 1] << 8) | (bytes[next + 2] << 16);
      next += 3;
    }
    return numbers;
  }

  // Return the number that 16 bits stand for (IEEE 754 binary16).
  function fromHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  // ---- products

  // Return matrix · x + bias, doubles, of a matrix (rows, x.length). out: where to write them. Eight
  // rows at once, so that x is loaded once; x as doubles, so that the loop sees one type of numbers.
  function multiply(matrix, x, bias, out = new Float64Array(bias.length)) {
    const input = new Float64Array(x);
    const columns = input.length;
    const rows = out.length;
    let r = 0;
    for (; r + 7 < rows; r += 8) {
      const at = r * columns;
      const [r1, r2, r3] = [at + columns, at + 2 * columns, at + 3 * columns];
      const [r4, r5, r6, r7] = [at + 4 * columns, at + 5 * columns, at + 6 * columns, at + 7 * columns];
      let [a, b, c, d] = [bias[r], bias[r + 1], bias[r + 2], bias[r + 3]];
      let [e, f, g, h] = [bias[r + 4], bias[r + 5], bias[r + 6], bias[r + 7]];
      for (let k = 0; k < columns; k += 1) {
        const each = input[k];
        a += matrix[at + k] * each;
        b += matrix[r1 + k] * each;
        c += matrix[r2 + k] * each;
        d += matrix[r3 + k] * each;
        e += matrix[r4 + k] * each;
        f += matrix[r5 + k] * each;
        g += matrix[r6 + k] * each;
        h += matrix[r7 + k] * each;
      }
      out[r] = a;
      out[r + 1] = b;
      out[r + 2] = c;
      out[r + 3] = d;
      out[r + 4] = e;
      out[r + 5] = f;
      out[r + 6] = g;
      out[r + 7] = h;
    }
    for (; r < rows; r += 1) {
      let sum = bias[r];
      for (let k = 0; k < columns; k += 1) sum += matrix[r * columns + k] * input[k];
      out[r] = sum;
    }
    return out;
  }

  const sigmoid = (a) => 1 / (1 + Math.exp(-a));

  // ---- cells

  // Each takes the sums from the input and from the state (G·H), and writes the layer's next state
  // and its gates.
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

  // ---- n-grams

  // The table of n-grams of a model, as charrnn/text/ngrams.py has it: the last 2, 3, … N tokens are
  // hashed to a bucket of rows and a check, and have an embedding if a row there keeps that check.
  // `weight` has the rows with an n-gram alone, in their order.
  class NGrams {
    constructor(config, weights) {
      this.weight = weights["ngrams.weight"];
      this.check = weights["ngrams.check"];
      this.key = weights["ngrams.key"];
      this.size = config.embedding_size;
      this.reach = config.ngram_order - 1; // tokens before the newest
      this.places = new Int32Array(this.check.length); // of rows in `weight`
      let kept = 0;
      this.check.forEach((check, row) => (this.places[row] = check < 0 ? -1 : kept++));
    }

    // Return the embeddings (E) of the n-grams of 2, 3, … N tokens that end with a token; null for one
    // that has none. context: before the token.
    find(token, context) {
      let code = this.key[token];
      return Array.from(context, (key) => {
        code = (Math.imul(code, STEP) + key) >>> 0;
        const check = Math.imul(code, TO_CHECK) >>> 8;
        const first = BUCKET * scaledDown(Math.imul(code, TO_BUCKET) >>> 0, this.check.length / BUCKET);
        for (let row = first; row < first + BUCKET; row += 1) {
          if (this.check[row] === check) return this.embedding(row);
        }
        return null;
      });
    }

    embedding(row) {
      const start = this.places[row] * this.size;
      return this.weight.subarray(start, start + this.size);
    }

    // Write the context after a token into `after`.
    shift(token, before, after) {
      after.set(before.subarray(0, this.reach - 1), 1);
      after[0] = this.key[token];
    }
  }

  // Return ⌊bits · count / 2³²⌋ of 32 bits, by halves of them: a double is exact up to 2⁵³.
  const scaledDown = (bits, count) =>
    Math.floor(((bits >>> 16) * count + Math.floor(((bits & 0xffff) * count) / 2 ** 16)) / 2 ** 16);

  // ---- the network

  // Return the network of a model file. config: the fields of charrnn.config.ModelConfig. weights:
  // {name: Float32Array}, by their names in a model file.
  charrnn.makeNetwork = (config, weights) => new Network(config, weights);

  class Network {
    constructor(config, weights) {
      this.config = config;
      this.weights = weights;
      this.end = config.has_end ? config.vocab_size - 1 : -1;
      this.scale = config.tie_embeddings ? Math.sqrt(config.embedding_size) : 1;
      this.layers = [...Array(config.num_layers).keys()].map((depth) =>
        makeLayer(config, weights, depth),
      );
      this.output = weights[config.tie_embeddings ? "embedding.weight" : "output.weight"];
      this.projection = weights["projection.weight"];
      this.ngrams = config.ngram_rows ? new NGrams(config, weights) : null;
      // Without n-grams the lowest layer has only V inputs: their products are kept once computed.
      this.products = new Map();
      this.scratch = makeGates(this, 1).map((gates) => rowOf(gates, 0, config.hidden_size));
    }

    // Return the state before the text.
    initialState() {
      const layers = this.layers.map((layer) => copyLayer(layer.initial));
      return this.ngrams ? [...layers, { context: new Float32Array(this.ngrams.reach) }] : layers;
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
        this.layers.forEach(({ initial }, depth) => {
          for (const name in initial) after[depth][name].set(initial[name]);
        });
        contextOf(after)?.fill(0);
        return;
      }
      const { cell, nonlinearity, residual } = this.config;
      let below = null;
      const context = contextOf(before);
      this.ngrams?.shift(token, context, contextOf(after));
      this.layers.forEach((layer, depth) => {
        const fromX = depth
          ? multiply(layer.weightIh, below, layer.biasIh, layer.fromX)
          : this.product(token, context);
        const fromH = multiply(layer.weightHh, before[depth].h, layer.biasHh, layer.fromH);
        STEPS[cell](fromX, fromH, before[depth], after[depth], gates[depth], nonlinearity);
        applyClamps(clamps, depth, after[depth], gates[depth]);
        below = residual && depth ? add(below, after[depth].h) : after[depth].h;
      });
    }

    // Return what the lowest layer reads (E), doubles: the embedding of a token and, with n-grams,
    // those of the n-grams that end with it.
    input(token, context = null) {
      const size = this.config.embedding_size;
      const row = this.weights["embedding.weight"].subarray(token * size, (token + 1) * size);
      const x = Float64Array.from(row, (each) => each * this.scale);
      for (const added of this.ngrams?.find(token, context) ?? []) {
        if (added) for (let k = 0; k < size; k += 1) x[k] += added[k];
      }
      return x;
    }

    // Return what a token and its n-grams add to the gates of the lowest layer (G·H).
    product(token, context) {
      const { weightIh, biasIh, fromX } = this.layers[0];
      if (this.ngrams) return multiply(weightIh, this.input(token, context), biasIh, fromX);
      const found = this.products.get(token);
      if (found) return found;
      const product = multiply(weightIh, new Float32Array(this.input(token)), biasIh);
      const isKept = (this.products.size + 1) * product.length <= MAX_PRODUCTS;
      if (isKept) this.products.set(token, product);
      return product;
    }

    // Return what the output layer reads of a state (H).
    features(state) {
      const layers = state.slice(0, this.layers.length);
      if (!this.config.residual) return layers[layers.length - 1].h;
      return layers.slice(1).reduce((sum, layer) => add(sum, layer.h), layers[0].h);
    }

    // Return the logits of the next token (V).
    logits(state) {
      let features = this.features(state);
      if (this.projection) {
        const zeros = new Float32Array(this.config.embedding_size);
        features = multiply(this.projection, features, zeros);
      }
      return new Float32Array(multiply(this.output, features, this.weights["output.bias"]));
    }

    // Return the trace of a text. ids: (T). start: the state before it, else the initial one.
    // clamps: as in `advance`. gates: whether they are kept. from: an earlier trace, whose states
    // are copied up to the first token that differs.
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
    const rows = get("bias_ih").length;
    return {
      weightIh: get("weight_ih"),
      weightHh: get("weight_hh"),
      biasIh: get("bias_ih"),
      biasHh: get("bias_hh"),
      initial: {
        h: initial.subarray(0, size),
        ...(config.cell === "lstm" && { c: initial.subarray(size) }),
      },
      fromX: new Float64Array(rows),
      fromH: new Float64Array(rows),
    };
  }

  // Return an entry of a state, {h, c}, {h} or {context}, with each array changed.
  const changeParts = ({ h, c, context }, change) => {
    if (context) return { context: change(context) };
    return c ? { h: change(h), c: change(c) } : { h: change(h) };
  };

  // Return the keys of the last tokens, of a network with n-grams.
  const contextOf = (state) => state[state.length - 1].context;

  const copyLayer = (layer) => changeParts(layer, (array) => array.slice());

  const add = (a, b) => a.map((each, k) => each + b[k]);

  // ---- clamps

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
    return parsed.sort((a, b) => (a.array > b.array) - (a.array < b.array));
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

  // ---- traces

  // A text that was read. states: of each layer {h, c}, ((T + 1)·H): row 0 is the state before the
  // text, row t + 1 that after ids[t]. contexts: with n-grams the same of the last tokens, else null.
  // gates: of each layer, by name, (T·H). At the end of a record (`isEnd`) nothing is computed: the
  // gates there are 0 and mean nothing.
  class Trace {
    constructor(network, ids, start, clamps, hasGates, from) {
      this.network = network;
      this.ids = Int32Array.from(ids);
      this.length = this.ids.length;
      this.clamps = clamps;
      this.parsedClamps = parseClamps(clamps, network.config);
      const withRows = (first) => {
        const rows = new Float32Array((this.length + 1) * first.length);
        rows.set(first);
        return rows;
      };
      const rows = start.map((layer) => changeParts(layer, withRows));
      this.states = rows.slice(0, network.layers.length);
      this.contexts = network.ngrams && contextOf(rows);
      this.gates = hasGates ? makeGates(network, this.length) : null;
      this.done = 0; // tokens that were read
      if (from) this.takeOver(from);
    }

    // Copy what an earlier trace has of the same beginning.
    takeOver(from) {
      const size = this.network.config.hidden_size;
      const start = (trace) => JSON.stringify([trace.clamps, trace.state(0)]);
      if (from.network !== this.network || (this.gates && !from.gates)) return;
      if (start(from) !== start(this)) return;
      const most = Math.min(from.done, this.length);
      while (this.done < most && this.ids[this.done] === from.ids[this.done]) this.done += 1;
      const copy = (to, old, rows) => {
        for (const name of Object.keys(to)) to[name].set(old[name].subarray(0, rows * size));
      };
      this.states.forEach((layer, depth) => copy(layer, from.states[depth], this.done + 1));
      this.contexts?.set(from.contexts.subarray(0, (this.done + 1) * this.network.ngrams.reach));
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
      const layers = this.states.map((layer) => rowOf(layer, count, size));
      if (!this.contexts) return layers;
      return [...layers, rowOf({ context: this.contexts }, count, this.network.ngrams.reach)];
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
      Object.fromEntries(GATES[cell].map((name) => [name, new Float32Array(length * size)])),
    );
  }

  // Return row `row` of each array of a layer, as views.
  function rowOf(layer, row, size) {
    const views = {};
    for (const name in layer) views[name] = layer[name].subarray(row * size, (row + 1) * size);
    return views;
  }

  // ---- probabilities

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

  // ---- sampling

  // Return a function that gives numbers in [0, 1): mulberry32 (Tommy Ettinger, public domain).
  charrnn.makeRandom = function (seed) {
    let state = seed >>> 0;
    return function () {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  };

  // Return the token where the probabilities, summed by id, pass uniform, in [0, 1).
  charrnn.sampleToken = function (logits, uniform, temperature = 1) {
    const probabilities = charrnn.probabilities(logits, temperature);
    const total = probabilities.reduce((sum, each) => sum + each, 0);
    let reached = 0;
    for (let token = 0; token < probabilities.length; token += 1) {
      reached += probabilities[token];
      if (reached > uniform * total) return token;
    }
    return probabilities.length - 1;
  };

  // Return {ids, state}: what the network writes on after a state, and the state after that.
  // uniforms: one number for each token; without them they come from `makeRandom(seed)`.
  charrnn.sample = function (network, start, options) {
    const { count, temperature = 1, seed = 0, uniforms = null, clamps = [] } = options;
    const random = charrnn.makeRandom(seed);
    const ids = new Int32Array(count);
    let state = start;
    for (let k = 0; k < count; k += 1) {
      const uniform = uniforms ? uniforms[k] : random();
      ids[k] = charrnn.sampleToken(network.logits(state), uniform, temperature);
      state = network.advance(ids[k], state, clamps);
    }
    return { ids, state };
  };

  Object.assign(charrnn, { multiply, add, changeParts }); // for gradients.js and step.js
})((globalThis.charrnn ??= {}));
