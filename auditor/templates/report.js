
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("pairs-data").textContent);
  const table = byId("pairs-table");
  const PAGE = 50;
  const LABEL = 0, FACTS = 1, DURATION = 2, VALUES = 3;
  const SCORE = 0, A = 1, B = 2, BADGES = 3, NOTE = 4;

  // The first row that came with the page is the pattern of all others.
  const pattern = table.tBodies[0].cloneNode(true);
  const track = (pair, side) => data.tracks[pair[side]];
  const haystacks = new Map();
  const haystack = (place) => {
    if (!haystacks.has(place)) {
      const one = data.tracks[place];
      haystacks.set(place, [one[LABEL], one[FACTS], ...one[VALUES]].join("\n").toLowerCase());
    }
    return haystacks.get(place);
  };

  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const byLabel = (side) => (i, j) =>
    collator.compare(track(data.pairs[i], side)[LABEL], track(data.pairs[j], side)[LABEL]) || i - j;
  const gap = (i) =>
    Math.abs(track(data.pairs[i], A)[DURATION] - track(data.pairs[i], B)[DURATION]);
  // Pairs come best first, so their place is the order of their scores.
  const orders = {
    score: { compare: (i, j) => i - j, first: "descending" },
    a: { compare: byLabel(A), first: "ascending" },
    b: { compare: byLabel(B), first: "ascending" },
    durations: { compare: (i, j) => gap(j) - gap(i) || i - j, first: "descending" },
  };

  let key = "score";
  let reversed = false;
  let first = 0;
  let shown = data.pairs.map((_, i) => i);

  const row = (pair) => {
    const body = pattern.cloneNode(true);
    const put = (selector, text) => { body.querySelector(selector).textContent = text; };
    put('[data-f="score"]', pair[SCORE]);
    for (const [name, side] of [["a", A], ["b", B]]) {
      const one = track(pair, side);
      put(`[data-side="${name}"] [data-f="label"]`, one[LABEL]);
      put(`[data-side="${name}"] [data-f="facts"]`, one[FACTS]);
      one[VALUES].forEach((value, i) => put(`[data-${name}="${i}"]`, value));
    }
    const badges = pair[BADGES].map((name) => {
      const badge = document.createElement("span");
      badge.className = "badge";
      badge.textContent = name;
      return badge;
    });
    body.querySelector('[data-f="badges"]').replaceChildren(...badges);
    put('[data-f="note"]', pair[NOTE]);
    body.querySelector('[data-f="note"]').hidden = !pair[NOTE];
    return body;
  };

  const draw = (size = PAGE) => {
    while (table.tBodies.length) table.tBodies[0].remove();
    const page = shown.slice(first, first + size);
    table.append(...page.map((i) => row(data.pairs[i])));
    const n = (value) => value.toLocaleString("en");
    const all = shown.length === data.pairs.length ? "" : ` (${n(data.pairs.length)} in all)`;
    byId("shown").textContent = shown.length
      ? `${n(first + 1)}–${n(first + page.length)} of ${n(shown.length)}${all}`
      : `No pair fits the filter${all}`;
    byId("previous").disabled = first === 0;
    byId("next").disabled = first + size >= shown.length;
  };

  const update = () => {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = byId("show").value.replace("!", "");
    const negated = byId("show").value.startsWith("!");
    const fits = (pair) =>
      (!wanted || negated !== pair[BADGES].some((name) => name.includes(wanted))) &&
      words.every((word) => haystack(pair[A]).includes(word) || haystack(pair[B]).includes(word));
    shown = data.pairs.map((_, i) => i).filter((i) => fits(data.pairs[i]));
    shown.sort(orders[key].compare);
    if (reversed) shown.reverse();
    first = 0;
    byId("sort").value = key;
    for (const head of table.tHead.querySelectorAll("[data-sort]")) {
      const direction = orders[key].first;
      const other = direction === "ascending" ? "descending" : "ascending";
      if (head.dataset.sort === key) head.setAttribute("aria-sort", reversed ? other : direction);
      else head.removeAttribute("aria-sort");
    }
    draw();
  };

  for (const head of table.tHead.querySelectorAll("[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
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
  byId("filter").addEventListener("input", update);
  byId("show").addEventListener("change", update);
  const turn = (step) => {
    first += step;
    draw();
    byId("pairs").scrollIntoView();
  };
  byId("previous").addEventListener("click", () => turn(-PAGE));
  byId("next").addEventListener("click", () => turn(PAGE));
  window.addEventListener("beforeprint", () => { first = 0; draw(500); });
  window.addEventListener("afterprint", () => draw());
  byId("toolbar").hidden = false;
  byId("pager").hidden = false;
  update();
})();
