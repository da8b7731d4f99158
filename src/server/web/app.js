// The chat page: what is open, what is being answered, settings, keys.
import {call, events, getKey, request, setKey} from "./api.js";
import * as store from "./conversations.js";
import {button, closeMenus, drawList, drawTurn, editTurn, element, fit, updateTurn} from "./view.js";

const $ = (id) => document.getElementById(id);
const NUMBERS = ["temperature", "top_p", "max_tokens"], SETTINGS = ["system", ...NUMBERS, "think", "model"];
const local = {
    get(key, otherwise) { try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; } },
    set(key, value) { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* a browser that keeps nothing still works */ } },
};

let conversations = [], current = null;
let models = [];             // as /v1/models lists them
const shown = new Map();     // turn -> its node

// ---- what is on the screen ----

function redrawList() {
    const wanted = $("search").value.trim().toLowerCase();
    const rows = conversations.filter((c) => (c.id || c.turns.length) && c.title.toLowerCase().includes(wanted));
    drawList($("conversations"), rows, current, {
        open,
        rename: (c, title) => { if (title !== c.title) store.change(c, {title}).then(tellTrouble); redrawList(); heading(); },
        remove: (c) => {
            c.running?.abort();
            store.remove(c).then(() => { if (c.trouble) notice(`Not deleted: ${c.trouble}`); });
            conversations = conversations.filter((other) => other !== c);
            if (c === current) start(); else redrawList();
        },
        download,
    });
    if (!rows.length) $("conversations").append(element("p", "none", wanted ? "No title has this." : "Nothing yet."));
}

function heading() {
    const title = current.turns.length ? current.title : "";
    $("title").textContent = title || "Fathom";
    document.title = title ? `${title} · Fathom` : "Fathom";
}

function redraw() {
    const turns = store.path(current);
    shown.clear();
    for (const t of turns) shown.set(t, node(t));
    $("messages").replaceChildren(...shown.values());
    if (!turns.length) $("messages").append(element("div", "empty", element("p", "big", "What shall we look into?"), element("p", "", hint())));
    heading();
    $("messages").scrollTop = $("messages").scrollHeight;
    controls();
}

function hint() {
    return store.keeps ? "Conversations are kept on your server, nowhere else." : "This server keeps no conversations: they are gone when the page is closed.";
}

function node(t) {
    const c = current, others = store.siblings(c, t), at = others.indexOf(t);
    return drawTurn(t, {at: at + 1, of: others.length}, {
        edit: () => edit(c, t),
        retry: () => answer(c, t.role === "user" ? t : t.parent),
        other: (step) => { store.choose(c, others[at + step]); redraw(); store.save(c).then(tellTrouble); },
    });
}

function controls() {
    $("send").hidden = Boolean(current.running);
    $("stop").hidden = !current.running;
    if (!current.running) tell("", current.figures ?? "");
    meter(current.used);
}

// What happens: heard by screen readers, seen while it goes on.
function tell(state, figures, seen = true) {
    $("state").textContent = state;
    $("state").className = seen ? "" : "unseen";
    if (figures !== undefined) $("rate").textContent = figures;
}

function meter(used) {
    const context = models.find((m) => m.id === $("model").value)?.context_length ?? models[0]?.context_length;
    $("fill").hidden = !used || !context;
    if ($("fill").hidden) return;
    Object.assign($("meter"), {max: context, high: context * 0.8, value: used});
    $("tokens").textContent = `${used.toLocaleString("en")} of ${context.toLocaleString("en")} tokens`;
}

// A line above the composer, with something to do about it.
function notice(text, label, action) {
    const n = $("notice");
    n.hidden = !text;
    n.replaceChildren(text ?? "");
    if (label) n.append(button(label, () => { notice(); action(); }));
    if (text) n.append(button("Close", () => notice(), "close"));
}

function tellTrouble() {
    const c = current;
    if (c.trouble) notice(`Not saved: ${c.trouble}`, "Save again", () => store.save(c).then(tellTrouble));
    redrawList();
}

