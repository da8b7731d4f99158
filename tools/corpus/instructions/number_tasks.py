"""Families about numbers."""
import math

from family import add

add("add(a, b)", "    return a + b", "It adds the two numbers.", lambda a, b: sum((a, b)),
    "add two numbers", "return the sum of two numbers", "compute the sum of two numbers", "take two numbers and return their sum",
    "add a and b", "calculate a plus b", topics=["the sum of two numbers"])
add("subtract(a, b)", "    return a - b", "It takes the second number from the first.", lambda a, b: -(b - a),
    "subtract two numbers", "return the difference of two numbers", "subtract b from a", "compute a minus b",
    "take two numbers and return their difference", "calculate the difference between two numbers")
add("multiply(a, b)", "    return a * b", "It multiplies the two numbers.", lambda a, b: math.prod((a, b)),
    "multiply two numbers", "return the product of two numbers", "compute the product of two numbers", "calculate a times b",
    "take two numbers and return their product", "multiply a by b")
add("divide(a, b)", "    if b == 0:\n        return None\n    return a / b", "It returns None when the divisor is zero.",
    lambda a, b: a / b if b else None,
    "divide two numbers and return None for a zero divisor", "divide a by b safely", "return a divided by b, or None if b is zero",
    "compute the quotient of two numbers, None when dividing by zero", "do a safe division of two numbers")
add("fibonacci(n)", "    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a",
    "Each number is the sum of the two before it.", lambda n: round(((1 + 5 ** 0.5) / 2) ** n / 5 ** 0.5),
    "return the n-th Fibonacci number", "return the nth Fibonacci number", "compute the n-th Fibonacci number",
    "calculate the nth number of the Fibonacci sequence", "find the Fibonacci number at position n", "get the n-th term of the Fibonacci series",
    "compute Fibonacci numbers", "give the nth Fibonacci number", topics=["fibonacci", "the Fibonacci sequence", "Fibonacci numbers"])
add("fibonacci_list(n)", "    result = []\n    a, b = 0, 1\n    for _ in range(n):\n        result.append(a)\n        a, b = b, a + b\n    return result",
    "It collects the numbers in a list.", lambda n: [round(((1 + 5 ** 0.5) / 2) ** i / 5 ** 0.5) for i in range(n)],
    "return the first n Fibonacci numbers", "return a list of the first n Fibonacci numbers", "generate n Fibonacci numbers",
    "make a list with the first n numbers of the Fibonacci sequence", "list the first n Fibonacci numbers", "build the Fibonacci sequence up to n terms")
add("factorial(n)", "    result = 1\n    for i in range(2, n + 1):\n        result *= i\n    return result", "It multiplies the numbers from 2 to n.", math.factorial,
    "return the factorial of n", "compute the factorial of a number", "calculate n factorial", "find the factorial of a number", "return n!",
    "multiply all numbers from 1 to n", "compute n!", topics=["factorial", "the factorial"])
add("is_even(n)", "    return n % 2 == 0", "An even number has no remainder when divided by 2.", lambda n: n & 1 == 0,
    "check if a number is even", "return True if n is even", "tell whether a number is even", "test if a number is even", "determine if a number is even",
    "decide whether n is an even number")
add("is_odd(n)", "    return n % 2 == 1", "An odd number has the remainder 1 when divided by 2.", lambda n: n & 1 == 1,
    "check if a number is odd", "return True if n is odd", "tell whether a number is odd", "test if a number is odd", "determine if a number is odd")
add("is_prime(n)", "    if n < 2:\n        return False\n    for i in range(2, int(n ** 0.5) + 1):\n        if n % i == 0:\n            return False\n    return True",
    "It looks for a divisor up to the square root.", lambda n: n in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47),
    "check if a number is prime", "return True if n is prime", "tell whether a number is a prime", "test if a number is prime",
    "determine whether n is a prime number", "decide if a given number is prime", topics=["a prime check", "prime test"], args=lambda r: (r.randrange(0, 50),))
add("primes(n)", "    result = []\n    for i in range(2, n + 1):\n        if all(i % p != 0 for p in result):\n            result.append(i)\n    return result",
    "A number is prime if no smaller prime divides it.", lambda n: [p for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47) if p <= n],
    "return all primes up to n", "list the prime numbers up to n", "find all prime numbers up to n", "return a list of primes not greater than n",
    "generate all primes up to a limit", "get the prime numbers below or equal to n", topics=["primes", "prime numbers"], args=lambda r: (r.randrange(0, 50),))
