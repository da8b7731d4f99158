"""The anthropic package against a server whose model calls get_weather when asked for the weather."""
import sys

import anthropic

client = anthropic.Anthropic(base_url=f"http://127.0.0.1:{sys.argv[1]}", api_key="any", max_retries=0)
TOOLS = [{"name": "get_weather", "description": "Weather of a city",
          "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]
ASK = [{"role": "user", "content": "What is the weather?"}]
BASE = {"model": "claude-any", "max_tokens": 4096}
HELLO = "Hello, here I am. 🙂 naïve 日本"

assert client.models.list().data[0].id == "scripted"
plain = client.messages.create(**BASE, messages=[{"role": "user", "content": "hi"}], system="Be brief.")
assert [b.type for b in plain.content] == ["thinking", "text"] and plain.content[1].text == HELLO and plain.stop_reason == "end_turn"
quick = client.messages.create(**BASE, messages=[{"role": "user", "content": "hi"}], thinking={"type": "disabled"})
assert quick.content[0].type == "text"

called = client.messages.create(**BASE, messages=ASK, tools=TOOLS)
assert called.stop_reason == "tool_use" and [b.type for b in called.content] == ["thinking", "text", "tool_use"]
assert called.content[2].input == {"city": "Rome"} and called.content[2].id.startswith("toolu_")
with client.messages.stream(**BASE, messages=ASK, tools=TOOLS) as stream:
    kinds = [event.type for event in stream]
    final = stream.get_final_message()
assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and "input_json" in kinds and "thinking" in kinds
assert final.content[2].input == {"city": "Rome"} and final.content[0].thinking == called.content[0].thinking
assert final.usage.output_tokens == called.usage.output_tokens
counted = client.messages.count_tokens(model="m", messages=ASK, tools=TOOLS).input_tokens
assert counted == called.usage.input_tokens + called.usage.cache_read_input_tokens

back = client.messages.create(**BASE, tools=TOOLS, messages=ASK + [
    {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in called.content]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": called.content[2].id, "content": [{"type": "text", "text": "sunny"}]},
                                 {"type": "text", "text": "and now?"}]}])
assert back.content[-1].text == "Done: the file is written." and back.usage.cache_read_input_tokens > back.usage.input_tokens, back.usage

# A line about billing that changes with every request must not make the prompt a new one.
for n in range(2):
    u = client.messages.create(**BASE, messages=[{"role": "user", "content": "hi"}], system=[
        {"type": "text", "text": f"x-anthropic-billing-header: v={n}; cch={n * 7919};"}, {"type": "text", "text": "You are an agent. " * 50}]).usage
assert u.input_tokens < 3, u

try:
    client.messages.create(**BASE, messages=[{"role": "user", "content": "hi"}], temperature=9)
except anthropic.BadRequestError as e:
    assert e.body["error"]["type"] == "invalid_request_error" and "temperature" in e.body["error"]["message"]
except TypeError:  # newer packages know no temperature
    pass
print("all well")
