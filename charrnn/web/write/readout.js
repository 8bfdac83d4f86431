// What the model expected: costs from an answer's logprobs, and the line that shows them for one place.
(function (charrnn) {
  "use strict";

  const LIKELIEST = 5;
  const SVG = "http://www.w3.org/2000/svg";
  const element = (...args) => charrnn.element(...args);
  const { byId, number, percent } = charrnn;

  const END = "<end>"; // what the server calls the end of a record
  const NEVER_SEEN = { bits: 0, isKnown: false, isUnseen: true, top: [] };

  charrnn.LIKELIEST = LIKELIEST;

  /** Return what a character cost, from place k of an answer's logprobs. */
  function costOf(logprobs, k) {
    const nats = logprobs.token_logprobs[k];
    const isKnown = nats !== null && nats !== undefined;
    return { bits: isKnown ? Math.max(0, -nats / Math.LN2) : 0, isKnown, isUnseen: false, top: charrnn.likeliest(logprobs, k) };
  }

  /**
   * Return the costs of a text's units from the logprobs of an answer that begins with it; null where
   * they are of another text.
   */
  charrnn.readCosts = function (text, logprobs) {
    if (!logprobs?.tokens) return null;
    const costs = [];
    let read = "";
    logprobs.tokens.forEach((token, k) => {
      if (read.length === text.length) return; // the end of a record is a token without a text
      read += token;
      const cost = costOf(logprobs, k);
      for (let unit = 0; unit < token.length; unit++) costs.push(cost);
    });
    return read === text ? costs : null;
  };

  /**
   * Return the costs of a text's units from the logprobs of an answer that repeats it and adds one
   * token; null where they are of another text.
   *
   * isSkipped: the answer leaves out what the model never saw, which has a cost that says so. Else
   * the model may read other characters, one for one.
   */
  charrnn.alignCosts = function (text, logprobs, isSkipped) {
    const whole = charrnn.readCosts(text, logprobs);
    if (whole || !logprobs?.tokens) return whole;
    const { tokens } = logprobs;
    if (isSkipped) return align(text, logprobs, (part) => part) ?? align(text, logprobs, (part) => part.toLowerCase());
    const read = tokens.slice(0, -1).join("");
    if (read.length !== text.length) return null;
    return charrnn.readCosts(read, logprobs);
  };

  /** Return the costs of a text of which the answer may have left characters out. */
  function align(text, logprobs, form) {
    const costs = [];
    let k = 0;
    while (costs.length < text.length) {
      const at = costs.length;
      const token = logprobs.tokens[k];
      const char = String.fromCodePoint(text.codePointAt(at));
      const isRead = token && form(text.slice(at, at + token.length)) === token;
      const cost = isRead ? costOf(logprobs, k) : NEVER_SEEN;
      for (let unit = 0; unit < (isRead ? token : char).length; unit++) costs.push(cost);
      if (isRead) k += 1;
    }
    return k >= logprobs.tokens.length - 1 ? costs : null; // the last token goes on after the text
  }

  /** Return the likeliest tokens at one place, each followed by its log-probability. */
  charrnn.likeliest = function (logprobs, k) {
    const top = Object.entries(logprobs.top_logprobs?.at(k) ?? {}).sort((a, b) => b[1] - a[1]);
    return top.slice(0, LIKELIEST).flat();
  };

  /**
   * Return the line that shows, for one place of a history's text, the five likeliest characters.
   *
   * sheet: what the text stands on; a frame is drawn around the character.
   */
  charrnn.makeReadout = function (history, mirror, sheet) {
    const spot = byId("spot");
    let place = -1;
    let expected = null; // {text, top}: what may come after the text

    const symbolAt = (at) => String.fromCodePoint(history.text.codePointAt(at));
    const quoted = (symbol) => (/^\s$/.test(symbol) ? charrnn.named(symbol) : `“${charrnn.shown(symbol)}”`);
    const sign = (symbol) => (symbol === " " ? "␣" : symbol === END ? "end" : charrnn.shown(symbol));

    function bar(p) {
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", "0 0 100 4");
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true");
      for (const width of [100, Math.max(100 * p, 1)]) {
        const rect = document.createElementNS(SVG, "rect");
        rect.setAttribute("width", width);
        rect.setAttribute("height", 4);
        svg.append(rect);
      }
      return svg;
    }

    /** Return what is known at a place: of its character {symbol, title, top}, or of what may come. */
    function known(at) {
      const { text } = history;
      if (at === text.length && expected?.text === text) {
        return { symbol: null, title: ["What may come next"], top: expected.top };
      }
      const cost = at >= 0 && at < text.length ? history.costs[at] : null;
      if (!cost) return null;
      const symbol = symbolAt(at);
      const words = cost.isUnseen ? "is a character that the model never saw" : cost.isKnown ? `${number(cost.bits, 2)} bits, ${percent(2 ** -cost.bits)}` : "begins the text";
      return { symbol, title: [element("b", {}, quoted(symbol)), ` ${words}`], top: cost.top };
    }

    const readout = {
      /** The place that is shown; −1 is none. */
      get place() { return place; },

      /** Show what was expected at a place, or at the end what may come; return it in words. */
      show(at) {
        const found = known(at);
        place = at;
        byId("guess").hidden = !found;
        byId("legend").hidden = Boolean(found);
        if (!found) return "";
        byId("guess-char").replaceChildren(...found.title);
        const said = [];
        const items = [];
        for (let k = 0; k < found.top.length; k += 2) {
          const [name, p] = [found.top[k], Math.exp(found.top[k + 1])];
          items.push(element("li", name === found.symbol ? { class: "is-it" } : {},
            element("span", {}, element("b", name === END ? { class: "end", title: "the text ends here" } : {}, sign(name)), element("span", {}, percent(p))), bar(p)));
          said.push(`${name === END ? "the end" : charrnn.named(name)} ${percent(p)}`);
        }
        byId("guesses").replaceChildren(...items);
        return `${byId("guess-char").textContent}.${said.length ? ` Likeliest: ${said.join(", ")}` : ""}`;
      },

      /** Draw a frame around a character, if it is there. */
      mark(at) {
        const box = mirror.boxOf(at);
        spot.hidden = !box;
        if (!box) return;
        const origin = sheet.getBoundingClientRect();
        Object.assign(spot.style, {
          left: `${box.left - origin.left - sheet.clientLeft - 1}px`,
          top: `${box.top - origin.top - sheet.clientTop - 1}px`,
          width: `${Math.max(box.width, 6) + 2}px`,
          height: `${box.height + 2}px`,
        });
      },

      unmark() {
        spot.hidden = true;
      },

      /** Keep what may come after a text. */
      expect(text, top) {
        expected = { text, top };
      },

      /** Return whether it is known what may come after a text. */
      expects: (text) => expected?.text === text,

      /** Show what the colours mean; problem: why there are none; more: an element that follows. */
      showLegend(colors, problem = "", more = "") {
        const legend = byId("legend");
        if (colors === "none") {
          legend.replaceChildren("Without colours. Point at a character to see what the model expected there.");
        } else if (colors === "writer") {
          legend.replaceChildren(element("i", { class: "by-model" }, "the model"), "and you");
        } else {
          const { EDGES } = charrnn;
          const scale = EDGES.map((edge, k) =>
            element("i", { class: `s${k + 1}` }, k + 1 < EDGES.length ? `${edge}–${EDGES[k + 1]}` : `${edge}+`));
          legend.replaceChildren("Surprise in bits", element("span", { class: "scale" }, ...scale), problem, more);
        }
      },
    };
    return readout;
  };
})((globalThis.charrnn ??= {}));
