// A lasso: tracks inside a drawn line are gathered, and their ids saved as a file.

const lasso = { on: false, line: [], chosen: new Uint8Array(N), n: 0 };

const insideLine = (x, y) => {
  let inside = false;
  for (let i = 0, j = lasso.line.length - 1; i < lasso.line.length; j = i, i += 1) {
    const [xi, yi] = lasso.line[i], [xj, yj] = lasso.line[j];
    if (yi > y !== yj > y && x < (xj - xi) * (y - yi) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
};
const showChosen = () => {
  byId("lasso-box").hidden = lasso.n === 0;
  byId("lasso-count").textContent = `${count(lasso.n)} track${lasso.n === 1 ? "" : "s"} selected`;
  ask();
};
const gather = (wanted) => {
  for (let i = 0; i < N; i += 1) {
    if (lasso.chosen[i] || !stands(i) || !wanted(i)) continue;
    lasso.chosen[i] = 1;
    lasso.n += 1;
  }
  showChosen();
};
const setLasso = (on) => {
  lasso.on = on;
  byId("lasso").setAttribute("aria-pressed", String(on));
  canvas.classList.toggle("lassoing", on);
};
const endLasso = () => {
  const line = lasso.line;
  if (line.length > 2) gather((i) => insideLine(X[i], Y[i]));
  lasso.line = [];
  setLasso(false);
};
const drawLasso = (size) => {
  if (lasso.n) for (let i = 0; i < N; i += 1) if (lasso.chosen[i]) ring(i, size + 2, paint.ink, 1.5);
  if (!lasso.line.length) return;
  pen.beginPath();
  for (const [x, y] of lasso.line) {
    pen.lineTo((x - view.x) * view.scale + width / 2, (y - view.y) * view.scale + height / 2);
  }
  pen.closePath();
  pen.lineWidth = 1.5;
  pen.strokeStyle = paint.accent;
  pen.setLineDash([5, 4]);
  pen.stroke();
  pen.setLineDash([]);
};

byId("lasso").addEventListener("click", () => setLasso(!lasso.on));
byId("lasso-found").addEventListener("click", () => gather(() => true));
byId("lasso-clear").addEventListener("click", () => {
  lasso.chosen.fill(0);
  lasso.n = 0;
  showChosen();
});
byId("lasso-ids").addEventListener("click", () => {
  const ids = data.ids.filter((_, i) => lasso.chosen[i]);
  const link = make("a", "");
  link.href = URL.createObjectURL(new Blob(ids.map((id) => `${id}\n`), { type: "text/plain" }));
  link.download = "track-ids.txt";
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});
