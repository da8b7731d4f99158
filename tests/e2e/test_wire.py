#!/usr/bin/env python3
"""fathom serve and what can stand on its wire: ambiguous, cut, oversized, ill-formed requests, and noise.

    test_wire.py FATHOM TINY_MODELS [--long] [EMULATOR...]"""
import concurrent.futures
import json
import os
import pathlib
import random
import re
import resource
import socket
import tempfile
import time

from harness import EMULATOR, LONG, built_with, main
from serving import WAIT, Server

SERVER = None
STORE = tempfile.TemporaryDirectory(prefix="fathom-wire-")
SANITIZED = bool(EMULATOR) or built_with("asan") or built_with("tsan")
POST = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"content":"a"}'  # 15 bytes
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = POST + b"Content-Length: 15\r\n\r\n" + BODY


def server():
    global SERVER
    SERVER = SERVER or Server("-t", 1, "--slots", 1, "--store", STORE.name + "/store.db")
    return SERVER


def behind(i):
    """A request that leaves a trace when it is carried out."""
    body = b'{"title":"behind %d"}' % i
    return b"POST /conversations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def with_headers(*lines, body=BODY):
    return POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


# What must be refused or end the connection, so that nothing behind it is taken for a request.
REFUSED = [
    *[with_headers(b"Content-Length: " + n) for n in (b"+15", b"-15", b"0xf", b"15 15", b"15,15", b"15, 16", b"15;", b"1e1", b"15.0", b"", b"abc", b"99999999999999999999", b"18446744073709551616", b"-1", b"\x0015", b"1\t5", b"'15'", b"0x0f")],
    with_headers(b"Content-Length: 15", b"Content-Length: 16"), with_headers(b"Content-Length: 16", b"Content-Length: 15"), with_headers(b"Content-Length: 0", b"content-length: 15"),
    *[with_headers(b"Content-Length: 15", b"Transfer-Encoding: " + t) for t in (b"chunked", b"identity", b"x", b"", b"chunked, identity")],
    *[with_headers(b"Transfer-Encoding: " + t, body=b"f\r\n" + BODY + b"\r\n0\r\n\r\n")
      for t in (b"xchunked", b"chunkedx", b"chunked, identity", b"identity, chunked", b"gzip, chunked", b"chunked, gzip", b"chunked;q=1", b"'chunked'", b"chunked chunked", b"ch unked", b"\x0bchunked", b"chunked\x0b", b"identity", b"gzip", b"cow", b",chunked")],
    with_headers(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), with_headers(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), with_headers(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    *[with_headers(line, body=BODY) for line in (b"Content-Length : 15", b"Content-Length\t: 15", b" Content-Length: 15", b"\tContent-Length: 15", b"Content Length: 15", b": 15", b"no colon", b"Content-Length\x00: 15", b"Content-Length")],
    *[with_headers(line, body=b"f\r\n" + BODY + b"\r\n0\r\n\r\n") for line in (b"Transfer-Encoding : chunked", b"Transfer-Encoding\r\n : chunked", b" Transfer-Encoding: chunked", b"X: y\r\n Transfer-Encoding: chunked")],
    *[CHUNKED + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n" for size in (b"-f", b"+f", b"0xf", b"g", b"zz", b"", b"f_", b"ffffffffffffffffff", b"f\x00", b"10000000000000000f", b"-1", b"f.0", b"f,f")],
    CHUNKED + b"f\r\n" + BODY + b"0\r\n\r\n", CHUNKED + b"f\r\n" + BODY + b"XX0\r\n\r\n", CHUNKED + b"e\r\n" + BODY + b"\r\n0\r\n\r\n", CHUNKED + b"11\r\n" + BODY + b"\r\n0\r\n\r\n",
    CHUNKED + b"f" + BODY + b"\r\n0\r\n\r\n", CHUNKED + b"f\n\n" + BODY + b"\r\n0\r\n\r\n", CHUNKED + BODY,
    *[line + b"\r\nHost: localhost\r\n\r\n" for line in (b"GET http://evil.test/health HTTP/1.1", b"GET\t/health\tHTTP/1.1\tx", b"GET /health HTTP/2.0", b"GET /health HTTP/9.9", b"GET /health HTTP/1", b"GET /health FTP/1.1", b"GET /health http/1.1",
                                                         b"GET  HTTP/1.1", b"/health HTTP/1.1", b"GET /health", b"GET", b"get /health HTTP/1.1", b"G\x00T /health HTTP/1.1", b"GET /hea\x00lth HTTP/1.1", b"\x00GET /health HTTP/1.1", b"GET * HTTP/1.1", b"CONNECT evil.test:80 HTTP/1.1",
                                                         b"PRI * HTTP/2.0", b"GET health HTTP/1.1", b"GET //evil.test/health HTTP/1.1", b"GET /../health HTTP/1.1", b"GET /%2e%2e/health HTTP/1.1", b"GET \\health HTTP/1.1")],
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: evil.test\r\nHost: localhost\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: localhost, evil.test\r\n\r\n", b"GET /health HTTP/1.1\r\nHost:\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100000 + b"\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n", b"GET /?" + b"a=b&" * 30000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"a" * 100000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), b"\x00" * 200, b"SSH-2.0-OpenSSH_9.2\r\n", b"*1\r\n$4\r\nPING\r\n", b"\x80\x67\x01\x03\x01" + bytes(90),
]
# Where the library is milder than the standard: a NUL ends a value, a name may have odd characters, a line feed alone ends a line. What
# is understood is the plain reading; nothing may be carried out twice.
MILD = [with_headers(b"Content-Length: 15\x00"), with_headers(b"Transfer-Encoding: chunked\x00", body=b"f\r\n" + BODY + b"\r\n0\r\n\r\n"), with_headers(b"(x): 15", b"Content-Length: 15"), CHUNKED + b"10\r\n" + BODY + b"\r\n0\r\n\r\n",
        WHOLE.replace(b"\r\n", b"\n"), CHUNKED + b"f\n" + BODY + b"\n0\n\n", with_headers(b"X: y\r z", b"Content-Length: 15"), with_headers(b"Content-Length: 15", b"Content-Length: 15")]
# Framed without doubt: each is answered as it deserves, and what stands behind is a request.
CLEAR = [
    WHOLE, with_headers(b"content-length:15"), with_headers(b"CONTENT-LENGTH:\t15"), with_headers(b"Content-Length: 015"), CHUNKED + b"f\r\n" + BODY + b"\r\n0\r\n\r\n", CHUNKED + b"F\r\n" + BODY + b"\r\n0\r\n\r\n",
    CHUNKED + b"000f\r\n" + BODY + b"\r\n000\r\n\r\n", CHUNKED + b"f;a=b;c\r\n" + BODY + b"\r\n0;x\r\n\r\n", CHUNKED + b"f;a=\"b\"\r\n" + BODY + b"\r\n0\r\n\r\n", CHUNKED + b"f\r\n" + BODY + b"\r\n0\r\nX: trailer\r\nContent-Length: 3\r\n\r\n",
    CHUNKED + b"1\r\n{\r\ne\r\n" + BODY[1:] + b"\r\n0\r\n\r\n", POST + b"transfer-encoding: CHUNKED\r\n\r\nf\r\n" + BODY + b"\r\n0\r\n\r\n", with_headers(b"X: a:b", b"X:", b"X: \xff\xfe", b"Content-Length: 15"), b"\r\n" + WHOLE,
    with_headers(b"Expect: 100-continue", b"Content-Length: 15"), with_headers(b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 15"), b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /health?x=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20, with_headers(b"Content-Length: 2", body=b"[]"), b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
]


def traces(s):
    return [c["title"] for c in json.loads(s.request("GET", "/conversations?limit=500")[2])["data"]]


def ambiguous_requests_are_refused(folder):
    """What stands behind one must not be taken for a request, as a proxy in front may have taken it for part of the body."""
    s = server()

    cases = REFUSED + MILD

    def one(i):
        got = s.raw(cases[i] + behind(i), 0.7)
        statuses = [int(m) for m in re.findall(rb"HTTP/1\.[01] (\d+) [A-Z]", got)]
        return None if i >= len(REFUSED) or (all(400 <= x < 600 for x in statuses) and len(statuses) <= 2) else (cases[i][:120], got[:200])
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        wrong = list(filter(None, pool.map(one, range(len(cases)))))
    found = [int(t.split()[1]) for t in traces(s)]
    carried_out = [cases[i][:120] for i in found if i < len(REFUSED)]
    assert not wrong and not carried_out and len(found) == len(set(found)), (wrong, carried_out, found)
    print(f"# {len(cases)} cases")


def clear_requests_are_answered_in_order(folder):
    s, closed = server(), []
    for i, data in enumerate(CLEAR, 1000):
        got = s.raw(data + behind(i), WAIT)
        statuses = [int(m) for m in re.findall(rb"HTTP/1\.1 (\d+) [A-Z]", got)]
        first = got[:got.index(b"\r\n\r\n")]
        if statuses[0] >= 400 and b"Connection: close" in first:  # it has not read the body, so it ends the connection
            assert len(statuses) == 1, (data[:120], got[:300])
            closed.append(i)
        else:
            assert len([x for x in statuses if x != 100]) == 1 + max(1, data.count(b"GET /health HTTP/1.1")) and statuses[-1] == 201, (data[:120], got[:300])
    for version in (b"1.0", b"1.1"):  # one that closes, and does
        got = s.raw(WHOLE.replace(b"1.1\r\n", version + b"\r\nConnection: close\r\n") + behind(2000), WAIT)
        assert got.startswith(b"HTTP/1.") and got.count(b"HTTP/1.") == 1, got
    assert sorted(t for t in traces(s) if t.startswith("behind 10")) == sorted(f"behind {i}" for i in range(1000, 1000 + len(CLEAR)) if i not in closed) and len(closed) < 4, closed


def answer_of(c):
    """(status, body) of the next answer on a connection."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = c.recv(65536)
        assert more, got
        got += more
    head, body = got.split(b"\r\n\r\n", 1)
    n = int(re.search(rb"(?i)^content-length: (\d+)", head, re.M)[1])
    while len(body) < n:
        body += c.recv(65536)
    return int(head.split()[1]), body


def connect(s):
    c = socket.create_connection(("127.0.0.1", s.port), timeout=WAIT)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c


def pieces_of_a_request_may_come_at_any_time(folder):
    """In two pieces cut at every byte, byte by byte, and cut at random."""
    s = server()
    body = json.dumps({"content": "hello world"}).encode()
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunked = CHUNKED + b"".join(b"1\r\n%c\r\n" % c for c in body[:9]) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - 9, body[9:])
    rng = random.Random(11)
    c, expected, n = connect(s), None, 0
    for data in (whole, chunked):
        cuts = [[i] for i in range(1, len(data))] + [list(range(1, len(data)))]
        cuts += [sorted(rng.sample(range(1, len(data)), rng.randrange(1, 9))) for _ in range(5000 if LONG else 100)]
        for cut in cuts:
            for a, b in zip([0, *cut], [*cut, len(data)]):
                c.sendall(data[a:b])
            status, answer = answer_of(c)
            expected = expected or answer
            assert status == 200 and answer == expected and json.loads(answer)["count"] == 2, (cut, answer)
            n += 1
    c.close()
    print(f"# {n} ways")


# Values that are JSON, and texts that are none: RFC 8259.
JSON = ["[]", "[[]]", '[""]', "[0]", "[-0]", "[1]", "[-1]", "[1.5]", "[-0.1e1]", "[1E22]", "[1e+2]", "[1e-2]", "[0e1]", "[0.4e06]", "[123.456e78]", "[-9223372036854775808]", "[true,false,null]", '{"":0}', '{"a":[]}', '{"a":1,"b":{}}', " [ 1 , 2 ] ", "[\n1\r,\t2]",
        '"\\u0060\\u012a\\u12AB"', '"\\ud801\\udc37"', '"\\ud83d\\ude39\\ud83d\\udc8d"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\\\a"', '"\\u0000"', '"\\uFFFF"', '"\u2028\u2029"', '"\U0001f602"', '"\u0821"', '"\\u200b"', '"/"', '"\x7f"', "1", "-0", "true", "null", '"x"', '["a",\n"b"]', "[" * 63 + "]" * 63]
NO_JSON = ["[1,]", "[,1]", "[1,,2]", "[1", "1]", "[1]]", '{"a":}', '{"a"}', "{a:1}", "{'a':1}", '{"a":1,}', '{"a":1,,"b":2}', '{"a":1 "b":2}', '{,"a":1}', '{"a"::1}', '{"a":"b"', "{1:1}", '{[]:1}', "[+1]", "[.5]", "[1.]", "[-]", "[--1]", "[01]", "[-01]", "[0x1]", "[1e]", "[1e+]", "[1eE2]", "[1.2.3]",
           "[0e]", "[1 000]", "[Infinity]", "[-Infinity]", "[NaN]", "[nan]", "[True]", "[nul]", "[tru]", "[undefined]", "['a']", '["a]', '["\\x41"]', '["\\u12"]', '["\\u12G4"]', '["\\"]', '["\\a"]', '["\\', '["\t"]', '["\n"]', '["\x00"]', '["\x1f"]', '["\\ud800"]', '["\\udc00\\ud800"]', "[\x0b1]", "[\x0c1]", "[\u00a01]",
           "[\u20601]", "\ufeff1", "/* */1", "1 // x", "#\n1", "1 2", '"a" "b"', "", " ", "}", "]", ":", ",", "\\u0031", "[1;2]", "<a>", "*", '["a"b]', "[1:2]", '{"a":1]', "[1}", '{"a":/*x*/1}', "[" * 64 + "]" * 64, "[" * 100000, "[" * 1000000, '{"a":' * 100000, "[{" * 50000]
NO_UTF8 = [b'"\xff"', b'"\xc0\xaf"', b'"\xe0\x80\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xc3"', b'"\x80"', b'"\xf8\x88\x80\x80\x80"', b'"a\xe2\x82"']


def json_is_read_as_it_is_written(folder):
    s = server()
    c = http_connection = connect(s)

    def ask(value):
        body = b'{"content":"a","x":' + value + b"}"
        http_connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        status, answer = answer_of(http_connection)
        return status, json.loads(answer)
    for value in JSON:
        status, answer = ask(value.encode())
        assert status == 200, (value, answer)
    for value in [v.encode() for v in NO_JSON] + NO_UTF8:
        status, answer = ask(value)
        assert status == 400 and len(answer["error"]["message"]) > 20, (value[:60], status, answer)
    rng = random.Random(3)
    for _ in range(5000 if LONG else 200):  # Python's own decoder says what is UTF-8
        value = b"".join(rng.choice([b"a", b"\xc3", b"\xa9", b"\xe6\x97\xa5", b"\xed", b"\xf0\x9f\x99\x82", b"\xf4", b"\x90", b"\xc0\x80", bytes([rng.randrange(128, 256)])]) for _ in range(rng.randrange(1, 6)))
        status, answer = ask(b'"' + value + b'"')
        assert status == (200 if value.decode(errors="replace").encode() == value else 400), (value, status, answer)
    depth = ask(b"[" * 64 + b"]" * 64)[1]["error"]["message"]
    assert "65 levels" in depth and "64" in depth, depth
    c.close()
    took = []
    for size in (1 << 20, 10 << 20) if LONG else (1 << 18, 10 << 18):  # CPU time, which other programs do not add to
        before = cpu_seconds(s)
        assert s.post("/tokenize", {"content": "a", "x": "b\\\"\n" * (size // 5)})["count"] == 1
        took.append(cpu_seconds(s) - before)
    assert SANITIZED or took[1] < 20 * took[0] + 0.1, took
    print(f"# {len(JSON)} values, {len(NO_JSON) + len(NO_UTF8)} that are none")


def cpu_seconds(s):
    fields = pathlib.Path(f"/proc/{s.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def chunks_beyond_the_limit(s, c):
    c.sendall(CHUNKED + b"4000001\r\n" + BODY + b" " * (67108865 - 15) + b"\r\n0\r\n\r\n")
    status, answer = answer_of(c)
    assert status == 413 and b"67108864 bytes" in answer, answer
    c = connect(s)  # one without end is not read for ever
    c.sendall(CHUNKED)
    try:
        for _ in range(200):
            c.sendall(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
        raise AssertionError("200 MB were taken")
    except OSError:
        pass
    c.close()


def too_large_is_refused_before_it_is_read(folder):
    s = server()
    for n in (67108865, 70000000, 1 << 31, (1 << 32) + 5, 999999999999):
        c = connect(s)
        c.sendall(POST + b"Content-Length: %d\r\n\r\n{" % n)
        status, answer = answer_of(c)
        assert status == 413 and b"67108864 bytes" in answer, answer
        c.close()
    c = connect(s)  # a body of the greatest size is read
    c.sendall(POST + b"Content-Length: 67108864\r\n\r\n" + BODY + b" " * (67108864 - 15))
    assert answer_of(c)[0] == 200
    if LONG:
        chunks_beyond_the_limit(s, c)
    c.close()
    for n, code in ((60000, 200), (70000, 431)):
        got = s.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: " + b"a" * n + b"\r\n\r\n", 5)
        assert got.startswith(b"HTTP/1.1 %d " % code) or (code == 431 and not got), (n, got[:200])


def noise_is_no_request(folder):
    s = server()
    rng = random.Random(5)
    blobs = []
    for _ in range(10000 if LONG else 256):
        data = bytearray(rng.choice([WHOLE, CHUNKED + b"f\r\n" + BODY + b"\r\n0\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(100), rng.randbytes(rng.randrange(1, 300))]))
        for _ in range(rng.choice([0, 1, 2, 10])):
            i = rng.randrange(len(data) + 1)
            data[i:i + rng.choice([0, 1, 1, 5])] = rng.randbytes(rng.choice([0, 1, 1, 3]))
        blobs.append(bytes(data))

    def one(data):
        c = socket.create_connection(("127.0.0.1", s.port), timeout=WAIT)
        got = b""
        try:
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
            while more := c.recv(65536):
                got += more
        except ConnectionError:
            pass
        finally:
            c.close()
        return [(data, x) for x in re.findall(rb"HTTP/1\.[01] (\d+) [A-Z]", got) if x[:1] == b"5"]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        wrong = [w for found in pool.map(one, blobs) for w in found if w[1] not in (b"501", b"505")]
    assert not wrong, wrong[:3]
    assert s.request("GET", "/health")[0] == 200


def files_run_out_and_come_back(folder):
    """The server may open no more files than it has: those who are in are served, it does not spin, and it goes on afterwards."""
    s = Server("-t", 1, "--slots", 1, "--no-store")
    n = len(os.listdir(f"/proc/{s.process.pid}/fd"))
    resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (n + 20, n + 20))
    first = connect(s)
    many = [connect(s) for _ in range(60)]
    first.sendall(WHOLE)
    assert answer_of(first)[0] == 200
    before = cpu_seconds(s)
    time.sleep(1)
    assert SANITIZED or cpu_seconds(s) - before < 0.3, f"{cpu_seconds(s) - before} s of CPU in a second of rest"
    for c in many:
        c.close()
    first.sendall(WHOLE)
    assert answer_of(first)[0] == 200
    first.close()
    assert s.request("GET", "/health")[0] == 200
    s.stop()


def z_the_server_is_still_well(folder):
    s = server()
    s.wait_metric("jobs_running", 0)
    s.stop()


main([ambiguous_requests_are_refused, clear_requests_are_answered_in_order, pieces_of_a_request_may_come_at_any_time, json_is_read_as_it_is_written,
      too_large_is_refused_before_it_is_read, noise_is_no_request, files_run_out_and_come_back, z_the_server_is_still_well])
