// The lines of the list of compositions: playing both passages, and deciding.

for (const one of document.querySelectorAll("[data-composition]")) {
  const match = data.compositions[Number(one.dataset.composition)];
  const times = one.dataset.times.split(" ").map(Number);
  const lengths = { a: times[A_END] - times[A_START], b: times[B_END] - times[B_START] };
  const tempo = lengths.b / lengths.a || 1;
  const audios = {};
  for (const audio of one.querySelectorAll("audio")) audios[audio.dataset.side] = audio;

  // Clips are given as they lie in their tracks; the script of a pair takes them from elements.
  const clips = {};
  const head = field(one, "playhead");
  // Where the line of the alignment, which never falls, reaches a share of the passage of B.
  const line = [...(field(one, "alignment")?.points ?? [])];
  const acrossAt = (share) => {
    const next = line.findIndex((point) => 1 - point.y / 1000 >= share);
    if (next < 1) return next < 0 ? share : line[0].x / line.at(-1).x;
    const [from, to] = [line[next - 1], line[next]];
    const part = (from.y - 1000 * (1 - share)) / (from.y - to.y);
    return (from.x + part * (to.x - from.x)) / line.at(-1).x;
  };
  const moveHead = () => {
    const side = ["a", "b"].find((name) => audios[name] && !audios[name].paused);
    if (!head || !side || !(lengths.a > 0)) { head?.setAttribute("visibility", "hidden"); return; }
    const at = Number(clips[side].dataset.start) + audios[side].currentTime;
    const share = side === "a"
      ? (at - times[A_START]) / lengths.a
      : acrossAt((at - times[B_START]) / lengths.b);
    const x = `${Math.min(100, Math.max(0, 100 * share))}%`;
    head.setAttribute("x1", x);
    head.setAttribute("x2", x);
    head.setAttribute("visibility", "visible");
  };
  for (const [side, audio] of Object.entries(audios)) {
    clips[side] = audio.cloneNode();
    const [from, to] = [audio.dataset.start, audio.dataset.end].map((time) => clock(Number(time)));
    put(one, `clip-${side}`, `${from}–${to}`);
    audio.addEventListener("play", () => {
      const other = audios[side === "a" ? "b" : "a"];
      if (other) other.pause();
    });
    for (const name of ["timeupdate", "play", "pause"]) audio.addEventListener(name, moveHead);
  }

  const both = field(one, "both");
  if (both) {
    let sound = null;
    both.hidden = false;
    both.addEventListener("click", () => {
      if (!sound) {
        sound = makeSound(audios, () => {
          both.setAttribute("aria-pressed", String(sound?.state().mode === "both"));
        });
        sound.load([...times, tempo], clips);
      }
      sound.alternate();
    });
  }

  const buttons = field(one, "decide");
  const note = field(one, "note");
  const show = () => {
    const { kind, note: why, here, decided } = decisions.of(match);
    for (const button of buttons.querySelectorAll("[data-kind]")) {
      button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
      if (button.dataset.kind === "undo") button.hidden = !kind;
    }
    if (document.activeElement !== note) note.value = why;
    const said = [kind ? kindName(kind) : "none yet", here && "in this page", decided, why];
    put(one, "decided", said.filter(Boolean).join(", "));
  };
  buttons.hidden = false;
  buttons.addEventListener("click", (event) => {
    const button = event.target.closest("[data-kind]");
    if (button) decisions.set(match, button.dataset.kind, note.value.trim());
  });
  note.addEventListener("change", () => {
    const { kind } = decisions.of(match);
    if (kind) decisions.set(match, kind, note.value.trim());
  });
  decisions.onChange(show);
  show();
}

window.addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll(".composition:not(.below)")) one.open = true;
});
