
"use strict";
(() => {
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

  // Drawing.  The marks are stamps of a few pixels, laid into one picture as numbers: 25,000 of
  // them take some milliseconds, where a call for each would take a tenth of a second.
  let paint = {}, marks = [], markSize = 0, ringStamp = null;
  let frame = null, ink = null, pad = 0;
  const readPaint = () => {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    paint = { ink: read("--ink"), muted: read("--muted"), accent: read("--accent"),
      surface: read("--surface"), groups: Array.from({ length: TOP + 2 }, (_, g) => read(variable(g))) };
    markSize = 0;
  };
  const baseRadius = N > 10000 ? 1.6 : N > 2000 ? 2.4 : N > 300 ? 3.5 : 5;
  const radius = () => {
    const grown = baseRadius * (view.scale / fit) ** 0.4;
    return Math.round(2 * Math.min(7, Math.max(baseRadius, grown))) / 2;
  };
  const makeStamp = (size, sketch) => {
    const half = Math.ceil(size * ratio) + 1, side = 2 * half + 1;
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = side;
    const one = sheet.getContext("2d");
    one.translate(half + 0.5, half + 0.5);
    one.scale(ratio, ratio);
    sketch(one);
    const pixels = new Uint32Array(one.getImageData(0, 0, side, side).data.buffer);
    const stride = frame.width, offsets = [], values = [];
    pixels.forEach((value, at) => {
      if (!value) return;
      offsets.push((Math.floor(at / side) - half) * stride + at % side - half);
      values.push(value);
    });
    return { half, offsets: Int32Array.from(offsets), values: Uint32Array.from(values) };
  };
  const makeMarks = (size) => {
    markSize = size;
    marks = paint.groups.flatMap((colour, group) => [1, 0.2].map((alpha) =>
      makeStamp(1.4 * size + 1, (one) => {
        const shape = new Path2D(shapeOf(group));
        one.scale(size, size);
        one.globalAlpha = alpha;
        one.fillStyle = colour;
        one.fill(shape);
        one.lineWidth = 0.75 / size;
        one.strokeStyle = paint.surface;
        if (size > 2.5) one.stroke(shape);
      })));
    ringStamp = makeStamp(size + 3, (one) => {
      one.beginPath();
      one.arc(0, 0, size + 1.5, 0, 2 * Math.PI);
      one.lineWidth = 1.5;
      one.strokeStyle = paint.accent;
      one.stroke();
    });
  };
  // A pixel that is mostly covered hides what was there; a faint one only falls on empty ground.
  const press = (i, { half, offsets, values }) => {
    const stride = frame.width, k = view.scale * ratio;
    const x = Math.round((X[i] - view.x) * k + canvas.width / 2) + pad;
    const y = Math.round((Y[i] - view.y) * k + canvas.height / 2) + pad;
    if (x < half || y < half || x >= stride - half || y >= frame.height - half) return 0;
    const middle = y * stride + x;
    for (let s = 0; s < offsets.length; s += 1) {
      const at = middle + offsets[s];
      if (ink[at] === 0 || values[s] >= 0x80000000) ink[at] = values[s];
    }
    return 1;
  };
  const screenX = (i) => (X[i] - view.x) * view.scale + width / 2;
  const screenY = (i) => (Y[i] - view.y) * view.scale + height / 2;
  const stands = (i) => (only < 0 || groupOf[i] === only) && (!found || found[i] === 1);

  const draw = () => {
    asked = false;
    const size = radius();
    if (size !== markSize) makeMarks(size);
    ink.fill(0);
    const all = only < 0 && !found, joined = linesBox && linesBox.checked;
    let visible = 0;
    for (const front of all ? [true] : [false, true]) {
      for (let at = 0; at < N; at += 1) {
        const i = drawOrder[at];
        if (!all && stands(i) !== front) continue;
        const n = press(i, marks[2 * groupOf[i] + (front ? 0 : 1)]);
        if (front) visible += n;
      }
    }
    if (joined) for (const end of pairsOf.keys()) if (stands(end)) press(end, ringStamp);
    pen.putImageData(frame, -pad, -pad);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (joined) drawPairs();
    if (picked >= 0) drawPicked(size);
    if (hovered >= 0) ring(hovered, size + 3, paint.ink, 1.5);
    if (visible <= 40) drawLabels(size);
    if (canvas.matches(":focus-visible")) drawMiddle();
  };
  const ask = () => {
    if (!asked) requestAnimationFrame(draw);
    asked = true;
  };
  const line = (i, j) => {
    pen.moveTo(screenX(i), screenY(i));
    pen.lineTo(screenX(j), screenY(j));
  };
  const ring = (i, size, colour, thickness) => {
    pen.beginPath();
    pen.arc(screenX(i), screenY(i), size, 0, 2 * Math.PI);
    pen.lineWidth = thickness;
    pen.strokeStyle = colour;
    pen.stroke();
  };
  const drawPairs = () => {
    pen.lineWidth = 1.5;
    pen.strokeStyle = paint.accent;
    for (const front of [false, true]) {
      pen.globalAlpha = front ? 0.9 : 0.15;
      for (const [a, b] of data.pairs) {
        if ((stands(a) || stands(b)) !== front) continue;
        pen.beginPath();  // one path of all would take ten times as long
        line(a, b);
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
  };
  const drawPicked = (size) => {
    pen.beginPath();
    for (let k = 0; k < K; k += 1) line(picked, neighbours[K * picked + k]);
    pen.lineWidth = 1.25;
    pen.strokeStyle = paint.ink;
    pen.setLineDash([3, 3]);
    pen.stroke();
    pen.setLineDash([]);
    ring(picked, size + 4, paint.surface, 5);
    ring(picked, size + 4, paint.ink, 2.5);
  };
  const drawLabels = (size) => {
    const boxes = [];
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    pen.textBaseline = "middle";
    pen.lineWidth = 3;
    pen.strokeStyle = paint.surface;
    const at = picked >= 0 ? [picked] : [];
    const [w, h] = [width / 2 / view.scale, height / 2 / view.scale];
    within(view.y - h, view.y + h, view.x - w, view.x + w, (i) => {
      if (i !== picked && stands(i)) at.push(i);
    });
    for (const i of at) {
      const whole = data.labels[i];
      const text = whole.length > 32 ? `${whole.slice(0, 31)}…` : whole;
      const x = screenX(i) + size + 6, y = screenY(i), long = pen.measureText(text).width;
      const box = [x - 4, y - 8, x + long + 4, y + 8];
      if (y < 0 || y > height || x > width || boxes.some(([l, t, r, b]) =>
        box[0] < r && box[2] > l && box[1] < b && box[3] > t)) continue;
      boxes.push(box);
      pen.strokeText(text, x, y);
      pen.fillStyle = i === picked ? paint.ink : paint.muted;
      pen.fillText(text, x, y);
    }
  };
  const drawMiddle = () => {
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(width / 2 + 5 * dx, height / 2 + 5 * dy);
      pen.lineTo(width / 2 + 13 * dx, height / 2 + 13 * dy);
    }
    pen.lineWidth = 1.5;
    pen.strokeStyle = paint.ink;
    pen.stroke();
  };

  // Moving about.
  const keepInside = () => {
    view.x = Math.min(1, Math.max(-1, view.x));
    view.y = Math.min(1, Math.max(-1, view.y));
    hover(-1);
    ask();
  };
  const zoomAt = (factor, x = width / 2, y = height / 2) => {
    const wanted = Math.min(Math.max(view.scale * factor, fit * 0.5), fit * 4000);
    const change = 1 / view.scale - 1 / wanted;
    view.x += (x - width / 2) * change;
    view.y += (y - height / 2) * change;
    view.scale = wanted;
    keepInside();
  };
  const move = (dx, dy) => {
    view.x -= dx / view.scale;
    view.y -= dy / view.scale;
    keepInside();
  };
  const frameTracks = (wanted) => {
    let [left, right, low, high] = [1, -1, 1, -1];
    for (let i = 0; i < N; i += 1) {
      if (!wanted(i)) continue;
      left = Math.min(left, X[i]); right = Math.max(right, X[i]);
      low = Math.min(low, Y[i]); high = Math.max(high, Y[i]);
    }
    if (left > right) return;
    const margin = 36;
    view.scale = Math.min((width - 2 * margin) / Math.max(right - left, 0.2),
      (height - 2 * margin) / Math.max(high - low, 0.2));
    view.x = (left + right) / 2;
    view.y = (low + high) / 2;
    keepInside();
  };
  const showAll = () => {
    fit = 0;
    frameTracks(() => true);
    fit = view.scale;
  };
  const nearestTo = (x, y, reach) => {
    const px = (x - width / 2) / view.scale + view.x, py = (y - height / 2) / view.scale + view.y;
    const far = reach / view.scale;
    let best = -1, least = far * far;
    within(py - far, py + far, px - far, px + far, (i) => {
      const distance = (X[i] - px) ** 2 + (Y[i] - py) ** 2;
      if (stands(i) && distance <= least) [best, least] = [i, distance];
    });
    return best;
  };
  const hover = (i) => {
    canvas.classList.toggle("over", i >= 0);
    tip.hidden = i < 0;
    if (i >= 0) {
      tip.firstChild.textContent = data.labels[i];
      tip.lastChild.textContent = [data.facts[i], ...["genre", "cluster"].map(
        (name) => columns[name].words[columns[name].of[i]])].filter(Boolean).join(" · ");
      const x = screenX(i), y = screenY(i);
      const left = x + 14 + tip.offsetWidth > width ? x - 14 - tip.offsetWidth : x + 14;
      const top = y + 14 + tip.offsetHeight > height ? y - 14 - tip.offsetHeight : y + 14;
      tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
    }
    if (i !== hovered) ask();
    hovered = i;
  };

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
    player.src = data.links[i];
    byId("pick-link").setAttribute("href", data.links[i]);
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

  const pointers = new Map();
  let travelled = 0;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, at(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = at(event), before = pointers.get(event.pointerId);
    if (!before) {
      hover(nearestTo(...now, 12));
      return;
    }
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (pointers.size === 1 && travelled > 4) {
      canvas.classList.add("dragged");
      move(now[0] - before[0], now[1] - before[1]);
    }
    if (pointers.size === 2) {
      travelled += 5;
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.max(1, Math.hypot(p[0] - other[0], p[1] - other[1]));
      move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      zoomAt(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    }
    pointers.set(event.pointerId, now);
  });
  const release = (event) => {
    const was = pointers.delete(event.pointerId);
    canvas.classList.remove("dragged");
    if (!was || event.type !== "pointerup" || pointers.size || travelled > 4) return;
    const i = nearestTo(...at(event), event.pointerType === "mouse" ? 12 : 24);
    choose(i);
    if (event.pointerType !== "mouse") hover(i);
  };
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, release);
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    zoomAt(Math.exp(-0.0018 * Math.max(-400, Math.min(400, event.deltaY * lines))), ...at(event));
  }, { passive: false });

  const STEP = 60;
  const keys = {
    ArrowLeft: () => move(STEP, 0), ArrowRight: () => move(-STEP, 0),
    ArrowUp: () => move(0, STEP), ArrowDown: () => move(0, -STEP),
    "+": () => zoomAt(1.4), "=": () => zoomAt(1.4), "-": () => zoomAt(1 / 1.4), 0: showAll,
    Enter: () => {
      const i = nearestTo(width / 2, height / 2, 4 * fit);
      if (i >= 0) choose(i, { centre: true });
    },
    n: () => { if (picked >= 0 && K) choose(neighbours[K * picked], { centre: true }); },
    p: playOrPause, Escape: () => choose(-1),
  };
  canvas.addEventListener("keydown", (event) => {
    const act = keys[event.key] || keys[event.key.toLowerCase()];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, ask);
  byId("zoom-in").addEventListener("click", () => zoomAt(1.6));
  byId("zoom-out").addEventListener("click", () => zoomAt(1 / 1.6));
  byId("zoom-all").addEventListener("click", showAll);
  byId("pick-clear").addEventListener("click", () => choose(-1));
  byId("search").addEventListener("input", () => {
    rows = ROWS;
    update();
  });
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") frameTracks(stands);
  });
  byId("more").addEventListener("click", () => {
    rows = MORE_ROWS;
    update();
    byId("rows").rows[ROWS].querySelector("button").focus();
  });
  byId("colour").addEventListener("change", () => { regroup(); update(); });
  if (linesBox) linesBox.addEventListener("change", ask);

  const resize = () => {
    const first = width === 0;
    width = stage.clientWidth;
    height = stage.clientHeight;
    ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    pad = Math.ceil(16 * ratio);
    frame = new ImageData(canvas.width + 2 * pad, canvas.height + 2 * pad);
    ink = new Uint32Array(frame.data.buffer);
    markSize = 0;
    if (first || view.scale === fit) showAll();
    draw();
  };
  byId("toolbar").hidden = false;
  byId("atlas").hidden = false;
  readPaint();
  regroup();
  update();
  resize();
  new ResizeObserver(resize).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPaint(); draw(); });
})();
