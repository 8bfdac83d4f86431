// Questions that stand in the way until they are answered: the key, and the link.
(function (charrnn) {
  "use strict";

  const { byId } = charrnn;

  /** Return a promise of the key that a person gives, which this tab then keeps; "" is none. */
  charrnn.askKey = function (isWrong) {
    const dialog = byId("key-dialog");
    const input = byId("key");
    byId("key-words").textContent = isWrong
      ? "This key is not right. Whoever started the server has it."
      : "Whoever started it has the key. It is kept until you close this tab.";
    input.value = "";
    if (!dialog.open) dialog.showModal();
    input.focus();
    return new Promise((resolve) => {
      const answer = (key) => {
        dialog.close();
        resolve(key);
      };
      byId("key-ok").onclick = () => answer(input.value.trim());
      byId("key-cancel").onclick = () => answer("");
      input.onkeydown = (event) => {
        if (event.key === "Enter") answer(input.value.trim());
      };
      dialog.oncancel = (event) => {
        event.preventDefault();
        answer("");
      };
    });
  };
})((globalThis.charrnn ??= {}));
