// The players of a case: A, B, B as A (at the pitch and tempo of A), or both in turn from the same
// musical moment.  A moment is kept in seconds of track A; B's is reached through the tempo of the
// range.

const SWAP_S = 3;
const END_S = 0.15;

// Clips and matrix of a case stand in the page as elements.
const mediaOf = (place) => {
  const holder = document.querySelector(`[data-media="${place}"]`);
  const root = holder ? holder.content ?? holder : null;
  const clips = root ? [...root.querySelectorAll("audio")] : [];
  return {
    clip: (range, side) =>
      clips.find((clip) => Number(clip.dataset.range) === range && clip.dataset.side === side),
    hasClips: clips.length > 0,
    matrix: root?.querySelector('image[data-f="matrix-image"][href]') ?? null,
    root,
  };
};

const toBlob = (source) => {
  const comma = source.indexOf(",");
  const bytes = Uint8Array.from(atob(source.slice(comma + 1)), (c) => c.charCodeAt(0));
  return new Blob([bytes], { type: source.slice("data:".length, comma).replace(/;base64$/, "") });
};

// Where each player sounds: both in the middle, or A in the left ear and B in the right.
const makePans = (audios) => {
  let pans = null;
  return (left, right) => {
    if (!pans && !left && !right) return true;  // as the players are anyhow
    try {
      if (!pans) {
        const context = new AudioContext();
        pans = { context };
        for (const side of ["a", "b"]) {
          pans[side] = context.createStereoPanner();
          context.createMediaElementSource(audios[side]).connect(pans[side]).connect(context.destination);
        }
      }
    } catch { pans = null; return false; }
    pans.context.resume();
    pans.a.pan.value = left;
    pans.b.pan.value = right;
    return true;
  };
};

