// Moving about, and what lies under the pointer.

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
