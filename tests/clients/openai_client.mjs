// The openai package for JavaScript: chat with tools, and responses, streamed.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({baseURL: `http://127.0.0.1:${process.argv[2]}/v1`, apiKey: "any", maxRetries: 0});
const schema = {type: "object", properties: {city: {type: "string"}}, required: ["city"]};
const tools = [{type: "function", function: {name: "get_weather", parameters: schema}}];
const ask = [{role: "user", content: "What is the weather?"}];
const hello = "Hello, here I am. 🙂 naïve 日本";

const plain = await client.chat.completions.create({model: "m", messages: [{role: "user", content: "hi"}]});
assert.equal(plain.choices[0].message.content, hello);
const chat = client.chat.completions.stream ? client.chat.completions : client.beta.chat.completions; // where version 4 has it
const stream = chat.stream({model: "m", messages: ask, tools, stream_options: {include_usage: true}});
const final = await stream.finalChatCompletion();
assert.equal(final.choices[0].finish_reason, "tool_calls");
assert.deepEqual(JSON.parse(final.choices[0].message.tool_calls[0].function.arguments), {city: "Rome"});
assert.ok(final.usage.total_tokens > 0);
const responses = client.responses.stream({model: "m", input: "What is the weather?", tools: [{type: "function", name: "get_weather", parameters: schema, strict: false}]});
const kinds = [];
for await (const event of responses) kinds.push(event.type);
assert.equal(kinds[0], "response.created");
assert.equal(kinds.at(-1), "response.completed");
const response = await responses.finalResponse();
assert.deepEqual(response.output.map((o) => o.type), ["reasoning", "message", "function_call"]);
await assert.rejects(client.chat.completions.create({model: "m", messages: []}), OpenAI.BadRequestError);
console.log("all well");
