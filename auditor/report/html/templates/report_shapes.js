// The picture of a case: both waveforms, the ranges on them, the bands that link them.
// The same shapes as auditor/report/html/shapes.py draws for the dossier.

const LEVELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEIGHT = 46, GAP = 50, TIMES = 14;

const share = (time, whole) =>
  whole > 0 ? Math.round(10_000 * Math.min(1, Math.max(0, time / whole))) / 100 : 0;

const drawWave = (track, y) => {
  const peaks = [...track[PEAKS]].map((c) => (100 * LEVELS.indexOf(c)) / (LEVELS.length - 1));
  if (!peaks.length) return draw("rect", { class: "wave", y: y + 19, width: "100%", height: 8 });
  const halves = peaks.map((peak) => Math.max(1, Math.round((peak * 48) / 100)));
  const over = halves.map((half, i) => `V${50 - half}H${i + 1}`).join("").slice(1);
  const under = halves.map((half, i) => `V${50 + half}H${i}`).reverse().join("");
  const box = draw("svg", {
    y, width: "100%", height: HEIGHT, viewBox: `0 0 ${peaks.length} 100`, preserveAspectRatio: "none",
  });
  box.append(draw("path", { class: "wave", d: `M0 ${over}${under}Z` }));
  return box;
};

const drawRuler = (track, y) => track[RULER].flatMap(([x, time]) => [
  draw("line", { class: "tick", x1: `${x}%`, x2: `${x}%`, y1: y, y2: y + TIMES }),
  draw("text", { class: "time", x: `${x}%`, dx: 3, y: y + TIMES - 3 }, time),
]);

// Returns a function that moves the two playheads: to seconds of a and of b, or away.
const drawMap = (svg, pair, play) => {
  const a = trackOf(pair, "a"), b = trackOf(pair, "b");
  const ranges = pair.ranges || [];
  const y = { a: TIMES, b: TIMES + HEIGHT + GAP };
  const bands = draw("svg", {
    y: y.a + HEIGHT, width: "100%", height: GAP, viewBox: "0 0 1000 100", preserveAspectRatio: "none",
  });
  const groups = [];
  ranges.forEach((range, i) => {
    const [a0, a1] = [share(range[A_START], a[DURATION]), share(range[A_END], a[DURATION])];
    const [b0, b1] = [share(range[B_START], b[DURATION]), share(range[B_END], b[DURATION])];
    const colour = `r${i % N_COLOURS}`;
    const band = draw("polygon", {
      class: `band ${colour}`,
      points: `${10 * a0},0 ${10 * a1},0 ${10 * b1},100 ${10 * b0},100`,
    });
    const group = draw("g", { class: `range ${colour}`, "data-range": i });
    for (const [side, start, end] of [["a", a0, a1], ["b", b0, b1]]) {
      const rect = draw("rect", { x: `${start}%`, width: `${end - start}%`, y: y[side], height: HEIGHT });
      rect.append(draw("title", {}, `Range ${i + 1}: play ${side.toUpperCase()}`));
      rect.addEventListener("click", () => play(i, side));
      const label = { x: `${start}%`, dx: 4, y: side === "a" ? y.a + 14 : y.b + HEIGHT - 6 };
      group.append(rect, draw("text", label, String(i + 1)));
    }
    band.addEventListener("click", () => play(i, "a"));
    bands.prepend(band);
    groups.unshift(group);
  });
  const heads = ["a", "b"].map((side) =>
    draw("line", { class: "playhead", y1: y[side], y2: y[side] + HEIGHT, visibility: "hidden" }));
  const rulers = [...drawRuler(a, 0), ...drawRuler(b, y.b + HEIGHT)];
  svg.replaceChildren(...rulers, drawWave(a, y.a), drawWave(b, y.b), bands, ...groups, ...heads);
  return (timeA, timeB) => {
    [[timeA, a], [timeB, b]].forEach(([time, track], i) => {
      const x = `${share(time ?? 0, track[DURATION])}%`;
      heads[i].setAttribute("x1", x);
      heads[i].setAttribute("x2", x);
      heads[i].setAttribute("visibility", time === null ? "hidden" : "visible");
    });
  };
};

const drawMatrixLines = (group, pair, aSeconds, bSeconds) => {
  group.replaceChildren(...(pair.ranges || []).map((range, i) =>
    draw("line", {
      class: `r${i % N_COLOURS}`,
      x1: 10 * share(range[B_START], bSeconds), y1: 10 * share(range[A_START], aSeconds),
      x2: 10 * share(range[B_END], bSeconds), y2: 10 * share(range[A_END], aSeconds),
    })));
};
