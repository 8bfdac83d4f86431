// The page's worker: it has the networks and answers messages, so that the page never waits.
//
// A message is {id, model, kind, ...arguments}, and its answer {id, result} or {id, error}, a text.
// While a text is read, {id, progress, of} tells how many tokens of how many are done. Arrays in a
// result are moved to the page, not copied.
//
// `text` names one of the texts of a model, so that an edited, a clamped and a pinned one can stand
// side by side; without it the name is "text". `at` is a token of that text: the answer is about
// what comes after it; −1 is the line's start before the text. Layers are `depth`, from 0.

(function (charrnn) {
  "use strict";

  const SLICE_MS = 40; // of long work, between which other messages are answered
  const MAX_GATES = 64_000_000; // numbers of a text's gates that are kept, 256 MB
  const models = new Map(); // by the message's `model`

  const KINDS = {
    // Make a network. config: of ModelConfig. weights, index, dtype: as in `decodeWeights`.
    // lineStart: the token that is read before the text for what predicts its first token, or −1.
    init({ model, config, weights, index, dtype, lineStart = -1 }) {
      const network = charrnn.makeNetwork(config, charrnn.decodeWeights(weights, index, dtype));
      const start = network.initialState();
      models.set(model, {
        network,
        lineStart: lineStart < 0 ? start : network.advance(lineStart, start),
        texts: new Map(), // by name: {trace} that was read, {newest} that is or was
      });
      return { parameters: countOf(network.weights) };
    },

    // Read ids; return {states: [{h, c}], length, first}: rows before `first` are as they were in the
    // text that was read before under this name. clamps: as in `Network.advance`. A newer read of
    // the same text ends this one, whose result is then {isStale: true}.
    async read({ id, model, text, ids, clamps = [] }) {
      const { network, texts } = find(model);
      const known = texts.get(text) ?? {};
      const { hidden_size: size, num_layers: layers } = network.config;
      const gates = 4 * ids.length * size * layers <= MAX_GATES;
      const trace = network.open(ids, { clamps, gates, from: known.newest });
      const first = trace.done;
      texts.set(text, { trace: known.trace, newest: trace });
      while (trace.done < trace.length) {
        const until = performance.now() + SLICE_MS;
        while (trace.done < trace.length && performance.now() < until) trace.readMore(16);
        if (trace.done === trace.length) break;
        postMessage({ id, progress: trace.done, of: trace.length });
        await pause();
        if (texts.get(text).newest !== trace) return { isStale: true };
      }
      texts.set(text, { trace, newest: trace });
      return { states: copied(trace.states), length: trace.length, first };
    },

    // Return the gates of a layer at the tokens from `start` to before `stop`, by name (n·H).
    gates({ model, text, depth, start = 0, stop = Infinity }) {
      const trace = findTrace(model, text);
      const part = charrnn.withGates(trace, start, Math.min(stop, trace.length));
      const size = trace.network.config.hidden_size;
      const rows = [start, Math.min(stop, trace.length)].map((t) => (t - part.offset) * size);
      const cut = (array) => array.slice(...rows);
      return mapValues(part.trace.gates[depth], cut);
    },

    // Return what was expected at the places from `start` to before `stop`, of n places and `count`
    // likeliest tokens: {tokens, probabilities: (n·count), chosen: p of the token that stands there
    // (n), ranks: its rank from 1 (n), entropies: in bits (n)}. Newer guesses or a newer read of the
    // same text end these, whose result is then {isStale: true}.
    async guesses({ id, model, text, start = 0, stop = Infinity, count = 5, temperature = 1 }) {
      const trace = findTrace(model, text);
      const size = Math.max(0, Math.min(stop, trace.length) - start);
      const most = Math.min(count, trace.network.config.vocab_size);
      const found = {
        count: most,
        tokens: new Int32Array(size * most),
        probabilities: new Float32Array(size * most),
        chosen: new Float64Array(size),
        ranks: new Int32Array(size),
        entropies: new Float64Array(size),
      };
      const known = find(model).texts.get(text);
      known.guesses = id;
      let until = performance.now() + SLICE_MS;
      for (let k = 0; k < size; k += 1) {
        if (performance.now() > until) {
          await pause();
          if (find(model).texts.get(text).newest !== trace || known.guesses !== id) return { isStale: true };
          until = performance.now() + SLICE_MS;
        }
        const p = charrnn.probabilities(logitsAfter(model, trace, start + k - 1), temperature);
        const token = trace.ids[start + k];
        likeliest(p, most).forEach((each, rank) => {
          found.tokens[k * most + rank] = each;
          found.probabilities[k * most + rank] = p[each];
        });
        found.chosen[k] = p[token];
        found.ranks[k] = 1 + p.reduce((n, each, i) => n + isBefore(each, i, p[token], token), 0);
        found.entropies[k] = p.reduce((sum, each) => sum - (each && each * Math.log2(each)), 0);
      }
      return found;
    },

    // Return the probabilities of all tokens (V).
    probabilities({ model, text, at, temperature = 1 }) {
      return charrnn.probabilities(logitsAfter(model, findTrace(model, text), at), temperature);
    },

    // Return the parts of a layer's memory, as `charrnn.ledger`.
    ledger({ model, text, depth, at, groups = null }) {
      return charrnn.ledger(findTrace(model, text), depth, at, groups);
    },

    // Return what the logit of a token rests on, as `charrnn.links`.
    links({ model, text, at, token, reach = Infinity }) {
      return charrnn.links(findTrace(model, text), at, token, reach);
    },

    // Return the norms of the gradients by distance, as `charrnn.gradients`.
    gradients({ model, text, at, target, reach = Infinity }) {
      return charrnn.gradients(findTrace(model, text), at, target, reach);
    },

    // Return the numbers of the step that reads token `at`, for one unit, as `charrnn.step`.
    step({ model, text, at, depth, unit, target = null }) {
      return charrnn.step(findTrace(model, text), { at, depth, unit, target });
    },

    // Return the ids (count) that the network writes after token `at`, as `charrnn.sample`.
    sample({ model, text, at, count, temperature = 1, seed = 0, uniforms = null, clamps = [] }) {
      const { network } = find(model);
      const start = stateAfter(model, findTrace(model, text), at);
      return charrnn.sample(network, start, { count, temperature, seed, uniforms, clamps }).ids;
    },
  };

  // Let other messages be answered.
  const pause = () => new Promise((resolve) => setTimeout(resolve, 0));

  function find(model) {
    const found = models.get(model);
    if (!found) throw new Error(`model ${model} is not here yet; send an init message first`);
    return found;
  }

  function findTrace(model, text) {
    const trace = find(model).texts.get(text)?.trace;
    if (!trace) throw new Error(`text ${text} was not read yet; send a read message first`);
    return trace;
  }

  const stateAfter = (model, trace, at) =>
    at < 0 ? find(model).lineStart : trace.state(Math.min(at, trace.length - 1) + 1);

  const logitsAfter = (model, trace, at) => trace.network.logits(stateAfter(model, trace, at));

  // Return whether token i comes before token j: it is likelier, or as likely and earlier.
  const isBefore = (p, i, q, j) => p > q || (p === q && i < j);

  // Return the `count` likeliest tokens, the likeliest first.
  function likeliest(p, count) {
    const found = [];
    for (let token = 0; token < p.length; token += 1) {
      let k = found.length;
      while (k > 0 && p[token] > p[found[k - 1]]) k -= 1;
      if (k < count) found.splice(k, 0, token);
      if (found.length > count) found.pop();
    }
    return found;
  }

  const countOf = (weights) =>
    Object.values(weights).reduce((sum, each) => sum + each.length, 0);

  const mapValues = (object, change) =>
    Object.fromEntries(Object.entries(object).map(([name, each]) => [name, change(each)]));

  const copied = (layers) => layers.map((layer) => mapValues(layer, (array) => array.slice()));

  // Return the buffers of all arrays in a result.
  function buffersOf(result) {
    if (ArrayBuffer.isView(result)) return [result.buffer];
    return result && typeof result === "object" ? Object.values(result).flatMap(buffersOf) : [];
  }

  // Return the answer to a message.
  charrnn.answer = async function (message) {
    const { id, kind, text = "text" } = message;
    try {
      if (!Object.hasOwn(KINDS, kind)) {
        throw new Error(`${kind} is no kind of message; known are ${Object.keys(KINDS).join(", ")}`);
      }
      return { id, result: await KINDS[kind]({ ...message, text }) };
    } catch (error) {
      return { id, error: error.message };
    }
  };

  globalThis.onmessage = async ({ data }) => {
    const answer = await charrnn.answer(data);
    postMessage(answer, buffersOf(answer.result));
  };
})((globalThis.charrnn ??= {}));
