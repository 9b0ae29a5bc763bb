// What is shown at the moment, and the groups that have a colour and a shape each.

const canvas = byId("canvas"), pen = canvas.getContext("2d"), stage = byId("stage");
const tip = byId("tip"), player = byId("player"), linesBox = byId("lines");
const view = { x: 0, y: 0, scale: 1 };
let width = 0, height = 0, ratio = 1, fit = 1;
let picked = -1, hovered = -1, only = -1, found = null, asked = false;

// What is drawn: a colour and a shape for each of the ten commonest words, one for the others.
const TOP = 10, REST = TOP, UNKNOWN = TOP + 1;
const SHAPES = [
  "M1 0A1 1 0 1 1-1 0 1 1 0 1 1 1 0Z", "M-.9-.9H.9V.9H-.9Z", "M0-1.2 1.15.85H-1.15Z",
  "M0-1.3 1.15 0 0 1.3-1.15 0Z", "M-.42-1.1H.42V-.42H1.1V.42H.42V1.1H-.42V.42H-1.1V-.42H-.42Z",
];
const shapeOf = (group) => group < TOP ? SHAPES[group % SHAPES.length] : SHAPES[0];
const variable = (group) =>
  group === REST ? "--rest" : group === UNKNOWN ? "--unknown" : `--c${group}`;
const groupOf = new Uint8Array(N);
let drawOrder = new Int32Array(N), names = [];
const regroup = () => {
  const { words, of } = columns[byId("colour").value];
  const sizes = new Int32Array(words.length);
  for (let i = 0; i < N; i += 1) sizes[of[i]] += 1;
  const ranked = words.map((_, w) => w).filter((w) => w > 0)
    .sort((v, w) => sizes[w] - sizes[v] || v - w);
  const group = new Uint8Array(words.length).fill(REST);
  group[0] = UNKNOWN;
  ranked.slice(0, TOP).forEach((w, g) => { group[w] = g; });
  const totals = new Int32Array(TOP + 2);
  for (let i = 0; i < N; i += 1) {
    groupOf[i] = group[of[i]];
    totals[groupOf[i]] += 1;
  }
  const others = ranked.length - TOP;
  const cluster = byId("colour").value === "cluster";
  names = ranked.slice(0, TOP).map((w, g) => [g, words[w], totals[g]]);
  if (totals[REST]) names.push([REST, `${count(others)} other${others === 1 ? "" : "s"}`, totals[REST]]);
  if (totals[UNKNOWN]) {
    names.push([UNKNOWN, cluster ? "In no flagged pair" : "Not known", totals[UNKNOWN]]);
  }
  drawOrder = Int32Array.from({ length: N }, (_, i) => i)
    .sort((i, j) => groupOf[j] - groupOf[i] || i - j);
  only = -1;
  drawLegend();
};

const drawLegend = () => {
  byId("legend-title").textContent = byId("colour").selectedOptions[0].textContent;
  byId("legend").replaceChildren(...names.map(([group, name, n]) => {
    const swatch = svg("svg", { viewBox: "-1.4 -1.4 2.8 2.8", "aria-hidden": "true" });
    const mark = svg("path", { d: shapeOf(group) });
    mark.style.fill = `var(${variable(group)})`;
    swatch.append(mark);
    const label = make("bdi", name);
    label.title = name;
    const made = button([swatch, label, make("span", count(n))], () => {
      only = only === group ? -1 : group;
      for (const one of byId("legend").querySelectorAll("button")) {
        one.setAttribute("aria-pressed", String(one === made && only >= 0));
      }
      update();
    });
    made.setAttribute("aria-pressed", "false");
    return item(made);
  }));
};
