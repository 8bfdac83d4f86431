// Figures, counts and names in words, as all parts of the page write them.
(function (charrnn) {
  "use strict";

  charrnn.byId = (id) => document.getElementById(id);

  charrnn.number = (value, digits = 0) =>
    value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });

  /** Return "1 word" or "2 words". */
  charrnn.plural = (count, word) => `${charrnn.number(count)} ${word}${count === 1 ? "" : "s"}`;

  /** Return a probability with the digits that tell it from its neighbours. */
  charrnn.percent = function (p) {
    if (p >= 0.9995) return "100 %";
    if (p < 0.0001) return "< 0.01 %";
    return `${charrnn.number(100 * p, p < 0.001 ? 2 : p < 0.1 ? 1 : 0)} %`;
  };

  /** Return texts as a list in a sentence, with how many there are beyond the first dozen. */
  charrnn.listed = (texts, separator = ", ", most = 12) =>
    texts.slice(0, most).join(separator) + (texts.length > most ? ` and ${charrnn.number(texts.length - most)} more` : "");

  /** Return the name that was probably meant: with at most two letters wrong; "" if there is none. */
  charrnn.nearest = function (name, names) {
    const distance = (a, b) => {
      let row = Array.from({ length: b.length + 1 }, (_, j) => j);
      for (let i = 1; i <= a.length; i++) {
        const next = [i];
        for (let j = 1; j <= b.length; j++) {
          next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
        }
        row = next;
      }
      return row.at(-1);
    };
    if (name.length > 40) return "";
    const plain = name.toLowerCase().replaceAll("-", "_");
    const near = names.map((each) => [distance(plain, each), each]).sort(([a], [b]) => a - b);
    if (near[0][0] <= Math.min(2, Math.floor(plain.length / 3))) return near[0][1];
    return names.find((each) => plain.length > 2 && each.startsWith(plain)) ?? "";
  };

  /** Return a server's refusal of characters in words for one who writes; "" if it is another. */
  charrnn.unseenWords = function (message) {
    if (!message.startsWith("the model never saw ")) return "";
    if (message.includes(": the text is in another normal form")) {
      return "Some letters are written in another Unicode form than in the model’s own text.";
    }
    const [head] = message.split(/: it knows only lower case|; pass |; remove /);
    const chars = [...head.matchAll(/\(U\+([0-9A-F]{4,6})/g)].map(([, code]) => String.fromCodePoint(parseInt(code, 16)));
    const more = Number(head.match(/ and (\d+) more$/)?.[1] ?? 0);
    const isLower = message.includes(": it knows only lower case");
    const listed = isLower ? chars.filter((char) => char.toLowerCase() === char) : chars;
    const names = listed.map(charrnn.named).join(" ") + (more ? ` and ${more} more` : "");
    if (!isLower) return `The model never saw: ${names}`;
    return `This model knows only lower case${listed.length ? `, and never saw: ${names}` : more ? `; it never saw ${more} characters more` : ""}.`;
  };

  /** Return a random seed of 32 bits. */
  charrnn.randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

  /** Return a text with its line breaks, whose other control characters are shown as signs. */
  charrnn.visible = (text) => text.split("\n").map(charrnn.shown).join("\n");
})((globalThis.charrnn ??= {}));
