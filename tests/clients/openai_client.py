"""The openai package against a server whose model calls get_weather when asked for the weather."""
import json
import sys

import openai

client = openai.OpenAI(base_url=f"http://127.0.0.1:{sys.argv[1]}/v1", api_key="any", max_retries=0)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": SCHEMA}}]
FLAT = [{"type": "function", "name": "get_weather", "description": "Weather of a city", "parameters": SCHEMA, "strict": False}]
HELLO = "Hello, here I am. 🙂 naïve 日本"
ASK = [{"role": "user", "content": "What is the weather?"}]

assert client.models.list().data[0].id == "scripted"

plain = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
assert plain.choices[0].message.content == HELLO and plain.choices[0].message.reasoning_content == "Nothing to do."
assert plain.choices[0].finish_reason == "stop" and plain.model == "m"

quick = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], extra_body={"thinking": {"type": "disabled"}})
assert "reasoning_content" not in (quick.choices[0].message.model_extra or {})

text, thinking, usage = "", "", None
for chunk in client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True,
                                            stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        text += choice.delta.content or ""
        thinking += (choice.delta.model_extra or {}).get("reasoning_content") or ""
assert text == HELLO and thinking == "Nothing to do." and usage.completion_tokens == plain.usage.completion_tokens

called = client.chat.completions.create(model="m", messages=ASK, tools=TOOLS)
message = called.choices[0].message
assert called.choices[0].finish_reason == "tool_calls" and message.content == "I use the tool."
assert message.tool_calls[0].function.name == "get_weather" and json.loads(message.tool_calls[0].function.arguments) == {"city": "Rome"}
with client.chat.completions.stream(model="m", messages=ASK, tools=TOOLS) as stream:
    final = stream.get_final_completion()
assert final.choices[0].message.tool_calls[0].function.arguments == message.tool_calls[0].function.arguments
assert final.choices[0].message.tool_calls[0].id != message.tool_calls[0].id
back = client.chat.completions.create(model="m", tools=TOOLS, messages=ASK + [
    message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}])
assert back.choices[0].message.content == "Done: the file is written."
assert back.usage.prompt_tokens_details.cached_tokens > 0.8 * back.usage.prompt_tokens, back.usage

forbidden = client.chat.completions.create(model="m", messages=ASK, tools=TOOLS, tool_choice="none")
assert forbidden.usage.prompt_tokens < called.usage.prompt_tokens

response = client.responses.create(model="m", input="What is the weather?", tools=FLAT)
assert [item.type for item in response.output] == ["reasoning", "message", "function_call"] and response.output_text == "I use the tool."
assert json.loads(response.output[2].arguments) == {"city": "Rome"} and response.status == "completed"
with client.responses.stream(model="m", input="What is the weather?", tools=FLAT) as stream:
    kinds = [event.type for event in stream]
    final = stream.get_final_response()
assert kinds[0] == "response.created" and kinds[-1] == "response.completed" and "response.function_call_arguments.delta" in kinds
assert final.output[2].arguments == response.output[2].arguments
again = client.responses.create(model="m", tools=FLAT, input=[{"role": "user", "content": "What is the weather?"}] + [
    item.model_dump(exclude_none=True) for item in response.output] + [
    {"type": "function_call_output", "call_id": response.output[2].call_id, "output": "sunny"}])
assert again.output_text == "Done: the file is written."
custom = client.responses.create(model="m", input="What is the weather?", tools=[{"type": "custom", "name": "get_weather"}])
assert custom.output[2].type == "custom_tool_call" and "Rome" in custom.output[2].input, custom.output

raw = client.completions.create(model="m", prompt=["a", "b"], max_tokens=3)
assert len(raw.choices) == 2 and raw.choices[1].index == 1

for bad, kind in (({"messages": []}, openai.BadRequestError), ({"messages": ASK, "temperature": 9}, openai.BadRequestError)):
    try:
        client.chat.completions.create(model="m", **bad)
    except kind as e:
        assert e.body["message"] and e.request_id.startswith("req_")
    else:
        raise AssertionError(bad)
try:
    client.embeddings.create(model="m", input="x")
except openai.BadRequestError as e:
    assert "no embeddings" in e.body["message"]
else:
    raise AssertionError("embeddings of DeepSeek V4")
print("all well")
