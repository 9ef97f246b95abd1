// Navigation: links to a case and a frame, the current case, keyboard shortcuts.

const LINK = /^(.*?)(?:\/frame=(\d+))?$/s;

function shownSections() {
  return [...document.querySelectorAll("section.case:not([hidden])")];
}

/** The case that holds the upper third of the window; the nearest one below the overview otherwise. */
function currentSection() {
  const line = innerHeight / 3;
  const sections = shownSections();
  return sections.findLast((section) => section.getBoundingClientRect().top <= line) ?? sections[0];
}

function linkTo(section, frame) {
  return `#${encodeURIComponent(section.id)}${frame === undefined ? "" : `/frame=${frame}`}`;
}

let pending = 0;
/** The address follows the frame once it rests: browsers refuse pages that rewrite it for every frame. */
function keepLink(viewer) {
  clearTimeout(pending);
  pending = setTimeout(() => history.replaceState(null, "", linkTo(viewer.section, viewer.frame)), 250);
}

function goTo(section) {
  section.scrollIntoView();
  section.querySelector("h2 a").focus({ preventScroll: true });
}

/** `#case-a/frame=12` -> that frame of that case, whatever the filter hides. */
function followLink(filter) {
  let address = location.hash.slice(1);
  try {
    address = decodeURIComponent(address);
  } catch {
    // a stray percent sign; taken as it stands
  }
  const [, id, frame] = LINK.exec(address);
  document.getElementById("lost").hidden = true;
  if (!id) return;
  const target = document.getElementById(id);
  if (!target) {
    if (!id.startsWith("case-")) return;
    document.getElementById("lost").textContent = `The link points to ${id.slice("case-".length)}, which is not a case in this report.`;
    document.getElementById("lost").hidden = false;
    return;
  }
  if (target.hidden) filter.clear();
  const viewer = target.matches(".case") ? viewerOf(target) : undefined;
  if (frame !== undefined && viewer) {
    viewer.seek(Number(frame));
    if (viewer.frame !== Number(frame)) announce(`There is no frame ${frame}; the last is ${viewer.frame}.`);
  }
  target.scrollIntoView({ behavior: "instant" });
}

async function copyLink() {
  const section = currentSection();
  if (!section) return;
  clearTimeout(pending);
  history.replaceState(null, "", linkTo(section, viewerOf(section)?.frame));
  try {
    await navigator.clipboard.writeText(location.href);
    announce("Link copied.");
  } catch {
    announce("The link is in the address bar.");
  }
}

function toCase(by) {
  const sections = shownSections();
  const current = currentSection();
  if (!current) return;
  const above = current.getBoundingClientRect().top > innerHeight / 3; // still in the overview
  const place = sections.indexOf(current) + (above && by > 0 ? 0 : by);
  if (place < 0) toOverview();
  else if (sections[place]) goTo(sections[place]);
}

function toOverview() {
  document.getElementById("cases").scrollIntoView();
  document.getElementById("cases-title").focus({ preventScroll: true });
}

function cycle(name, by) {
  const values = CHOICES[name];
  const place = values.indexOf(settings[name]) + by;
  choose(name, values[Math.max(0, Math.min(values.length - 1, place))]);
}

/** Key -> what it does to the viewer in view. */
const VIEWER_KEYS = {
  ArrowLeft: (viewer) => viewer.step(-1),
  ArrowRight: (viewer) => viewer.step(1),
  ",": (viewer) => viewer.step(-10),
  ".": (viewer) => viewer.step(10),
  " ": (viewer) => viewer.play(),
  w: (viewer) => viewer.toWorst(),
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
  u: toOverview,
  c: copyLink,
  s: () => settings.mode === "blink" && swapNow(),
  g: () => choose("gain", CHOICES.gain[(CHOICES.gain.indexOf(settings.gain) + 1) % CHOICES.gain.length]),
  l: () => choose("loop", !settings.loop),
  "[": () => cycle("speed", -1),
  "]": () => cycle("speed", 1),
  "/": () => document.getElementById("filter")?.focus(),
  "?": openHelp,
  ...Object.fromEntries(CHOICES.mode.map((mode, place) => [place + 1, () => choose("mode", mode)])),
};

/** Whether the focused element itself makes use of a key. */
function isTaken(target, key) {
  if (!(target instanceof Element)) return false;
  if (target.closest("dialog[open]")) return true;
  if (target.matches("input:not([type=range], [type=radio], [type=checkbox]), select, textarea")) return true;
  if (key === " ") return Boolean(target.closest("button, a, summary, input"));
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

/** Marks the case that the keys act on. */
function mountCurrent() {
  let waiting = false;
  const mark = () => {
    waiting = false;
    const current = scrollY > 0 ? currentSection() : undefined;
    for (const section of caseSections.values()) section.classList.toggle("current", section === current);
  };
  addEventListener("scroll", () => {
    if (!waiting) requestAnimationFrame(mark);
    waiting = true;
  }, { passive: true });
}

function mountNavigation(filter, approvals) {
  mountHelp();
  mountKeys(approvals);
  mountCurrent();
  for (const button of document.querySelectorAll("button.link")) {
    button.addEventListener("click", () => {
      goTo(button.closest("section.case"));
      copyLink();
    });
  }
  addEventListener("hashchange", () => followLink(filter));
}
