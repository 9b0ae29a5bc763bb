// One track that is chosen, and the list of those that a search finds.

// One track is chosen.
const goTo = (i) => {
  if (screenX(i) < 40 || screenY(i) < 40 || screenX(i) > width - 40 || screenY(i) > height - 40) {
    [view.x, view.y] = [X[i], Y[i]];
  }
  keepInside();
};
const choose = (i, { centre = false } = {}) => {
  picked = i;
  byId("pick").hidden = i < 0;
  byId("pick-hint").hidden = i >= 0;
  byId("pick-error").hidden = true;
  player.pause();
  if (i < 0) {
    player.removeAttribute("src");
    ask();
    return;
  }
  byId("pick-label").textContent = data.labels[i];
  byId("pick-facts").textContent = data.facts[i];
  const link = data.links[i];  // none leads to an object store
  if (link) player.src = link;
  else player.removeAttribute("src");
  player.hidden = !link;
  byId("pick-link").hidden = !link;
  byId("pick-link").setAttribute("href", link);
  const entry = (other, said) => item(button(
    [make("bdi", data.labels[other]), make("span", said)], () => choose(other, { centre: true })));
  byId("near-list").replaceChildren(...Array.from({ length: K }, (_, k) => entry(
    neighbours[K * i + k], signed((scores[K * i + k] / 1e4).toFixed(4)))));
  byId("pick-near").hidden = K === 0;
  const pairs = pairsOf.get(i) || [];
  byId("pairs-list").replaceChildren(...pairs.slice(0, 20).map((place) => {
    const [a, b, score, verdict] = data.pairs[place];
    return entry(a === i ? b : a, [verdict, score].filter(Boolean).join(" "));
  }));
  byId("pick-pairs").hidden = pairs.length === 0;
  if (centre) goTo(i);
  ask();
};
player.addEventListener("error", () => {
  byId("pick-error").hidden = !player.hasAttribute("src");
});
const playOrPause = () => {
  if (picked < 0) return;
  if (player.paused) player.play().catch(() => {});
  else player.pause();
};

// Search: what stands is bright on the map and listed in the table.
const ROWS = 50, MORE_ROWS = 200;
let rows = ROWS;
let haystacks = null;
const makeHaystacks = () => {
  const columnsSearched = Object.values(columns);
  haystacks = data.labels.map((label, i) => [label, data.ids[i], data.facts[i],
    ...columnsSearched.map(({ words, of }) => words[of[i]])].join("\n").toLowerCase());
};
const row = (i) => {
  const made = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.append(button([make("bdi", data.labels[i])], () => {
    choose(i, { centre: true });
    stage.scrollIntoView({ block: "nearest" });
    canvas.focus({ preventScroll: true });
  }), make("bdi", data.facts[i], "track-facts"));
  const genre = columns.genre.words[columns.genre.of[i]] || "–";
  const place = signed(X[i].toFixed(2)) + ", " + signed((-Y[i]).toFixed(2));
  const list = make("ul", "", "nearest-list");
  for (let k = 0; k < Math.min(3, K); k += 1) {
    const score = signed((scores[K * i + k] / 1e4).toFixed(4));
    list.append(item(make("bdi", data.labels[neighbours[K * i + k]]), " ", make("span", score, "place")));
  }
  const cell = document.createElement("td");
  cell.append(list);
  made.append(head, make("td", genre), make("td", place, "place"), cell);
  made.setAttribute("role", "row");
  for (const one of made.cells) one.setAttribute("role", one === head ? "rowheader" : "cell");
  return made;
};
const update = () => {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  found = null;
  if (words.length) {
    if (!haystacks) makeHaystacks();
    found = Uint8Array.from(haystacks, (text) => words.every((word) => text.includes(word)) ? 1 : 0);
  }
  const listed = [];
  let n = 0;
  for (let i = 0; i < N; i += 1) {
    if (!stands(i)) continue;
    n += 1;
    if (listed.length < rows) listed.push(row(i));
  }
  byId("rows").replaceChildren(...listed);
  byId("more").hidden = rows > ROWS || n <= ROWS;
  const some = n > listed.length ? `, the first ${count(listed.length)} of them here` : "";
  byId("found").textContent = n === N
    ? `${count(n)} tracks${some}` : `${count(n)} of ${count(N)} tracks${some}`;
  hover(-1);
  ask();
};
