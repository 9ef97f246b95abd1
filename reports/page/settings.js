// Settings shared by all viewers: mode, gain, speed, loop, swap, shortcuts. Kept for the session if the browser allows it.

const SIDES = ["preview", "output"];
const run = JSON.parse(document.getElementById("run-data").textContent);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;

const CHOICES = {
  mode: ["side", "slider", "blink", "heat"],
  gain: ["auto", 1, 4, 16, 64], // of the difference
  speed: [0.1, 0.25, 0.5, 1, 2],
  loop: [true, false],
  swap: [true, false], // blink automatically
  keys: [true, false],
};
const STORE = "wan-parity";
const settings = { mode: "side", gain: "auto", speed: 1, loop: !reducedMotion, swap: !reducedMotion, keys: true, ...stored() };
const listeners = [];

function stored() {
  const found = Object.entries(recall(STORE) ?? {});
  return Object.fromEntries(found.filter(([name, value]) => CHOICES[name]?.includes(value)));
}

/** Changes a setting for every viewer. */
function choose(name, value) {
  settings[name] = value;
  keep(STORE, settings);
  applyMode();
  listeners.forEach((listener) => listener(name));
}

/** Puts the mode on the root element, so that CSS alone lays out viewers that are not open yet. */
function applyMode() {
  document.documentElement.dataset.mode = settings.mode;
}

applyMode();

/** Announces something to screen readers. */
function announce(text) {
  document.getElementById("status").textContent = text;
}
