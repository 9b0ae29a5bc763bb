// The tracks and the pairs of the map as arrays, a grid that finds what lies near, and elements.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("map-data").textContent);
const N = data.n, K = data.k;
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const places = new Uint16Array(bytes(data.positions));
const neighbours = new Uint32Array(bytes(data.neighbours));
const scores = new Int16Array(bytes(data.scores));
const columns = Object.fromEntries(Object.entries(data.columns).map(
  ([name, { words, of }]) => [name, { words, of: new Uint32Array(bytes(of)) }]));
const X = new Float32Array(N), Y = new Float32Array(N);
for (let i = 0; i < N; i += 1) {
  X[i] = places[2 * i] / 32767.5 - 1;
  Y[i] = 1 - places[2 * i + 1] / 32767.5;
}
const pairsOf = new Map();
data.pairs.forEach(([a, b], place) => {
  for (const end of [a, b]) pairsOf.set(end, [...(pairsOf.get(end) || []), place]);
});
const count = (n) => n.toLocaleString("en");
const signed = (text) => text.replace("-", "−");

// A grid over the plane with some 2 tracks to a cell: what lies near is found without looking
// at every track.
const SIDE = Math.max(1, Math.ceil(Math.sqrt(N / 2)));
const cellOf = (v) => Math.min(SIDE - 1, Math.max(0, Math.floor((v + 1) / 2 * SIDE)));
const cellStart = new Int32Array(SIDE * SIDE + 1), cellTracks = new Int32Array(N);
for (let i = 0; i < N; i += 1) cellStart[cellOf(Y[i]) * SIDE + cellOf(X[i]) + 1] += 1;
for (let c = 0; c < SIDE * SIDE; c += 1) cellStart[c + 1] += cellStart[c];
const next = cellStart.slice();
for (let i = 0; i < N; i += 1) cellTracks[next[cellOf(Y[i]) * SIDE + cellOf(X[i])]++] = i;
const within = (low, high, left, right, visit) => {
  for (let row = cellOf(low); row <= cellOf(high); row += 1) {
    const first = cellStart[row * SIDE + cellOf(left)];
    const last = cellStart[row * SIDE + cellOf(right) + 1];
    for (let at = first; at < last; at += 1) visit(cellTracks[at]);
  }
};

const svg = (name, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const make = (name, text, className = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};
const button = (parts, press) => {
  const made = document.createElement("button");
  made.type = "button";
  made.append(...parts);
  made.addEventListener("click", press);
  return made;
};
const item = (...parts) => {
  const made = document.createElement("li");
  made.append(...parts);
  return made;
};