add("gcd(a, b)", "    while b:\n        a, b = b, a % b\n    return a", "This is Euclid's algorithm.", math.gcd,
    "return the greatest common divisor of two numbers", "compute the greatest common divisor of a and b", "find the gcd of two numbers",
    "compute the gcd of a and b", "calculate the largest number that divides both a and b", topics=["gcd", "Euclid's algorithm", "the greatest common divisor"])
add("lcm(a, b)", "    x, y = a, b\n    while y:\n        x, y = y, x % y\n    return a * b // x", "The product divided by the greatest common divisor.", math.lcm,
    "return the least common multiple of two numbers", "compute the least common multiple of a and b", "find the lcm of two numbers",
    "compute the lcm of a and b", "calculate the smallest number that both a and b divide", topics=["lcm", "the least common multiple"],
    args=lambda r: (r.randrange(1, 20), r.randrange(1, 20)))
add("power(base, n)", "    result = 1\n    for _ in range(n):\n        result *= base\n    return result", "It multiplies the base n times.", lambda b, n: b ** n,
    "raise a number to the power n", "compute base to the power of n", "return base raised to n without using **", "calculate the n-th power of a number",
    "compute a power with a loop", args=lambda r: (r.randrange(-3, 6), r.randrange(0, 7)))
add("sum_digits(n)", "    total = 0\n    while n > 0:\n        total += n % 10\n        n //= 10\n    return total", "It takes the last digit off until none is left.",
    lambda n: sum(map(int, str(n))),
    "return the sum of the digits of a number", "compute the digit sum of n", "add up the digits of a number", "sum the digits of n",
    "calculate the sum of all digits of an integer", topics=["the digit sum"], args=lambda r: (r.randrange(0, 10 ** r.randrange(1, 7)),))
add("count_digits(n)", "    return len(str(abs(n)))", "It counts the characters of the number's text.", lambda n: max(1, sum(c.isdigit() for c in f"{n}")),
    "count the digits of a number", "return the number of digits in n", "find how many digits a number has", "compute the number of digits of an integer",
    "tell how many digits n has", args=lambda r: (r.randrange(-10 ** 4, 10 ** r.randrange(1, 7)),))
add("reverse_number(n)", "    result = 0\n    while n > 0:\n        result = result * 10 + n % 10\n        n //= 10\n    return result",
    "It moves the digits over one by one.", lambda n: int(str(n)[::-1]),
    "reverse the digits of a number", "return a number with its digits reversed", "reverse an integer", "turn the digits of n around",
    "compute the number with the digits of n in reverse order", args=lambda r: (r.randrange(0, 10 ** r.randrange(1, 7)),))
add("is_palindrome_number(n)", "    text = str(n)\n    return text == text[::-1]", "It compares the digits with the reversed digits.",
    lambda n: all(a == b for a, b in zip(str(n), reversed(str(n)))),
    "check if a number is a palindrome", "tell whether a number reads the same backwards", "test if an integer is a palindrome",
    "return True if the digits of n are a palindrome", "determine whether a number is a palindrome number", args=lambda r: (r.choice([121, 7, 10, 1221, 123, 12321, 90]),))
add("is_perfect(n)", "    return n > 1 and sum(i for i in range(1, n) if n % i == 0) == n", "It adds up the proper divisors.", lambda n: n in (6, 28, 496),
    "check if a number is perfect", "tell whether n is a perfect number", "return True if a number equals the sum of its proper divisors",
    "test if a number is a perfect number", "determine whether a number is perfect", args=lambda r: (r.choice([1, 6, 28, 12, 496, 8, 27]),))