// ---- conversations ----

function start() {
    current = store.begin(defaults());
    showSettings();
    notice();
    redraw();
    redrawList();
    closeSide();
    $("input").focus();
}

async function open(c) {
    try {
        await store.load(c);
    } catch (e) {
        return notice(e.message);
    }
    current = c;
    showSettings();
    notice();
    redraw();
    redrawList();
    closeSide();
    if (models.length === 1 && c.turns.length && !c.used) count(c);
}

async function download(c, kind) {
    try {
        const link = element("a");
        link.href = URL.createObjectURL(await store.exported(c, kind));
        link.download = `${(c.title || "conversation").replace(/[^\p{L}\p{N} ._-]+/gu, " ").trim().slice(0, 80) || "conversation"}.${kind}`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    } catch (e) {
        notice(e.message);
    }
}

async function reload() {
    const kept = await store.list(), known = new Map(conversations.filter((c) => c.id).map((c) => [c.id, c]));
    conversations = [...conversations.filter((c) => !c.id), ...kept.map((c) => known.get(c.id) ?? c)];
    redrawList();
}

function edit(c, t) {
    const again = () => { if (c === current) { redraw(); $("input").focus(); } };
    editTurn(shown.get(t), t, t.role === "user" ? "Send" : "Save", (text) => {
        if (!text.trim() || c.running) return;
        const copy = store.add(c, {id: 0, parent: t.parent, role: t.role, content: text, reasoning: "", model: t.model ?? "", finish: t.role === "user" ? "" : "edited"});
        again();
        if (t.role === "user") answer(c, copy); else store.save(c).then(tellTrouble);
    }, again);
}

// ---- answers ----

function body(c, upTo) {
    const b = {messages: []}, s = c.settings;
    if (s.model) b.model = s.model;
    if (s.system?.trim()) b.messages.push({role: "system", content: s.system});
    for (const t of store.path({head: upTo})) if (t.content || t.role === "user") b.messages.push({role: t.role, content: t.content});
    for (const key of NUMBERS) if (s[key]) b[key] = Number(s[key]);
    if (s.think) b.reasoning_effort = s.think;
    return b;
}

// How many tokens the conversation is, for the meter.
async function count(c) {
    const {model, messages} = body(c, c.head), {running} = c, system = messages[0]?.role === "system" ? messages.shift().content : undefined;
    try {
        const n = (await call("POST", "v1/messages/count_tokens", {model: model ?? models[0]?.id, system, messages, max_tokens: 1})).input_tokens;
        if (c.running !== running) return; // an answer has begun or ended meanwhile
        c.used = n;
        if (c === current && !running) meter(n);
    } catch { /* the meter stays as it is */ }
}

function take(turn, chunk, figures) {
    if (chunk.error) throw new Error(chunk.error.message);
    const choice = chunk.choices[0], delta = choice?.delta ?? {};
    if (delta.reasoning_content) turn.reasoning += delta.reasoning_content;
    if (delta.content) turn.content += delta.content;
    if (delta.reasoning_content || delta.content) {
        figures.first ??= performance.now();
        figures.n++;
        if (delta.content && turn.reasoning) turn.thoughtFor ??= (performance.now() - figures.first) / 1000;
    }
    if (choice?.finish_reason) turn.finish = choice.finish_reason;
    figures.usage = chunk.usage ?? figures.usage;
}

function rate(figures) {
    const seconds = (performance.now() - figures.first) / 1000, n = figures.usage?.completion_tokens ?? figures.n;
    if (!n) return "";
    return `${n.toLocaleString("en")} tokens` + (seconds > 0.1 ? `, ${(n / seconds).toFixed(n / seconds < 100 ? 1 : 0)} tokens/s` : "");
}

