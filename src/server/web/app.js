// The chat page: conversations, streaming, settings. Everything is kept in this browser; nothing is loaded from elsewhere.
import {show} from "./markdown.js";

const $ = (id) => document.getElementById(id);
const SETTINGS = ["system", "temperature", "top_p", "max_tokens"];
const store = {
    get(key, otherwise) { try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; } },
    set(key, value) { try { localStorage.setItem(key, JSON.stringify(value)); } catch { status("This browser keeps nothing: its storage is full or off."); } },
};

let conversations = store.get("conversations", []);
let current = null;      // {id, title, messages: [{role, content, reasoning}]}
let running = null;      // AbortController of the answer in work
let context = 0;         // tokens the model can hold

// ---- conversations ----

function save() {
    conversations = conversations.filter((c) => c.messages.length);
    store.set("conversations", conversations.slice(0, 200));
    listConversations();
}

function start() {
    stop();
    current = {id: crypto.randomUUID?.() ?? String(Date.now()), title: "New conversation", messages: []};
    conversations.unshift(current);
    redraw();
    listConversations();
    $("input").focus();
}

function listConversations() {
    const ul = $("conversations");
    ul.replaceChildren();
    for (const c of conversations) {
        const li = document.createElement("li"), open = document.createElement("button"), drop = document.createElement("button");
        open.textContent = c.title;
        open.addEventListener("click", () => { stop(); current = c; redraw(); listConversations(); document.body.classList.remove("menu"); });
        drop.textContent = "✕";
        drop.setAttribute("aria-label", `Delete ${c.title}`);
        drop.addEventListener("click", () => {
            if (!confirm(`Delete "${c.title}"?`)) return;
            conversations = conversations.filter((other) => other !== c);
            if (c === current) start();
            save();
        });
        li.className = c === current ? "current" : "";
        li.append(open, drop);
        ul.append(li);
    }
}

// ---- messages ----

function button(label, action) {
    const b = document.createElement("button");
    b.type = "button";
    b.textContent = label;
    b.addEventListener("click", action);
    return b;
}

function draw(message, index) {
    const div = document.createElement("div"), who = document.createElement("div"), body = document.createElement("div");
    div.className = `message ${message.role}`;
    who.className = "who";
    who.append(message.role === "user" ? "You" : "Model");
    body.className = "body";
    if (message.role === "user") {
        body.textContent = message.content;
        who.append(button("Edit", () => edit(index)));
    } else {
        const thinking = document.createElement("details"), summary = document.createElement("summary"), text = document.createElement("div");
        thinking.className = "thinking";
        summary.textContent = "Thinking";
        thinking.append(summary, text);
        div.parts = {thinking, text, body};
        who.append(button("Copy", () => navigator.clipboard?.writeText(message.content)), button("Retry", () => retry(index)));
    }
    div.append(who);
    if (div.parts) div.append(div.parts.thinking);
    div.append(body);
    if (div.parts) update(div, message);
    return div;
}

function update(div, message) {
    const {thinking, text, body} = div.parts;
    thinking.hidden = !message.reasoning;
    if (message.reasoning) text.textContent = message.reasoning;
    show(body, message.content);
    if (message.error && !div.querySelector(".error")) {
        const e = document.createElement("div");
        e.className = "error";
        e.textContent = message.error;
        div.append(e);
    }
}

function redraw() {
    const main = $("messages");
    main.replaceChildren(...current.messages.map(draw));
    if (!current.messages.length) {
        const p = document.createElement("p");
        p.className = "empty";
        p.textContent = "Ask something.";
        main.append(p);
    }
    $("title").textContent = current.messages.length ? current.title : "Fathom";
    main.scrollTop = main.scrollHeight;
}

function edit(index) {
    stop();
    $("input").value = current.messages[index].content;
    current.messages.length = index;
    redraw();
    grow();
    $("input").focus();
}

function retry(index) {
    stop();
    current.messages.length = index;
    redraw();
    answer();
}

// ---- answers ----

function body() {
    const b = {stream: true, stream_options: {include_usage: true}, messages: []};
    if ($("system").value.trim()) b.messages.push({role: "system", content: $("system").value});
    for (const m of current.messages) if (m.content || m.role === "user") b.messages.push({role: m.role, content: m.content});
    for (const key of ["temperature", "top_p", "max_tokens"]) if ($(key).value !== "") b[key] = Number($(key).value);
    if (!$("think").checked) b.thinking = {type: "disabled"};
    return b;
}

function headers() {
    const h = {"Content-Type": "application/json"};
    if ($("key").value) h.Authorization = `Bearer ${$("key").value}`;
    return h;
}

// Server-sent events of a response body, parsed as they come.
async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const {done, value} = await reader.read();
        if (done) return;
        rest += value;
        let end;
        while ((end = rest.indexOf("\n\n")) >= 0) {
            const data = rest.slice(0, end).split("\n").filter((l) => l.startsWith("data: ")).map((l) => l.slice(6)).join("\n");
            rest = rest.slice(end + 2);
            if (data && data !== "[DONE]") yield JSON.parse(data);
        }
    }
}

