// The picture: marks, pairs, labels.

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
  drawLasso(size);
  if (hovered >= 0) ring(hovered, size + 3, paint.ink, 1.5);
  if (visible <= MAX_NAMES) drawLabels(size);
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
// Names that would lie over others are left out.
const MAX_NAMES = 120;
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
