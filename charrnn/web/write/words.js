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

  /** Return a random seed of 32 bits. */
  charrnn.randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

  /** Return a text with its line breaks, whose other control characters are shown as signs. */
  charrnn.visible = (text) => text.split("\n").map(charrnn.shown).join("\n");
})((globalThis.charrnn ??= {}));
