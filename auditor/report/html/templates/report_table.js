// Rows of pairs: badges that follow the decisions, and the table that is sorted and filtered.

const badgesOf = (pair) => {
  const { kind, here } = decisions.of(pair);
  const said = (pair.badges || []).filter((name) => !here || !name.startsWith("decided: "));
  const isPlain = (name) => name === "not flagged" || name === "below the threshold";
  const badges = said.map((name) => make("span", isPlain(name) ? "badge neutral" : "badge", name));
  if (here) badges.push(make("span", "badge here", kind ? `decided here: ${kindName(kind)}` : "decision undone here"));
  if (pair.cluster) badges.push(make("span", "badge plain-badge", `cluster ${pair.cluster}`));
  return badges;
};
const markRow = (row, pair) => {
  field(row, "badges").replaceChildren(...badgesOf(pair));
  const { note, decided, kind } = decisions.of(pair);
  const said = [kind && decided, note].filter(Boolean).join(": ");
  put(row, "note", said);
  field(row, "note").hidden = !said;
};

// Rows that came with the page, outside the table that is drawn anew.
const markStaticRows = () => {
  for (const row of document.querySelectorAll("[data-row]")) {
    if (row.closest("#pairs-table")) continue;
    const link = row.querySelector("[data-open]");
    link.href = `#case-${Number(row.dataset.row) + 1}`;
    markRow(row, data.pairs[row.dataset.row]);
  }
};

