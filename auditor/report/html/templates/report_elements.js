// What all parts of the script use: the data of the page, and elements made of text alone.

const LABEL = 0, FACTS = 1, DURATION = 2, VALUES = 3, PEAKS = 4, LINK = 5, BRIEF = 6, RULER = 7;
const A_START = 0, A_END = 1, B_START = 2, B_END = 3, TEMPO = 4, IN_A = 5, IN_B = 6, CHANGED = 7, ONE_SPEED = 8, PITCH = 9;
const N_COLOURS = 6;
// Rows of TRACK_FIELDS in auditor/report/html/tracks.py.
const ARTIST_ROW = 2, PATH_ROW = 15, SHA256_ROW = 16;

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("pairs-data").textContent);
const trackOf = (pair, side) => data.tracks[pair[side]];
const field = (root, name) => root.querySelector(`[data-f="${name}"]`);
const put = (root, name, text) => { field(root, name).textContent = text; };
const clock = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes}:${two(whole % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
};
const kindName = (kind) => kind.replaceAll("-", " ");
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

const make = (tag, name = "", text = "") => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  return element;
};
const draw = (tag, attributes, text = "") => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
};
