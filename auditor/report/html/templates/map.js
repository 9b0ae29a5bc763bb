// Pointers, keys and buttons; the page as a whole.

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
  if (event.shiftKey && !pointers.size) setLasso(true);
  pointers.set(event.pointerId, at(event));
});
canvas.addEventListener("pointermove", (event) => {
  const now = at(event), before = pointers.get(event.pointerId);
  if (!before) {
    hover(nearestTo(...now, 12));
    return;
  }
  travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
  if (lasso.on) {
    lasso.line.push([(now[0] - width / 2) / view.scale + view.x, (now[1] - height / 2) / view.scale + view.y]);
    pointers.set(event.pointerId, now);
    ask();
    return;
  }
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
  if (was && lasso.on) {
    endLasso();
    return;
  }
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