const makeSound = (audios, onChange, onMove = onChange) => {
  const pan = makePans(audios);
  const sides = Object.keys(audios);
  const clips = { a: null, b: null, c: null };
  let range = null;
  let mode = "";
  let swapAt = 0;
  let moment = 0;

  const other = (side) => (side === "a" ? "b" : "a");
  const toTime = (side, at) =>
    side === "a" ? at : range[B_START] + (at - range[A_START]) * range[TEMPO];
  const fromTime = (side, time) =>
    side === "a" ? time : range[A_START] + (time - range[B_START]) / range[TEMPO];
  const sounding = () => sides.find((side) => !audios[side].paused) ?? "";
  const remember = () => {
    const side = sounding();
    if (!side) return;
    const { start, speed } = clips[side];
    moment = fromTime(side, start + audios[side].currentTime * speed);
  };
  const left = (side) => clips[side].end - toTime(side, moment);
  const place = (side) => {
    const { start, speed } = clips[side];
    audios[side].currentTime = Math.max(0, (toTime(side, moment) - start) / speed);
  };

  const together = () => mode === "sides";
  const apart = () => {
    pan(0, 0);
    audios.b.playbackRate = 1;
  };
  const stop = () => {
    mode = "";
    remember();
    for (const audio of Object.values(audios)) audio.pause();
    apart();
    onChange();
  };
  // Another player's start pauses this one before it is heard; that is no reason to stop both.
  const begin = (side) =>
    audios[side].play().catch((error) => { if (error.name !== "AbortError") stop(); });
  const start = (side) => {
    remember();
    apart();
    for (const name of sides) if (name !== side) audios[name].pause();
    if (left(side) < END_S || toTime(side, moment) < clips[side].start) {
      moment = fromTime(side, clips[side].start);
    }
    place(side);
    begin(side);
  };
  const play = (side) => {
    if (!clips[side]) return;
    if (mode === side && sounding() === side) { stop(); return; }
    mode = side;
    start(side);
    onChange();
  };
  const alternate = () => {
    if (!clips.a || !clips.b) return;
    if (mode === "both" && sounding()) { stop(); return; }
    mode = "both";
    remember();
    const first = Math.max(...["a", "b"].map((side) => fromTime(side, clips[side].start)));
    if (moment < first || Math.min(left("a"), left("b")) < END_S) moment = first;
    swapAt = moment + SWAP_S;
    start("a");
    onChange();
  };
  // Both at once, B at the speed of A.  Where another speed explains the pitch, too, it follows.
  const sideBySide = () => {
    if (!clips.a || !clips.b) return;
    if (together()) { stop(); return; }
    stop();
    const first = Math.max(...["a", "b"].map((side) => fromTime(side, clips[side].start)));
    if (moment < first || Math.min(left("a"), left("b")) < END_S) moment = first;
    if (!pan(-1, 1)) return;
    mode = "sides";
    audios.b.playbackRate = range[TEMPO];
    audios.b.preservesPitch = !range[ONE_SPEED];
    for (const side of ["a", "b"]) {
      place(side);
      begin(side);
    }
    onChange();
  };
  // To a moment, in seconds of A; what plays goes on from there.
  const seek = (at) => {
    moment = at;
    for (const side of sides) if (clips[side]) place(side);
    swapAt = moment + SWAP_S;
    onMove();
  };
  window.setInterval(() => {
    if (sounding()) onMove();
    if (together() && sounding()) {
      remember();
      const there = toTime("b", moment) - clips.b.start;
      if (Math.min(left("a"), left("b")) < END_S) stop();
      else if (Math.abs(audios.b.currentTime - there) > 0.2) audios.b.currentTime = Math.max(0, there);
      return;
    }
    if (mode !== "both" || !sounding()) return;
    remember();
    const side = sounding();
    if (Math.min(left("a"), left("b")) < END_S) stop();
    else if (moment >= swapAt) {
      swapAt = moment + SWAP_S;
      start(other(side));
      onChange();
    }
  }, 50);

  for (const side of sides) {
    audios[side].addEventListener("play", () => {
      if (together() || audios[side].paused) return;  // the event comes late
      apart();
      for (const name of sides) if (name !== side) audios[name].pause();
      if (mode !== "both") mode = side;
      onChange();
    });
    for (const name of ["pause", "ended"]) {
      audios[side].addEventListener(name, () => {
        if (mode === side && audios[side].paused) mode = "";
        if (together() && audios.a.paused !== audios.b.paused && name === "ended") stop();
        onChange();
      });
    }
    audios[side].addEventListener("timeupdate", () => { remember(); onMove(); });
  }
  const setSource = (side, source) => {
    if (audios[side].src) URL.revokeObjectURL(audios[side].src);
    audios[side].removeAttribute("src");
    if (source) audios[side].src = URL.createObjectURL(source);
    audios[side].load();
  };

  const load = (newRange, found) => {
    stop();
    range = newRange;
    moment = range ? range[A_START] : 0;
    for (const side of ["a", "b"]) {
      const clip = found[side];
      clips[side] = clip
        ? { start: Number(clip.dataset.start), end: Number(clip.dataset.end), speed: 1 }
        : null;
      setSource(side, clip ? toBlob(clip.getAttribute("src")) : null);
    }
    clips.c = null;
    if (audios.c) setSource("c", null);
    onChange();
  };
  // The clip of B at another pitch, ``speed`` times as fast; the player gives it the tempo of A.
  const loadMatched = (source, speed) => {
    clips.c = { ...clips.b, speed };
    setSource("c", source);
    audios.c.preservesPitch = true;
    audios.c.defaultPlaybackRate = audios.c.playbackRate = range[TEMPO] / speed;
    onChange();
  };

  return {
    play, alternate, sideBySide, stop, load, loadMatched, seek,
    moment: () => moment,
    state: () => ({
      mode,
      side: sounding(),
      a: range && sounding() ? toTime("a", moment) : null,
      b: range && sounding() ? toTime("b", moment) : null,
    }),
    has: (side) => clips[side] !== null,
  };
};
