// What a browser keeps of a text: for this tab, and for all tabs, whose words are brought together.
//
// A browser may forbid it, or be full. Each tab goes on with its own text; what another tab kept since
// comes among the versions before it is written over.
(function (charrnn) {
  "use strict";

  const STORAGES = ["sessionStorage", "localStorage"];
  const FORGOTTEN = "null"; // what is kept for a moment when a person lets a text be forgotten

  /** Return what a storage has under a name, or null. */
  charrnn.kept = function (storage, name) {
    try {
      return globalThis[storage].getItem(name);
    } catch {
      return null;
    }
  };

  /** Keep a text, or forget it if it is null; return whether that was possible. */
  charrnn.keep = function (storage, name, text) {
    try {
      if (text === null) globalThis[storage].removeItem(name);
      else globalThis[storage].setItem(name, text);
      return true;
    } catch {
      return false;
    }
  };

  /** Return what a text in a storage says, or null where this page did not write it. */
  function readSaved(text) {
    try {
      return JSON.parse(text ?? "null");
    } catch {
      return null;
    }
  }

  /**
   * Return what keeps a history's text under a model's name, which getName() returns.
   *
   * onVersions() is called when another tab's versions came or went, onOther() when they are the
   * first, onForgotten() when a person let the text be forgotten in another tab, onFull() when
   * nothing can be kept any more.
   */
  charrnn.makeStore = function (history, getName, { onVersions, onOther, onForgotten, onFull }) {
    const tab = String(charrnn.randomSeed()); // tells what this tab saved from what another did
    const keyOf = (name) => `charrnn.write ${name}`;
    const ownKey = () => keyOf(getName());
    let last = null; // what all tabs have, as this one knows it
    let isUnsaved = false;
    let isForgotten = false; // in another tab, after which nothing was changed here
    let isTold = false;

    /** Take what another tab kept since; return whether there was anything new. */
    function merge() {
      const text = charrnn.kept("localStorage", ownKey());
      if (text === null || text === last) return false;
      last = text;
      const saved = readSaved(text);
      if (typeof saved?.text !== "string" || saved.tab === tab || !history.merge(saved)) return false;
      onVersions();
      return true;
    }

    return {
      /** Whether what the text is now can be kept nowhere. */
      get isUnsaved() { return isUnsaved; },

      /** Keep the text with its versions. */
      save() {
        if (isForgotten) return;
        merge();
        const saved = JSON.stringify({ ...history.save(), tab });
        const full = STORAGES.filter((storage) => !charrnn.keep(storage, ownKey(), saved));
        const isKept = full.length < STORAGES.length;
        // What one of them still has of an older text must not be found first.
        if (isKept) for (const storage of full) charrnn.keep(storage, ownKey(), null);
        if (!isKept && !isUnsaved) onFull();
        isUnsaved = !isKept;
        last = charrnn.kept("localStorage", ownKey());
      },

      /** Start again from what is kept. */
      load() {
        // The tab's own first: another tab may have written since.
        const text = STORAGES.map((storage) => charrnn.kept(storage, ownKey())).find((each) => each !== null);
        last = null;
        isForgotten = false;
        isTold = false;
        history.load(readSaved(text));
        merge();
      },

      /** Know that the text was changed here. */
      touch() {
        isForgotten = false;
      },

      /** Forget what is kept under a name; all tabs hear of it. */
      forget(name = getName()) {
        if (charrnn.kept("localStorage", keyOf(name)) !== null) charrnn.keep("localStorage", keyOf(name), FORGOTTEN);
        for (const storage of STORAGES) charrnn.keep(storage, keyOf(name), null);
        last = null;
      },

      /** Follow what another tab keeps of this text, or that it forgot it. */
      follow({ storageArea, key, newValue }) {
        if (storageArea !== localStorage || key !== ownKey()) return;
        if (newValue === FORGOTTEN) {
          history.dropForeign();
          isForgotten = true;
          onVersions();
          onForgotten();
        } else if (merge() && !isTold) isTold = onOther();
      },
    };
  };
})((globalThis.charrnn ??= {}));
