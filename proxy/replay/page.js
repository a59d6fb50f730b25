"use strict";
// The list of calls: filtered, sorted and opened here. Whatever comes from the trace becomes text nodes and nothing else.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const meta = read("meta");
  const calls = read("calls");
  const $ = (id) => document.getElementById(id);
  const SYMBOLS = { pass: "✓", reject: "✕", redirect: "↪", drop: "∅" };
  const STEP = 150; // rows that are added to the list at a time
  const SVG = "http://www.w3.org/2000/svg";

  const el = (name, attributes, ...inside) => fill(document.createElement(name), attributes, inside);
  const svg = (name, attributes, ...inside) => fill(document.createElementNS(SVG, name), attributes, inside);
  function fill(element, attributes, inside) {
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...inside.filter((one) => one !== null && one !== undefined));
    return element;
  }

  calls.forEach((call, place) => {
    call.n = place;
    call.say = call.code || "";
    call.search = [call.id, call.source, call.from, call.to, call.caller, call.called, call.trunk, call.customer, call.code, call.place,
      ...(call.marks || []), call.candidate ? call.candidate.code : ""].join("\n").toLowerCase();
  });

  // verdicts in words

  const words = (code) => meta.codes[code] || { en: "", zh: "" };
  const status = (said) => (said.status === null ? "" : String(said.status));

  function decision(said, full) {
    return el("span", {}, el("b", { class: "a-" + said.action }, SYMBOLS[said.action] + " " + said.action), " ",
      el("span", { class: "code" }, said.code || "none"), said.status === null ? null : " " + said.status + (full && said.phrase ? " " + said.phrase : ""),
      full && said.rule ? el("span", { class: "calm" }, " by rule " + said.rule) : null);
  }

  function reason(code) {
    const told = words(code);
    const out = [el("p", { class: "reason" }, told.en, el("br"), el("span", { lang: "zh" }, told.zh))];
    if (told.basis) out.push(el("p", { class: "reason calm" }, "Basis: " + told.basis));
    if (told.remedy) out.push(el("p", { class: "remedy" }, told.remedy, el("br"), el("span", { class: "calm", lang: "zh" }, told.remedy_zh || "")));
    return out;
  }

  function noted(code) {
    const told = words(code);
    return [el("span", { class: "code" }, code), el("span", { class: "calm" }, told.en)];
  }

  function verdict(name, said) {
    const list = el("dl", { class: "facts" });
    const row = (key, ...inside) => list.append(el("dt", {}, key), el("dd", {}, ...inside));
    (said.observed || []).forEach((would, place) => row(place ? "" : "observed only", ...noted(would.code)));
    (said.marks || []).forEach((code, place) => row(place ? "" : "marks", ...noted(code)));
    Object.entries(said.labels || {}).forEach(([label, value], place) => row(place ? "" : "labels", label + " " + value));
    if (said.reason) row("Reason", said.reason);
    if (said.unanswered) row("look-ups", "not made in a replay, judged without an answer: " + said.unanswered.join(", "));
    if (said.mode) row("mode", said.mode);
    return el("div", { class: "block verdict" }, el("h3", {}, name), el("p", { class: "decision" }, decision(said, true)), ...reason(said.code),
      list.childElementCount ? list : null);
  }

  function facts(call) {
    const list = el("dl", { class: "facts" });
    const row = (key, value) => { if (value) list.append(el("dt", {}, key), el("dd", {}, value)); };
    row("time", call.time ? call.day + " " + call.time : "none in the trace; judged as of when this page was made");
    row("caller", call.caller);
    row("From", call.from);
    row("called", call.called);
    row("Request-URI", call.to);
    row("trunk", call.trunk + (call.customer ? " of " + call.customer : ""));
    row("source", call.source);
    row("Call-ID", call.id);
    row("recorded", call.recorded === null ? "no final response in the trace" : String(call.recorded));
    row("found at", call.place);
    return el("div", { class: "block" }, list);
  }

  // ladders

  const blocks = new Map();
  async function unpacked(call) {
    const at = Math.floor(call.n / meta.block);
    if (!blocks.has(at)) {
      const packed = Uint8Array.from(atob($("block" + at).textContent), (letter) => letter.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
      blocks.set(at, new Response(stream).json());
    }
    return (await blocks.get(at))[call.n % meta.block];
  }

  const LEFT = 78, GAP = 190, TOP = 46, HIGH = 34;
  function ladder(told, choose) {
    const x = (host) => LEFT + GAP / 2 + host * GAP;
    const width = LEFT + told.hosts.length * GAP, height = TOP + told.messages.length * HIGH + 12;
    const out = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "messages of the call" });
    told.hosts.forEach((host, place) => {
      out.append(svg("line", { class: "life", x1: x(place), x2: x(place), y1: TOP - 8, y2: height }));
      out.append(svg("text", { class: "host", x: x(place), y: 14, "text-anchor": "middle" }, shorten(host.name, 27)));
      out.append(svg("text", { class: "of", x: x(place), y: 30, "text-anchor": "middle" }, shorten(host.trunk, 27)));
    });
    told.messages.forEach((message, place) => {
      const y = TOP + place * HIGH + 24, from = x(message.from), to = x(message.to);
      const code = message.request ? 0 : parseInt(message.label, 10);
      const kind = message.request ? "" : code < 200 ? " early" : code < 300 ? " final" : " refused";
      const label = message.label + (message.again ? ` ×${message.again + 1}` : "");
      const rung = svg("g", { class: "rung" + kind, tabindex: 0, role: "button", "aria-label": label });
      rung.append(svg("rect", { x: 0, y: y - 22, width, height: HIGH, rx: 4 }), svg("text", { class: "t", x: 2, y: y + 3 }, clock(message.t)));
      if (message.from === message.to) {
        rung.append(svg("path", { class: "self", d: `M${from} ${y - 8}h26v12h-22` }), svg("path", { class: "tip", d: `M${from + 1} ${y + 4}l7 -4v8z` }),
          svg("text", { class: "label", x: from + 34, y: y + 2 }, shorten(label, 26)));
      } else {
        const way = to > from ? 1 : -1;
        rung.append(svg("line", { x1: from, x2: to - way * 5, y1: y, y2: y }), svg("path", { class: "tip", d: `M${to} ${y}l${-way * 8} -4v8z` }),
          svg("text", { class: "label", x: (from + to) / 2, y: y - 6, "text-anchor": "middle" }, shorten(label, 28 * Math.abs(message.to - message.from))));
      }
      rung.append(svg("title", {}, message.label + " " + message.ports));
      const pick = () => { out.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen")); rung.classList.add("chosen"); choose(message); };
      rung.addEventListener("click", pick);
      rung.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } });
      out.append(rung);
    });
    return out;
  }
  const shorten = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);
  function clock(seconds) {
    const sign = seconds < 0 ? "−" : "+", size = Math.abs(seconds);
    return sign + (size < 0.01 ? (size * 1000).toFixed(1) + " ms" : size < 1 ? (size * 1000).toFixed(0) + " ms" : size.toFixed(size < 100 ? 2 : 0) + " s");
  }

  async function messages(call, into, pane) {
    const hint = el("p", { class: "calm" }, "Choose a message to read it.");
    try {
      const told = await unpacked(call);
      const choose = (message) => (hint.remove(), pane.replaceChildren(el("h3", {}, message.label + ", " + message.ports + (message.again ? `, sent ${message.again + 1} times` : "")),
        el("pre", {}, message.text === undefined ? "There was no room for the text of this message." : message.text)));
      into.replaceChildren(el("h3", {}, "Messages"), told.messages.length ? ladder(told, choose) : el("p", { class: "calm" }, "The trace has none."),
        told.messages.length ? hint : "",
        told.more ? el("p", { class: "calm" }, `${told.more} messages more are left out.`) : "");
    } catch (error) {
      into.replaceChildren(el("p", { class: "calm" }, "This browser cannot unpack the messages: " + error));
    }
  }

  // the list

  const body = $("table").tBodies[0];
  const COLUMNS = [
    ["time", "Time", (call) => call.n],
    ["trunk", "Trunk", (call) => call.trunk],
    ["caller", "Caller", (call) => call.caller || call.from],
    ["called", "Called", (call) => call.called || call.to],
    ["verdict", "Verdict", (call) => call.action + " " + call.code],
    ["recorded", "Recorded", (call) => call.recorded || 0],
  ];
  if (meta.candidate) COLUMNS.splice(5, 0, ["candidate", "Candidate", (call) => (call.changed ? "0" : "1") + call.candidate.action + " " + call.candidate.code]);
  let sort = { column: "time", down: false };
  let shown = [];
  let drawn = 0;
  const open = new Set();
  const pressed = new Set();

  function number(canonical, raw) {
    return canonical ? el("span", { class: "number" }, canonical) : el("span", { class: "raw", title: raw }, shorten(raw || "none", 40));
  }

  function cells(call) {
    const say = {
      time: () => el("span", { title: call.day }, call.time || "no time"),
      trunk: () => call.trunk || el("span", { class: "raw" }, "none"),
      caller: () => number(call.caller, call.from),
      called: () => number(call.called, call.to),
      verdict: () => decision(call, false),
      candidate: () => (call.changed ? decision(call.candidate, false) : el("span", { class: "same" }, "the same")),
      recorded: () => (call.recorded === null ? el("span", { class: "raw" }, "–") : String(call.recorded)),
    };
    return COLUMNS.map(([name]) => el("td", { class: "c-" + name }, say[name]()));
  }

  function row(call) {
    const line = el("tr", { class: "call" + (open.has(call.n) ? " open" : ""), id: "call-" + (call.n + 1), tabindex: 0, "aria-expanded": open.has(call.n) }, ...cells(call));
    line.addEventListener("click", () => { if (!String(getSelection())) toggle(call, line); });
    line.addEventListener("keydown", (event) => { if (event.target === line && event.key === "Enter") toggle(call, line); });
    return line;
  }

  function detail(call) {
    const into = el("div", { class: "ladder" }, el("p", { class: "calm" }, "…"));
    const pane = el("div", { class: "message" });
    const left = el("div", {}, verdict(call.candidate ? "Policy" : "Verdict", call), call.candidate ? verdict("Candidate", call.candidate) : null, facts(call));
    messages(call, into, pane);
    return el("tr", { class: "detail" }, el("td", { colspan: COLUMNS.length }, el("div", { class: "sheet" }, left, el("div", {}, into, pane))));
  }

  function toggle(call, line) {
    const closes = open.has(call.n);
    line.classList.toggle("open", !closes);
    line.setAttribute("aria-expanded", !closes);
    if (closes) {
      open.delete(call.n);
      if (line.nextElementSibling && line.nextElementSibling.className === "detail") line.nextElementSibling.remove();
    } else {
      open.add(call.n);
      line.after(detail(call));
    }
  }

  function draw(upto) {
    const part = document.createDocumentFragment();
    for (; drawn < Math.min(upto, shown.length); drawn++) {
      part.append(row(shown[drawn]));
      if (open.has(shown[drawn].n)) part.append(detail(shown[drawn]));
    }
    body.append(part);
    $("more").hidden = drawn >= shown.length;
    $("more").textContent = `${(shown.length - drawn).toLocaleString("en")} calls more, as you scroll.`;
  }

  function update() {
    const text = $("text").value.trim().toLowerCase(), code = $("code").value, trunk = $("trunk").value, changed = $("changed").checked;
    shown = calls.filter((call) => (!pressed.size || pressed.has(call.action)) && (!code || call.say === code.slice(1)) && (!trunk || call.trunk === trunk.slice(1))
      && (!changed || call.changed) && (!text || call.search.includes(text)));
    const key = COLUMNS.find(([name]) => name === sort.column)[2];
    const way = sort.down ? -1 : 1;
    shown.sort((a, b) => { const x = key(a), y = key(b); return way * (x < y ? -1 : x > y ? 1 : 0) || a.n - b.n; });
    $("count").textContent = shown.length === calls.length ? `${calls.length.toLocaleString("en")} calls` : `${shown.length.toLocaleString("en")} of ${calls.length.toLocaleString("en")} calls`;
    $("reset").hidden = !(text || code || trunk || changed || pressed.size);
    document.querySelectorAll("#table th").forEach((head) => {
      if (head.dataset.column === sort.column) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren();
    drawn = 0;
    draw(STEP);
  }

  function reset() {
    $("text").value = $("code").value = $("trunk").value = "";
    $("changed").checked = false;
    pressed.clear();
    document.querySelectorAll("#actions button").forEach((button) => button.setAttribute("aria-pressed", "false"));
    update();
  }

  const tally = (key) => calls.reduce((sums, call) => sums.set(key(call), (sums.get(key(call)) || 0) + 1), new Map());
  const options = (select, sums, none) => [...sums].sort((a, b) => b[1] - a[1]).forEach(([value, sum]) =>
    select.append(el("option", { value: "=" + value }, `${value || none} (${sum.toLocaleString("en")})`)));

  for (const [name, title] of COLUMNS) {
    const button = el("button", { type: "button" }, title);
    button.addEventListener("click", () => { sort = { column: name, down: sort.column === name && !sort.down }; update(); });
    $("table").tHead.rows[0].append(fill(el("th", { class: "c-" + name, scope: "col" }, button), { "data-column": name }, []));
  }
  for (const [action, sum] of [...tally((call) => call.action)].sort((a, b) => b[1] - a[1])) {
    const button = el("button", { type: "button", class: "a-" + action, "aria-pressed": "false", "data-action": action }, `${SYMBOLS[action]} ${action} ${sum.toLocaleString("en")}`);
    button.addEventListener("click", () => {
      if (!pressed.delete(action)) pressed.add(action);
      button.setAttribute("aria-pressed", pressed.has(action));
      update();
    });
    $("actions").append(button);
  }
  options($("code"), tally((call) => call.say), "none");
  options($("trunk"), tally((call) => call.trunk), "none");
  $("onlychanged").hidden = !meta.candidate;
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  let soon = 0;
  $("text").addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(update, 120); });
  ["code", "trunk", "changed"].forEach((id) => $(id).addEventListener("change", update));
  $("reset").addEventListener("click", reset);
  document.querySelectorAll("button[data-code]").forEach((button) => button.addEventListener("click", () => {
    reset();
    $("code").value = "=" + button.dataset.code;
    update();
    $("list").scrollIntoView();
  }));
  document.querySelectorAll("button[data-find]").forEach((button) => button.addEventListener("click", () => {
    reset();
    $("text").value = button.dataset.find;
    update();
    $("list").scrollIntoView();
  }));
  const below = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    draw(drawn + STEP);
    below.unobserve($("more")); // it may be in sight again before anybody looks, which would be no change to tell
    below.observe($("more"));
  }, { rootMargin: "600px" });
  below.observe($("more"));
  addEventListener("beforeprint", () => draw(shown.length));

  function goto() {
    const place = /^#call-(\d+)$/.exec(location.hash);
    const call = place && calls[Number(place[1]) - 1];
    if (!call) return;
    if (!shown.includes(call)) reset();
    if (shown.indexOf(call) > drawn + 4 * STEP) { // too far down to draw all that is above it
      $("text").value = call.id;
      update();
    }
    draw(shown.indexOf(call) + 1);
    const line = $("call-" + (call.n + 1));
    if (!open.has(call.n)) toggle(call, line);
    line.scrollIntoView({ block: "start" });
  }
  update();
  goto();
  addEventListener("hashchange", goto);
})();
