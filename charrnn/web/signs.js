// What all pages share: elements made of text alone, and characters that cannot be seen as signs.
(function (charrnn) {
  "use strict";

  // What turns the reading order, breaks lines, or takes no room.
  const MARKS = /[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]/u;

  /** Return a symbol as it is shown: what cannot be seen, or turns the reading order, as a sign. */
  charrnn.shown = function (symbol) {
    let shown = "";
    for (const char of symbol) {
      const code = char.codePointAt(0);
      if (char === "\n") shown += "↵";
      else if (char === "\t") shown += "⇥";
      else if (code < 0x20) shown += String.fromCodePoint(0x2400 + code);
      else if (code === 0x7f) shown += "␡";
      else if (code >= 0x80 && code < 0xa0) shown += "\ufffd";
      else if (code >= 0xd800 && code < 0xe000) shown += "\ufffd";
      else if (MARKS.test(char)) shown += `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
      else shown += char;
    }
    return shown;
  };

  /** Return a symbol as it is named in a sentence: a space and a newline in words. */
  charrnn.named = function (symbol) {
    if (symbol === " ") return "space";
    if (symbol === "\n") return "newline";
    if (symbol === "\t") return "tab";
    return charrnn.shown(symbol);
  };

  /** Return an HTML element. Children that are strings become text. */
  charrnn.element = function (tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== undefined && value !== null && value !== false) {
        node.setAttribute(name, value);
      }
    }
    node.append(...children);
    return node;
  };
})((globalThis.charrnn ??= {}));
