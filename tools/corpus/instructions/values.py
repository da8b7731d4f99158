"""Values that nobody can know beforehand: words made of syllables, phrases, codes, paths, numbers. A model that has to
write one can only have read it in the request."""

ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kr pl pr sh sk sl sp st th tr".split()
VOWELS = "a e i o u a e i o u ai ea ee oo ou".split()
CODAS = ["", "", "", "", "b", "ck", "d", "g", "l", "m", "n", "nd", "p", "r", "rn", "s", "st", "t", "x", "zz"]
WORDS = ("anchor autumn basket beacon bottle bridge bronze button cactus camera candle canvas carbon castle cellar cement circle clover "
         "cobalt comet copper coral corner cotton cradle crystal dancer desert diamond dragon eagle early echo ember engine falcon fabric "
         "feather fiddle forest fossil frozen galaxy gentle ginger glacier golden granite gravel hammer harbor hazel helmet hollow honey "
         "iceberg indigo island ivory jacket jasmine jungle kettle ladder lantern lemon linen little lizard lonely magnet maple marble "
         "meadow melon meteor mirror modern molten monsoon morning mustard narrow nectar needle nickel noble ocean olive orange orchid "
         "outer oyster panther parcel pepper piano pillow pocket polar prairie quartz quiet rabbit raven ribbon rocket rough saddle salmon "
         "sandal scarlet shadow silent silver simple smoky spiral spring square summer sunset tender thunder ticket timber tiny tulip tunnel "
         "turbine upper valley velvet violet walnut warm weekly whisper wicker willow winter wooden yellow zephyr").split()
ENDINGS = ["py", "txt", "md", "csv", "json", "log", "ini", "html", "yaml", "png", "c", "toml"]


def syllables(rng, n):
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + (rng.choice(CODAS) if i == n - 1 or rng.random() < 0.3 else "") for i in range(n))


def word(rng):
    return rng.choice(WORDS) if rng.random() < 0.5 else syllables(rng, rng.choice([1, 2, 2]))


def phrase(rng):
    return " ".join(word(rng) for _ in range(rng.choice([1, 2, 2, 3, 3, 4, 5])))


def name(rng):
    first = syllables(rng, rng.choice([1, 2, 2])).capitalize()
    return first if rng.random() < 0.8 else f"{first} {syllables(rng, 2).capitalize()}"


def capitals(rng):
    return "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.choice([2, 3, 3, 4, 4, 5])))


def code(rng):
    kind = rng.randrange(4)
    if kind == 0:
        return capitals(rng)
    if kind == 1:
        return f"{capitals(rng)[:3]}-{rng.randrange(1, 10000)}"
    if kind == 2:
        return f"{word(rng)}{rng.choice(['_', '-', ''])}{rng.randrange(100)}"
    return "".join(rng.choice("0123456789abcdef") for _ in range(rng.choice([4, 6, 8])))


def path(rng):
    folders = [word(rng) for _ in range(rng.choice([0, 1, 1, 2]))]
    stem = word(rng) + (f"_{word(rng)}" if rng.random() < 0.25 else "")
    return "/".join([*folders, f"{stem}.{rng.choice(ENDINGS)}"])


def mail(rng):
    return f"{word(rng)}@{word(rng)}.{rng.choice(['com', 'org', 'net', 'de'])}"


def date(rng):
    return f"20{rng.randrange(10, 60)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"


def whole(rng):
    return rng.randrange(10 ** rng.choice([1, 1, 2, 2, 3, 4, 5]))


def number(rng):
    n = whole(rng)
    if rng.random() < 0.25:
        n += rng.randrange(1, 10) / 10
    return -n if n and rng.random() < 0.08 else n
