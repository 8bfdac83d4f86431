// The text, what each character cost, who wrote it, and every version that it had: a tree of turns.
//
// A turn is what it removed and what it inserted, so a long text is held once. Places and lengths
// count UTF-16 units, as the text field of a browser does.
(function (charrnn) {
  "use strict";

  const TURN_MS = 1500; // typing after a longer pause begins a turn of its own
  const MAX_TURN_MS = 15000;
  const MAX_SAVED = 2_000_000; // characters of all versions; beyond, only the text itself is saved

  const nothing = () => ({ text: "", costs: [], isModel: [] });

  /** Return a piece of text; costs: one for each unit, or null where none is known. */
  charrnn.makePiece = function (text, isModel, costs = null) {
    return {
      text,
      costs: costs ?? new Array(text.length).fill(null),
      isModel: new Array(text.length).fill(isModel),
    };
  };

  const joined = (a, b) => ({
    text: a.text + b.text,
    costs: a.costs.concat(b.costs),
    isModel: a.isModel.concat(b.isModel),
  });
  const sliced = (piece, start, stop) => ({
    text: piece.text.slice(start, stop),
    costs: piece.costs.slice(start, stop),
    isModel: piece.isModel.slice(start, stop),
  });

  /** Return where two texts differ: {at, removed: units of the old one, inserted: a text}. */
  charrnn.difference = function (old, fresh) {
    const most = Math.min(old.length, fresh.length);
    let at = 0;
    while (at < most && old[at] === fresh[at]) at += 1;
    let same = 0;
    while (same < most - at && old[old.length - 1 - same] === fresh[fresh.length - 1 - same]) same += 1;
    // No half of a character stays behind.
    const isHalf = (text, k) => k > 0 && k < text.length && /[\udc00-\udfff]/.test(text[k]) && /[\ud800-\udbff]/.test(text[k - 1]);
    if (isHalf(old, at) || isHalf(fresh, at)) at -= 1;
    while (same > 0 && (isHalf(old, old.length - same) || isHalf(fresh, fresh.length - same))) same -= 1;
    return { at, removed: old.length - same - at, inserted: fresh.slice(at, fresh.length - same) };
  };

  /**
   * Return a text with its versions.
   *
   * onChange(at, removed, inserted) is called after each change of the text: units from `at` on
   * that went, and the text that came in their place.
   */
  charrnn.makeHistory = function (onChange) {
    let whole = nothing();
    let count = 0;
    let root = makeTurn(null, { kind: "start", at: 0, inserted: nothing() });
    let current = root;

    /** kind: start, typed, written, alternative, cleared, link or tab. */
    function makeTurn(parent, { kind, at, removedLength = 0, inserted, note = "" }) {
      count += 1;
      const now = Date.now();
      return {
        number: count, parent, kind, at, removedLength, inserted, note,
        removed: null, children: [], next: null, began: now, ended: now, isForeign: false,
      };
    }

    function splice(at, removedLength, piece) {
      const removed = sliced(whole, at, at + removedLength);
      const isAtEnd = at + removedLength === whole.text.length;
      if (isAtEnd && !removedLength) {
        whole.text += piece.text;
        for (const cost of piece.costs) whole.costs.push(cost);
        for (const each of piece.isModel) whole.isModel.push(each);
      } else {
        const after = sliced(whole, at + removedLength, whole.text.length);
        // What follows was read after another text: its costs are no longer true.
        after.costs.fill(null);
        whole = joined(joined(sliced(whole, 0, at), piece), after);
      }
      onChange(at, removedLength, piece.text);
      return removed;
    }

    function goDown(turn) {
      turn.removed = splice(turn.at, turn.removedLength, turn.inserted);
      turn.parent.next = turn;
      current = turn;
    }

    function goUp() {
      splice(current.at, current.inserted.text.length, current.removed);
      current = current.parent;
    }

    /** Return whether a turn came from another tab, and nothing here goes back to it. */
    const isLoose = (turn) => turn.isForeign && turn !== current && !turn.children.length;

    const isEmpty = (turn) => !turn.inserted.text && !turn.removedLength;

    function drop(turn) {
      const { parent } = turn;
      turn.isDropped = true;
      parent.children = parent.children.filter((each) => each !== turn);
      if (parent.next === turn) parent.next = parent.children.at(-1) ?? null;
    }

    /** Change the turn that is being typed instead of making another; return whether that is right. */
    function amend({ at, removed, inserted }) {
      const turn = current;
      const now = Date.now();
      const isOpen = turn.kind === "typed" && !turn.children.length;
      if (!isOpen || now - turn.ended > TURN_MS || now - turn.began > MAX_TURN_MS) return false;
      const length = turn.inserted.text.length;
      const isInside = at >= turn.at && at + removed <= turn.at + length;
      const isBefore = !length && !inserted && at + removed === turn.at; // Backspace held down
      if (!isInside && !isBefore) return false;
      const piece = charrnn.makePiece(inserted, false);
      const gone = splice(at, removed, piece);
      if (isInside) {
        const own = turn.inserted;
        const from = at - turn.at;
        turn.inserted = joined(joined(sliced(own, 0, from), piece), sliced(own, from + removed, length));
      } else {
        turn.at = at;
        turn.removed = joined(gone, turn.removed);
        turn.removedLength += removed;
      }
      turn.ended = now;
      return true;
    }

    const history = {
      get text() { return whole.text; },
      get costs() { return whole.costs; },
      get isModel() { return whole.isModel; },
      get current() { return current; },
      get root() { return root; },
      get canUndo() { return current !== root; },
      get canRedo() { return current.next !== null; },

      /** Make a turn, and go to it; return it. */
      add(turn) {
        history.settle();
        const made = makeTurn(current, turn);
        current.children.push(made);
        goDown(made);
        return made;
      },

      /** Make a turn that can be gone to, and stay here; return it. */
      offer(turn) {
        const made = makeTurn(current, turn);
        current.children.push(made);
        current.next ??= made;
        return made;
      },

      /** Take what was typed: the whole text as it is now. */
      type(fresh) {
        const change = charrnn.difference(whole.text, fresh);
        if (!change.removed && !change.inserted) return;
        if (amend(change)) return;
        const inserted = charrnn.makePiece(change.inserted, false);
        history.add({ kind: "typed", at: change.at, removedLength: change.removed, inserted });
      },

      /** Add a piece to what the current turn inserted. */
      grow(piece) {
        const at = current.at + current.inserted.text.length;
        splice(at, 0, piece);
        const own = current.inserted;
        own.text += piece.text;
        for (const cost of piece.costs) own.costs.push(cost);
        for (const each of piece.isModel) own.isModel.push(each);
      },

      /** End the current turn: one that changed nothing is forgotten. */
      settle() {
        if (current !== root && isEmpty(current) && !current.children.length) {
          const turn = current;
          current = turn.parent;
          drop(turn);
        }
      },

      /** Take the current turn back as if it had never been. */
      discard() {
        const turn = current;
        goUp();
        drop(turn);
      },

      /** Set the costs of the first units, and of no others that are known. */
      setCosts(costs) {
        for (let k = 0; k < costs.length && k < whole.costs.length; k++) whole.costs[k] = costs[k];
      },

      forgetCosts() {
        whole.costs.fill(null);
      },

      undo() {
        if (history.canUndo) goUp();
      },

      redo() {
        if (history.canRedo) goDown(current.next);
      },

      /** Go to a turn, wherever it stands in the tree. */
      goTo(turn) {
        if (turn.isDropped) return;
        const above = new Set();
        for (let each = turn; each; each = each.parent) above.add(each);
        while (!above.has(current)) goUp();
        const way = [];
        for (let each = turn; each !== current; each = each.parent) way.unshift(each);
        for (const each of way) goDown(each);
      },

      /** Return all turns, each after its parent; a branch comes before the turns beside it. */
      turns() {
        const found = [];
        const open = [root];
        while (open.length) {
          const turn = open.pop();
          found.push(turn);
          for (let k = turn.children.length - 1; k >= 0; k--) open.push(turn.children[k]);
        }
        return found;
      },

      /** Return what `load` takes: all versions, or the text alone where they are too long. */
      save() {
        const turns = history.turns();
        const size = turns.reduce((sum, turn) => sum + turn.inserted.text.length + 60, 0);
        if (size > MAX_SAVED) return { text: whole.text };
        const numberOf = new Map(turns.map((turn, k) => [turn, k]));
        return {
          text: whole.text,
          current: numberOf.get(current),
          turns: turns.slice(1).map((turn) => [
            numberOf.get(turn.parent), turn.kind, turn.at, turn.removedLength, turn.inserted.text, turn.note,
          ]),
        };
      },

      /**
       * Add the versions that another tab saved of this text; return whether any is new.
       *
       * The text stays as it is. Turns that both have, from before they parted, are there once.
       */
      merge({ text: whereItIs, turns, tab }) {
        if (!Array.isArray(turns)) turns = whereItIs && whereItIs !== whole.text ? [[0, "tab", 0, 0, whereItIs, ""]] : [];
        if (!turns.every(Array.isArray)) return false; // not written by this page
        const inner = new Set(turns.map(([parent]) => parent));
        const found = [root];
        const fresh = new Set();
        for (const [parent, kind, at, removedLength, text, note] of turns) {
          if (!found[parent] || typeof text !== "string") break;
          const isLeaf = !inner.has(found.length);
          // A turn grows while it is typed or written: either tab may have seen less of it.
          const isSame = (turn) => turn.kind === kind && turn.at === at && turn.removedLength === removedLength && turn.note === note
            && (turn.inserted.text === text || (isLeaf && turn.inserted.text.startsWith(text)) || (isLoose(turn) && text.startsWith(turn.inserted.text)));
          let turn = found[parent].children.find(isSame);
          if (!turn || text.length > turn.inserted.text.length) {
            const isModel = kind === "written" || kind === "alternative";
            const inserted = charrnn.makePiece(text, isModel);
            if (turn) turn.inserted = inserted;
            else {
              turn = Object.assign(makeTurn(found[parent], { kind, at, removedLength, inserted, note }), { isForeign: true, tab });
              found[parent].children.push(turn);
            }
            fresh.add(turn);
          }
          found.push(turn);
        }
        // What was typed and then changed within its turn is one version, not one for each change.
        for (const { parent, kind } of [...fresh]) {
          if (kind !== "typed") continue;
          const isOld = (turn) => isLoose(turn) && turn.kind === kind && turn.tab === tab && !found.includes(turn);
          for (const turn of parent.children.filter(isOld)) drop(turn);
        }
        return fresh.size > 0;
      },

      /** Forget the versions that came from other tabs, but those that the text goes back to. */
      dropForeign() {
        for (const turn of history.turns().reverse()) {
          if (isLoose(turn)) drop(turn);
        }
      },

      /** Start from what `save` returned; what cannot be read is taken as a text alone. */
      load(saved) {
        count = 0;
        const old = whole.text;
        whole = nothing();
        onChange(0, old.length, "");
        root = current = makeTurn(null, { kind: "start", at: 0, inserted: nothing() });
        if (typeof saved?.text !== "string") return;
        try {
          const made = [root];
          for (const [parent, kind, at, removedLength, text, note] of saved.turns ?? []) {
            const isModel = kind === "written" || kind === "alternative";
            const inserted = charrnn.makePiece(String(text), isModel);
            const turn = makeTurn(made[parent], { kind, at, removedLength, inserted, note });
            made[parent].children.push(turn);
            made[parent].next = turn;
            made.push(turn);
          }
          if (saved.turns) history.goTo(made[saved.current]);
        } catch {
          root.children = [];
          root.next = null;
          splice(0, whole.text.length, nothing());
          current = root;
        }
        if (whole.text !== saved.text) history.type(saved.text);
        current.ended = 0; // what is typed next is a turn of its own
      },
    };
    return history;
  };
})((globalThis.charrnn ??= {}));