add("divisors(n)", "    return [i for i in range(1, n + 1) if n % i == 0]", "It keeps the numbers that divide n.", lambda n: sorted({i for i in range(1, n + 1) if n / i == n // i}),
    "return the divisors of n", "list all divisors of a number", "find all numbers that divide n", "return a list of all factors of a number",
    "get the factors of n", topics=["divisors"], args=lambda r: (r.randrange(1, 40),))
add("prime_factors(n)", "    result = []\n    p = 2\n    while n > 1:\n        while n % p == 0:\n            result.append(p)\n            n //= p\n        p += 1\n    return result",
    "It divides by each factor as often as possible.",
    lambda n: {1: [], 2: [2], 12: [2, 2, 3], 13: [13], 45: [3, 3, 5], 60: [2, 2, 3, 5], 97: [97], 64: [2] * 6, 77: [7, 11]}[n],
    "return the prime factors of a number", "factor a number into primes", "compute the prime factorization of n", "find the prime factors of n",
    "split a number into its prime factors", topics=["prime factorization"], args=lambda r: (r.choice([1, 2, 12, 13, 45, 60, 97, 64, 77]),))
add("collatz(n)", "    steps = 0\n    while n != 1:\n        n = n // 2 if n % 2 == 0 else 3 * n + 1\n        steps += 1\n    return steps", "It counts the steps until 1.",
    lambda n: {1: 0, 2: 1, 3: 7, 4: 2, 6: 8, 7: 16, 8: 3, 27: 111}[n],
    "count the Collatz steps of a number", "return how many Collatz steps n takes to reach 1", "compute the length of the Collatz sequence of n",
    "count the steps of the Collatz sequence until 1", "tell how many steps the Collatz rule needs to get to 1", topics=["collatz"], args=lambda r: (r.choice([1, 2, 3, 4, 6, 7, 8, 27]),))
add("sum_to(n)", "    return n * (n + 1) // 2", "This is Gauss's formula.", lambda n: sum(range(n + 1)),
    "return the sum of the numbers from 1 to n", "add all numbers from 1 to n", "compute the sum of the first n numbers", "sum the integers from 1 to n",
    "calculate 1 + 2 + ... + n", "find the total of all integers up to n")
add("sum_squares(n)", "    return sum(i * i for i in range(1, n + 1))", "It adds the squares from 1 to n.", lambda n: n * (n + 1) * (2 * n + 1) // 6,
    "return the sum of the squares from 1 to n", "compute the sum of the first n squares", "add the squares of the numbers from 1 to n",
    "sum the squares of all integers up to n", "calculate 1*1 + 2*2 + ... + n*n")
add("absolute(n)", "    if n < 0:\n        return -n\n    return n", "It turns the sign of negative numbers.", abs,
    "return the absolute value of a number", "compute the absolute value of n", "get the absolute value without using abs", "make a number positive",
    "find the absolute value of a number", args=lambda r: (r.randrange(-20, 20),))
add("sign(n)", "    if n > 0:\n        return 1\n    if n < 0:\n        return -1\n    return 0", "It returns 1, -1 or 0.", lambda n: (n > 0) - (n < 0),
    "return the sign of a number", "return 1, -1 or 0 for the sign of n", "tell the sign of a number", "compute the sign of a number as 1, 0 or -1",
    "find whether a number is positive, negative or zero as 1, -1 or 0", args=lambda r: (r.randrange(-3, 4),))
add("maximum(a, b)", "    if a > b:\n        return a\n    return b", "It compares the two numbers.", max,
    "return the larger of two numbers", "return the maximum of two numbers", "find the bigger of two numbers", "get the greater of two numbers",
    "compute the maximum of a and b")
add("minimum(a, b)", "    if a < b:\n        return a\n    return b", "It compares the two numbers.", min,
    "return the smaller of two numbers", "return the minimum of two numbers", "find the lesser of two numbers", "get the smaller of two numbers",
    "compute the minimum of a and b")
add("max_of_three(a, b, c)", "    return max(a, b, c)", "The built-in max does it.", lambda a, b, c: sorted([a, b, c])[-1],
    "return the largest of three numbers", "find the maximum of three numbers", "get the biggest of three numbers", "compute the maximum of a, b and c",
    "tell the greatest of three numbers", args=lambda r: tuple(r.randrange(-9, 10) for _ in range(3)))
add("clamp(n, low, high)", "    return max(low, min(n, high))", "It cuts the number off at both ends.", lambda n, lo, hi: lo if n < lo else hi if n > hi else n,
    "limit a number to a range", "clamp a number between low and high", "restrict n to the range from low to high", "keep a number within bounds",
    "clip a value to the interval from low to high", topics=["clamp"], args=lambda r: (r.randrange(-9, 20), 0, 10))
add("average(a, b)", "    return (a + b) / 2", "It halves the sum.", lambda a, b: a / 2 + b / 2,
    "return the average of two numbers", "compute the mean of two numbers", "find the average of a and b", "calculate the average of two numbers",
    "get the number in the middle of two numbers")
add("celsius_to_fahrenheit(c)", "    return c * 9 / 5 + 32", "It multiplies by 9/5 and adds 32.", lambda c: {0: 32.0, 100: 212.0, -40: -40.0, 37: 98.6, 20: 68.0}[c],
    "convert Celsius to Fahrenheit", "convert a temperature from Celsius to Fahrenheit", "turn degrees Celsius into Fahrenheit",
    "compute the Fahrenheit value of a Celsius temperature", "return a Celsius temperature in Fahrenheit", args=lambda r: (r.choice([0, 100, -40, 37, 20]),))
add("fahrenheit_to_celsius(f)", "    return (f - 32) * 5 / 9", "It subtracts 32 and multiplies by 5/9.", lambda f: {32: 0.0, 212: 100.0, -40: -40.0, 68: 20.0, 50: 10.0}[f],
    "convert Fahrenheit to Celsius", "convert a temperature from Fahrenheit to Celsius", "turn degrees Fahrenheit into Celsius",
    "compute the Celsius value of a Fahrenheit temperature", "return a Fahrenheit temperature in Celsius", args=lambda r: (r.choice([32, 212, -40, 68, 50]),))
add("is_leap_year(year)", "    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)", "Centuries count only when 400 divides them.",
    lambda y: y in (2000, 2004, 1996, 2024, 1600),
    "check if a year is a leap year", "tell whether a year is a leap year", "return True for leap years", "test if a given year is a leap year",
    "determine whether a year has 366 days", topics=["leap years"], args=lambda r: (r.choice([2000, 1900, 2004, 2001, 1996, 2023, 2024, 1600, 2100]),))
add("fizzbuzz(n)", "    result = []\n    for i in range(1, n + 1):\n        if i % 15 == 0:\n            result.append(\"FizzBuzz\")\n        elif i % 3 == 0:\n            result.append(\"Fizz\")\n        elif i % 5 == 0:\n            result.append(\"Buzz\")\n        else:\n            result.append(str(i))\n    return result",
    "Multiples of both come first.", lambda n: [("Fizz" * (i % 3 == 0) + "Buzz" * (i % 5 == 0)) or str(i) for i in range(1, n + 1)],
    "return the FizzBuzz list up to n", "solve FizzBuzz for the numbers from 1 to n", "play FizzBuzz up to n", "make the list of FizzBuzz words from 1 to n",
    "compute FizzBuzz for 1 to n", topics=["FizzBuzz", "fizz buzz"], args=lambda r: (r.randrange(1, 20),))
add("to_binary(n)", "    if n == 0:\n        return \"0\"\n    result = \"\"\n    while n > 0:\n        result = str(n % 2) + result\n        n //= 2\n    return result",
    "It collects the remainders of dividing by 2.", lambda n: format(n, "b"),
    "convert a number to binary", "return the binary text of a number", "turn an integer into a binary string", "compute the binary representation of n",
    "write a number in base 2", topics=["binary conversion"], args=lambda r: (r.randrange(0, 300),))
add("from_binary(s)", "    result = 0\n    for c in s:\n        result = result * 2 + int(c)\n    return result", "Each digit doubles what came before.", lambda s: int(s, 2),
    "convert a binary string to a number", "turn a binary string into an integer", "read a binary text as a number", "parse a string of zeros and ones as a number",
    "return the integer value of a binary string", args=lambda r: (format(r.randrange(0, 300), "b"),))
add("to_roman(n)", "    result = \"\"\n    values = [(10, \"X\"), (9, \"IX\"), (5, \"V\"), (4, \"IV\"), (1, \"I\")]\n    for value, text in values:\n        while n >= value:\n            result += text\n            n -= value\n    return result",
    "It takes the largest value first. This works up to 39.", lambda n: "X" * (n // 10) + ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"][n % 10],
    "convert a number to Roman numerals", "turn an integer into a Roman numeral", "write a number as a Roman numeral", "return the Roman numeral of n",
    "compute the Roman form of a number", topics=["Roman numerals"], args=lambda r: (r.randrange(1, 40),))
add("square(n)", "    return n * n", "It multiplies the number by itself.", lambda n: n ** 2,
    "return the square of a number", "square a number", "compute n squared", "multiply a number by itself", "calculate the square of n")
add("cube(n)", "    return n ** 3", "It raises the number to the third power.", lambda n: n * n * n,
    "return the cube of a number", "cube a number", "compute n cubed", "raise a number to the third power", "calculate the cube of n")
add("double(n)", "    return n * 2", "It multiplies the number by 2.", lambda n: n + n,
    "double a number", "return twice a number", "compute two times n", "multiply a number by two", "return the double of n")
add("hypotenuse(a, b)", "    return (a * a + b * b) ** 0.5", "This is the theorem of Pythagoras.", lambda a, b: {(3, 4): 5.0, (6, 8): 10.0, (5, 12): 13.0, (0, 2): 2.0, (8, 15): 17.0}[a, b],
    "compute the hypotenuse of a right triangle", "return the length of the hypotenuse for sides a and b", "find the longest side of a right triangle",
    "calculate the hypotenuse from two sides", "use the theorem of Pythagoras to get the hypotenuse", args=lambda r: r.choice([(3, 4), (6, 8), (5, 12), (0, 2), (8, 15)]))
add("rectangle_area(width, height)", "    return width * height", "Width times height.", lambda w, h: sum(w for _ in range(h)),
    "compute the area of a rectangle", "return the area of a rectangle", "calculate the area of a rectangle from width and height",
    "find the area of a rectangle", "get a rectangle's area", args=lambda r: (r.randrange(0, 20), r.randrange(0, 20)))
add("circle_area(r)", "    return 3.141592653589793 * r * r", "Pi times the square of the radius.", lambda r: math.pi * r * r,
    "compute the area of a circle", "return the area of a circle with radius r", "calculate a circle's area from its radius",
    "find the area of a circle", "get the area of a circle for a given radius", args=lambda r: (r.randrange(0, 9),))
add("integer_sqrt(n)", "    i = 0\n    while (i + 1) * (i + 1) <= n:\n        i += 1\n    return i", "It counts up while the square still fits.", math.isqrt,
    "return the integer square root of n", "compute the largest integer whose square is at most n", "find the square root of n rounded down",
    "calculate the integer square root of a number", "get the whole part of the square root", args=lambda r: (r.randrange(0, 200),))
add("is_power_of_two(n)", "    return n > 0 and n & (n - 1) == 0", "A power of two has a single bit.", lambda n: n in [2 ** i for i in range(20)],
    "check if a number is a power of two", "tell whether n is a power of 2", "test if a number is a power of two", "return True if n is a power of two",
    "determine whether an integer is a power of two", args=lambda r: (r.choice([0, 1, 2, 3, 4, 6, 8, 12, 16, 64, 100]),))
add("count_down(n)", "    return list(range(n, 0, -1))", "The range goes down by one.", lambda n: sorted(range(1, n + 1), reverse=True),
    "return a list that counts down from n to 1", "count down from n to 1", "make a countdown list from n", "list the numbers from n down to 1",
    "build a countdown from n to one")
add("multiplication_table(n)", "    return [n * i for i in range(1, 11)]", "It multiplies n by 1 to 10.", lambda n: list(range(n, 10 * n + 1, n)) if n else [0] * 10,
    "return the multiplication table of n", "list the first ten multiples of n", "make the times table of a number", "compute n times 1 to 10",
    "build the multiplication table for a number")
add("swap(a, b)", "    return b, a", "It returns the values in the other order.", lambda a, b: tuple(reversed((a, b))),
    "swap two values", "return two values in reverse order", "exchange a and b", "swap a and b", "return b and a")
add("is_between(n, low, high)", "    return low <= n <= high", "Python chains comparisons.", lambda n, lo, hi: n >= lo and n <= hi,
    "check if a number is between two others", "tell whether n lies between low and high", "test if a number is in a range",
    "return True if low <= n <= high", "determine whether a value is within bounds", args=lambda r: (r.randrange(-5, 16), 0, 10))
add("is_armstrong(n)", "    digits = [int(c) for c in str(n)]\n    return sum(d ** len(digits) for d in digits) == n", "It adds the digits raised to their number.",
    lambda n: n in (0, 1, 5, 9, 153, 370, 371, 407, 1634),
    "check if a number is an Armstrong number", "tell whether n is an Armstrong number", "test for Armstrong numbers", "return True for Armstrong numbers",
    "determine if a number is an Armstrong number", args=lambda r: (r.choice([0, 5, 10, 153, 154, 370, 371, 372, 407, 1634]),))
add("digits(n)", "    return [int(c) for c in str(n)]", "It reads the number's text.", lambda n: [n // 10 ** i % 10 for i in reversed(range(len(str(n))))],
    "return the digits of a number as a list", "split a number into its digits", "list the digits of n", "get all digits of an integer",
    "turn a number into a list of digits", args=lambda r: (r.randrange(0, 10 ** r.randrange(1, 7)),))
add("seconds_to_time(n)", "    return f\"{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}\"", "Hours, minutes and seconds with two digits each.",
    lambda n: "%02d:%02d:%02d" % (n // 3600, n % 3600 // 60, n % 60),
    "convert seconds to hours, minutes and seconds", "format seconds as HH:MM:SS", "turn a number of seconds into a time text", "show seconds as hh:mm:ss",
    "return a time string for a number of seconds", args=lambda r: (r.randrange(0, 90000),))
