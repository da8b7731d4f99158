"""Families about classes: well-known ones, and classes put together from a name, attributes and methods."""
from wording import digest

HELD_OUT_CLASSES = 15  # per cent of (methods, attributes) combinations

FRAMES = ["Write a class {does}.", "Write a Python class {does}.", "Create a class {does}.", "Define a class {does}.", "Implement a class {does}.", "I need a class {does}.",
          "Give me a class {does}.", "Can you write a class {does}?", "Please write a class {does}.", "Make a Python class {does}.", "Show me a class {does}.", "Python class {does}."]
HELD_OUT_FRAMES = ["Could you write a Python class {does}?", "Please implement a class {does}."]

STACK = """class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        return self.items.pop()

    def is_empty(self):
        return not self.items"""
QUEUE = """class Queue:
    def __init__(self):
        self.items = []

    def put(self, item):
        self.items.append(item)

    def get(self):
        return self.items.pop(0)

    def is_empty(self):
        return not self.items"""
COUNTER = """class Counter:
    def __init__(self):
        self.value = 0

    def increment(self):
        self.value += 1

    def reset(self):
        self.value = 0"""
ACCOUNT = """class BankAccount:
    def __init__(self, balance=0):
        self.balance = balance

    def deposit(self, amount):
        self.balance += amount

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError("not enough money")
        self.balance -= amount"""
POINT = """class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def distance(self, other):
        return ((self.x - other.x) ** 2 + (self.y - other.y) ** 2) ** 0.5"""
RECTANGLE = """class Rectangle:
    def __init__(self, width, height):
        self.width = width
        self.height = height

    def area(self):
        return self.width * self.height

    def perimeter(self):
        return 2 * (self.width + self.height)"""
CIRCLE = """class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return 3.141592653589793 * self.radius ** 2"""
LINKED = """class LinkedList:
    def __init__(self):
        self.head = None

    def push(self, value):
        self.head = (value, self.head)

    def to_list(self):
        result = []
        node = self.head
        while node:
            result.append(node[0])
            node = node[1]
        return result"""
TEMPERATURE = """class Temperature:
    def __init__(self, celsius):
        self.celsius = celsius

    def fahrenheit(self):
        return self.celsius * 9 / 5 + 32"""
CART = """class Cart:
    def __init__(self):
        self.prices = []

    def add(self, price):
        self.prices.append(price)

    def total(self):
        return sum(self.prices)"""
# name -> code, note, tests, wordings
KNOWN = {
    "Stack": (STACK, "The last item comes out first.", ["s = Stack()", "assert s.is_empty()", "s.push(1)", "s.push(2)", "assert s.pop() == 2", "assert s.pop() == 1", "assert s.is_empty()"],
              ["for a stack", "Stack with push and pop", "that is a stack", "Stack with push, pop and is_empty", "that works as a stack", "for a last in, first out stack"]),
    "Queue": (QUEUE, "The first item comes out first.", ["q = Queue()", "assert q.is_empty()", "q.put(1)", "q.put(2)", "assert q.get() == 1", "assert not q.is_empty()"],
              ["for a queue", "Queue with put and get", "that is a queue", "Queue with put, get and is_empty", "that works as a queue", "for a first in, first out queue"]),
    "Counter": (COUNTER, "It starts at 0.", ["c = Counter()", "c.increment()", "c.increment()", "assert c.value == 2", "c.reset()", "assert c.value == 0"],
                ["for a counter", "Counter with increment and reset", "that counts", "Counter that can be incremented", "that works as a counter", "for a simple counter"]),
    "BankAccount": (ACCOUNT, "It raises an error when there is not enough money.", ["a = BankAccount(10)", "a.deposit(5)", "assert a.balance == 15", "a.withdraw(4)", "assert a.balance == 11",
                    "try:\n    a.withdraw(100)\n    assert False\nexcept ValueError:\n    pass"],
                    ["for a bank account", "BankAccount with deposit and withdraw", "that is a bank account", "for an account with a balance", "BankAccount with a balance", "that models a bank account"]),
    "Point": (POINT, "The distance is by Pythagoras.", ["assert Point(0, 0).distance(Point(3, 4)) == 5", "assert Point(1, 2).x == 1 and Point(1, 2).y == 2"],
              ["for a point", "Point with x, y and a distance", "that is a point in the plane", "Point with a distance method", "for 2D points", "for points with x and y"]),
    "Rectangle": (RECTANGLE, "Area and perimeter come from width and height.", ["r = Rectangle(3, 4)", "assert r.area() == 12", "assert r.perimeter() == 14"],
                  ["for a rectangle", "Rectangle with area and perimeter", "that is a rectangle", "Rectangle with width and height", "that models a rectangle", "for rectangles with an area"]),
    "Circle": (CIRCLE, "The area is pi times the radius squared.", ["assert abs(Circle(2).area() - 12.56637) < 0.001", "assert Circle(1).radius == 1"],
               ["for a circle", "Circle with an area", "that is a circle", "Circle with a radius", "that models a circle", "for circles with an area method"]),
    "LinkedList": (LINKED, "Each node is a pair of value and next node.", ["l = LinkedList()", "assert l.to_list() == []", "l.push(1)", "l.push(2)", "assert l.to_list() == [2, 1]"],
                   ["for a linked list", "LinkedList with push and to_list", "that is a linked list", "for a singly linked list", "LinkedList", "that works as a linked list"]),
    "Temperature": (TEMPERATURE, "It stores degrees Celsius.", ["assert Temperature(0).fahrenheit() == 32", "assert Temperature(100).fahrenheit() == 212"],
                    ["for a temperature", "Temperature with a fahrenheit method", "that is a temperature", "Temperature that converts to Fahrenheit", "that stores a temperature in Celsius", "for temperatures"]),
    "Cart": (CART, "The total is the sum of the prices.", ["c = Cart()", "c.add(2)", "c.add(3)", "assert c.total() == 5", "assert Cart().total() == 0"],
             ["for a shopping cart", "Cart with add and total", "that is a shopping cart", "Cart that adds prices", "that works as a shopping cart", "for a cart with a total"]),
}

