// What stays from case to case: the way of looking, the speed, the loop. Kept for the session where the browser lets us.

const SIDES = ["preview", "output"];
const run = JSON.parse(document.getElementById("run-data").textContent);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;

const CHOICES = {
  mode: ["side", "slider", "blink", "heat"],
  speed: [0.1, 0.25, 0.5, 1, 2],
  loop: [true, false],
  swap: [true, false], // blink by itself
  keys: [true, false],
};
const STORE = "wan-parity";
const settings = { mode: "side", speed: 1, loop: !reducedMotion, swap: !reducedMotion, keys: true, ...stored() };
const listeners = [];

function stored() {
  try {
    const found = Object.entries(JSON.parse(sessionStorage.getItem(STORE)) ?? {});
    return Object.fromEntries(found.filter(([name, value]) => CHOICES[name]?.includes(value)));
  } catch {
    return {}; // no store for pages opened from disk
  }
}

/** Tells every viewer. */
function choose(name, value) {
  settings[name] = value;
  try {
    sessionStorage.setItem(STORE, JSON.stringify(settings));
  } catch {
    // it holds until the page is left
  }
  keepPlace(currentSection(), () => {
    applyMode();
    listeners.forEach((listener) => listener(name));
  });
}

/** What is looked at stays where it is, even if the viewers above it change their height. */
function keepPlace(element, change) {
  const before = element?.getBoundingClientRect().top;
  change();
  if (element) scrollBy({ top: element.getBoundingClientRect().top - before, behavior: "instant" });
}

/** The mode stands at the root, so that style alone lays out viewers that are not open yet. */
function applyMode() {
  document.documentElement.dataset.mode = settings.mode;
}

applyMode();

/** Says something to those who do not see it. */
function announce(text) {
  document.getElementById("status").textContent = text;
}
