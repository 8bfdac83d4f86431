// Several ways to go on, side by side: each is written as it comes, and one of them is taken.
(function (charrnn) {
  "use strict";

  const element = (...args) => charrnn.element(...args);

  /** onTake(number) is called when one is chosen, counted from 0. */
  charrnn.makeChoices = function (root, onTake) {
    let cards = []; // {node, box, status, piece, isEnded}
    let colors = "surprise";

    function makeCard(number) {
      const take = element("button", { type: "button", class: "take" }, element("kbd", {}, String(number + 1)), " Take this");
      take.setAttribute("aria-label", `Take alternative ${number + 1}`);
      const status = element("span", { class: "fine" }, "waiting");
      const box = element("div", { class: "words", tabindex: 0, role: "group", "aria-label": `Alternative ${number + 1}` });
      const node = element("article", { class: "card" }, element("header", {}, take, status), box);
      node.addEventListener("click", () => {
        if (!String(getSelection())) onTake(number);
      });
      return { node, box, status, piece: charrnn.makePiece("", true), isEnded: false };
    }

    return {
      get isOpen() { return cards.length > 0; },
      get count() { return cards.length; },

      /** Return the piece of text of each. */
      get pieces() { return cards.map((card) => card.piece); },

      open(count, colorName) {
        colors = colorName;
        cards = Array.from({ length: count }, (_, number) => makeCard(number));
        root.replaceChildren(...cards.map((card) => card.node));
        root.hidden = false;
        root.scrollIntoView({ block: "end", behavior: "instant" });
      },

      /** Add what came to one of them. */
      add(number, piece) {
        const card = cards[number];
        if (!card) return;
        const start = card.piece.text.length;
        card.piece.text += piece.text;
        for (const cost of piece.costs) card.piece.costs.push(cost);
        for (const each of piece.isModel) card.piece.isModel.push(each);
        const isLow = card.box.scrollTop + card.box.clientHeight >= card.box.scrollHeight - 8;
        card.box.append(...charrnn.colored(card.piece, start, card.piece.text.length, colors === "writer" ? "none" : colors));
        if (isLow) card.box.scrollTop = card.box.scrollHeight;
        card.status.textContent = `${card.piece.text.length} …`;
      },

      /** Say of one of them, or of all that have not ended, how it ended. */
      end(number, words) {
        cards.forEach((card, k) => {
          if (card.isEnded || (number !== null && k !== number)) return;
          card.isEnded = true;
          card.box.scrollTop = 0; // they are compared from their beginning
          const bits = card.piece.costs.filter(Boolean).map((cost) => cost.bits);
          const mean = bits.length ? bits.reduce((a, b) => a + b, 0) / bits.length : null;
          card.status.textContent = [words, mean === null ? "" : `${mean.toFixed(2)} bits a character`].filter(Boolean).join(" · ");
        });
      },

      close() {
        cards = [];
        root.replaceChildren();
        root.hidden = true;
      },
    };
  };
})((globalThis.charrnn ??= {}));
