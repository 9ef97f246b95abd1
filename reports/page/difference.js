// What "difference" means on the whole page: the largest channel difference of a pixel as a colour of one ramp.

/** Black, violet, red, orange, pale yellow: ever lighter, so that it reads without colours too. */
const RAMP = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
/** The ramp's colour of each level, as the four bytes of a pixel. */
const HEAT = new Uint32Array(Uint8Array.from({ length: 4 * 256 }, (_, place) => {
  const at = ((place >> 2) / 255) * (RAMP.length - 1);
  const from = Math.min(RAMP.length - 2, Math.floor(at));
  const c = place % 4;
  return c === 3 ? 255 : Math.round(RAMP[from][c] + (RAMP[from + 1][c] - RAMP[from][c]) * (at - from));
}).buffer);
const NO_DIFFERENCE = "no difference in the compressed stills";
const MOST_GAIN = 64;
/** The share of the pixels that differ which the automatic gain keeps within the ramp: edges must not darken the rest. */
const WITHIN = 0.98;

/** The pixels of an image, or of a canvas. */
function pixelsOf(source) {
  if (source instanceof HTMLCanvasElement) return source.getContext("2d").getImageData(0, 0, source.width, source.height);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: source.naturalWidth, height: source.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** For each pixel of two pictures of one size the largest difference of its three channels, 0 to 255. */
function levelsOf({ data: a }, { data: b }) {
  const levels = new Uint8Array(a.length / 4);
  for (let place = 0, i = 0; i < a.length; place += 1, i += 4) {
    const red = Math.abs(a[i] - b[i]);
    const green = Math.abs(a[i + 1] - b[i + 1]);
    const blue = Math.abs(a[i + 2] - b[i + 2]);
    levels[place] = Math.max(red, green, blue);
  }
  return levels;
}

/** Why two pictures cannot be subtracted; empty if they can. */
function sizesDiffer(a, b) {
  const [left, right] = [a, b].map((item) => `${item.naturalWidth ?? item.width}×${item.naturalHeight ?? item.height}`);
  return left === right ? "" : `not computed: the sizes differ, ${left} and ${right}`;
}

/** Paints the difference of two images or canvases of one size. Returns the largest level, 0 if nothing differs. */
function paintDifference(canvas, a, b, gain) {
  const [left, right] = [pixelsOf(a), pixelsOf(b)];
  const levels = levelsOf(left, right);
  const painted = new ImageData(left.width, left.height);
  const pixels = new Uint32Array(painted.data.buffer);
  let largest = 0;
  for (let place = 0; place < levels.length; place += 1) { // millions a second while it plays: no closures
    const level = levels[place];
    if (level > largest) largest = level;
    pixels[place] = HEAT[Math.min(255, level * gain)];
  }
  Object.assign(canvas, { width: left.width, height: left.height });
  canvas.getContext("2d").putImageData(painted, 0, 0);
  return largest;
}

/** The largest power of two up to 64 that keeps nearly all of the difference of two pictures within the ramp. */
function gainFor(a, b) {
  const counts = new Array(256).fill(0);
  const levels = levelsOf(pixelsOf(a), pixelsOf(b));
  for (const level of levels) counts[level] += 1;
  let most = 0; // the level that WITHIN of the pixels that differ do not pass
  let left = (levels.length - counts[0]) * WITHIN;
  for (let level = 1; level < 256 && left > 0; level += 1) {
    left -= counts[level];
    most = level;
  }
  let gain = MOST_GAIN;
  while (gain > 1 && gain * most > 255) gain /= 2;
  return gain;
}

/** The frames of a case from the worst on, by its first metric that has numbers; those without one at the end. */
function worstFirst(caseData) {
  const metric = Object.values(caseData.metrics).find((item) => !item.unavailable && item.per_frame.length);
  const frames = Array.from({ length: Math.max(caseData.preview?.frames ?? 0, caseData.output?.frames ?? 0) }, (_, frame) => frame);
  if (!metric) return frames;
  const rank = (frame) => {
    const value = metric.per_frame[frame];
    if (typeof value !== "number") return Infinity;
    return metric.higher_is_better ? value : -value;
  };
  return frames.sort((a, b) => rank(a) - rank(b) || a - b);
}

const automatic = new Map(); // place of a case -> the promise of its gain

/** One gain for all frames of a case, by its worst frame that has stills of both sides, so that frames compare. */
function automaticGain(index) {
  if (!automatic.has(index)) automatic.set(index, findGain(run.cases[index], stillsOf(index)));
  return automatic.get(index);
}

async function findGain(caseData, stillAt) {
  for (const frame of worstFirst(caseData)) {
    const pair = SIDES.map((side) => stillAt(side, frame));
    if (pair.includes(undefined)) continue; // not embedded
    const [a, b] = await Promise.all(pair);
    if (a && b && !sizesDiffer(a, b)) return gainFor(a, b);
  }
  return 1;
}

/** The gain with which the differences of a case are shown: the reader's choice, or what suits the case. */
async function gainOf(index) {
  return settings.gain === "auto" ? automaticGain(index) : settings.gain;
}

/** Whether both sides of a frame are equal by the metrics, which see the exact frames. */
function isIdentical(caseData, frame) {
  const psnr = caseData.metrics.psnr;
  return Boolean(psnr) && !psnr.unavailable && psnr.per_frame[frame] === null;
}

/** Says which differences the colours stand for: "0 (the ramp) 32+ of 255 levels". */
function showLegend(element, gain) {
  const colours = document.createElement("span");
  colours.className = "colours";
  colours.setAttribute("aria-label", "to");
  colours.setAttribute("role", "img");
  element.replaceChildren("0 ", colours, ` ${Math.ceil(255 / gain)}${gain > 1 ? "+" : ""} of 255 levels`);
}
