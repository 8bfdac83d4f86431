// The coloured text under the text field: the same characters in the same places.
//
// The field's own letters are what one reads while typing; the mirror adds the colours behind them,
// and is what one reads while the model writes. It is cut into blocks of whole lines, so that a
// change lays out little, and into parts, of which only those near the window have spans.
(function (charrnn) {
  "use strict";

  const BLOCK = 400; // units, after which a block ends with its line
  const PART = 500; // units
  const EDGES = [1, 2, 4, 7, 11]; // bits: where each colour begins
  const element = (...args) => charrnn.element(...args);

  charrnn.EDGES = EDGES;

  /** Return the number of the colour of so many bits: 0 is none. */
  charrnn.levelOf = (bits) => EDGES.filter((edge) => bits >= edge).length;

  /** Return nodes for text[start, stop) of a piece: spans of characters that look alike. */
  charrnn.colored = function (piece, start, stop, colors) {
    const look = (k) => {
      if (colors === "writer") return piece.isModel[k] ? "by-model" : "";
      const cost = colors === "surprise" ? piece.costs[k] : null;
      if (cost?.isUnseen) return "never-seen";
      return cost ? (charrnn.levelOf(cost.bits) ? `s${charrnn.levelOf(cost.bits)}` : "") : "";
    };
    const nodes = [];
    for (let from = start, to; from < stop; from = to) {
      const name = look(from);
      to = from + 1;
      while (to < stop && look(to) === name) to += 1;
      const text = piece.text.slice(from, to);
      nodes.push(name ? element("span", { class: name }, text) : document.createTextNode(text));
    }
    return nodes;
  };

  /**
   * Return the mirror of a history's text.
   *
   * root: where it is drawn. shield: what lies above it and takes the mouse.
   */
  charrnn.makeMirror = function (root, shield, history) {
    let colors = "surprise";
    let blocks = []; // {node, length, parts: [{node, length, isPainted}]}
    const partOf = new WeakMap(); // from nodes
    const filler = element("br"); // gives an empty last line its height
    const seen = new IntersectionObserver(notice, { rootMargin: "600px" });
    root.replaceChildren(filler);

    function notice(entries) {
      const near = new Map(entries.map((entry) => [entry.target, entry.isIntersecting]));
      forEachPart((part, start) => {
        if (!near.has(part.node)) return;
        part.isNear = near.get(part.node);
        if (part.isNear !== part.isPainted) draw(part, start);
      });
    }

    function forEachPart(visit) {
      let start = 0;
      for (const block of blocks) {
        for (const part of block.parts) {
          visit(part, start);
          start += part.length;
        }
      }
    }

    /** Draw a part that begins at `start`: with colours where it is near. */
    function draw(part, start) {
      const stop = start + part.length;
      part.isPainted = part.isNear;
      if (part.isNear) part.node.replaceChildren(...charrnn.colored(history, start, stop, colors));
      else part.node.replaceChildren(history.text.slice(start, stop));
    }

    function makePart(start, length, isNear) {
      const part = { node: element("span"), length, isNear, isPainted: false };
      partOf.set(part.node, part);
      seen.observe(part.node);
      draw(part, start);
      return part;
    }

    function forget(block) {
      for (const part of block.parts) seen.unobserve(part.node);
      block.node.remove();
    }

    /** Return the stop of the block that begins at `start`. */
    function stopOfBlock(text, start) {
      if (text.length - start <= BLOCK) return text.length;
      const end = text.indexOf("\n", start + BLOCK - 1);
      return end < 0 ? text.length : end + 1;
    }

    function makeBlock(start, stop) {
      const parts = [];
      const isNear = stop - start <= 4 * PART;
      for (let from = start; from < stop; from += PART) {
        parts.push(makePart(from, Math.min(PART, stop - from), isNear));
      }
      return { node: element("div", {}, ...parts.map((part) => part.node)), length: stop - start, parts };
    }

    const isClosed = (block, stop) => block.length >= BLOCK && history.text[stop - 1] === "\n";

    /** Add the end of the text, from `start` on. */
    function append(start) {
      const { text } = history;
      while (start < text.length) {
        let last = blocks.at(-1);
        if (!last || isClosed(last, start)) {
          last = { node: element("div"), length: 0, parts: [] };
          blocks.push(last);
          root.append(last.node);
        }
        const stop = stopOfBlock(text, start - last.length);
        while (start < stop) {
          const part = last.parts.at(-1);
          const room = part ? PART - part.length : 0;
          const length = Math.min(stop - start, room || PART);
          if (room && part.isPainted) {
            part.node.append(...charrnn.colored(history, start, start + length, colors));
            part.length += length;
          } else if (room) {
            part.node.append(text.slice(start, start + length));
            part.length += length;
          } else {
            const made = makePart(start, length, true);
            last.parts.push(made);
            last.node.append(made.node);
          }
          last.length += length;
          start += length;
        }
      }
      blocks.at(-1)?.node.append(filler);
      if (!blocks.length) root.append(filler);
    }

    /** Follow a small change within one part, whose block keeps its end; return whether it was one. */
    function amend(at, removed, inserted) {
      let isDone = false;
      let start = 0;
      for (const block of blocks) {
        const stop = start + block.length;
        if (at >= start && at + removed < stop) {
          let from = start;
          const part = block.parts.find((each) => (from += each.length) > at);
          from -= part.length;
          const length = part.length + inserted.length - removed;
          if (at + removed >= from + part.length || length > 2 * PART) return false;
          part.length = length;
          block.length += inserted.length - removed;
          draw(part, from);
          isDone = true;
          break;
        }
        start = stop;
      }
      return isDone;
    }

    const mirror = {
      /** Follow a change of the text: units that went from `at` on, and the text that came there. */
      replace(at, removed, inserted) {
        const { text } = history;
        const oldLength = text.length - inserted.length + removed;
        if (!removed && at === oldLength) {
          append(at);
          return;
        }
        if (amend(at, removed, inserted)) {
          mirror.repaint(at + inserted.length);
          return;
        }
        let first = 0;
        let start = 0;
        while (first < blocks.length - 1 && start + blocks[first].length <= at) {
          start += blocks[first].length;
          first += 1;
        }
        let last = first;
        let stop = start + (blocks[first]?.length ?? 0);
        while (last < blocks.length - 1 && stop < at + removed) {
          last += 1;
          stop += blocks[last].length;
        }
        // Without its newline the last of them runs on into the next.
        let freshStop = stop + inserted.length - removed;
        if (last < blocks.length - 1 && text[freshStop - 1] !== "\n") {
          last += 1;
          freshStop += blocks[last].length;
        }
        const before = blocks[first - 1]?.node ?? null;
        for (const block of blocks.slice(first, last + 1)) forget(block);
        const made = [];
        for (let from = start; from < freshStop; ) {
          const to = Math.min(stopOfBlock(text, from), freshStop);
          made.push(makeBlock(from, to));
          from = to;
        }
        blocks.splice(first, last + 1 - first, ...made);
        const nodes = made.map((block) => block.node);
        if (before) before.after(...nodes);
        else root.prepend(...nodes);
        (blocks.at(-1)?.node ?? root).append(filler);
        // What follows the place has other costs now.
        mirror.repaint(at);
      },

      /** Draw again what is coloured of text[from, to). */
      repaint(from = 0, to = history.text.length) {
        forEachPart((part, start) => {
          if (part.isPainted && start < to && start + part.length > from) draw(part, start);
        });
      },

      /** Colour by "surprise", by "writer", or by nothing: "none". */
      setColors(name) {
        colors = name;
        mirror.repaint();
      },

      /** Return the place of the character at a point of the window; −1 where there is none. */
      placeAt(x, y) {
        shield.style.pointerEvents = "none";
        const spot = caretAt(x, y);
        shield.style.pointerEvents = "";
        if (!spot || !root.contains(spot.node)) return -1;
        const near = placeOf(spot.node, spot.offset);
        for (const place of [near, near - 1]) {
          const box = mirror.boxOf(place);
          if (box && x >= box.left && x <= box.right && y >= box.top - 4 && y <= box.bottom + 4) return place;
        }
        return -1;
      },

      /** Return the box of a character in the window, or null. */
      boxOf(place) {
        const range = rangeAt(place);
        if (!range) return null;
        const box = range.getBoundingClientRect();
        return box.height ? box : null;
      },
    };

    function placeOf(node, offset) {
      let at = node;
      while (at && !partOf.has(at)) at = at.parentNode;
      if (!at) return -1;
      const range = document.createRange();
      range.setStart(at, 0);
      range.setEnd(node, offset);
      let place = -1;
      forEachPart((part, start) => {
        if (part.node === at) place = start + range.toString().length;
      });
      return place;
    }

    /** Return the range of the character at a place. */
    function rangeAt(place) {
      let found = null;
      if (place < 0 || place >= history.text.length) return null;
      forEachPart((part, start) => {
        if (found || place >= start + part.length || place < start) return;
        const walker = document.createTreeWalker(part.node, NodeFilter.SHOW_TEXT);
        let left = place - start;
        while (walker.nextNode()) {
          const node = walker.currentNode;
          if (left < node.length) {
            const char = String.fromCodePoint(history.text.codePointAt(place));
            found = document.createRange();
            found.setStart(node, left);
            found.setEnd(node, Math.min(left + char.length, node.length));
            return;
          }
          left -= node.length;
        }
      });
      return found;
    }

    return mirror;
  };

  /** Return {node, offset} of the text at a point of the window. */
  function caretAt(x, y) {
    if (document.caretPositionFromPoint) {
      const spot = document.caretPositionFromPoint(x, y);
      return spot && { node: spot.offsetNode, offset: spot.offset };
    }
    const range = document.caretRangeFromPoint?.(x, y);
    return range && { node: range.startContainer, offset: range.startOffset };
  }
})((globalThis.charrnn ??= {}));
