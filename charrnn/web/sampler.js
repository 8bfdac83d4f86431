// Writing with a network: labels, and the settings that choose a token. It needs no page: it runs in
// a worker. network.js has the network, tokens.js texts as tokens.
//
// V = vocabulary, H = hidden size, G = gates, A = size of a label's embedding.

(function (charrnn) {
  "use strict";

  const SLICE_MS = 50; // of work, between which messages are answered
  const SLICE_PIECES = 1000; // more at once take a page longer to show than that
  const LIKELIEST = 5;

  // Return the weights of texts with labels, given as rows of the table of labels, from 0. As every
  // label adds constants, a network with its labels fixed is one without labels.
  charrnn.withLabels = function (config, weights, rows) {
    const { label_size: size, hidden_size: hidden, num_layers: layers } = config;
    if (!rows.length) return weights;
    const embedding = new Float64Array(size);
    for (const row of rows) {
      for (let k = 0; k < size; k += 1) embedding[k] += weights["labels.weight"][row * size + k];
    }
    const moved = (array, matrix, count) => {
      const result = array.slice();
      for (let r = 0; r < count; r += 1) {
        let sum = 0;
        for (let k = 0; k < size; k += 1) sum += matrix[r * size + k] * embedding[k];
        result[r] += sum;
      }
      return result;
    };
    const changed = {};
    for (let depth = 0; depth < layers; depth += 1) {
      const get = (name) => weights[`layers.${depth}.${name}`];
      const bias = get("bias_ih");
      changed[`layers.${depth}.bias_ih`] = moved(bias, get("weight_label"), bias.length);
      changed[`layers.${depth}.initial`] = moved(get("initial"), get("initial_label"), hidden);
    }
    return { ...weights, ...changed };
  };

  // Return the token that uniform, in [0, 1), chooses: the temperature, then top-k, then top-p.
  charrnn.chooseToken = function (logits, { temperature, topK = 0, topP = 1 }, uniform) {
    const p = charrnn.probabilities(logits, temperature);
    if (topK > 0 || topP < 1) {
      const order = [...p.keys()].sort((a, b) => p[b] - p[a] || a - b);
      const most = topK > 0 ? Math.min(topK, p.length) : p.length;
      const limit = topP * order.slice(0, most).reduce((sum, token) => sum + p[token], 0);
      let kept = 0;
      for (let reached = 0; kept < most && reached < limit; kept += 1) reached += p[order[kept]];
      for (const token of order.slice(Math.max(kept, 1))) p[token] = 0;
    }
    const total = p.reduce((sum, each) => sum + each, 0);
    let reached = 0;
    let last = 0;
    for (let token = 0; token < p.length; token += 1) {
      if (!p[token]) continue;
      reached += p[token];
      last = token;
      if (reached > uniform * total) break;
    }
    return last;
  };

  // Return [token, p] of the likeliest tokens, the likeliest first.
  function likeliestOf(p) {
    const found = [];
    for (let token = 0; token < p.length; token += 1) {
      if (found.length === LIKELIEST && p[token] <= found[LIKELIEST - 1][1]) continue;
      let k = found.length;
      while (k > 0 && p[token] > found[k - 1][1]) k -= 1;
      found.splice(k, 0, [token, p[token]]);
      found.length = Math.min(found.length, LIKELIEST);
    }
    return found;
  }

  // Return a function from tokens, one by one, to pieces {text, tokens, p, likeliest} of one character
  // or more. The bytes of a character wait for its last one. p: how likely the piece was.
  charrnn.makePieceStream = function (model) {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let open = null; // the piece of a character whose bytes are not all there
    return (token, p, likeliest) => {
      const byte = model.first_byte >= 0 ? token - model.first_byte : -1;
      if (byte < 0 || byte > 255) {
        const cut = open ? [{ ...open, text: decoder.decode() }] : [];
        open = null;
        const text = token === model.end ? model.separator : model.texts[token];
        return [...cut, { text, tokens: [token], p, likeliest }];
      }
      const piece = open
        ? { ...open, tokens: [...open.tokens, token], p: open.p * p }
        : { tokens: [token], p, likeliest };
      const text = decoder.decode(new Uint8Array([byte]), { stream: true });
      open = text ? null : piece;
      return text ? [{ ...piece, text }] : [];
    };
  };

  // Return a function that holds pieces back as long as they may begin the text `stop`. It returns
  // {pieces, isStop}: those that are free now, and whether `stop` is complete. Its `rest` returns
  // those that are still held.
  charrnn.makeStop = function (stop) {
    let held = [];
    const release = (piece) => {
      if (!stop) return { pieces: [piece], isStop: false };
      held.push(piece);
      const text = held.map((each) => each.text).join("");
      const at = text.indexOf(stop);
      let wanted = at < 0 ? text.length : at; // characters that are free
      if (at < 0) {
        for (let k = Math.min(stop.length - 1, text.length); k > 0 && wanted === text.length; k -= 1) {
          if (text.endsWith(stop.slice(0, k))) wanted -= k;
        }
      }
      const pieces = [];
      while (held.length && held[0].text.length <= wanted) {
        wanted -= held[0].text.length;
        pieces.push(held.shift());
      }
      return { pieces, isStop: at >= 0 };
    };
    return Object.assign(release, { rest: () => held });
  };

  // Return the network of texts with labels, as `charrnn.withLabels` takes them.
  charrnn.openPageNetwork = (model, decoded, rows) =>
    charrnn.makeNetwork(
      { ...model.config, label_count: 0, label_size: 0 },
      charrnn.withLabels(model.config, decoded, rows),
    );

  // Return {write(message), stop(), wasShown()}: a writer of a model, which calls post(message) with
  // what it writes, and waits until that was shown. model: the data of the page. weights: their text.
  charrnn.makeWriter = function (model, weights, post) {
    const decoded = charrnn.decodeWeights(weights, model.index, model.dtype);
    let run = 0;
    let unshown = 0; // messages with pieces
    let wake = () => {};
    let network = null;
    let labels = null;
    let kept = null; // {state, random, stream} after the last text

    // Write up to `length` characters. ids: what is read first, from the start of a text; null goes
    // on after the last one. Posts {pieces}, and at last {reason, chars, seconds, isRead} or {error}.
    // isRead: whether null can go on from there.
    async function write({ ids, rows, length, temperature, topK, topP, stop, seed }) {
      halt();
      const own = run;
      unshown = 0;
      const hasMore = async () => {
        await new Promise((resolve) => setTimeout(resolve, 0));
        while (unshown > 0 && own === run) await new Promise((resolve) => (wake = resolve));
        return own === run;
      };
      if (ids) {
        const key = JSON.stringify(rows);
        if (key !== labels) network = charrnn.openPageNetwork(model, decoded, rows);
        labels = key;
        kept = null;
        const random = charrnn.makeRandom(seed);
        let state = network.initialState();
        const read = ids.length ? ids : [Math.floor(random() * model.texts.length)];
        let until = performance.now() + SLICE_MS;
        for (let k = 0; k < read.length; k += 1) {
          state = network.advance(read[k], state);
          if (performance.now() < until) continue;
          post({ read: k + 1, of: read.length });
          if (await hasMore()) {
            until = performance.now() + SLICE_MS;
            continue;
          }
          post({ reason: "stopped", chars: 0, seconds: 0, isRead: false });
          return;
        }
        kept = { state, random, stream: charrnn.makePieceStream(model) };
      }
      const begun = performance.now();
      const release = charrnn.makeStop(stop);
      let chars = 0;
      let reason = "";
      while (!reason) {
        const until = performance.now() + (chars ? SLICE_MS : 0); // the first character at once
        const pieces = [];
        do {
          const logits = network.logits(kept.state);
          const p = charrnn.probabilities(logits);
          const token = charrnn.chooseToken(logits, { temperature, topK, topP }, kept.random());
          kept.state = network.advance(token, kept.state);
          for (const piece of kept.stream(token, p[token], likeliestOf(p))) {
            const { pieces: free, isStop } = release(piece);
            pieces.push(...free);
            chars += [...piece.text].length;
            if (isStop) reason = "stop";
          }
          if (!reason && chars >= length) reason = "length";
        } while (!reason && performance.now() < until && pieces.length < SLICE_PIECES);
        if (pieces.length) {
          unshown += 1;
          post({ pieces });
        }
        if (!reason && !(await hasMore())) reason = "stopped";
      }
      const isRead = reason !== "stop"; // else it has read the text that it stopped at
      if (isRead) post({ pieces: release.rest() });
      post({ reason, chars, seconds: (performance.now() - begun) / 1000, isRead });
    }

    const halt = () => {
      run += 1;
      wake();
    };
    const wasShown = () => {
      unshown = 0;
      wake();
    };
    const report = (error) => post({ error: error.message });
    return { write: (message) => write(message).catch(report), stop: halt, wasShown };
  };

  // In a worker this script answers the page, which is the only one that has a document.
  if (typeof document === "undefined" && typeof postMessage === "function") {
    let writer = null;
    globalThis.onmessage = ({ data: { kind, ...message } }) => {
      if (kind === "init") writer = charrnn.makeWriter(message.model, message.weights, postMessage);
      else writer[kind](message);
    };
  }
})((globalThis.charrnn ??= {}));
