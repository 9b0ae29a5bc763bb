"use strict";
// The inbox: move and decide by keyboard, and see what is new without loading the page again.
(() => {
  const byId = (id) => document.getElementById(id);
  const RETRY_MS = 10000;
  const by = byId("by");
  const said = byId("said");
  let current = -1;

  const stored = (name, value) => {
    try {
      if (value === undefined) return window.localStorage.getItem(name) || "";
      window.localStorage.setItem(name, value);
    } catch { /* a browser that stores nothing */ }
    return value || "";
  };
  by.value = stored("audit:by");
  by.addEventListener("input", () => stored("audit:by", by.value));

  const rows = () => [...document.querySelectorAll("#list tr[data-pair]")];
  const say = (text) => { said.textContent = text; said.hidden = !text; };

  const mark = (index, focus) => {
    const all = rows();
    current = Math.max(-1, Math.min(index, all.length - 1));
    all.forEach((row, i) => row.classList.toggle("current", i === current));
    if (focus && all[current]) all[current].querySelector("a").focus();
  };

  const send = async (method, url, body) => {
    const answer = await fetch(url, {
      method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error((await answer.json()).detail || `answered ${answer.status}`);
  };
  const decide = async (row, kind) => {
    const pair = row.dataset.pair;
    try {
      await send("POST", `/v1/pairs/${pair}/decision`, { kind, note: "", by: by.value.trim() });
      say(`Stored: pair ${pair}, ${kind.replaceAll("-", " ")}.`);
      await refresh();
    } catch (error) { say(`Pair ${pair} was not decided: ${error.message}`); }
  };
  const assign = async (row) => {
    const pair = row.dataset.pair;
    if (!by.value.trim()) { say("Enter your name first."); by.focus(); return; }
    try {
      await send("PUT", `/v1/cases/${pair}/assignment`, { assigned_to: by.value.trim() });
      say(`Pair ${pair} is assigned to ${by.value.trim()}.`);
      await refresh();
    } catch (error) { say(`Pair ${pair} was not assigned: ${error.message}`); }
  };

  const refresh = async () => {
    const answer = await fetch(window.location.href, { cache: "no-store" });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = new Set([...document.querySelectorAll("#list details[open]")]
      .map((menu) => menu.closest("tr").dataset.pair));
    const pair = rows()[current]?.dataset.pair;
    const focused = byId("list").contains(document.activeElement);
    for (const name of ["live", "list"]) byId(name).replaceChildren(...page.getElementById(name).childNodes);
    byId("list").dataset.version = page.getElementById("list").dataset.version;
    document.title = page.title;
    for (const row of rows()) if (open.has(row.dataset.pair)) row.querySelector("details").open = true;
    const at = rows().findIndex((row) => row.dataset.pair === pair);
    mark(at >= 0 ? at : current, focused);
  };

  // The service says when the cases change; an open menu is left alone until it closes.
  let isStale = false;
  const renew = () => {
    isStale = Boolean(document.querySelector("#list details[open]"));
    if (!isStale) refresh().catch(() => { isStale = true; });
  };
  byId("list").addEventListener("toggle", () => { if (isStale) renew(); }, true);
  let source = null;
  const listen = () => {
    if (source || document.hidden) return; // a hidden page holds no connection
    source = new EventSource("/inbox/events");
    source.addEventListener("cases", (event) => {
      if (isStale || event.data !== byId("list").dataset.version) renew();
    });
    source.addEventListener("queue", (event) => { byId("queue").textContent = event.data; });
    source.addEventListener("error", () => {
      if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      source = null;
      window.setTimeout(listen, RETRY_MS);
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && source) { source.close(); source = null; } else listen();
  });
  listen();

  byId("list").addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-pair]");
    if (!row) return;
    mark(rows().indexOf(row), false);
    const button = event.target.closest("button");
    if (!button) return;
    if ("assign" in button.dataset) assign(row); else decide(row, button.dataset.kind);
  });
  byId("filters").addEventListener("change", () => byId("filters").requestSubmit());

  const kinds = { c: "confirmed", d: "false-alarm", l: "licensed", o: "same-owner", v: "cover", u: "undo" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const row = rows()[current];
    if (event.key === "j") mark(current + 1, true);
    else if (event.key === "k") mark(Math.max(0, current - 1), true);
    else if (event.key === "/") byId("search").focus();
    else if (row && event.key === "a") assign(row);
    else if (row && event.key in kinds) decide(row, kinds[event.key]);
    else return;
    event.preventDefault();
  });
})();
