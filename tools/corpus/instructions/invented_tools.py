"""Tools that exist nowhere, for conversations that can be answered only by reading: the name, the parameters and the values
of each are put together by chance. Whether a name is held out is decided by a hash of the name alone."""
import values
from tool_tasks import HELD_OUT_TOOLS, TOOLS
from wording import digest

HELD_OUT_NAMES = 15  # per cent

# No word here names what the tools of tool_tasks.HELD_OUT_TOOLS do.
VERBS = ("add apply archive attach book bind blend boost brew build call cancel charge check clean clone close collect color compare compress "
         "connect copy count cut deploy dim drain draw drop dry enable erase export feed fill filter find fix fold freeze get give grind heat hide "
         "hire import inspect join kick label launch lift link load lock log mark measure merge mix mount move mute name open order pack paint park "
         "patch pause pin plant play post press print pull push query queue rate record refill rename repair reset resize rotate save scan "
         "schedule seal sell send set shift show sign skip sort split stamp start stop store swap sync tag test tie track trim turn unlock "
         "update upload validate view wash watch weigh wrap zip").split()
NOUNS = ("account alarm album archive badge basket battery bell bike boat box branch bucket cabin cable cache camera cart chair channel chart "
         "chord clock cloud coach contact counter course crate crew curtain database desk device dish door draft drawer drone elevator engine event fan "
         "fence field flag flight folder fountain frame fridge furnace game garden gate group heater hotel image invoice job journal kettle key "
         "lamp layer leaf lesson letter library light list lock lens mail map meal meeting member menu meter mirror mission model motor movie note "
         "novel oven page panel parcel park patient pipe plan plant player playlist poster printer profile project pump puzzle queue rack radio rail "
         "recipe record report robot roof room route rule sample satellite scene score screen seat sensor server shelf ship shop signal site slide song "
         "speaker stage station story street studio switch table tank task taxi team tent ticket tile tower track train tray tunnel user valve van "
         "vase video vote wall wheel window zone").split()
# kind -> type in the schema, names of parameters that like to have it
KINDS = {
    "text": ("string", "text message title note comment subject body caption content query".split()),
    "word": ("string", "color label tag style mode topic category unit kind material".split()),
    "name": ("string", "name user owner person author to city place country customer".split()),
    "code": ("string", "id code key reference serial token version number_plate account".split()),
    "path": ("string", "path file source target input output image folder".split()),
    "mail": ("string", "email address recipient contact".split()),
    "date": ("string", "date day start end deadline since".split()),
    "integer": ("integer", "count size limit level page year seconds minutes width height index".split()),
    "number": ("number", "amount weight speed ratio temperature distance factor value bound".split()),
    "boolean": ("boolean", "on active visible force loud public locked urgent".split()),
    "list": ("array", "tags items names words labels colors".split()),
}
WEIGHTS = {"text": 16, "word": 14, "name": 14, "code": 12, "path": 10, "mail": 4, "date": 4, "integer": 12, "number": 6, "boolean": 5, "list": 3}
MAKERS = {"text": values.phrase, "word": values.word, "name": values.name, "code": values.code, "path": values.path, "mail": values.mail, "date": values.date,
          "integer": values.whole, "number": values.number, "boolean": lambda rng: rng.random() < 0.5,
          "list": lambda rng: [values.word(rng) for _ in range(rng.choice([2, 2, 3]))]}

# {Verb}, {verb}, {noun}; {v} the value of the first parameter, {p} its name, {tool} the tool's name
FIRST = ["{Verb} the {noun} {v}", "{verb} {noun} {v}", "Please {verb} the {noun} {v}", "Can you {verb} the {noun} {v}?", "I want to {verb} the {noun} {v}", "{Verb} {v}",
         "{Verb} the {noun} called {v}", "I need to {verb} the {noun} {v}", "Use {tool} for {v}", "Call {tool} with {p} {v}", "{Verb} the {noun} with {p} {v}",
         "{Verb} a {noun} with {p} {v}", "Could you {verb} {v}?", "The {noun} is {v}: {verb} it", "{tool} {v}"]
FURTHER = [" with {p} {v}", ", {p} {v}", " and {p} {v}", " ({p}: {v})", ", {p} is {v}", ", {p}={v}", " using {v} as {p}", " with {v} as the {p}"]
BARE = ["{Verb} the {noun}.", "{verb} the {noun}", "Please {verb} the {noun}.", "Can you {verb} the {noun}?", "I want to {verb} the {noun}.", "Call {tool}."]
FAILURES = ["not found", "no permission", "out of range", "busy", "not connected", "try again later"]


