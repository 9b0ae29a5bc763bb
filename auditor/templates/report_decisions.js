// What is decided in this page: kept in the browser's storage, exported for audit decide --import.

const decisions = (() => {
  const prefix = `audit:${data.report}:`;
  const made = new Map();
  const listeners = [];
  let kept = true;

  const nameOf = (pair) => pair.id || hashesOf(pair).join(":");
  const hashesOf = (pair) => ["a", "b"].map((side) => trackOf(pair, side)[VALUES][SHA256_ROW]).sort();
  const read = (key) => {
    try { return window.localStorage.getItem(key); } catch { kept = false; return null; }
  };
  const write = (key, value) => {
    try {
      if (value === null) window.localStorage.removeItem(key);
      else window.localStorage.setItem(key, value);
      kept = true;
    } catch { kept = false; }
  };
  const isDecision = (found) =>
    found && ["kind", "note", "when"].every((name) => typeof found[name] === "string");

  const storedKeys = () => {
    try { return Object.keys(window.localStorage); } catch { kept = false; return []; }
  };
  for (const key of storedKeys().filter((name) => name.startsWith(prefix))) {
    try {
      const found = JSON.parse(read(key));
      if (isDecision(found)) made.set(key.slice(prefix.length), found);
    } catch { /* not what this page wrote: as good as nothing */ }
  }

  // Of a pair: what counts now, who decided it when, and whether that was in this page.
  const of = (pair) => {
    const here = made.get(nameOf(pair));
    if (!here) {
      const { decision = "", note = "", decided = "" } = pair;
      return { kind: decision, note, decided, here: false };
    }
    const decided = `${here.when.slice(0, 16).replace("T", " ")} UTC`;
    return { kind: here.kind === "undo" ? "" : here.kind, note: here.note, decided, here: true };
  };
  const tell = () => listeners.forEach((listener) => listener());
  const set = (pair, kind, note) => {
    const name = nameOf(pair);
    const isUndo = kind === "undo";
    if (isUndo && !pair.decision) {
      made.delete(name);
      write(prefix + name, null);
    } else {
      // Six digits after the second, as the catalogue keeps them.
      const when = new Date().toISOString().replace(/(\.\d{3})Z$/, "$1000Z");
      const decision = { kind, note: isUndo ? "" : note, when };
      made.set(name, decision);
      write(prefix + name, JSON.stringify(decision));
    }
    tell();
  };

  // The same rules as auditor/decision_file.py: nothing that a spreadsheet takes for a formula.
  const cell = (text) => {
    const led = /^('?[=+\-@\t\r\n]|'')/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(led) ? `"${led.replaceAll('"', '""')}"` : led;
  };
  const toCsv = (by) => {
    const lines = [data.columns];
    const written = new Set();
    for (const pair of data.pairs) {
      const decision = made.get(nameOf(pair));
      if (!decision || written.has(nameOf(pair))) continue;
      written.add(nameOf(pair));
      const [sha256_a, sha256_b] = hashesOf(pair);
      const label = (sha256) => {
        const track = ["a", "b"].map((side) => trackOf(pair, side)).find((t) => t[VALUES][SHA256_ROW] === sha256);
        return `${track[VALUES][0]} ${track[LABEL]}`;
      };
      const values = {
        pair_id: pair.id, kind: decision.kind, note: decision.note, when: decision.when, by,
        sha256_a, sha256_b, track_a: label(sha256_a), track_b: label(sha256_b),
      };
      lines.push(data.columns.map((column) => values[column] ?? ""));
    }
    return lines.map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
  };

  return {
    of, set, toCsv,
    size: () => made.size,
    isKept: () => kept,
    onChange: (listener) => listeners.push(listener),
    readName: () => read("audit:by") || "",
    keepName: (name) => write("audit:by", name),
  };
})();

const showDecisionBar = () => {
  const bar = byId("decision-bar");
  bar.hidden = decisions.size() === 0;
  put(bar, "count", `${count(decisions.size(), "decision")} made in this page.`);
  put(bar, "where", decisions.isKept()
    ? "Kept in this browser."
    : "This browser keeps nothing for this page: export before you close it.");
};

byId("by").value = decisions.readName();
byId("by").addEventListener("input", () => decisions.keepName(byId("by").value));
byId("export").addEventListener("click", () => {
  const file = new Blob([decisions.toCsv(byId("by").value)], { type: "text/csv" });
  const link = make("a");
  link.href = URL.createObjectURL(file);
  link.download = "decisions.csv";
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});
decisions.onChange(showDecisionBar);
showDecisionBar();
