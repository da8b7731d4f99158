// Conversations, as the server keeps them: trees of turns. A server that keeps none leaves them to this page, until it is closed.
//
// conversation: {id, title, settings, turns, head, updated, loaded, ...}; id null: not on the server yet; head: the turn that is shown last.
// turn: {id, parent, role, content, reasoning, model, finish, writing}; parent: a turn, or null; id 0: not on the server yet.
import {call, request} from "./api.js";

export let keeps = true; // false: the server keeps nothing

export function begin(settings) {
    return {id: null, title: "", settings, turns: [], head: null, updated: Date.now(), loaded: true, savedHead: 0, trouble: ""};
}

export function add(c, turn) {
    c.turns.push(turn);
    c.head = turn;
    return turn;
}

// From the first turn to the head.
export function path(c) {
    const turns = [];
    for (let t = c.head; t; t = t.parent) turns.push(t);
    return turns.reverse();
}

export function siblings(c, turn) {
    return c.turns.filter((t) => t.parent === turn.parent && t.role === turn.role);
}

// Shows turn, and below it what was said last.
export function choose(c, turn) {
    for (let t = turn; t; t = c.turns.findLast((child) => child.parent === t)) c.head = t;
}

export function drop(c, turn) {
    c.turns = c.turns.filter((t) => t !== turn);
    if (c.head === turn) c.head = turn.parent;
}

export async function list() {
    const all = [];
    try {
        for (let more = true; more;) {
            const page = await call("GET", `conversations?limit=500${all.length ? `&after=${all.at(-1).id}` : ""}`);
            all.push(...page.data.map((c) => ({...begin({}), id: c.id, title: c.title, updated: c.updated_ms, loaded: false})));
            more = page.has_more;
        }
        keeps = true;
    } catch (e) {
        if (e.code !== "store_off") throw e;
        keeps = false;
    }
    return all;
}

export async function load(c) {
    if (c.loaded) return;
    const kept = await call("GET", `conversations/${c.id}`);
    const byId = new Map();
    for (const t of kept.turns) byId.set(t.id, {...t, parent: byId.get(t.parent) ?? null});
    Object.assign(c, {title: kept.title, settings: kept.settings, turns: [...byId.values()], head: byId.get(kept.head) ?? null, savedHead: kept.head, loaded: true});
}

const fields = (t) => ({parent: t.parent?.id ?? 0, role: t.role, content: t.content, reasoning: t.reasoning, model: t.model, finish: t.finish});

async function saveNow(c) {
    if (!keeps || c.gone) return;
    if (!c.id) c.id = (await call("POST", "conversations", {title: c.title, settings: c.settings})).id;
    for (const t of c.turns) // a parent stands before its children; meanwhile turns may come and go
        if (!t.id && !t.writing && c.turns.includes(t)) c.savedHead = t.id = (await call("POST", `conversations/${c.id}/turns`, fields(t))).id;
    if (c.head?.id && c.head.id !== c.savedHead) {
        await call("PATCH", `conversations/${c.id}`, {head: c.head.id});
        c.savedHead = c.head.id;
    }
}

// One change after the other, in the order in which they were made. Resolves when this one is kept; c.trouble says why it is not.
function inOrder(c, action) {
    c.saving = (c.saving ?? Promise.resolve()).then(action).then(() => { c.trouble = ""; }, (e) => { c.trouble = e.message; });
    return c.saving;
}

export function save(c) {
    return inOrder(c, () => saveNow(c));
}

// Title or settings.
export function change(c, members) {
    Object.assign(c, members);
    return inOrder(c, async () => { if (keeps && c.id) await call("PATCH", `conversations/${c.id}`, members); });
}

export function remove(c) {
    c.gone = true;
    return inOrder(c, async () => { if (keeps && c.id) await call("DELETE", `conversations/${c.id}`); });
}

// The page goes away while an answer is written: what there is of it is kept. The browser sends this one after the page has ended.
export function saveLast(c, turn) {
    if (!keeps || !c.id || !turn.parent?.id || !(turn.content || turn.reasoning)) return;
    request("POST", `conversations/${c.id}/turns`, {...fields(turn), finish: "stopped"}, {keepalive: true}).catch(() => {});
}

export async function exported(c, kind) {
    const response = await request("GET", `conversations/${c.id}${kind === "md" ? "/markdown" : ""}`);
    return response.blob();
}

export async function imported(text) {
    return (await call("POST", "conversations", JSON.parse(text))).id;
}
