// Requests to the server: events as they stream in, and errors in plain words with the way out.
(function (charrnn) {
  "use strict";

  const MAX_TRIES = 5; // of a request that a busy server puts off
  const MAX_WAIT_SECONDS = 60;

  /**
   * Return feed(text), which calls onData with the data of each server-sent event.
   *
   * A text may end anywhere: within a line, or between the two signs of a line's end.
   */
  charrnn.makeEventParser = function (onData) {
    let rest = "";
    let data = [];
    let isAfterReturn = false;

    function take(line) {
      if (line === "") {
        if (data.length) onData(data.join("\n"));
        data = [];
      } else if (line.startsWith("data:")) {
        data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }

    return function (text) {
      let start = 0;
      for (let at = 0; at < text.length; at++) {
        const sign = text[at];
        if (sign !== "\n" && sign !== "\r") {
          isAfterReturn = false;
          continue;
        }
        if (sign === "\r" || !isAfterReturn) {
          take(rest + text.slice(start, at));
          rest = "";
        }
        isAfterReturn = sign === "\r";
        start = at + 1;
      }
      rest += text.slice(start);
    };
  };

  /** An answer that did not come, or that refuses. kind: gone, broken, key, busy, refused, failed. */
  class ServerError extends Error {
    constructor(kind, message, { param = null, seconds = 0 } = {}) {
      super(message);
      this.kind = kind;
      this.param = param;
      this.seconds = seconds;
    }
  }
  charrnn.ServerError = ServerError;

  const gone = () => new ServerError("gone", "The server does not answer. Start it again with “charrnn serve”.");
  const broken = () => new ServerError("broken", "The connection broke before the text was complete.");

  /** Return the error that an object of OpenAI's shape describes. */
  function errorOf(status, body, headers) {
    const said = body?.error ?? {};
    const message = status === 401
      ? "Without the right key this server writes nothing. Whoever started it has the key."
      : String(said.message ?? `The server answered with status ${status}.`);
    const seconds = Math.min(Math.max(Number(headers?.get("retry-after")) || 1, 1), MAX_WAIT_SECONDS);
    const kind = status === 401 ? "key" : status === 429 ? "busy" : status >= 500 ? "failed" : "refused";
    return new ServerError(kind, message, { param: said.param ?? null, seconds });
  }

  /**
   * Return the client: {ask(path, body, signal, isPatient), stream(path, body, signal, onChunk)}.
   *
   * getKey() → the key or ""; askKey(isWrong) → a promise of one, or of "" where none is given;
   * onWait(seconds) is called each second before a busy server is tried again, at last with 0.
   */
  charrnn.makeClient = function ({ getKey, askKey, onWait }) {
    async function send(path, body, signal) {
      const headers = body === undefined ? {} : { "content-type": "application/json" };
      const key = getKey();
      if (key) headers.authorization = `Bearer ${key}`;
      const method = body === undefined ? "GET" : "POST";
      let response;
      try {
        response = await fetch(path, {
          method, headers, body: JSON.stringify(body), signal,
          cache: "no-store", credentials: "same-origin", redirect: "error",
        });
      } catch (error) {
        throw signal?.aborted ? error : gone();
      }
      if (response.ok) return response;
      let said = null;
      try {
        said = await response.json();
      } catch (error) {
        if (signal?.aborted) throw error;
      }
      throw errorOf(response.status, said, response.headers);
    }

    /** Send until a key is right and the server has room. */
    async function sendUntilTaken(path, body, signal, isPatient = true) {
      for (let tries = 1; ; tries++) {
        try {
          return await send(path, body, signal);
        } catch (error) {
          if (error.kind === "key") {
            if (!(await askKey(Boolean(getKey())))) throw error;
          } else if (error.kind === "busy" && isPatient && tries < MAX_TRIES) {
            await wait(error.seconds, signal);
          } else {
            throw error;
          }
        }
      }
    }

    async function wait(seconds, signal) {
      for (let left = Math.ceil(seconds); left > 0; left--) {
        onWait(left);
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, 1000);
          signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
        });
        if (signal?.aborted) break;
      }
      onWait(0);
      signal?.throwIfAborted();
    }

    return {
      /** Return a promise of the JSON of an answer. */
      async ask(path, body, signal, isPatient) {
        const response = await sendUntilTaken(path, body, signal, isPatient);
        try {
          return await response.json();
        } catch (error) {
          throw signal?.aborted ? error : broken();
        }
      },

      /** Call onChunk with each event's object; return when the server has said that all is done. */
      async stream(path, body, signal, onChunk) {
        const response = await sendUntilTaken(path, body, signal);
        const decoder = new TextDecoder();
        let isDone = false;
        let failure = null;
        const feed = charrnn.makeEventParser((data) => {
          if (data === "[DONE]") isDone = true;
          if (isDone || failure) return;
          const chunk = JSON.parse(data);
          if (chunk.error) failure = errorOf(500, chunk);
          else onChunk(chunk);
        });
        const reader = response.body.getReader();
        try {
          while (!isDone && !failure) {
            const { done, value } = await reader.read();
            feed(done ? decoder.decode() : decoder.decode(value, { stream: true }));
            if (done) break;
          }
        } catch (error) {
          throw signal?.aborted ? error : broken();
        } finally {
          reader.cancel().catch(() => {});
        }
        if (failure) throw failure;
        if (!isDone) throw broken();
      },
    };
  };
})((globalThis.charrnn ??= {}));