THINGS = {  # name -> attributes with a value to test
    "Dog": ["name", "age", "breed"], "Cat": ["name", "age", "color"], "Person": ["name", "age", "city"], "Book": ["title", "author", "pages"], "Car": ["brand", "year", "color"],
    "Student": ["name", "grade", "school"], "Movie": ["title", "year", "rating"], "Song": ["title", "artist", "length"], "House": ["address", "rooms", "price"], "City": ["name", "country", "size"],
    "Product": ["name", "price", "stock"], "Planet": ["name", "mass", "radius"], "Phone": ["brand", "model", "price"], "Team": ["name", "city", "points"], "Employee": ["name", "salary", "job"],
    "Tree": ["kind", "height", "age"], "River": ["name", "length", "country"], "Game": ["title", "year", "score"], "Ship": ["name", "speed", "length"], "Recipe": ["title", "time", "steps"],
}
VALUES = {"age": 3, "pages": 120, "year": 1999, "grade": 2, "rating": 8, "length": 7, "rooms": 4, "price": 50, "size": 100, "stock": 6, "mass": 12, "radius": 5, "points": 21, "salary": 900,
          "height": 10, "score": 77, "speed": 30, "time": 15, "steps": 9}


def value(attribute):
    return VALUES.get(attribute, attribute[0].upper() + attribute[1:3])


def show(names):
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def method_str(rng, name, names):
    text = ", ".join(f"{{self.{a}}}" for a in names)
    want = ", ".join(str(value(a)) for a in names)
    return "text", rng.choice(["and a text form", "and a __str__ method", "and a method for str()"]), f'    def __str__(self):\n        return f"{name}({text})"', [f'assert str(x) == "{name}({want})"']


def method_eq(rng, name, names):
    return "equal", rng.choice(["and equality", "and an __eq__ method", "and a comparison with =="]), \
        "    def __eq__(self, other):\n        return " + " and ".join(f"self.{a} == other.{a}" for a in names), ["assert x == y"]


def method_dict(rng, name, names):
    return "dict", rng.choice(["and a to_dict method", "and a method to_dict"]), \
        "    def to_dict(self):\n        return {" + ", ".join(f'"{a}": self.{a}' for a in names) + "}", ["assert x.to_dict() == {" + ", ".join(f"{a!r}: {value(a)!r}" for a in names) + "}"]


def method_plain(rng, name, names):
    return "plain", "", "", []


def method_set(rng, name, names):
    a = names[-1]
    return "set", f"and a method set_{a}", f"    def set_{a}(self, {a}):\n        self.{a} = {a}", [f"x.set_{a}(41)", f"assert x.{a} == 41"]


METHODS = [method_plain, method_str, method_eq, method_dict, method_set]


def make(rng):
    """(key, code, note, tests, wordings) of a class of things with attributes and at most one method."""
    name = rng.choice(list(THINGS))
    names = rng.sample(THINGS[name], rng.randrange(1, 4))
    kind, words, method, tests = rng.choice(METHODS)(rng, name, names)
    code = f"class {name}:\n    def __init__(self, {', '.join(names)}):\n" + "\n".join(f"        self.{a} = {a}" for a in names) + (f"\n\n{method}" if method else "")
    args = ", ".join(repr(value(a)) for a in names)
    tests = [f"x = {name}({args})", f"y = {name}({args})"] + [f"assert x.{a} == {value(a)!r}" for a in names] + tests
    does = [f"{name} with {show(names)} {words}".strip(), f"called {name} with the attributes {show(names)} {words}".strip(), f"{name} that has {show(names)} {words}".strip(),
            f"for a {name.lower()} with {show(names)} {words}".strip()]
    note = {"plain": "The constructor stores the values.", "text": "str() uses __str__.", "equal": "== uses __eq__.", "dict": "The dictionary holds every attribute.", "set": "The method changes the attribute."}[kind]
    return ("class", name, kind, *sorted(names)), code, note, tests, does


def held_out(key):
    return digest("class", *key) % 100 < HELD_OUT_CLASSES
