// Keyboard shortcuts, and the help that lists them.

function cycle(name, by) {
  const values = CHOICES[name];
  const at = values.indexOf(settings[name]) + by;
  choose(name, values[Math.max(0, Math.min(values.length - 1, at))]);
}

/** Key -> what it does to the viewer of the case on show. */
const VIEWER_KEYS = {
  ArrowLeft: (viewer) => viewer.step(-1),
  ArrowRight: (viewer) => viewer.step(1),
  ",": (viewer) => viewer.step(-10),
  ".": (viewer) => viewer.step(10),
  " ": (viewer) => viewer.play(),
  w: (viewer) => viewer.toWorst(),
  f: (viewer) => viewer.toggleFull(),
  "+": (viewer) => viewer.zoom.by(1.5),
  "=": (viewer) => viewer.zoom.by(1.5),
  "-": (viewer) => viewer.zoom.by(1 / 1.5),
  0: (viewer) => viewer.zoom.reset(),
  "Shift ArrowLeft": (viewer) => viewer.zoom.pan(0.1, 0),
  "Shift ArrowRight": (viewer) => viewer.zoom.pan(-0.1, 0),
  "Shift ArrowUp": (viewer) => viewer.zoom.pan(0, 0.1),
  "Shift ArrowDown": (viewer) => viewer.zoom.pan(0, -0.1),
};

/** Key -> what it does to the page. */
const PAGE_KEYS = {
  j: () => toCase(1),
  k: () => toCase(-1),
  u: () => visit(OVERVIEW),
  c: copyLink,
  s: () => settings.mode === "blink" && swapNow(),
  g: () => choose("gain", CHOICES.gain[(CHOICES.gain.indexOf(settings.gain) + 1) % CHOICES.gain.length]),
  l: () => choose("loop", !settings.loop),
  "[": () => cycle("speed", -1),
  "]": () => cycle("speed", 1),
  "/": toFilter,
  "?": openHelp,
  ...Object.fromEntries(CHOICES.mode.map((mode, at) => [at + 1, () => choose("mode", mode)])),
};

/** Whether the focused element itself makes use of a key. */
function isTaken(target, key) {
  if (!(target instanceof Element)) return false;
  if (target.closest("dialog[open]")) return true;
  if (target.matches("input:not([type=range], [type=radio], [type=checkbox]), select, textarea")) return true;
  if (key === " ") return Boolean(target.closest("button, a, summary, input:not([type=range])"));
  return key.includes("Arrow") && Boolean(target.closest("input, .scroll, pre"));
}

function openHelp() {
  document.getElementById("help").showModal();
}

function mountHelp() {
  const field = document.querySelector("#help [data-setting=keys]");
  field.checked = settings.keys;
  field.addEventListener("change", () => choose("keys", field.checked));
  for (const button of document.querySelectorAll(".open-help")) button.addEventListener("click", openHelp);
}

function mountKeys(approvals) {
  mountHelp();
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.id === "filter") event.target.blur();
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !settings.keys) return;
    const moves = event.key.startsWith("Arrow");
    const key = event.shiftKey && moves ? `Shift ${event.key}` : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (isTaken(event.target, key)) return;
    const section = currentSection();
    const viewer = section && key in VIEWER_KEYS ? viewerOf(section) : undefined;
    const zoomed = viewer && viewer.zoom.view.zoom > 1;
    if (viewer && (!key.startsWith("Shift") || zoomed)) VIEWER_KEYS[key](viewer);
    else if (key === "a" && section) approvals.toggle(Number(section.dataset.case));
    else if (key in PAGE_KEYS) PAGE_KEYS[key]();
    else return;
    event.preventDefault();
  });
}
