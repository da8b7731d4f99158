// From turns and conversations to DOM nodes. What a click does is the caller's.
import {show} from "./markdown.js";

export function element(name, className, ...children) {
    const e = document.createElement(name);
    if (className) e.className = className;
    e.append(...children);
    return e;
}

export function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#i-${name}`);
    svg.setAttribute("aria-hidden", "true");
    svg.append(use);
    return svg;
}

export function button(label, action, image) {
    const b = element("button", image ? "icon" : "", image ? icon(image) : label);
    b.type = "button";
    if (image) { b.title = label; b.setAttribute("aria-label", label); }
    b.addEventListener("click", action);
    return b;
}

async function copy(text, b) {
    await navigator.clipboard?.writeText(text);
    b.classList.add("done");
    setTimeout(() => b.classList.remove("done"), 1200);
}

const ENDS = {length: "Cut: the limit of tokens or the context is reached.", stopped: "Stopped.", error: "The server ended this answer early."};

// A turn of the conversation. actions: edit, retry, other(step); place: {at, of} among its siblings.
export function drawTurn(turn, place, actions) {
    const mine = turn.role === "user", who = mine ? "You" : turn.model || "Model";
    const e = element("article", `message ${turn.role}`), body = element("div", "body"), tools = element("div", "tools");
    e.setAttribute("aria-label", who);
    if (!mine) {
        const summary = element("summary", "", "Thinking"), text = element("div", "thought"), thinking = element("details", "thinking", summary, text);
        e.append(element("div", "who", who), thinking);
        e.parts = {thinking, summary, text, body};
    }
    if (place.of > 1) {
        tools.append(button("The one before", () => actions.other(-1), "back"), element("span", "place", `${place.at} / ${place.of}`),
            button("The next one", () => actions.other(1), "next"));
        tools.firstChild.disabled = place.at === 1;
        tools.lastChild.disabled = place.at === place.of;
    }
    const copies = button("Copy", () => copy(turn.content, copies), "copy");
    tools.append(copies, button("Edit", actions.edit, "edit"), button(mine ? "Answer again" : "Retry", actions.retry, "retry"));
    e.append(body, tools);
    if (mine) body.textContent = turn.content; else updateTurn(e, turn);
    if (turn.damaged) e.append(element("p", "note", "This text was damaged on the server's disk."));
    return e;
}

// Shows what an answer has become; called again and again while it is written.
export function updateTurn(e, turn) {
    const {thinking, summary, text, body} = e.parts, thinks = turn.writing && !turn.content;
    thinking.hidden = !turn.reasoning;
    if (turn.reasoning && text.textContent.length !== turn.reasoning.length) text.textContent = turn.reasoning;
    summary.textContent = thinks ? "Thinking …" : turn.thoughtFor >= 0.1 ? `Thought for ${turn.thoughtFor.toFixed(1)} s` : "Thinking";
    show(body, turn.content);
    e.classList.toggle("writing", Boolean(turn.writing));
    e.setAttribute("aria-busy", String(Boolean(turn.writing)));
    if (!turn.writing && ENDS[turn.finish] && !e.querySelector(".note")) body.after(element("p", "note", ENDS[turn.finish]));
}

// Puts an editor in place of a turn's text. done(text) is called when it is sent.
export function editTurn(e, turn, label, done, cancel) {
    const area = element("textarea"), row = element("div", "row", button(label, () => done(area.value)), button("Cancel", cancel)), editor = element("div", "editor", area, row);
    area.value = turn.content;
    area.setAttribute("aria-label", "Edit");
    row.firstChild.className = "main";
    area.addEventListener("keydown", (event) => {
        if (event.key === "Escape") { event.stopPropagation(); cancel(); }
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) done(area.value);
    });
    area.addEventListener("input", () => fit(area));
    e.querySelector(".body").replaceWith(editor);
    e.querySelector(".tools").remove();
    e.classList.add("edited");
    fit(area);
    area.focus();
}

// As many rows as the text takes, within what the style allows.
export function fit(area) {
    area.rows = 1;
    while (area.scrollHeight > area.clientHeight + 2 && area.rows < 16) area.rows++;
}

function age(ms) {
    const midnight = new Date().setHours(0, 0, 0, 0), day = 86400000;
    return ms >= midnight ? "Today" : ms >= midnight - day ? "Yesterday" : ms >= midnight - 6 * day ? "This week" : "Older";
}

// The list beside the conversation. actions: open(c), rename(c, title), remove(c), download(c, kind).
export function drawList(parent, conversations, current, actions) {
    const groups = new Map();
    for (const c of conversations) {
        const group = age(c.updated);
        if (!groups.has(group)) groups.set(group, element("ul"));
        groups.get(group).append(drawItem(c, c === current, actions));
    }
    parent.replaceChildren();
    for (const [name, ul] of groups) parent.append(element("h2", "", name), ul);
}

function drawItem(c, isCurrent, actions) {
    const open = button(c.title || "Untitled", () => actions.open(c)), li = element("li", isCurrent ? "current" : "", open);
    open.title = c.title;
    if (isCurrent) open.setAttribute("aria-current", "true");
    if (c.running) li.append(element("span", "dot"));
    const more = button(`More about ${c.title || "Untitled"}`, () => {
        if (li.querySelector(".menu")) return closeMenus();
        closeMenus();
        const item = (label, action) => { const b = button(label, () => { closeMenus(); action(); }); b.setAttribute("role", "menuitem"); return b; };
        const menu = element("div", "menu", item("Rename", () => rename(li, c, actions)), item("Export as Markdown", () => actions.download(c, "md")),
            item("Export as JSON", () => actions.download(c, "json")), item("Delete …", () => confirmDelete(li, c, actions)));
        menu.setAttribute("role", "menu");
        menu.addEventListener("keydown", (event) => {
            const items = [...menu.children], at = items.indexOf(document.activeElement), step = {ArrowDown: 1, ArrowUp: -1}[event.key];
            if (step) { event.preventDefault(); items.at((at + step) % items.length).focus(); }
            if (event.key === "Escape") { event.stopPropagation(); closeMenus(); more.focus(); }
        });
        li.append(menu);
        menu.scrollIntoView({block: "nearest"});
        more.setAttribute("aria-expanded", "true");
        menu.firstChild.focus();
    }, "more");
    more.setAttribute("aria-haspopup", "menu");
    more.setAttribute("aria-expanded", "false");
    li.append(more);
    return li;
}

export function closeMenus() {
    for (const menu of document.querySelectorAll("li .menu")) {
        menu.parentElement.querySelector("[aria-haspopup]")?.setAttribute("aria-expanded", "false");
        menu.remove();
    }
}

function rename(li, c, actions) {
    const input = element("input");
    input.value = c.title;
    input.maxLength = 100;
    input.setAttribute("aria-label", "Title");
    let over = false;
    const end = (keep) => { if (!over) { over = true; actions.rename(c, keep && input.value.trim() ? input.value.trim() : c.title); } };
    input.addEventListener("keydown", (event) => {
        if (event.key === "Enter") end(true);
        if (event.key === "Escape") { event.stopPropagation(); end(false); }
    });
    input.addEventListener("blur", () => end(true));
    li.replaceChildren(input);
    input.select();
}

function confirmDelete(li, c, actions) {
    const yes = button("Delete", () => actions.remove(c)), no = button("Keep", () => actions.rename(c, c.title));
    yes.className = "danger";
    li.replaceChildren(element("span", "ask", "Delete it?"), yes, no);
    no.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); no.click(); } });
    no.focus();
}
