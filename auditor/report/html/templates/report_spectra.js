// What is heard of a range as pictures: the spectra of both clips above each other, on the time of
// A and at the pitch of A; and the clip of B brought to the pitch of A.
// Frequencies are logarithmic, so that another pitch is another height.

const LOWEST_HZ = 82.4, BANDS_PER_OCTAVE = 24, N_BANDS = 168;
const FFT_SIZE = 4096, N_COLUMNS = 900, RANGE_DB = 66;
const SHORTEST_VIEW_S = 2;

const decodeClip = async (clip) => {
  const bytes = await toBlob(clip.getAttribute("src")).arrayBuffer();
  const buffer = await new OfflineAudioContext(1, 1, 24000).decodeAudioData(bytes);
  return { samples: buffer.getChannelData(0), rate: buffer.sampleRate };
};

// A clip at another pitch, and as much faster, as a WAV file of 16 bits.
const atSpeed = async ({ samples, rate }, speed) => {
  const length = Math.max(1, Math.floor(samples.length / speed));
  const context = new OfflineAudioContext(1, length, rate);
  const source = context.createBufferSource();
  source.buffer = context.createBuffer(1, samples.length, rate);
  source.buffer.copyToChannel(samples, 0);
  source.playbackRate.value = speed;
  source.connect(context.destination);
  source.start();
  return toWav((await context.startRendering()).getChannelData(0), rate);
};
const toWav = (samples, rate) => {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); text(8, "WAVEfmt "); text(36, "data");
  view.setUint32(4, 36 + 2 * samples.length, true);
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => {
    view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, x)) * 0x7fff, true);
  });
  return new Blob([view], { type: "audio/wav" });
};

// In place, radix 2 (Cooley and Tukey, 1965).
const COSINES = Float64Array.from({ length: FFT_SIZE / 2 }, (_, i) => Math.cos(2 * Math.PI * i / FFT_SIZE));
const SINES = Float64Array.from({ length: FFT_SIZE / 2 }, (_, i) => Math.sin(2 * Math.PI * i / FFT_SIZE));
const transform = (re, im) => {
  for (let i = 1, j = 0; i < FFT_SIZE; i++) {
    let bit = FFT_SIZE >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
  }
  for (let half = 1; half < FFT_SIZE; half *= 2) {
    const step = FFT_SIZE / (2 * half);
    for (let start = 0; start < FFT_SIZE; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const [a, b] = [start + k, start + k + half];
        const [c, s] = [COSINES[k * step], -SINES[k * step]];
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x; im[b] = im[a] - y;
        re[a] += x; im[a] += y;
      }
    }
  }
};
const WINDOW = Float64Array.from({ length: FFT_SIZE }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / FFT_SIZE));

// Decibels of each band about a time of the clip, in seconds, at ``speed`` times its pitch.
const bandsAt = ({ samples, rate }, time, speed, out) => {
  const re = new Float64Array(FFT_SIZE), im = new Float64Array(FFT_SIZE);
  const first = Math.round(time * rate) - FFT_SIZE / 2;
  for (let i = 0; i < FFT_SIZE; i++) re[i] = (samples[first + i] ?? 0) * WINDOW[i];
  transform(re, im);
  const power = (bin) => re[bin] * re[bin] + im[bin] * im[bin];
  for (let band = 0; band < N_BANDS; band++) {
    const width = 2 ** (0.5 / BANDS_PER_OCTAVE);
    const centre = LOWEST_HZ * 2 ** (band / BANDS_PER_OCTAVE) / speed * FFT_SIZE / rate;
    const low = centre / width, high = centre * width;
    let sum = 0;
    if (high - low < 1) {  // between two bins of the transform
      const bin = Math.floor(centre);
      if (bin + 1 < FFT_SIZE / 2) sum = power(bin) + (centre - bin) * (power(bin + 1) - power(bin));
    } else {
      const last = Math.min(FFT_SIZE / 2 - 1, Math.round(high));
      for (let bin = Math.round(low); bin <= last; bin++) sum += power(bin);
    }
    out[band] = 10 * Math.log10(sum + 1e-12);
  }
};

