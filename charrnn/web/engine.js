// The networks of the page, which run in a worker, and texts as their tokens.
(function (charrnn) {
  "use strict";

  /**
   * Return {isLive, ask(model, message) → Promise}: what talks to the workers, if there are any.
   *
   * onProgress(share) is called while a text is read.
   */
  charrnn.makeEngine = function (data, onProgress) {
    const waiting = new Map(); // id of a message → {resolve, reject}
    let count = 0;
    const workers = data.models.every((model) => model.live) ? startWorkers(data.models) : [];
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
        .catch((error) => console.error(error));
    });

    function ask(model, message) {
      if (!workers.length) return Promise.reject(new Error("This page has no weights, so nothing can be computed anew."));
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
  function startWorkers(models) {
    try {
      const code = document.getElementById("worker").textContent;
      const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      return models.map(() => new Worker(url));
    } catch (error) {
      console.warn("No live network:", error.message);
      return [];
    }
  }

  /** Return a function from a text to {ids, unknown}, as a model's vocabulary cuts it. */
  charrnn.makeEncoder = function (model) {
    const idOf = new Map();
    let longest = 1;
    model.texts.forEach((text, id) => {
      if (!text) return;
      if (!idOf.has(text)) idOf.set(text, id);
      longest = Math.max(longest, [...text].length);
    });
    const firstByte = model.first_byte;
    const toBytes = new TextEncoder();
    return (text) => {
      const chars = [...text];
      const ids = [];
      const unknown = new Set();
      for (let at = 0; at < chars.length; ) {
        let length = Math.min(longest, chars.length - at);
        while (length > 0 && !idOf.has(chars.slice(at, at + length).join(""))) length -= 1;
        if (length) {
          ids.push(idOf.get(chars.slice(at, at + length).join("")));
        } else if (firstByte >= 0) {
          for (const byte of toBytes.encode(chars[at])) ids.push(firstByte + byte);
        } else {
          unknown.add(chars[at]);
        }
        at += Math.max(length, 1);
      }
      return { ids, unknown: [...unknown] };
    };
  };

  /** Return a function from ids to the text that they write. */
  charrnn.makeDecoder = function (model) {
    const decoder = new TextDecoder();
    return (ids) => {
      let text = "";
      let bytes = [];
      const flush = () => {
        if (bytes.length) text += decoder.decode(new Uint8Array(bytes));
        bytes = [];
      };
      for (const id of ids) {
        const byte = id - model.first_byte;
        if (model.first_byte >= 0 && byte >= 0 && byte < 256) {
          bytes.push(byte);
        } else {
          flush();
          text += model.texts[id];
        }
      }
      flush();
      return text;
    };
  };

  /** Return softmax of logits. */
  charrnn.softmax = function (logits, temperature = 1) {
    const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    const raised = Float64Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
    const total = raised.reduce((a, b) => a + b, 0);
    return raised.map((each) => each / total);
  };

  /** Return [token, p] of the `count` likeliest tokens, the likeliest first. */
  charrnn.likeliest = function (probabilities, count) {
    return [...probabilities]
      .map((p, token) => [token, p])
      .sort((a, b) => b[1] - a[1] || a[0] - b[0])
      .slice(0, count);
  };
})((globalThis.charrnn ??= {}));