def held_out(name):
    return digest("tool", name) % 100 < HELD_OUT_NAMES


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def name_of(rng, verb, noun):
    kind = rng.random()
    if kind < 0.55:
        return f"{verb}_{noun}"
    if kind < 0.67:
        return f"{verb}{noun.capitalize()}"
    if kind < 0.77:
        return f"{noun}_{verb}"
    if kind < 0.85:
        return f"{values.syllables(rng, rng.choice([1, 2]))}_{verb}_{noun}"
    if kind < 0.9:
        return f"{verb}-{noun}"
    return values.syllables(rng, rng.choice([2, 3])) if kind < 0.95 else f"{verb}_{noun}_{values.word(rng)}"


def parameters_of(rng, n):
    """{name: (kind, description)}"""
    out = {}
    while len(out) < n:
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        name = rng.choice(KINDS[kind][1]) if rng.random() < 0.7 else values.syllables(rng, 2) + (f"_{values.word(rng)}" if rng.random() < 0.2 else "")
        out.setdefault(name, (kind, rng.choice([f"the {name}", f"{name} to use", f"which {name}", values.phrase(rng)]).replace("_", " ")))
    return out


class Tool:
    def __init__(self, rng, want_held_out=False):
        while True:
            self.verb = rng.choice(VERBS) if rng.random() < 0.8 else values.syllables(rng, 2)
            self.noun = rng.choice(NOUNS) if rng.random() < 0.7 else values.syllables(rng, 2)
            self.name = name_of(rng, self.verb, self.noun)
            if held_out(self.name) == want_held_out and self.name not in TOOLS and self.name not in HELD_OUT_TOOLS:
                break
        self.parameters = parameters_of(rng, rng.choices([0, 1, 2, 3], [4, 48, 34, 14])[0])
        names = list(self.parameters)
        self.required = names[:1] if len(names) > 1 and rng.random() < 0.3 else names
        self.description = rng.choice([f"{self.verb.capitalize()} {article(self.noun)}", f"{self.verb.capitalize()} the {self.noun}", f"To {self.verb} {article(self.noun)}",
                                       f"{self.verb.capitalize()} {article(self.noun)} of the {values.word(rng)}"])

    def schema(self):
        properties = {}
        for name, (kind, description) in self.parameters.items():
            properties[name] = {"type": KINDS[kind][0], "description": description}
            if kind == "list":
                properties[name]["items"] = {"type": "string"}
        return {"name": self.name, "description": self.description, "parameters": {"type": "object", "properties": properties, "required": self.required}}

    def request(self, rng):
        """(request, arguments in the order of the schema, result, answer)"""
        arguments = {name: MAKERS[kind](rng) for name, (kind, _) in self.parameters.items() if name in self.required or rng.random() < 0.5}
        words = {"Verb": self.verb.capitalize(), "verb": self.verb, "noun": self.noun, "tool": self.name}
        if not arguments:
            text = rng.choice(BARE).format(**words)
        else:
            said = [(p, spoken(rng, self.parameters[p][0], v)) for p, v in arguments.items()]
            if len(said) > 1 and rng.random() < 0.25:
                said = said[1:] + said[:1]
                frames = [f for f in FIRST if "{p}" in f]
            else:
                frames = FIRST if self.parameters[said[0][0]][0] not in ("boolean", "integer", "number") else [f for f in FIRST if "{p}" in f or "{tool}" in f]
            text = rng.choice(frames).format(p=shown(rng, said[0][0]), v=said[0][1], **words)
            ending = "?" if text.endswith("?") else rng.choice([".", "", "."])
            further = rng.choice(FURTHER)
            text = text.rstrip("?") + "".join((further if rng.random() < 0.7 else rng.choice(FURTHER)).format(p=shown(rng, p), v=v) for p, v in said[1:]) + ending
        return (text, arguments, *result_of(rng))


def shown(rng, parameter):
    return parameter.replace("_", " ") if rng.random() < 0.4 else parameter


def spoken(rng, kind, value):
    if kind == "boolean":
        return str(value).lower()
    if kind == "list":
        return ", ".join(value[:-1]) + f" and {value[-1]}"
    if kind == "text" and rng.random() < 0.8 or kind in ("word", "name", "path", "code") and rng.random() < 0.15:
        return f'"{value}"'
    return str(value)


def result_of(rng):
    """What a tool may say, and the answer that passes it on."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(["ok", "done", "true"]), "Done."
    if kind == 1:
        why = rng.choice(FAILURES)
        return f"error: {why}", f"It failed: {why}."
    if kind == 2:
        key, value = values.word(rng), rng.choice([values.word, values.whole, values.code])(rng)
        return f'{{"{key}": {value}}}' if isinstance(value, int) else f'{{"{key}": "{value}"}}', f"The {key} is {value}."
    value = str(rng.choice([values.phrase, values.whole, values.code, values.name])(rng))
    return value, f"The result is {value}."
