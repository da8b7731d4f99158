"""litellm by both APIs."""
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no look-up of prices
import litellm  # noqa: E402

base = f"http://127.0.0.1:{sys.argv[1]}"
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
for model, url in (("openai/local", base + "/v1"), ("anthropic/claude-local", base), ("deepseek/local", base + "/beta")):
    ask = {"model": model, "api_base": url, "api_key": "any", "num_retries": 0}
    plain = litellm.completion(messages=[{"role": "user", "content": "hi"}], **ask)
    assert plain.choices[0].message.content == "Hello, here I am. 🙂 naïve 日本", (model, plain)
    called = litellm.completion(messages=[{"role": "user", "content": "weather"}], tools=tools, **ask)
    assert json.loads(called.choices[0].message.tool_calls[0].function.arguments) == {"city": "Rome"}, (model, called)
    text = "".join(c.choices[0].delta.content or "" for c in litellm.completion(messages=[{"role": "user", "content": "hi"}], stream=True, **ask))
    assert text == "Hello, here I am. 🙂 naïve 日本", (model, text)
print("all well")
