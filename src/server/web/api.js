// Requests to the server that this page comes from: JSON, and streams of events.

let key = sessionStorage.getItem("key") ?? "";

export function setKey(value) {
    key = value;
    sessionStorage.setItem("key", value);
}

export function getKey() {
    return key;
}

// Throws an Error with the server's words, its status and its code.
export async function request(method, path, body, more = {}) {
    const headers = {"Content-Type": "application/json"};
    if (key) headers.Authorization = `Bearer ${key}`;
    let response;
    try {
        response = await fetch(path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body), ...more});
    } catch (e) {
        if (more.signal?.aborted) throw e;
        throw new Error("The server cannot be reached.");
    }
    if (response.ok) return response;
    let error = {};
    try { error = (await response.json()).error ?? {}; } catch { /* no JSON: the status says what is known */ }
    throw Object.assign(new Error(error.message ?? `The server answered ${response.status}.`), {status: response.status, code: error.code});
}

export async function call(method, path, body, more) {
    return (await request(method, path, body, more)).json();
}

// Server-sent events of a response, parsed as they come.
export async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const {done, value} = await reader.read();
        if (done) return;
        rest += value;
        for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
            const data = rest.slice(0, end).split("\n").filter((l) => l.startsWith("data: ")).map((l) => l.slice(6)).join("\n");
            if (data && data !== "[DONE]") yield JSON.parse(data);
        }
    }
}