// Draws what has come, at most once a frame, and follows the end if that is what is being read.
function painter(c, turn, figures) {
    let frame = 0;
    const paint = () => {
        const main = $("messages"), follows = main.scrollHeight - main.scrollTop - main.clientHeight < 80, e = shown.get(turn);
        frame = 0;
        if (c !== current || !e) return;
        updateTurn(e, turn);
        tell(!figures.n ? "Reading …" : turn.content ? "Writing …" : "Thinking …", rate(figures));
        if (figures.n) meter((c.used ?? 0) + figures.n);
        if (follows) main.scrollTop = main.scrollHeight;
    };
    return {later: () => { frame ||= requestAnimationFrame(paint); }, now: () => { cancelAnimationFrame(frame); paint(); }};
}

async function stream(c, question, turn, figures, paint) {
    const {signal} = c.running, more = {stream: true, stream_options: {include_usage: true}};
    try {
        const response = await request("POST", "v1/chat/completions", {...body(c, question), ...more}, {signal});
        for await (const chunk of events(response)) {
            take(turn, chunk, figures);
            paint.later();
        }
        if (!turn.finish) throw new Error("The connection to the server ended.");
    } catch (e) {
        turn.finish = signal.aborted ? "stopped" : "error";
        if (!signal.aborted) return e.message;
    }
    return "";
}

// Answers question, a turn of the user's, beside answers that it may have already.
async function answer(c, question) {
    if (c.running) return;
    const model = c.settings.model || models[0]?.id || "", figures = {n: 0};
    const turn = store.add(c, {id: 0, parent: question, role: "assistant", content: "", reasoning: "", model, finish: "", writing: true});
    const paint = painter(c, turn, figures);
    c.running = new AbortController();
    if (!conversations.includes(c)) conversations.unshift(c);
    c.updated = Date.now();
    if (c === current) { notice(); redraw(); }
    redrawList();
    paint.now();
    if (models.length === 1) count(c);
    store.save(c).then(tellTrouble); // the question, while it is being read
    const problem = await stream(c, question, turn, figures, paint);
    turn.writing = false;
    paint.now();
    c.running = null;
    c.figures = rate(figures);
    c.used = figures.usage?.total_tokens ?? (c.used ?? 0) + figures.n;
    if (!turn.content && !turn.reasoning) store.drop(c, turn);
    if (c === current) redrawAfter(c, turn);
    redrawList();
    if (problem) notice(problem, "Try again", () => { if (!turn.content) store.drop(c, turn); answer(c, question); });
    await store.save(c);
    tellTrouble();
}

// The screen as it was, but for the turn that is done.
function redrawAfter(c, turn) {
    const main = $("messages"), top = main.scrollTop, atEnd = main.scrollHeight - top - main.clientHeight < 80;
    const opened = shown.get(turn)?.querySelector("details")?.open;
    redraw();
    if (opened && shown.get(turn)) shown.get(turn).querySelector("details").open = true;
    if (!atEnd) main.scrollTop = top;
    tell(turn.finish === "stopped" ? "Stopped." : "Done.", undefined, false);
}

function stop() {
    current.running?.abort();
}

function send() {
    const text = $("input").value.trim(), c = current;
    if (!text || c.running) return;
    $("input").value = "";
    fit($("input"));
    if (!c.title) c.title = text.replace(/\s+/g, " ").slice(0, 60);
    answer(c, store.add(c, {id: 0, parent: c.head, role: "user", content: text, reasoning: "", model: "", finish: ""}));
}

// ---- settings ----

function defaults() {
    return Object.fromEntries(SETTINGS.map((key) => [key, local.get(`setting.${key}`, "")]).filter(([, value]) => value !== ""));
}

function showSettings() {
    for (const key of SETTINGS) if (key !== "model") $(key).value = current.settings[key] ?? "";
    $("model").value = models.some((m) => m.id === current.settings.model) ? current.settings.model : models[0]?.id ?? "";
}

// Of the conversation, and what new ones begin with.
function setting(key) {
    const settings = {...current.settings, [key]: $(key).value};
    if (settings[key] === "") delete settings[key];
    local.set(`setting.${key}`, $(key).value);
    store.change(current, {settings}).then(tellTrouble);
}

