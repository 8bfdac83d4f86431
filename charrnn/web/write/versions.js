// The list of versions: each turn, those on the way to the text marked, those beside it moved in.
(function (charrnn) {
  "use strict";

  const MAX_SHOWN = 400; // turns
  const MAX_START = 60; // characters of a turn's text
  const MAX_DEPTH = 6; // steps that a branch is moved in
  const KINDS = { start: "Start", typed: "You", written: "Model", alternative: "Alternative", cleared: "New text", link: "Link", tab: "Other tab" };
  const element = (...args) => charrnn.element(...args);

  /** onChoose(turn) is called for a turn that is chosen. */
  charrnn.makeVersions = function (list, history, onChoose) {
    function makeItem(turn, depth, isOnWay) {
      const text = turn.inserted.text || turn.removed?.text || "";
      const what = turn.inserted.text ? "" : turn.removedLength ? "removed " : "";
      const start = charrnn.shown([...text.slice(0, 2 * MAX_START)].slice(0, MAX_START).join(""));
      const kind = KINDS[turn.kind] ?? KINDS.typed;
      const size = turn.inserted.text.length;
      const button = element("button", {
        type: "button", class: isOnWay ? "on-way" : null, title: [kind, turn.note, turn.isForeign ? "in another tab" : ""].filter(Boolean).join(", "),
        "aria-current": turn === history.current ? "true" : null,
      }, element("b", {}, kind), element("span", { class: "start-of" }, what + start),
      size ? element("span", { class: "fine" }, charrnn.number(size)) : "");
      button.addEventListener("click", () => onChoose(turn));
      const item = element("li", {}, button);
      item.style.paddingLeft = `${Math.min(depth, MAX_DEPTH) * 0.8}rem`;
      return item;
    }

    function showCurrent() {
      const current = list.querySelector("[aria-current]");
      if (!current) return;
      const top = current.offsetTop - list.offsetTop;
      if (top < list.scrollTop || top > list.scrollTop + list.clientHeight - 30) list.scrollTop = top - 60;
    }

    return {
      show() {
        const onWay = new Set();
        for (let turn = history.current; turn; turn = turn.parent) onWay.add(turn);
        const depths = new Map();
        const turns = history.turns();
        for (const turn of turns) {
          const isBeside = turn.parent?.children.length > 1 && !onWay.has(turn);
          depths.set(turn, turn.parent ? depths.get(turn.parent) + (isBeside ? 1 : 0) : 0);
        }
        const shown = turns.slice(-MAX_SHOWN);
        list.replaceChildren(...shown.map((turn) => makeItem(turn, depths.get(turn), onWay.has(turn))));
        showCurrent();
      },
    };
  };
})((globalThis.charrnn ??= {}));
