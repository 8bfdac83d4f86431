// The openai package for JavaScript against a server, one parameter after another.
// Arguments: the address with /v1, the key, the name of the model. Each line of output is a check.
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const base = { model, prompt: "The", max_tokens: 12, seed: 3 };

async function check(name, run) {
  let detail = "";
  try {
    if ((await run()) === false) detail = "not as documented";
  } catch (error) {
    detail = `${error.constructor.name}: ${error.message}`;
  }
  console.log(JSON.stringify({ name, ok: detail === "", detail }));
}

async function raises(kind, run, param) {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof kind)) throw error;
    return param === undefined || error.param === param;
  }
  return false;
}

const complete = (more) => client.completions.create({ ...base, ...more });
const first = async (more) => (await complete(more)).choices[0];

await check("models.list", async () => (await client.models.list()).data[0].id === model);
await check("prompt, max_tokens", async () => (await first({})).text.length === 12);
await check("seed", async () => (await first({})).text === (await first({})).text);
await check("prompt: list", async () => (await complete({ prompt: ["a", "b"] })).choices.length === 2);
await check("n", async () => (await complete({ n: 3 })).choices.length === 3);
await check("best_of", async () => (await complete({ n: 2, best_of: 4 })).choices.length === 2);
await check("echo", async () => (await first({ echo: true })).text.startsWith("The"));
await check("logprobs", async () => {
  const { logprobs } = await first({ logprobs: 2 });
  return logprobs.tokens.length === 12 && Object.keys(logprobs.top_logprobs[0]).length >= 2;
});
await check("echo, logprobs, max_tokens 0", async () => {
  const { logprobs } = await first({ echo: true, logprobs: 0, max_tokens: 0 });
  return logprobs.tokens.join("") === "The";
});
await check("stop", async () => !(await first({ stop: ["e", " "], max_tokens: 99 })).text.includes("e"));
await check("temperature 0", async () =>
  (await first({ temperature: 0, seed: 1 })).text === (await first({ temperature: 0, seed: 2 })).text);
await check("top_p", async () => (await first({ top_p: 0.5 })).text.length === 12);
await check("presence_penalty, frequency_penalty", async () =>
  (await first({ presence_penalty: 1, frequency_penalty: 1 })).text.length === 12);
await check("logit_bias", async () => (await first({ logit_bias: { e: 100 } })).text === "e".repeat(12));
await check("suffix", async () => (await first({ suffix: " man" })).finish_reason === "stop");
await check("user", async () => (await first({ user: "me" })).text.length === 12);
await check("own settings", async () => (await first({ regex: "[a-z]{5}", top_k: 9 })).text.length === 5);
await check("stream", async () => {
  let text = "";
  for await (const chunk of await complete({ stream: true })) text += chunk.choices[0].text;
  return text === (await first({})).text;
});
await check("stream_options.include_usage", async () => {
  let last;
  const asked = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await complete(asked)) last = chunk;
  return last.choices.length === 0 && last.usage.completion_tokens === 12;
});
await check("stream, stopped by the client", async () => {
  const stream = await complete({ stream: true, max_tokens: 5000 });
  for await (const _ of stream) break;
  return stream.controller.signal.aborted;
});
await check("embeddings", async () =>
  (await client.embeddings.create({ model, input: "The" })).data[0].embedding.length > 0);
const messages = [{ role: "user", content: "Hello" }];
await check("chat", async () => {
  const answer = await client.chat.completions.create({ model, messages, max_tokens: 9, seed: 1 });
  return typeof answer.choices[0].message.content === "string";
});
await check("chat, stream", async () => {
  const asked = { model, messages, max_completion_tokens: 9, seed: 1, stream: true };
  let reason = null;
  for await (const chunk of await client.chat.completions.create(asked))
    reason = chunk.choices[0].finish_reason ?? reason;
  return reason === "length" || reason === "stop";
});
await check("400 BadRequestError", () =>
  raises(OpenAI.BadRequestError, () => complete({ temperature: -1 }), "temperature"));
await check("400 of an unknown field", () =>
  raises(OpenAI.BadRequestError, () => complete({ temprature: 1 }), "temprature"));
await check("404 NotFoundError", () =>
  raises(OpenAI.NotFoundError, () => complete({ model: "gpt-4" }), "model"));
await check("401 AuthenticationError", () =>
  raises(OpenAI.AuthenticationError, () =>
    new OpenAI({ baseURL, apiKey: "another-key", maxRetries: 0 }).completions.create(base)));
