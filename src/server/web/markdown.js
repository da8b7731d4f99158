// Markdown to DOM nodes. Text only ever becomes text nodes: no HTML of the model's is interpreted, nothing is loaded.
// Blocks that have not changed keep their nodes while an answer grows.

const KEYWORDS = new Set(("abstract and as async await auto bool boolean break case catch char class const continue def default defer del delete do double elif else " +
    "enum except export extends extern false False final finally float fn for from func function global go if impl import in int interface is lambda let long match " +
    "mod mut namespace new nil None not null or package pass private protected pub public raise return self short signed sizeof static struct super switch template " +
    "this throw trait True true try type typedef typeof undefined union unsigned use using var virtual void volatile while with yield").split(" "));
const TOKEN = /(\/\/[^\n]*|#[^\n]*|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|("(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`(?:\\.|[^`\\])*`?)|(\b\d[\w.]*)|([A-Za-z_]\w*)/g;

function element(name, text, className) {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (className) e.className = className;
    return e;
}

function highlight(code, text, language) {
    const hash = /^(py|python|sh|bash|zsh|rb|ruby|yaml|yml|toml|perl|r|make|makefile|dockerfile)$/.test(language);
    const dashes = /^(sql|lua|hs|haskell)$/.test(language);
    if (!language || language === "text") { code.textContent = text; return; }
    let at = 0;
    for (const m of text.matchAll(TOKEN)) {
        let kind = m[1] ? "c" : m[2] ? "s" : m[3] ? "n" : KEYWORDS.has(m[4]) ? "k" : "";
        if (m[1] && ((m[1][0] === "#" && !hash) || (m[1].startsWith("--") && !dashes) || (m[1].startsWith("//") && hash))) kind = "";
        if (!kind) continue;
        code.append(text.slice(at, m.index), element("span", m[0], kind));
        at = m.index + m[0].length;
    }
    code.append(text.slice(at));
}

const INLINE = /(`+)([\s\S]*?[^`])\1(?!`)|\*\*([^*\n][\s\S]*?)\*\*|__([^_\n][\s\S]*?)__|\*([^*\s][^*\n]*?)\*|\b_([^_\s][^_\n]*?)_\b|~~([^~\n]+)~~|\[([^\]\n]+)\]\(([^()\s]+)\)|(https?:\/\/[^\s<>()"']+[^\s<>()"'.,;:!?])/g;

function link(text, url) {
    const safe = /^(https?|mailto):/i.test(url);
    const e = element(safe ? "a" : "span", text);
    if (safe) { e.href = url; e.rel = "noopener noreferrer"; e.target = "_blank"; e.title = url; }
    return e;
}

function inline(parent, text, depth = 0) {
    let at = 0;
    for (const m of text.matchAll(INLINE)) {
        parent.append(text.slice(at, m.index));
        at = m.index + m[0].length;
        if (m[2] !== undefined) parent.append(element("code", m[2].trim() || m[2]));
        else if (m[8] !== undefined) parent.append(link(m[8], m[9]));
        else if (m[10] !== undefined) parent.append(link(m[10], m[10]));
        else {
            const inner = m[3] ?? m[4] ?? m[5] ?? m[6] ?? m[7];
            const e = element(m[3] ?? m[4] ? "strong" : m[7] ? "del" : "em");
            if (depth < 4) inline(e, inner, depth + 1); else e.textContent = inner;
            parent.append(e);
        }
    }
    parent.append(text.slice(at));
}

const FENCE = /^(\s*)(`{3,}|~{3,})(.*)$/, ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/, HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;

function kindOf(line) {
    return HEADING.test(line) ? "heading" : ITEM.test(line) ? "item" : /^ {0,3}>/.test(line) ? "quote" : /^\s*\|/.test(line) ? "row" : "text";
}

// Text of one block each: fenced code whole, the rest at blank lines and where another kind of block begins.
function splitBlocks(text) {
    const blocks = [];
    let block = [], fence = null, kind = "text";
    const flush = () => { if (block.length) blocks.push(block.join("\n")); block = []; };
    for (const line of text.split("\n")) {
        const mark = line.match(FENCE);
        if (fence) {
            block.push(line);
            if (mark && mark[2][0] === fence[0] && mark[2].length >= fence.length && !mark[3].trim()) { fence = null; flush(); }
        } else if (mark) {
            flush();
            fence = mark[2];
            block.push(line);
        } else if (line.trim() === "") flush();
        else {
            const now = kindOf(line), goesOn = now === kind || (now === "text" && (kind === "item" || kind === "quote"));
            if (block.length && (!goesOn || now === "heading")) flush();
            if (!block.length || now !== "text") kind = now; // lines of text go on with an item or a quotation
            block.push(line);
        }
    }
    flush();
    return blocks;
}

