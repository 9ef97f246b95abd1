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
  try {
    const found = Object.entries(JSON.parse(sessionStorage.getItem(STORE)) ?? {});
    return Object.fromEntries(found.filter(([name, value]) => CHOICES[name]?.includes(value)));
  } catch {
    return {}; // no store for pages opened from disk
  }
}

/** Changes a setting for every viewer. */
function choose(name, value) {
  settings[name] = value;
  try {
    sessionStorage.setItem(STORE, JSON.stringify(settings));
  } catch {
    // the setting lasts until the page is closed
  }
  keepPlace(currentSection(), () => {
    applyMode();
    listeners.forEach((listener) => listener(name));
  });
}

/** Keeps an element where it is on screen although viewers above it change their height. */
function keepPlace(element, change) {
  const before = element?.getBoundingClientRect().top;
  change();
  if (element) scrollBy({ top: element.getBoundingClientRect().top - before, behavior: "instant" });
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
