// The Anthropic package for JavaScript: messages with tools, streamed.
import assert from "node:assert";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({baseURL: `http://127.0.0.1:${process.argv[2]}`, apiKey: "any", maxRetries: 0});
const tools = [{name: "get_weather", input_schema: {type: "object", properties: {city: {type: "string"}}}}];
const base = {model: "claude-any", max_tokens: 4096};

const plain = await client.messages.create({...base, messages: [{role: "user", content: "hi"}]});
assert.equal(plain.content[1].text, "Hello, here I am. 🙂 naïve 日本");
const stream = client.messages.stream({...base, messages: [{role: "user", content: "weather"}], tools});
const final = await stream.finalMessage();
assert.equal(final.stop_reason, "tool_use");
assert.deepEqual(final.content.map((b) => b.type), ["thinking", "text", "tool_use"]);
assert.deepEqual(final.content[2].input, {city: "Rome"});
assert.ok((await client.messages.countTokens({model: "m", messages: [{role: "user", content: "weather"}], tools})).input_tokens > 10);
await assert.rejects(client.messages.create({...base, messages: []}), Anthropic.BadRequestError);
console.log("all well");
