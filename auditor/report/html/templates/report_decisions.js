// What is decided in this page: kept in the browser's storage, exported for audit decide --import.

const decisions = (() => {
  const prefix = `audit:${data.report}:`;
  const made = new Map();
  const listeners = [];
  let kept = true;

  const nameOf = (pair) => pair.id || hashesOf(pair).sort().join(":");
  const hashesOf = (pair) => ["a", "b"].map((side) => trackOf(pair, side)[VALUES][SHA256_ROW]);
  const read = (key) => {
    try { return window.localStorage.getItem(key); } catch { kept = false; return null; }
  };
  const write = (key, value) => {
    if (data.service && key.startsWith(prefix)) return;  // the service keeps it
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
  for (const key of (data.service ? [] : storedKeys()).filter((name) => name.startsWith(prefix))) {
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

  // The same rules as auditor/decisions/csv_file.py: nothing that a spreadsheet takes for a formula.
  const cell = (text) => {
    const led = text
      .replace(/^(?=[ '"\u00a0\u200b\u3000\ufeff]*[\t\r\n]|'')|(?:^|(?<=[;|\t\r\n]))(?=[ '"\u00a0\u200b\u3000\ufeff]*[=+\-@＝＋－＠])/g, "'");
    return /[",\r\n]/.test(led) ? `"${led.replaceAll('"', '""')}"` : led;
  };
  const toCsv = (by) => {
    const lines = [data.columns];
    const written = new Set();
    for (const pair of [...data.pairs, ...data.compositions]) {
      const decision = made.get(nameOf(pair));
      if (!decision || written.has(nameOf(pair))) continue;
      written.add(nameOf(pair));
      // A and B as the page names them: a note may speak of them.
      const [sha256_a, sha256_b] = hashesOf(pair);
      const [track_a, track_b] = ["a", "b"].map((side) => trackOf(pair, side))
        .map((track) => `${track[VALUES][0]} ${track[LABEL]}`);
      const values = {
        pair_id: pair.id, kind: decision.kind, note: decision.note, when: decision.when, by,
        sha256_a, sha256_b, track_a, track_b,
      };
      lines.push(data.columns.map((column) => values[column] ?? ""));
    }
    return lines.map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
  };

  return {
    of, set, toCsv,
    size: () => made.size,
    changed: tell,
    isKept: () => kept,
    onChange: (listener) => listeners.push(listener),
    readName: () => read("audit:by") || "",
    keepName: (name) => write("audit:by", name),
  };
})();

const names = [...document.querySelectorAll("[data-by]")];

const showDecisionBar = () => {
  const bar = byId("decision-bar");
  if (data.service) { bar.hidden = false; showCounts(); return; }
  bar.hidden = decisions.size() === 0;
  for (const button of document.querySelectorAll(".downloads [data-export]")) {
    button.disabled = decisions.size() === 0;
  }
  put(bar, "count", `${count(decisions.size(), "decision")} made in this page.`);
  put(bar, "where", decisions.isKept()
    ? "Stored in this browser."
    : "This browser does not store decisions for this page: export them before you close it.");
  const who = names[0].value.trim() ? "" : "Enter your name to record who decided. ";
  for (const hint of document.querySelectorAll('[data-f="where-to"]')) {
    hint.textContent =
      `${who}Export your decisions and send the file to whoever gave you this report.`;
  }
  showCounts();
};

// The number of flagged pairs stays what it was; below it stands what has become of them.
const showCounts = () => {
  const tile = byId("tile-flagged");
  if (!tile) return;
  const flagged = data.pairs.filter((pair) => pair.group === "flagged");
  const kinds = flagged.map((pair) => decisions.of(pair).kind);
  const confirmed = kinds.filter((kind) => kind === "confirmed").length;
  const left = kinds.filter((kind) => !kind).length;
  const aside = flagged.length - confirmed - left;
  const parts = [[left, "to decide"], [confirmed, "confirmed"], [aside, "set aside"]];
  tile.textContent = left === flagged.length ? "" : parts
    .filter(([n]) => n).map(([n, what]) => `${n.toLocaleString("en")} ${what}`).join(", ");
};

for (const name of names) {
  name.value = decisions.readName();
  name.addEventListener("input", () => {
    decisions.keepName(name.value);
    for (const other of names) if (other !== name) other.value = name.value;
    showDecisionBar();
  });
}
for (const button of document.querySelectorAll("[data-export]")) {
  button.addEventListener("click", () => {
    const file = new Blob([decisions.toCsv(names[0].value)], { type: "text/csv" });
    save(file, "decisions.csv", button);
  });
}
decisions.onChange(showDecisionBar);
showDecisionBar();
