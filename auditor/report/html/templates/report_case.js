// The dialog of one case: filled from the data, one at a time.

const caseView = (() => {
  const dialog = byId("case");
  const body = byId("case-body");
  const audios = { a: byId("audio-a"), b: byId("audio-b"), c: byId("audio-c") };
  const buttons = {
    a: byId("play-a"), b: byId("play-b"), c: byId("play-c"),
    both: byId("play-both"), sides: byId("play-sides"),
  };
  let current = -1;
  let selected = 0;
  let media = null;
  let moveHeads = () => {};
  const drafts = new Map();  // notes that no decision keeps yet, by case

  const pair = () => data.pairs[current];
  const order = () => {
    const shown = pairTable ? pairTable.order() : [];
    if (shown.includes(current)) return shown;
    const all = data.pairs.map((_, i) => i);
    return pairTable ? all.filter((i) => data.pairs[i].group === pair().group) : all;
  };

  const sound = makeSound(audios, () => {
    const { mode, side, a, b } = sound?.state() ?? { mode: "", side: "", a: null, b: null };
    for (const [name, button] of Object.entries(buttons)) {
      button.setAttribute("aria-pressed", String(mode === name && side !== ""));
    }
    const one = { a: "A plays", b: "B plays", c: "B as A plays" }[side] ?? "";
    byId("playing").textContent = side && mode === "sides" ? "A left, B right" : one;
    showMoment(a, b);
  }, () => {
    const { a, b } = sound.state();
    showMoment(a, b);
  });
  const spectra = makeSpectra(byId("spectra"), (time) => sound.seek(time));
  const showMoment = (a, b) => {
    moveHeads(a, b);
    if (sound) spectra.move(sound.moment());
  };

  const select = (i) => {
    selected = i;
    const range = (pair().ranges || [])[i] || null;
    const found = { a: media.clip(i, "a"), b: media.clip(i, "b") };
    sound.load(range, found);
    for (const side of ["a", "b"]) {
      const clip = found[side];
      audios[side].hidden = !clip;
      put(dialog, `clip-${side}`, clip
        ? `${side.toUpperCase()} ${clock(Number(clip.dataset.start))}–${clock(Number(clip.dataset.end))}`
        : `${side.toUpperCase()}: no clip of this range`);
      buttons[side].disabled = !clip;
    }
    buttons.both.disabled = !(found.a && found.b);
    hearAndSee(range, found);
    buttons.sides.disabled = buttons.both.disabled || !("AudioContext" in window);
    for (const row of field(dialog, "ranges").rows) {
      row.classList.toggle("selected", Number(row.dataset.range) === i);
    }
  };
  // The pictures, and B as A: they take a moment, and another range may be wanted by then.
  let wanted = 0;
  const hearAndSee = async (range, found) => {
    const turn = ++wanted;
    spectra.clear();
    buttons.c.disabled = true;
    audios.c.parentElement.hidden = true;
    if (!range || !found.a || !found.b) return;
    try {
      const [a, b] = await Promise.all([decodeClip(found.a), decodeClip(found.b)]);
      const speed = 2 ** (range[PITCH] / 12);
      const matched = await atSpeed(b, speed);
      if (turn !== wanted) return;
      const starts = [found.a, found.b].map((clip) => Number(clip.dataset.start));
      spectra.load(range, { a: { ...a, start: starts[0] }, b: { ...b, start: starts[1] } });
      sound.loadMatched(matched, speed);
      buttons.c.disabled = false;
      audios.c.parentElement.hidden = false;
    } catch { /* a browser that cannot decode such clips has the plain players */ }
  };
  const playRange = (i, side) => {
    select(i);
    sound.play(sound.has(side) ? side : "b");
  };

  const rangeRow = (range, i) => {
    const row = make("tr");
    row.dataset.range = i;
    const head = make("th");
    head.scope = "row";
    const button = make("button", `number r${i % N_COLOURS}`, String(i + 1));
    button.type = "button";
    button.setAttribute("aria-label", `Play range ${i + 1}`);
    button.addEventListener("click", () => playRange(i, "a"));
    head.append(button);
    const cells = [range[IN_A], range[IN_B], range[CHANGED]];
    row.append(head, ...cells.map((text) => make("td", "", text)));
    return row;
  };

  const fillFile = (side) => {
    const link = trackOf(pair(), side)[LINK];
    const cell = field(dialog, `file-${side}`);
    cell.replaceChildren();
    if (!link) return;
    const anchor = make("a", "", `open ${side.toUpperCase()}`);
    const range = (pair().ranges || [])[0];
    const at = range ? `#t=${side === "a" ? range[A_START] : range[B_START]}` : "";
    anchor.setAttribute("href", link + at);
    anchor.target = "_blank";
    anchor.rel = "noreferrer";
    cell.append(anchor, " ", make("bdi", "", decodeLink(link)));
  };

  const decodeLink = (link) => {
    try { return decodeURIComponent(link); } catch { return link; }  // bytes that are no UTF-8
  };

  const whereToListen = ({ lacking = "" }, ranges) => {
    if (media.hasClips || !ranges.length) return lacking;
    const at = `Listen to A at ${clock(ranges[0][A_START])} and to B at ${clock(ranges[0][B_START])}`;
    return `${lacking} ${at}, in the files below.`;
  };

  const fillMatrix = () => {
    const figure = field(dialog, "matrix");
    const image = field(figure, "matrix-image");
    figure.hidden = !media.matrix;
    if (!media.matrix) { image.removeAttribute("href"); return; }
    image.setAttribute("href", media.matrix.getAttribute("href"));
    const seconds = [media.matrix.dataset.a, media.matrix.dataset.b].map(Number);
    put(figure, "matrix-a", clock(seconds[0]));
    put(figure, "matrix-b", clock(seconds[1]));
    drawMatrixLines(field(figure, "matrix-lines"), pair(), ...seconds);
  };

  const fillDecision = () => {
    const { kind, note, here, decided } = decisions.of(pair());
    for (const button of byId("kinds").children) {
      button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
      if (button.dataset.kind === "undo") button.hidden = !kind;
    }
    if (document.activeElement !== byId("note")) byId("note").value = drafts.get(current) ?? note;
    const said = [kind ? `Decided: ${kindName(kind)}` : "Not decided yet", here && "in this page", decided];
    put(dialog, "decided", `${said.filter(Boolean).join(", ")}.`);
    field(dialog, "export-box").hidden = decisions.size() === 0 && !data.service;
  };

  const fill = () => {
    const one = pair();
    const ranges = one.ranges || [];
    const [a, b] = ["a", "b"].map((side) => trackOf(one, side));
    const places = order();
    const place = places.indexOf(current);
    media = mediaOf(current);
    const name = one.id ? ` · pair ${one.id}` : "";
    const group = pairTable ? ` ${one.group}` : "";
    const among = `${place + 1} of ${places.length.toLocaleString("en")}${group}`;
    put(dialog, "number", `Case ${current + 1}, ${among}${name}`);
    byId("case-previous").disabled = place === 0;
    byId("case-next").disabled = place === places.length - 1;
    put(dialog, "title", one.title);
    for (const [side, track] of [["a", a], ["b", b]]) {
      put(dialog, `name-${side}`, track[LABEL]);
      put(dialog, `when-${side}`, track[BRIEF][0]);
      put(dialog, `what-${side}`, track[BRIEF][1]);
      put(dialog, `path-${side}`, track[VALUES][PATH_ROW]);
    }
    put(dialog, "said", one.said);
    put(dialog, "coded", one.coded || "");
    put(dialog, "meaning", `Score ${one.score}: ${one.meaning}.`);
    put(dialog, "origin", one.origin || "");
    field(dialog, "badges").replaceChildren(...badgesOf(one));
    const drawn = ranges.length > 0 || a[PEAKS] !== "" || b[PEAKS] !== "";
    field(dialog, "map-box").hidden = !drawn;
    for (const [side, track] of [["a", a], ["b", b]]) {
      put(dialog, `map-${side}`, track[LABEL]);
      put(dialog, `end-${side}`, clock(track[DURATION]));
      track[VALUES].forEach((value, i) => {
        dialog.querySelector(`[data-${side}="${i}"]`).textContent = value;
      });
      fillFile(side);
    }
    field(dialog, "files").hidden = !a[LINK] && !b[LINK];
    moveHeads = drawMap(field(dialog, "map"), one, playRange);
    field(dialog, "ranges").replaceChildren(...ranges.map(rangeRow));
    field(dialog, "ranges-box").hidden = !ranges.length;
    field(dialog, "players").hidden = !media.hasClips;
    const hint = whereToListen(one, ranges);
    put(dialog, "no-clips", hint);
    field(dialog, "no-clips").hidden = !hint;
    const hasSound = drawn || media.hasClips || hint !== "";
    byId("case-listen").parentElement.hidden = !hasSound;
    fillMatrix();
    const values = field(dialog, "facts-list").querySelectorAll("dd");
    values.forEach((value, i) => { value.textContent = one.facts ? one.facts[i] : "–"; });
    field(dialog, "evidence").hidden = !one.facts && !media.matrix;
    select(0);
    fillDecision();
  };

  const open = (i) => {
    if (!data.pairs[i]) return;
    current = i;
    if (!dialog.open) dialog.showModal();
    fill();
    body.scrollTop = 0;
    body.focus({ preventScroll: true });
    setHash(`#case-${i + 1}`);
  };
  const step = (by) => {
    const places = order();
    const next = places[places.indexOf(current) + by];
    if (next !== undefined) open(next);
  };
  const setHash = (hash) => {
    try { window.history.replaceState(null, "", hash); } catch { /* a copy that has no address */ }
  };
  const decide = (kind) => {
    // Pressing what is decided already keeps the note that is there.
    decisions.set(pair(), kind, byId("note").value.trim());
    drafts.delete(current);
    fillDecision();
    field(dialog, "badges").replaceChildren(...badgesOf(pair()));
  };
  // A service has a decision only after a moment.
  if (data.service) decisions.onChange(() => { if (dialog.open) fillDecision(); });

  byId("case-previous").addEventListener("click", () => step(-1));
  byId("case-next").addEventListener("click", () => step(1));
  byId("case-close").addEventListener("click", () => close());
  byId("case-keys").addEventListener("click", () => toggleKeys());
  const toggleKeys = () => {
    byId("keys").hidden = !byId("keys").hidden;
    byId("case-keys").setAttribute("aria-expanded", String(!byId("keys").hidden));
    body.scrollTop = 0;
  };
  // The close event comes late; what follows a closing is done at once.
  const close = () => {
    if (dialog.open) dialog.close();
    sound.stop();
    setHash(pairTable ? pairTable.address() : "#submissions");
    document.querySelector(`[data-open="${current}"]`)?.focus();
  };
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) close(); });
  buttons.a.addEventListener("click", () => sound.play("a"));
  buttons.b.addEventListener("click", () => sound.play("b"));
  buttons.c.addEventListener("click", () => sound.play("c"));
  buttons.both.addEventListener("click", () => sound.alternate());
  buttons.sides.addEventListener("click", () => sound.sideBySide());
  byId("kinds").addEventListener("click", (event) => {
    const button = event.target.closest("[data-kind]");
    if (button) decide(button.dataset.kind);
  });
  byId("note").addEventListener("input", () => drafts.set(current, byId("note").value));
  byId("note").addEventListener("change", () => {
    const { kind } = decisions.of(pair());
    if (kind) decide(kind);
  });

  const keys = {
    j: () => step(1),
    k: () => step(-1),
    1: () => sound.play("a"),
    2: () => sound.play("b"),
    3: () => sound.alternate(),
    4: () => sound.sideBySide(),
    5: () => sound.play("c"),
    "+": () => spectra.zoom(0.5),
    "-": () => spectra.zoom(2),
    b: () => sound.alternate(),
    c: () => decide("confirmed"),
    d: () => decide("false-alarm"),
    l: () => decide("licensed"),
    o: () => decide("same-owner"),
    v: () => decide("cover"),
    "?": toggleKeys,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && dialog.open) {
      event.preventDefault();
      close();
      return;
    }
    if (event.target.closest("input:not([type=range]), textarea, select")) return;
    if (!dialog.open) {
      if (event.key === "j" && data.pairs.length) open(pairTable?.order()[0] ?? 0);
      return;
    }
    if (event.key === " " && !event.target.closest("button, a, audio, summary")) {
      event.preventDefault();
      sound.stop();
    }
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  return { open };
})();