function status(text, used) {
    const s = $("status");
    s.textContent = text;
    if (used && context) {
        const m = document.createElement("meter");
        m.max = context;
        m.high = context * 0.8;
        m.value = used;
        m.title = `${used} of ${context} tokens`;
        s.append(m, `${used} of ${context}`);
    }
}

function take(message, chunk, figures) {
    if (chunk.error) throw new Error(chunk.error.message);
    const choice = chunk.choices[0], delta = choice?.delta ?? {};
    if (delta.reasoning_content) message.reasoning = (message.reasoning ?? "") + delta.reasoning_content;
    if (delta.content) message.content += delta.content;
    if (delta.reasoning_content || delta.content) {
        figures.first ??= performance.now();
        figures.n++;
    }
    if (choice?.finish_reason === "length") message.error = "The answer was cut: the context or the limit of tokens is reached.";
    figures.usage = chunk.usage ?? figures.usage;
}

function rate(figures) {
    const seconds = (performance.now() - figures.first) / 1000;
    return figures.n > 1 && seconds > 0 ? `${((figures.usage?.completion_tokens ?? figures.n) / seconds).toFixed(1)} tokens/s` : "";
}

async function answer() {
    const conversation = current, request = body(), message = {role: "assistant", content: ""};
    const main = $("messages"), figures = {n: 0};
    conversation.messages.push(message);
    main.querySelector(".empty")?.remove();
    const div = draw(message, conversation.messages.length - 1);
    div.classList.add("writing");
    main.append(div);
    running = new AbortController();
    const {signal} = running;
    $("send").hidden = true;
    $("stop").hidden = false;
    status("Reading …");
    let frame = 0;
    const paint = () => {
        frame = 0;
        const follows = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
        update(div, message);
        if (message.reasoning && !message.content) div.parts.thinking.querySelector("summary").textContent = "Thinking …";
        else div.parts.thinking.querySelector("summary").textContent = "Thinking";
        status(rate(figures));
        if (follows) main.scrollTop = main.scrollHeight;
    };
    main.scrollTop = main.scrollHeight;
    try {
        const response = await fetch("v1/chat/completions", {method: "POST", headers: headers(), body: JSON.stringify(request), signal});
        if (!response.ok) throw new Error((await response.json()).error?.message ?? `The server answered ${response.status}.`);
        for await (const chunk of events(response)) {
            take(message, chunk, figures);
            frame ||= requestAnimationFrame(paint);
        }
    } catch (e) {
        if (!signal.aborted) message.error = e.message;
    }
    if (frame) cancelAnimationFrame(frame);
    paint();
    div.classList.remove("writing");
    const u = figures.usage;
    if (running?.signal === signal) {
        running = null;
        $("send").hidden = false;
        $("stop").hidden = true;
        status([rate(figures), signal.aborted ? "stopped" : "", u ? `${u.prompt_cache_hit_tokens} of ${u.prompt_tokens} prompt tokens were kept` : ""]
            .filter(Boolean).join(" · "), u ? u.total_tokens : 0);
    }
    if (!message.content && !message.reasoning && !message.error) conversation.messages.splice(conversation.messages.indexOf(message), 1);
    save();
}

function stop() {
    running?.abort();
    running = null;
    $("send").hidden = false;
    $("stop").hidden = true;
}

function send() {
    const text = $("input").value.trim();
    if (!text || running) return;
    $("input").value = "";
    grow();
    if (!current.messages.length) current.title = text.slice(0, 60);
    current.messages.push({role: "user", content: text});
    redraw();
    answer();
}

// ---- the rest of the page ----

function grow() {
    const input = $("input");
    input.rows = Math.min(12, input.value.split("\n").length);
}

function theme(name) {
    document.documentElement.dataset.theme = name;
    store.set("theme", name);
}

async function hello() {
    try {
        const response = await fetch("v1/models", {headers: headers()});
        const answer = await response.json();
        if (!response.ok) throw new Error(answer.error.message);
        $("model").textContent = answer.data[0].id;
        context = answer.data[0].context_length;
        status("");
    } catch (e) {
        status(e.message);
    }
}

theme(store.get("theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
for (const key of SETTINGS) {
    $(key).value = store.get(`setting.${key}`, "");
    $(key).addEventListener("change", () => store.set(`setting.${key}`, $(key).value));
}
$("think").checked = store.get("setting.think", true);
$("think").addEventListener("change", () => store.set("setting.think", $("think").checked));
$("key").value = sessionStorage.getItem("key") ?? "";
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value); hello(); });
$("panel").addEventListener("submit", (e) => e.preventDefault());
$("composer").addEventListener("submit", (e) => { e.preventDefault(); send(); });
$("input").addEventListener("input", grow);
$("input").addEventListener("keydown", (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); }
});
$("stop").addEventListener("click", stop);
$("new").addEventListener("click", () => { document.body.classList.remove("menu"); start(); });
$("menu").addEventListener("click", () => document.body.classList.toggle("menu"));
$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("settings").addEventListener("click", () => {
    $("panel").hidden = !$("panel").hidden;
    $("settings").setAttribute("aria-expanded", String(!$("panel").hidden));
});
document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") { if (!$("panel").hidden) $("settings").click(); else stop(); }
    if (e.key === "k" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); start(); }
});
start();
hello();
