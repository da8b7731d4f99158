"""Conversations with tools: a request, the call that fits, its result, the answer; and requests that need no tool."""

CITIES = "Rome Paris Berlin Tokyo Oslo Madrid Cairo Lima Delhi Seoul Vienna Prague Athens Dublin Lisbon Boston Sydney Quito Hanoi Geneva".split()
NAMES = "Ann Bob Carl Dana Eve Finn Gina Hugo Ida Jack Kim Leo Mia Nina Otto Pia Ron Sue Tom Zoe".split()
STEMS = "main notes data report config todo test readme log users index utils setup budget plan draft server client parser model".split()
ENDINGS = ".py .txt .md .csv .json .log .ini .html".split()
FOLDERS = "src docs tests data lib home tmp build logs scripts".split()
TOPICS = "python lists|the weather on Mars|sorting algorithms|green tea|old maps|binary trees|solar panels|chess openings|the moon|bread recipes|unit tests|fast cars|jazz music|sea turtles|hash tables|linear algebra".split("|")
TEXTS = "I am late|see you soon|the build is green|dinner at eight|call me back|happy birthday|the test failed|meeting at noon|good luck|thanks for the help|the server is down|lunch is ready".split("|")
LANGUAGES = "French German Spanish Italian Dutch Polish Greek Japanese".split()
ZONES = {"Rome": "14:05", "Tokyo": "22:40", "Lima": "08:15", "Oslo": "13:30"}


def path(rng):
    return (rng.choice(FOLDERS) + "/" if rng.random() < 0.6 else "") + rng.choice(STEMS) + rng.choice(ENDINGS)


def schema(name, description, **properties):
    required = [p for p, v in properties.items() if not v[0].endswith("?")]
    return {"name": name, "description": description,
            "parameters": {"type": "object", "properties": {p: {"type": v[0].rstrip("?"), "description": v[1]} for p, v in properties.items()}, "required": required}}


def weather(rng):
    city = rng.choice(CITIES)
    ask = rng.choice(["What is the weather in {c}?", "How is the weather in {c}?", "Is it warm in {c}?", "weather in {c}", "Tell me the weather in {c}.", "What's the weather like in {c} today?", "How warm is it in {c}?", "Check the weather for {c}."])
    t, sky = rng.randrange(-5, 36), rng.choice(["sunny", "cloudy", "rainy", "windy", "clear"])
    return ask.format(c=city), {"city": city}, f'{{"temperature": {t}, "sky": "{sky}"}}', f"It is {t} degrees and {sky} in {city}."


def clock(rng):
    city = rng.choice(CITIES)
    ask = rng.choice(["What time is it in {c}?", "Tell me the time in {c}.", "current time in {c}", "How late is it in {c}?", "What is the local time in {c}?", "Which time do they have in {c}?"])
    t = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    return ask.format(c=city), {"city": city}, t, f"It is {t} in {city}."


def calculator(rng):
    a, b, op = rng.randrange(2, 1000), rng.randrange(2, 1000), rng.choice("+-*")
    expression = f"{a} {op} {b}"
    ask = rng.choice(["What is {e}?", "Calculate {e}.", "Compute {e}.", "How much is {e}?", "{e} = ?", "Work out {e}.", "Please calculate {e}."])
    r = a + b if op == "+" else a - b if op == "-" else a * b
    return ask.format(e=expression), {"expression": expression}, str(r), f"{expression} is {r}."


def read_file(rng):
    p = path(rng)
    ask = rng.choice(["Show me {p}.", "What is in {p}?", "Read {p}.", "Open {p}.", "Print the file {p}.", "Display {p}", "What does {p} contain?", "Please read the file {p}."])
    text = rng.choice(TEXTS)
    return ask.format(p=p), {"path": p}, text, f"{p} says: {text}"


def write_file(rng):
    p, t = path(rng), rng.choice(TEXTS)
    ask = rng.choice(['Write "{t}" to {p}.', 'Save "{t}" in {p}.', 'Put "{t}" into {p}.', 'Create {p} with the text "{t}".', 'Store "{t}" in the file {p}.'])
    return ask.format(p=p, t=t), {"path": p, "content": t}, "ok", f"I wrote the text to {p}."


def list_files(rng):
    d = rng.choice(FOLDERS)
    ask = rng.choice(["List the files in {d}.", "What files are in {d}?", "Show the folder {d}.", "ls {d}", "Which files does {d} have?", "What is in the folder {d}?"])
    files = rng.sample([s + e for s in STEMS for e in ENDINGS[:4]], 2)
    return ask.format(d=d), {"folder": d}, "\n".join(files), f"{d} has {files[0]} and {files[1]}."


def search(rng):
    q = rng.choice(TOPICS)
    ask = rng.choice(["Search the web for {q}.", "Look up {q}.", "Find something about {q}.", "search for {q}", "Google {q}.", "What can you find about {q}?"])
    n = rng.randrange(2, 90)
    return ask.format(q=q), {"query": q}, f"{n} results", f"I found {n} results for {q}."


def send(rng):
    who, t = rng.choice(NAMES), rng.choice(TEXTS)
    ask = rng.choice(['Send "{t}" to {w}.', 'Tell {w} "{t}".', 'Write {w} a message: "{t}".', 'Message {w} "{t}".', 'Let {w} know: "{t}".'])
    return ask.format(w=who, t=t), {"to": who, "text": t}, "sent", f"I sent the message to {who}."