function codeBlock(lines) {
    const [, indent, , info] = lines[0].match(FENCE), language = (info.trim().match(/^[\w+#.-]+/)?.[0] ?? "").toLowerCase();
    const closed = lines.length > 1 && FENCE.test(lines.at(-1));
    const text = lines.slice(1, closed ? -1 : undefined).map((l) => l.startsWith(indent) ? l.slice(indent.length) : l).join("\n");
    const pre = element("pre"), code = element("code"), copy = element("button", "Copy"), bar = element("div", undefined, "bar"), block = element("div", undefined, "block");
    highlight(code, text, language);
    copy.type = "button";
    copy.addEventListener("click", () => navigator.clipboard?.writeText(text).then(() => {
        copy.textContent = "Copied";
        setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    }));
    pre.tabIndex = 0; // it may scroll sideways
    pre.append(code);
    bar.append(element("span", language || "text"), copy);
    block.append(bar, pre);
    return block;
}

function list(lines) {
    const stack = [];
    let root = null;
    for (const line of lines) {
        const m = line.match(ITEM);
        if (!m) {
            const last = stack.at(-1)?.list.lastElementChild;
            if (last) { last.append(" "); inline(last, line.trim()); }
            continue;
        }
        const indent = m[1].replace(/\t/g, "    ").length;
        while (stack.length > 1 && indent < stack.at(-1).indent) stack.pop();
        if (!stack.length || (indent > stack.at(-1).indent + 1 && stack.length < 8)) {
            const ordered = /\d/.test(m[2]);
            const l = element(ordered ? "ol" : "ul");
            if (ordered) l.start = parseInt(m[2], 10);
            if (stack.length) (stack.at(-1).list.lastElementChild ?? stack.at(-1).list).append(l); else root = l;
            stack.push({indent, list: l});
        }
        const item = element("li");
        inline(item, m[3]);
        stack.at(-1).list.append(item);
    }
    return root;
}

function cells(line) {
    return line.trim().replace(/^\||\|$/g, "").split("|").map((c) => c.trim());
}

function table(lines) {
    const t = element("table");
    lines.forEach((line, i) => {
        if (i === 1) return;
        const row = element("tr");
        for (const c of cells(line)) { const cell = element(i ? "td" : "th"); inline(cell, c); row.append(cell); }
        t.append(row);
    });
    const wide = element("div", undefined, "wide");
    wide.append(t);
    return wide;
}

function render(text, depth = 0) {
    const lines = text.split("\n"), first = lines[0];
    if (FENCE.test(first)) return codeBlock(lines);
    const heading = first.match(HEADING);
    if (heading) { const h = element(`h${Math.min(6, heading[1].length + 1)}`); inline(h, heading[2]); return h; }
    if (/^ {0,3}([-*_])(\s*\1){2,}\s*$/.test(first) && lines.length === 1) return element("hr");
    if (first.startsWith(">") && depth < 4) {
        const q = element("blockquote");
        for (const b of splitBlocks(lines.map((l) => l.replace(/^ {0,3}>\s?/, "")).join("\n"))) q.append(render(b, depth + 1));
        return q;
    }
    if (ITEM.test(first)) return list(lines);
    if (lines.length > 1 && first.includes("|") && /^[\s|:-]+$/.test(lines[1]) && lines[1].includes("-")) return table(lines);
    const p = element("p");
    lines.forEach((line, i) => { if (i) p.append(element("br")); inline(p, line); });
    return p;
}

// Shows text in parent; called again and again while the text grows.
export function show(parent, text) {
    const blocks = splitBlocks(text), had = parent.blocks ?? [];
    let same = 0;
    while (same < blocks.length && same < had.length && blocks[same] === had[same]) same++;
    while (parent.children.length > same) parent.lastElementChild.remove();
    for (const b of blocks.slice(same)) parent.append(render(b));
    parent.blocks = blocks;
}