// Grey from white, silence, to black, as loud as it gets; the style turns it over in the dark.
const drawSpectrum = (canvas, sound, timeOf, speed) => {
  canvas.width = N_COLUMNS;
  canvas.height = N_BANDS;
  const decibels = new Float32Array(N_COLUMNS * N_BANDS), column = new Float32Array(N_BANDS);
  const ends = sound.samples.length / sound.rate;
  let loudest = -120;
  for (let x = 0; x < N_COLUMNS; x++) {
    const time = timeOf((x + 0.5) / N_COLUMNS);
    if (time < 0 || time > ends) column.fill(-120);
    else bandsAt(sound, time, speed, column);
    decibels.set(column, x * N_BANDS);
    for (const level of column) loudest = Math.max(loudest, level);
  }
  const picture = new ImageData(N_COLUMNS, N_BANDS);
  for (let x = 0; x < N_COLUMNS; x++) {
    for (let band = 0; band < N_BANDS; band++) {
      const level = Math.max(0, Math.min(1, 1 + (decibels[x * N_BANDS + band] - loudest) / RANGE_DB));
      const at = 4 * ((N_BANDS - 1 - band) * N_COLUMNS + x);
      picture.data.fill(255 - 255 * level, at, at + 3);
      picture.data[at + 3] = 255;
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
};

// The box of both pictures with cursor, scrubber and zoom; times are seconds of A.
const makeSpectra = (box, onSeek) => {
  const canvases = { a: byId("spectrum-a"), b: byId("spectrum-b") };
  const scrub = byId("scrub");
  const cursor = field(box, "cursor");
  let whole = null;  // first and last second that both clips hold
  let view = null;
  let sounds = null;
  let range = null;
  let moment = 0;
  let waiting = 0;

  const toB = (time) => range[B_START] + (time - range[A_START]) * range[TEMPO];
  const pitch = () => 2 ** (range[PITCH] / 12);
  const paint = () => {
    waiting = 0;
    if (!sounds) return;
    const at = (share) => view[0] + share * (view[1] - view[0]);
    drawSpectrum(canvases.a, sounds.a, (share) => at(share) - sounds.a.start, 1);
    drawSpectrum(canvases.b, sounds.b, (share) => toB(at(share)) - sounds.b.start, pitch());
    put(box, "view-start", clock(view[0]));
    put(box, "view-end", clock(view[1]));
    put(box, "view-start-b", clock(toB(view[0])));
    put(box, "view-end-b", clock(toB(view[1])));
    box.dataset.view = view.map((time) => time.toFixed(2)).join(" ");
    byId("zoom-in").disabled = view[1] - view[0] <= SHORTEST_VIEW_S;
    byId("zoom-out").disabled = view[0] <= whole[0] && view[1] >= whole[1];
  };
  const repaint = () => { if (!waiting) waiting = window.requestAnimationFrame(paint); };
  const show = (from, length) => {
    const seconds = Math.min(length, whole[1] - whole[0]);
    const start = Math.max(whole[0], Math.min(from, whole[1] - seconds));
    view = [start, start + seconds];
    repaint();
  };
  const zoom = (factor) => {
    if (!sounds) return;
    const length = Math.max(SHORTEST_VIEW_S, (view[1] - view[0]) * factor);
    const share = (moment - view[0]) / (view[1] - view[0]);
    show(moment - share * length, length);
    move(moment);
  };
  const move = (time) => {
    moment = time;
    if (!sounds) return;
    const length = view[1] - view[0];
    if (time < view[0] || time > view[1]) show(time < view[0] ? time - length : time, length);
    const x = `${100 * (time - view[0]) / (view[1] - view[0])}%`;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    scrub.value = String(time);
    scrub.setAttribute("aria-valuetext", `A ${clock(time)}, B ${clock(toB(time))}`);
  };
  const clear = () => {
    sounds = null;
    box.hidden = true;
  };
  const load = (newRange, newSounds) => {
    range = newRange;
    sounds = newSounds;
    const ends = ({ samples, rate, start }) => [start, start + samples.length / rate];
    const [a, b] = [ends(sounds.a), ends(sounds.b).map((time) => range[A_START] + (time - range[B_START]) / range[TEMPO])];
    whole = [Math.max(a[0], b[0]), Math.min(a[1], b[1])];
    scrub.min = String(whole[0]);
    scrub.max = String(whole[1]);
    box.hidden = false;
    show(...[whole[0], whole[1] - whole[0]]);
    move(Math.max(whole[0], moment >= whole[0] && moment <= whole[1] ? moment : whole[0]));
  };

  scrub.addEventListener("input", () => onSeek(Number(scrub.value)));
  byId("zoom-in").addEventListener("click", () => zoom(0.5));
  byId("zoom-out").addEventListener("click", () => zoom(2));
  const drag = (event) => {
    const { left, width } = field(box, "pictures").getBoundingClientRect();
    const share = Math.max(0, Math.min(1, (event.clientX - left) / width));
    onSeek(view[0] + share * (view[1] - view[0]));
  };
  field(box, "pictures").addEventListener("pointerdown", (event) => {
    if (!sounds || event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    drag(event);
  });
  field(box, "pictures").addEventListener("pointermove", (event) => {
    if (sounds && event.currentTarget.hasPointerCapture(event.pointerId)) drag(event);
  });
  return { load, clear, move, zoom };
};
