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

/** Mode, gain, speed, loop and swap are those of every viewer. */
function mountChoices(root, onChange) {
  const fields = [...root.querySelectorAll("[data-choice]")];
  const show = () => {
    for (const field of fields) {
      const value = settings[field.dataset.choice];
      if (field.type === "radio") field.checked = field.value === value;
      else if (field.type === "checkbox") field.checked = value;
      else field.value = value;
    }
  };
  const read = (field) => {
    if (field.type === "checkbox") return field.checked;
    return CHOICES[field.dataset.choice].find((choice) => String(choice) === field.value);
  };
  for (const field of fields) {
    field.addEventListener("change", () => choose(field.dataset.choice, read(field)));
  }
  show();
  listeners.push((name) => {
    show();
    onChange(name);
  });
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
