// A text as rows of characters that can be coloured: one board for each model.
//
// Rows far from what is on screen are plain text, so a long text costs little, can be searched by
// the browser, and prints. Every character reaches the page as text, never as markup.
(function (charrnn) {
  "use strict";

  const MARGIN_ROWS = 12; // drawn above and below what is on screen
  const WIDE =
    /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

  /** Return how many columns a symbol takes. */
  function columnsOf(shown) {
    let columns = 0;
    for (const char of shown) columns += WIDE.test(char) ? 2 : /\p{M}/u.test(char) ? 0 : 1;
    return columns;
  }

  /** Return rows [start, stop) of symbols that fit into columns; words stay whole where they can. */
  charrnn.layRows = function (symbols, columns) {
    const rows = [];
    let start = 0;
    let width = 0;
    let breakAt = -1; // after the last space of this row
    for (let at = 0; at < symbols.length; at++) {
      const wide = columnsOf(charrnn.shown(symbols[at]));
      const mayHang = symbols[at] === " " || symbols[at] === "\n"; // these pass the edge unseen
      if (width + wide > columns && at > start && !mayHang) {
        const stop = breakAt > start ? breakAt : at;
        rows.push([start, stop]);
        start = stop;
        breakAt = -1;
        width = 0;
        for (let k = start; k < at; k++) width += columnsOf(charrnn.shown(symbols[k]));
      }
      width += wide;
      if (symbols[at] === " ") breakAt = at + 1;
      if (symbols[at] === "\n") {
        rows.push([start, at + 1]);
        start = at + 1;
        width = 0;
        breakAt = -1;
      }
    }
    if (start < symbols.length || !rows.length) rows.push([start, symbols.length]);
    return rows;
  };

  /**
   * Return a board.
   *
   * look(at) → {background, mark?, faint?} says how a character looks; mark is "plus" or "minus".
   */
  charrnn.makeBoard = function (index, onChoose, onHover) {
    const node = charrnn.element("div", { class: "board", role: "presentation" });
    let symbols = [];
    let rows = [];
    let rowNodes = [];
    let look = null;
    let at = 0;
    let picked = null;
    let drawn = new Set();
    let columns = 0;

    function layOut() {
      columns = fittingColumns(node);
      rows = charrnn.layRows(symbols, columns);
      drawn = new Set();
      rowNodes = rows.map(() => charrnn.element("div", { class: "row", role: "row", dir: "auto" }));
      rows.forEach((_, k) => drawPlain(k));
      node.replaceChildren(...rowNodes);
    }

    function drawPlain(k) {
      const [start, stop] = rows[k];
      const text = symbols.slice(start, stop).map(charrnn.shown).join("");
      rowNodes[k].replaceChildren(charrnn.element("span", { role: "gridcell" }, text));
      drawn.delete(k);
    }

    function drawCells(k) {
      const [start, stop] = rows[k];
      const cells = [];
      for (let place = start; place < stop; place++) cells.push(makeCell(place));
      rowNodes[k].replaceChildren(...cells);
      drawn.add(k);
    }

    function makeCell(place) {
      const symbol = symbols[place];
      const cell = charrnn.element(
        "span",
        { role: "gridcell", id: `cell-${index}-${place}` },
        charrnn.shown(symbol),
      );
      cell.dataset.at = place;
      dress(cell, place);
      return cell;
    }

    /** Give a cell its colour and its marks. */
    function dress(cell, place) {
      const style = look ? look(place) : null;
      const symbol = symbols[place];
      const names = [];
      if (symbol === "\n" || symbol === "\t") names.push("sign");
      else if (charrnn.shown(symbol) !== symbol || [...symbol].length > 2) names.push("odd");
      if (place === at) names.push("at");
      if (picked && place >= picked[0] && place < picked[1]) names.push("picked");
      if (style?.mark) names.push(style.mark);
      if (style?.ahead) names.push("ahead");
      const background = style?.background ?? "";
      const dressed = [...names, background, style?.label].join("|");
      if (cell.dressed === dressed) return; // to write to the page takes the most time
      cell.dressed = dressed;
      cell.className = names.join(" ");
      cell.style.backgroundColor = background;
      cell.style.color = background && !style.ahead ? charrnn.colors.letter(background) : "";
      if (place === at) cell.setAttribute("aria-selected", "true");
      else cell.removeAttribute("aria-selected");
      if (style?.label) cell.setAttribute("aria-label", style.label);
      else cell.removeAttribute("aria-label");
    }

    function draw() {
      const tall = rowNodes[0]?.offsetHeight || 28;
      const isWhole = charrnn.isPrinting;
      const bottom = node.scrollTop + node.clientHeight;
      const first = isWhole ? 0 : Math.floor(node.scrollTop / tall) - MARGIN_ROWS;
      const last = isWhole ? rows.length : Math.ceil(bottom / tall) + MARGIN_ROWS;
      for (const k of [...drawn]) if (k < first || k > last) drawPlain(k);
      for (let k = Math.max(first, 0); k <= Math.min(last, rows.length - 1); k++) {
        if (drawn.has(k)) {
          for (const cell of rowNodes[k].children) dress(cell, Number(cell.dataset.at));
        } else {
          drawCells(k);
        }
      }
    }

    const placeOf = (event) => {
      const cell = event.target.closest?.("[data-at]");
      return cell ? Number(cell.dataset.at) : null;
    };
    let pressedAt = null;
    node.addEventListener("pointerdown", (event) => {
      pressedAt = placeOf(event);
      if (pressedAt !== null) onChoose(pressedAt, null);
    });
    node.addEventListener("pointerover", (event) => {
      const place = placeOf(event);
      if (pressedAt !== null && event.buttons && place !== null) onChoose(place, pressedAt);
      onHover(place);
    });
    node.addEventListener("pointerleave", () => onHover(null));
    addEventListener("pointerup", () => (pressedAt = null));
    node.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });

    return {
      node,
      /** Draw what is on screen again, or every row where a printer needs them. */
      draw,
      /** Show other symbols. */
      setSymbols(list) {
        symbols = list;
        layOut();
        draw();
      },
      /** Show the same symbols in other colours. */
      paint(newLook) {
        look = newLook;
        draw();
      },
      /** Choose a place, and bring it on screen. */
      moveTo(place, range) {
        at = place;
        picked = range;
        const k = rows.findIndex(([, stop]) => place < stop);
        const row = rowNodes[k];
        if (row) {
          const top = row.offsetTop; // the board is what offsets are counted from
          if (top < node.scrollTop) node.scrollTop = Math.max(0, top - row.offsetHeight);
          const bottom = top + row.offsetHeight;
          if (bottom > node.scrollTop + node.clientHeight) {
            node.scrollTop = bottom - node.clientHeight + row.offsetHeight;
          }
        }
        draw();
      },
      /** Lay the rows out again where the width has changed. */
      fit() {
        if (fittingColumns(node) === columns) return;
        layOut();
        draw();
      },
      /** Return the place one row up (−1) or down (1), or at the start or end of this row. */
      placeInRow(place, move) {
        const k = Math.max(0, rows.findIndex(([, stop]) => place < stop));
        if (move === "start") return rows[k][0];
        if (move === "end") return rows[k][1] - 1;
        const target = rows[Math.min(Math.max(k + move, 0), rows.length - 1)];
        return Math.min(target[0] + place - rows[k][0], Math.max(target[1] - 1, target[0]));
      },
    };
  };

  /** Return how many characters of the board's type fit into its width. */
  function fittingColumns(node) {
    const ruler = charrnn.element("span", { class: "ruler" }, "0".repeat(20));
    node.append(ruler);
    const wide = ruler.getBoundingClientRect().width / 20;
    ruler.remove();
    const style = getComputedStyle(node);
    const room = node.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    return wide && room > 0 ? Math.max(10, Math.floor(room / wide)) : 80;
  }
})((globalThis.charrnn ??= {}));
