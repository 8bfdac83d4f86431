// Texts as the tokens of a model, and back. model: {texts, first_byte}: what each token writes, ""
// for a byte, and the token of byte 0, or −1.
(function (charrnn) {
  "use strict";

  /**
   * Return a function from a text to {ids, unknown}, as a model's vocabulary cuts it.
   *
   * It has `longest`, the most characters of a token, and `cut`, of `charrnn.makePieces`.
   */
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
    const encode = (text) => {
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
    return Object.assign(encode, { longest, cut: charrnn.makePieces(model) });
  };

  /**
   * Return a function from ids to pieces of text, [{ids, text}]: a token, or the bytes of a character.
   *
   * A byte that is of no character is a piece with the text U+FFFD.
   */
  charrnn.makePieces = function (model) {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const byteOf = (id) => (model.first_byte >= 0 && id - model.first_byte < 256 ? id - model.first_byte : -1);
    const pieceOfBytes = (ids, at) => {
      const first = byteOf(ids[at]);
      const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
      const own = ids.slice(at, at + length);
      const bytes = own.map(byteOf);
      try {
        if (bytes.some((byte) => byte < 0)) throw new TypeError("a character that is cut short");
        return { ids: own, text: decoder.decode(new Uint8Array(bytes)) };
      } catch {
        return { ids: [ids[at]], text: "\ufffd" };
      }
    };
    return (ids) => {
      const pieces = [];
      for (let at = 0; at < ids.length; at += pieces.at(-1).ids.length) {
        const isByte = byteOf(ids[at]) >= 0;
        pieces.push(isByte ? pieceOfBytes(ids, at) : { ids: [ids[at]], text: model.texts[ids[at]] });
      }
      return pieces;
    };
  };

  /** Return a function from ids to the text that they write. */
  charrnn.makeDecoder = function (model) {
    const cut = charrnn.makePieces(model);
    return (ids) => cut([...ids]).map((piece) => piece.text).join("");
  };

  /** Return [token, p] of the `count` likeliest tokens, the likeliest first. */
  charrnn.likeliest = function (probabilities, count) {
    return [...probabilities]
      .map((p, token) => [token, p])
      .sort((a, b) => b[1] - a[1] || a[0] - b[0])
      .slice(0, count);
  };
})((globalThis.charrnn ??= {}));
