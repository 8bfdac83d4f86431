// The networks of the page, which run in a worker, and the pieces of a text that is edited.
(function (charrnn) {
  "use strict";

  /**
   * Return {isLive, ask(model, message) → Promise}: what talks to the workers, if there are any.
   *
   * onProgress(share) is called while a text is read, onFailure(error) if a network does not start.
   */
  charrnn.makeEngine = function (data, onProgress, onFailure) {
    const waiting = new Map(); // id of a message → {resolve, reject}
    let count = 0;
    const workers = data.models.every((model) => model.live) ? startWorkers(data.models, onFailure) : [];
    workers.forEach((worker, k) => {
      worker.onmessage = ({ data: answer }) => {
        if (answer.progress !== undefined) {
          onProgress(answer.progress / answer.of);
          return;
        }
        const { resolve, reject } = waiting.get(answer.id);
        waiting.delete(answer.id);
        if (answer.error !== undefined) reject(new Error(answer.error));
        else resolve(answer.result);
      };
      worker.onerror = (event) => {
        for (const { reject } of waiting.values()) reject(new Error(`The network stopped: ${event.message}`));
        waiting.clear();
      };
      const island = document.getElementById(`weights-${k}`);
      const { config, dtype, weights: index, line_start: lineStart } = data.models[k];
      ask(k, { kind: "init", config, dtype, index, lineStart, weights: island.textContent.trim() })
        .catch(onFailure);
    });

    function ask(model, message) {
      if (!workers.length) return Promise.reject(new Error("This page has no weights, so nothing can be computed in it."));
      count += 1;
      const id = count;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        workers[model].postMessage({ ...message, id, model });
      });
    }

    return { isLive: workers.length > 0, ask };
  };

  /** Return a worker of the text island for each model, or none where a browser refuses them. */
  function startWorkers(models, onFailure) {
    try {
      const code = document.getElementById("worker").textContent;
      const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      return models.map(() => new Worker(url));
    } catch (error) {
      onFailure(error);
      return [];
    }
  }

  /** Return pieces as a text field holds them, where every line break is a newline. */
  charrnn.typedPieces = function (pieces) {
    const typed = [];
    for (const { ids, text } of pieces) {
      const last = typed.at(-1);
      if (text === "\n" && last?.isReturn) {
        typed[typed.length - 1] = { ids: [...last.ids, ...ids], text };
        continue;
      }
      typed.push({ ids, text: text.replace(/\r\n?/g, "\n"), isReturn: text === "\r" });
    }
    return typed;
  };

  /**
   * Return {pieces, unknown} of an edited text: what stands before and after the edit keeps its ids.
   *
   * pieces: of the text before the edit, as `charrnn.typedPieces`. encode: of `charrnn.makeEncoder`.
   */
  charrnn.editPieces = function (pieces, text, encode) {
    const old = pieces.map((piece) => piece.text);
    let first = 0;
    let start = 0;
    while (first < old.length && text.startsWith(old[first], start)) {
      start += old[first].length;
      first += 1;
    }
    let last = old.length;
    let stop = text.length;
    while (last > first && stop - old[last - 1].length >= start && text.endsWith(old[last - 1], stop)) {
      stop -= old[last - 1].length;
      last -= 1;
    }
    // A token may be of several characters, so the neighbours of an edit are cut again too.
    for (let k = 0; k < encode.longest - 1; k++) {
      if (first > 0 && charrnn.isTypable(pieces[first - 1], encode)) start -= old[--first].length;
      if (last < old.length && charrnn.isTypable(pieces[last], encode)) stop += old[last++].length;
    }
    const { ids, unknown } = encode(text.slice(start, stop));
    const fresh = charrnn.typedPieces(encode.cut(ids));
    return { pieces: [...pieces.slice(0, first), ...fresh, ...pieces.slice(last)], unknown };
  };

  /** Return whether typing the text of a piece gives its ids. */
  charrnn.isTypable = function (piece, encode) {
    if (piece.isTypable === undefined) {
      const { ids } = encode(piece.text);
      piece.isTypable = ids.length === piece.ids.length && ids.every((id, k) => id === piece.ids[k]);
    }
    return piece.isTypable;
  };

  /** Return softmax of logits. */
  charrnn.softmax = function (logits, temperature = 1) {
    const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    const raised = Float64Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
    const total = raised.reduce((a, b) => a + b, 0);
    return raised.map((each) => each / total);
  };
})((globalThis.charrnn ??= {}));