function panel(isOpen) {
    $("panel").hidden = !isOpen;
    $("settings").setAttribute("aria-expanded", String(isOpen));
    (isOpen ? $("system") : $("settings")).focus();
}

// The system's, until somebody chooses.
const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
    document.documentElement.dataset.theme = local.get("theme", dark.matches ? "dark" : "light");
}

const narrow = matchMedia("(max-width: 760px)"), isNarrow = () => narrow.matches;

function side(isOpen) {
    document.body.classList.toggle("side", isOpen);
    $("menu").setAttribute("aria-expanded", String(isOpen));
}

function closeSide() {
    if (isNarrow()) side(false);
}

async function hello() {
    try {
        models = (await call("GET", "v1/models")).data;
        $("model").replaceChildren(...models.map((m) => new Option(m.id, m.id)));
        $("model").disabled = models.length < 2;
        await reload();
        notice();
    } catch (e) {
        if (e.status === 401) panel(true);
        notice(e.status === 401 ? "This server asks for an API key: it goes into the settings." : e.message, e.status === 401 ? undefined : "Try again", hello);
        if (e.status === 401) $("key").focus();
    }
    showSettings();
    if (!current.turns.length) redraw();
}

// ---- keys and clicks ----

function escape() {
    if (document.querySelector("li .menu")) closeMenus();
    else if (!$("panel").hidden) panel(false);
    else if (isNarrow() && document.body.classList.contains("side")) { side(false); $("menu").focus(); }
    else if (current.running) stop();
    else $("input").focus();
}

function editLast() {
    const last = store.path(current).findLast((t) => t.role === "user");
    if (last && !current.running) edit(current, last);
}

document.addEventListener("keydown", (e) => {
    const writes = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName);
    if (e.key === "Escape") escape();
    else if (e.key === "k" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); start(); }
    else if (e.key === "/" && !writes && !e.ctrlKey && !e.metaKey && !e.altKey) { e.preventDefault(); $("input").focus(); }
});
$("input").addEventListener("keydown", (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); }
    if (e.key === "ArrowUp" && !$("input").value) { e.preventDefault(); editLast(); }
});
document.addEventListener("click", (e) => {
    if (!e.target.closest("li")) closeMenus();
    if (!$("panel").hidden && !e.target.closest("#panel, #settings, #notice")) panel(false);
    if (isNarrow() && e.target.closest("main, footer")) side(false);
});
$("input").addEventListener("input", () => fit($("input")));
$("composer").addEventListener("submit", (e) => { e.preventDefault(); send(); });
$("panel").addEventListener("submit", (e) => e.preventDefault());
$("stop").addEventListener("click", () => { stop(); $("input").focus(); });
$("new").addEventListener("click", start);
$("search").addEventListener("input", redrawList);
$("menu").addEventListener("click", () => side(!document.body.classList.contains("side")));
$("theme").addEventListener("click", () => {
    local.set("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    theme();
});
dark.addEventListener("change", theme);
$("settings").addEventListener("click", () => panel($("panel").hidden));
for (const key of SETTINGS) $(key).addEventListener("change", () => setting(key));
$("model").addEventListener("change", () => meter(current.used));
$("key").value = getKey();
$("key").addEventListener("change", () => { setKey($("key").value); hello(); });
$("import").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", async () => {
    try {
        const id = await store.imported(await $("file").files[0].text());
        await reload();
        panel(false);
        await open(conversations.find((c) => c.id === id));
    } catch (e) {
        notice(`Not imported: ${e.message}`);
    }
    $("file").value = "";
});
addEventListener("pagehide", () => {
    for (const c of conversations) if (c.running) store.saveLast(c, c.head);
});
// What another tab or device has said meanwhile.
document.addEventListener("visibilitychange", () => { if (!document.hidden && store.keeps && models.length) reload().catch(() => {}); });

narrow.addEventListener("change", () => side(!isNarrow()));

theme();
side(!isNarrow());
start();
hello();
