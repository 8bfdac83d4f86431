// What the editor package rnn-writer sends, by the library that it sends it with.
// Argument: the address. Each line of output is a check.
const request = require("request-json");

const client = request.createClient(process.argv[2]);
const say = (name, ok, detail = "") => console.log(JSON.stringify({ name, ok, detail }));
const start = "It was a dark, “dark” night & 100%";

client.get("/", (error) => {
  say("GET / when it is switched on", !error, error ? String(error).slice(0, 200) : "");
  const query = "/generate?start_text=" + encodeURIComponent(start) + "&n=3";
  client.get(query, (failure, response, body) => {
    const known = body && decodeURIComponent(body.start_text).replace(/\+/g, " ");
    say("GET /generate", !failure && known === start && body.completions.length === 3, String(failure || ""));
    client.get("/generate?start_text=a&n=many", (_, __, wrong) => {
      say("its error has a message", typeof wrong.message === "string");
    });
  });
});