def timer(rng):
    n = rng.randrange(1, 90)
    ask = rng.choice(["Set a timer for {n} minutes.", "Start a timer of {n} minutes.", "timer {n} minutes", "Wake me in {n} minutes.", "Remind me in {n} minutes.", "Count down {n} minutes."])
    return ask.format(n=n), {"minutes": n}, "started", f"The timer runs for {n} minutes."


def translate(rng):
    t, language = rng.choice(TEXTS), rng.choice(LANGUAGES)
    ask = rng.choice(['Translate "{t}" to {l}.', 'How do you say "{t}" in {l}?', 'What is "{t}" in {l}?', 'Say "{t}" in {l}.'])
    return ask.format(t=t, l=language), {"text": t, "language": language}, f"[{language}] {t}", f"In {language} it is: [{language}] {t}"


def run_tests(rng):
    p = rng.choice(FOLDERS)
    ask = rng.choice(["Run the tests in {p}.", "Test {p}.", "Do the tests in {p} pass?", "Start the tests of {p}.", "run tests in {p}"])
    a, b = rng.randrange(1, 50), rng.choice([0, 0, 1, 2])
    return ask.format(p=p), {"folder": p}, f"{a} passed, {b} failed", f"{a} tests passed and {b} failed."


def grep(rng):
    w, d = rng.choice(STEMS), rng.choice(FOLDERS)
    ask = rng.choice(['Where is "{w}" used in {d}?', 'Find "{w}" in {d}.', 'Search {d} for "{w}".', 'grep {w} in {d}', 'Which files in {d} contain "{w}"?'])
    hit = f"{d}/{rng.choice(STEMS)}.py"
    return ask.format(w=w, d=d), {"pattern": w, "folder": d}, hit, f'"{w}" is in {hit}.'


def convert(rng):
    n, (a, b) = rng.randrange(2, 900), rng.sample(["euros", "dollars", "pounds", "yen", "francs"], 2)
    ask = rng.choice(["Convert {n} {a} to {b}.", "How many {b} are {n} {a}?", "{n} {a} in {b}", "What is {n} {a} in {b}?"])
    r = rng.randrange(2, 2000)
    return ask.format(n=n, a=a, b=b), {"amount": n, "from": a, "to": b}, str(r), f"{n} {a} are {r} {b}."


def light(rng):
    room, on = rng.choice(["kitchen", "bedroom", "office", "hall", "garden", "garage"]), rng.random() < 0.5
    ask = rng.choice(["Turn {o} the light in the {r}.", "Switch {o} the {r} light.", "{r} light {o}", "Please turn the light {o} in the {r}."])
    word = "on" if on else "off"
    return ask.format(o=word, r=room), {"room": room, "on": on}, "done", f"The light in the {room} is {word}."


def delete_file(rng):
    p = path(rng)
    ask = rng.choice(["Delete {p}.", "Remove the file {p}.", "rm {p}", "Please delete {p}.", "Get rid of {p}."])
    return ask.format(p=p), {"path": p}, "ok", f"I deleted {p}."


def stock(rng):
    s = rng.choice("ACME BOLT CRUX DYNE ECHO FLUX GRID HALO IRIS JADE".split())
    ask = rng.choice(["What is the price of {s}?", "How is {s} doing?", "price of {s}", "Get the stock price of {s}.", "What does a share of {s} cost?"])
    n = rng.randrange(5, 800)
    return ask.format(s=s), {"symbol": s}, str(n), f"{s} is at {n}."


S, N, B = "string", "number", "boolean"
TOOLS = {
    "get_weather": (weather, schema("get_weather", "Get the weather of a city", city=(S, "name of the city"))),
    "get_time": (clock, schema("get_time", "Get the local time of a city", city=(S, "name of the city"))),
    "calculator": (calculator, schema("calculator", "Compute an expression", expression=(S, "what to compute"))),
    "read_file": (read_file, schema("read_file", "Read a file", path=(S, "path of the file"))),
    "write_file": (write_file, schema("write_file", "Write a text to a file", path=(S, "path of the file"), content=(S, "the text"))),
    "list_files": (list_files, schema("list_files", "List the files of a folder", folder=(S, "path of the folder"))),
    "web_search": (search, schema("web_search", "Search the web", query=(S, "what to look for"))),
    "send_message": (send, schema("send_message", "Send a message to a person", to=(S, "name of the person"), text=(S, "the message"))),
    "set_timer": (timer, schema("set_timer", "Start a timer", minutes=(N, "how long"))),
    "translate": (translate, schema("translate", "Translate a text", text=(S, "the text"), language=(S, "language to translate to"))),
    "run_tests": (run_tests, schema("run_tests", "Run the tests of a folder", folder=(S, "path of the folder"))),
    "grep": (grep, schema("grep", "Search files for a pattern", pattern=(S, "what to look for"), folder=(S, "where to look"))),
    "convert_currency": (convert, schema("convert_currency", "Convert an amount of money", amount=(N, "how much"), **{"from": (S, "currency"), "to": (S, "currency")})),
    "set_light": (light, schema("set_light", "Turn a light on or off", room=(S, "name of the room"), on=(B, "true for on"))),
}
HELD_OUT_TOOLS = {  # never trained on
    "delete_file": (delete_file, schema("delete_file", "Delete a file", path=(S, "path of the file"))),
    "get_stock_price": (stock, schema("get_stock_price", "Get the price of a share", symbol=(S, "symbol of the share"))),
}


def offer(rng, name):
    """The tool that is meant among up to two others, in any order."""
    others = rng.sample([t for t in TOOLS if t != name], rng.choice([0, 0, 1, 1, 2]))
    names = [name] + others
    rng.shuffle(names)
    return [{"type": "function", "function": (TOOLS | HELD_OUT_TOOLS)[n][1]} for n in names]
