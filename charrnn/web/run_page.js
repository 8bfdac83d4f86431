// For node: let the script of an exported page read a text, and write one of the likeliest tokens.
//
//   node -e "$(cat run_page.js)" FIRST COUNT ROWS IDS < PAGE
//
// FIRST: the token before both texts. ROWS: of labels, IDS: of the text to read, as JSON. Stdout gets
// {costs, ids}: −ln p of each token that was read, and the COUNT tokens that were written.
"use strict";

const fs = require("node:fs");
const vm = require("node:vm");

const [first, count, rows, text] = process.argv.slice(1);
const page = fs.readFileSync(0, "utf8");
const part = (opening) => {
  const start = page.indexOf(opening) + opening.length;
  return page.slice(start, page.indexOf("</script>", start));
};
vm.runInThisContext(part('<script id="code">'));
const charrnn = globalThis.charrnn;
const model = JSON.parse(part('<script type="application/json" id="data">'));
const weights = part('<script type="text/plain" id="weights">').trim();
const decoded = charrnn.decodeWeights(weights, model.index, model.dtype);
const network = charrnn.openPageNetwork(model, decoded, JSON.parse(rows));
const start = network.advance(Number(first), network.initialState());
let state = start;
const costs = JSON.parse(text).map((token) => {
  const cost = -Math.log(charrnn.probabilities(network.logits(state))[token]);
  state = network.advance(token, state);
  return cost;
});
state = start;
const ids = [];
while (ids.length < Number(count)) {
  ids.push(charrnn.chooseToken(network.logits(state), { temperature: 0 }, 0));
  state = network.advance(ids[ids.length - 1], state);
}
process.stdout.write(JSON.stringify({ costs, ids }));