const pairTable = (() => {
  const table = byId("pairs-table");
  if (!table) return null;
  const PAGE = 50;
  const pairs = data.pairs;
  // The first row that came with the page is the pattern of all others.
  const pattern = table.tBodies[0].cloneNode(true);
  const all = pairs.map((_, i) => i).filter((i) => pairs[i].group !== "decided");
  const nFlagged = all.filter((i) => !pairs[i].below).length;
  const haystacks = new Map();
  const haystack = (place) => {
    if (!haystacks.has(place)) {
      const one = data.tracks[place];
      haystacks.set(place, [one[LABEL], one[FACTS], ...one[VALUES]].join("\n").toLowerCase());
    }
    return haystacks.get(place);
  };
  const artist = (place) => data.tracks[place][VALUES][ARTIST_ROW].toLowerCase();
  const score = (i) => Number(pairs[i].score.replace("−", "-"));
  const verdicts = [...new Set(all.map((i) => pairs[i].verdict))];

  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const byLabel = (side) => (i, j) =>
    collator.compare(trackOf(pairs[i], side)[LABEL], trackOf(pairs[j], side)[LABEL]);
  const gap = (i) =>
    Math.abs(trackOf(pairs[i], "a")[DURATION] - trackOf(pairs[i], "b")[DURATION]);
  // What is in no cluster comes last.
  const byCluster = (i, j) => {
    const [a, b] = [i, j].map((place) => pairs[place].cluster || "");
    return !a - !b || collator.compare(a, b);
  };
  const orders = {
    case: { compare: (i, j) => i - j, first: "ascending" },
    score: { compare: (i, j) => score(j) - score(i), first: "descending" },
    verdict: {
      compare: (i, j) => verdicts.indexOf(pairs[i].verdict) - verdicts.indexOf(pairs[j].verdict),
      first: "ascending",
    },
    a: { compare: byLabel("a"), first: "ascending" },
    b: { compare: byLabel("b"), first: "ascending" },
    cluster: { compare: byCluster, first: "ascending" },
    durations: { compare: (i, j) => gap(j) - gap(i), first: "descending" },
  };

  let key = "case";
  let reversed = false;
  let first = 0;
  let shown = all;

  const row = (i) => {
    const pair = pairs[i];
    const body = pattern.cloneNode(true);
    body.className = pair.below ? "pair below" : "pair";
    body.rows[0].dataset.row = i;
    const link = body.querySelector("[data-open]");
    link.dataset.open = i;
    link.href = `#case-${i + 1}`;
    link.textContent = `Case ${i + 1}`;
    for (const cell of body.querySelectorAll("[data-f]")) {
      if (typeof pair[cell.dataset.f] === "string") cell.textContent = pair[cell.dataset.f];
    }
    for (const side of ["a", "b"]) {
      const cell = body.querySelector(`[data-side="${side}"]`);
      put(cell, "label", trackOf(pair, side)[LABEL]);
      put(cell, "facts", trackOf(pair, side)[FACTS]);
    }
    markRow(body, pair);
    return body;
  };

  const drawRows = (size = PAGE) => {
    while (table.tBodies.length) table.tBodies[0].remove();
    const page = shown.slice(first, first + size);
    table.append(...page.map(row));
    const n = (value) => value.toLocaleString("en");
    const isWhole = shown.length === nFlagged && !shown.some((i) => pairs[i].below);
    const rest = isWhole ? " flagged" : ` (${n(nFlagged)} flagged in all)`;
    byId("shown").textContent = shown.length
      ? `${n(first + 1)}–${n(first + page.length)} of ${n(shown.length)}${rest}`
      : `No pair fits the filter${rest}`;
    byId("previous").disabled = first === 0;
    byId("next").disabled = first + size >= shown.length;
  };

  const fits = () => {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const name = byId("artist").value.trim().toLowerCase();
    const verdict = byId("verdict").value;
    const state = byId("show").value;
    const mark = byId("mark").value;
    const cluster = byId("cluster").value.trim().toUpperCase();
    const least = byId("least").valueAsNumber;
    return (i) => {
      const pair = pairs[i];
      if (verdict ? pair.verdict !== verdict : pair.below) return false;
      if (cluster && pair.cluster !== cluster) return false;
      if (score(i) < least) return false;
      if (mark && !(pair.badges || []).some((badge) => badge.includes(mark))) return false;
      if (name && !artist(pair.a).includes(name) && !artist(pair.b).includes(name)) return false;
      if (state) {
        const { kind } = decisions.of(pair);
        if (state === "undecided" ? kind : state === "decided" ? !kind : kind !== state) return false;
      }
      return words.every((word) => haystack(pair.a).includes(word) || haystack(pair.b).includes(word));
    };
  };

  // The filter stands in the address, so that a link leads to it.
  const FIELDS = {
    q: "filter", artist: "artist", verdict: "verdict", decision: "show", mark: "mark",
    from: "least", cluster: "cluster",
  };
  const address = () => {
    const said = new URLSearchParams();
    for (const [name, id] of Object.entries(FIELDS)) {
      if (byId(id).value) said.set(name, byId(id).value);
    }
    if (key !== "case" || reversed) said.set("sort", reversed ? `-${key}` : key);
    const text = said.toString();
    return text ? `#pairs?${text}` : "#pairs";
  };
  const isFiltered = () => address() !== "#pairs";
  const readAddress = () => {
    const found = /^#pairs\?(.*)$/.exec(window.location.hash);
    if (!found) return false;
    const said = new URLSearchParams(found[1]);
    for (const [name, id] of Object.entries(FIELDS)) byId(id).value = said.get(name) ?? "";
    const sort = said.get("sort") ?? "";
    reversed = sort.startsWith("-");
    key = Object.hasOwn(orders, sort.replace(/^-/, "")) ? sort.replace(/^-/, "") : "case";
    byId("filters").open = true;
    return true;
  };
  const showAddress = () => {
    byId("filter-link").parentElement.hidden = !isFiltered();
    byId("filter-link").setAttribute("href", address());
    if (!isFiltered() && !window.location.hash.startsWith("#pairs?")) return;
    try { window.history.replaceState(null, "", address()); } catch { /* a copy without an address */ }
  };

  const update = () => {
    const { compare, first: direction } = orders[key];
    shown = all.filter(fits());
    shown.sort((i, j) => compare(i, j) || i - j);
    if (reversed) shown.reverse();
    first = 0;
    byId("sort").value = key;
    const other = direction === "ascending" ? "descending" : "ascending";
    for (const head of table.tHead.querySelectorAll("[data-sort]")) {
      if (head.dataset.sort === key) head.setAttribute("aria-sort", reversed ? other : direction);
      else head.removeAttribute("aria-sort");
    }
    showAddress();
    drawRows();
  };

  for (const name of verdicts) {
    const option = make("option", "", name);
    option.value = name;
    byId("verdict").append(option);
  }
  for (const head of table.tHead.querySelectorAll("[data-sort]")) {
    const button = make("button", "", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => {
      reversed = key === head.dataset.sort && !reversed;
      key = head.dataset.sort;
      update();
    });
    head.replaceChildren(button);
  }
  byId("sort").addEventListener("change", (event) => {
    key = event.target.value;
    reversed = false;
    update();
  });
  for (const id of ["filter", "artist", "cluster", "least"]) byId(id).addEventListener("input", update);
  for (const id of ["verdict", "show", "mark"]) byId(id).addEventListener("change", update);
  const turn = (step) => {
    first += step;
    drawRows();
    byId("pairs").scrollIntoView();
  };
  byId("previous").addEventListener("click", () => turn(-PAGE));
  byId("next").addEventListener("click", () => turn(PAGE));
  for (const button of document.querySelectorAll("[data-cluster]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      byId("cluster").value = button.dataset.cluster;
      update();
      byId("pairs").scrollIntoView();
    });
  }
  window.addEventListener("beforeprint", () => { first = 0; drawRows(500); });
  window.addEventListener("afterprint", () => drawRows());
  byId("toolbar").hidden = false;
  byId("filters").open = all.length > PAGE && window.matchMedia("(min-width: 44.01rem)").matches;
  byId("pager").hidden = false;
  const isLinked = readAddress();
  update();
  if (isLinked) byId("pairs").scrollIntoView();
  window.addEventListener("hashchange", () => { if (readAddress()) update(); });
  // A decision changes the badges; the row stays where it is until the filter is used again.
  decisions.onChange(() => {
    for (const one of table.querySelectorAll("[data-row]")) markRow(one, pairs[one.dataset.row]);
  });
  return { order: () => shown, address };
})();

markStaticRows();
decisions.onChange(markStaticRows);
