// Navigation: the address decides what is shown. `#cases`, or nothing: all cases. `#case-ID`, then `/frame=N` and the
// name of a section: that case alone. The id of a dialog: that dialog, above what was shown.

const LINK = /^(.*?)(?:\/frame=(\d+))?(?:\/([a-z]+))?$/s;
const POSITIONS = "wan-parity positions";
const OVERVIEW = "#cases";

const runTitle = document.title;
/** Entry of the history -> how far it was scrolled. */
const positions = new Map(recall(POSITIONS) ?? []);
const route = { shown: null, entry: undefined, wanted: null };

/** The case on show; undefined in the overview. */
function currentSection() {
  return route.shown ?? undefined;
}

const sections = new Map(); // place of a case in the run -> its section

/** The section of the case at a place in the run. All are in the page when one is first asked for. */
function sectionOf(index) {
  if (!sections.size) {
    for (const section of document.querySelectorAll("section[data-case]")) sections.set(section.dataset.case, section);
  }
  return sections.get(String(index));
}

function titleOf(section) {
  return section.querySelector("h2");
}

function linkTo(section, frame) {
  return `#${encodeURIComponent(section.id)}${frame === undefined ? "" : `/frame=${frame}`}`;
}

/** What an address names: { element, frame, name }, or { lost } where the case is unknown. */
function readAddress() {
  let address = location.hash.slice(1);
  try {
    address = decodeURIComponent(address);
  } catch {
    // a stray percent sign; taken as it stands
  }
  const whole = document.getElementById(address);
  if (whole) return { element: whole };
  const [, id, frame, name] = LINK.exec(address);
  const element = document.getElementById(id) ?? undefined;
  return { element, frame, name, lost: !element && id.startsWith("case-") ? id.slice("case-".length) : undefined };
}

// ---- The history ----

function newEntry(inside) {
  return { entry: `${Date.now()} ${Math.random()}`, inside };
}

let pending = 0;
/** The address follows the frame once it rests: browsers refuse pages that rewrite it for every frame. */
function keepLink(viewer) {
  clearTimeout(pending);
  if (viewer.section === route.shown) pending = setTimeout(() => showInAddress(viewer), 250);
}

function dropLink() {
  clearTimeout(pending);
  pending = 0;
}

function showInAddress({ section, frame }) {
  dropLink();
  history.replaceState(history.state, "", linkTo(section, frame));
}

function keepPosition() {
  if (route.entry) positions.set(route.entry, scrollY);
  if (!route.shown) positions.set(OVERVIEW, scrollY);
}

/** Follows a link of the page: a new entry of the history, to which Back and Forward return. */
function visit(address) {
  if (pending) showInAddress(opened.get(route.shown));
  keepPosition();
  if (address === location.hash) history.replaceState(history.state, "", address);
  else history.pushState(newEntry(true), "", address);
  follow();
}

// ---- What is shown ----

/** Shows a case alone, or the overview. Returns whether that is another page than before. */
function show(section) {
  const before = route.shown;
  if (before === section) return false;
  route.shown = section;
  opened.get(before)?.leave();
  before?.classList.remove("shown");
  section?.classList.add("shown");
  document.documentElement.dataset.page = section ? "case" : "cases";
  document.title = section ? `${titleOf(section).textContent.trim()} · ${runTitle}` : runTitle;
  return true;
}

/** The frame that the address names, once the stills are read. */
function showFrame() {
  const viewer = route.shown && viewerOf(route.shown);
  if (!viewer || route.wanted === null) return;
  const frame = Number(route.wanted);
  route.wanted = null;
  if (viewer.frame === frame) return;
  viewer.pause();
  viewer.show(Math.min(frame, viewer.frames - 1));
  if (viewer.frame !== frame) announce(`There is no frame ${frame}; the last is ${viewer.frame}.`);
}

function openPart(section, name) {
  const part = section.querySelector(`[data-section="${name}"]`);
  if (!part) announce(`${titleOf(section).textContent.trim()} has no section “${name}”.`);
  for (let fold = part?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  return part ?? undefined;
}

/** A dialog above the page. Closing it leads back to where its link stood. */
function openDialog(dialog) {
  if (dialog.open) return;
  dialog.showModal();
  dialog.addEventListener("close", () => {
    if (readAddress().element !== dialog) return; // another link was followed
    if (history.state?.inside) history.back();
    else history.replaceState(history.state, "", route.shown ? linkTo(route.shown) : OVERVIEW);
  }, { once: true });
}

/** Shows what the address names. `position`: how far it was scrolled when it was left. */
function follow(position) {
  dropLink();
  if (!history.state?.entry) history.replaceState(newEntry(false), "");
  route.entry = history.state.entry;
  const { element, frame, name, lost } = readAddress();
  const dialog = element?.matches("dialog") ? element : undefined;
  for (const open of document.querySelectorAll("dialog[open]")) if (open !== dialog) open.close();
  if (dialog) {
    if (route.shown === null) show(undefined);
    return openDialog(dialog);
  }

  const lostNote = document.getElementById("lost");
  lostNote.textContent = `The link points to ${lost}, which is not a case in this report.`;
  lostNote.hidden = lost === undefined;

  const from = route.shown; // null: the page opens
  const section = element?.closest("section.case") ?? document.querySelector("section.case.alone") ?? undefined;
  const other = show(section);
  route.wanted = frame ?? null;
  if (section) {
    showSteps(section);
    showFrame();
  }
  const part = section && (element === section ? name && openPart(section, name) : element);
  const target = part || (section ? undefined : element);
  const back = !section && from ? rowOf(from) : undefined;
  if (position !== undefined) scrollTo({ top: position, behavior: "instant" });
  else if (target && target.id !== "cases") target.scrollIntoView({ behavior: other ? "instant" : "auto" });
  else if (other || frame === undefined) scrollTo({ top: back ? (positions.get(OVERVIEW) ?? 0) : 0, behavior: other ? "instant" : "auto" });
  if (part) part.tabIndex = -1;
  const goal = part?.querySelector(":scope > summary") ?? part ?? back?.querySelector("th a") ?? titleOf(section ?? document.querySelector("main > section"));
  if ((part && position === undefined) || (other && from !== null)) goal?.focus({ preventScroll: true });
  if (back && position === undefined) back.scrollIntoView({ block: "nearest", behavior: "instant" });
}

// ---- From case to case ----

function rowOf(section) {
  const row = document.querySelector(`tr[data-row="${section.dataset.case}"]`);
  return row.checkVisibility() ? row : undefined;
}

/** Cases in the order of the overview: those the filter leaves, or all if the one on show is not among them. */
function casesInOrder() {
  const sectionsOf = (rows) => rows.map((row) => sectionOf(row.dataset.row));
  const left = sectionsOf(rowsLeft());
  return !route.shown || left.includes(route.shown) ? left : sectionsOf(allRows());
}

/** The line above a case: its neighbours, and how many there are. */
function showSteps(section) {
  const steps = document.getElementById("steps");
  if (!steps) return; // a page about two files
  const all = casesInOrder();
  const at = all.indexOf(section);
  steps.querySelector(".steps-place").textContent = `${at + 1} of ${all.length}`;
  for (const [name, neighbour] of [["previous", all[at - 1]], ["next", all[at + 1]]]) {
    const link = steps.querySelector(`.steps-${name}`);
    link.hidden = !neighbour;
    if (!neighbour) continue;
    link.href = linkTo(neighbour);
    link.querySelector(".steps-name").textContent = titleOf(neighbour).textContent.trim();
  }
}

/** The case `by` places further; from the overview the first one, before the first one the overview. */
function toCase(by) {
  const all = casesInOrder();
  const at = all.indexOf(route.shown) + by;
  if (all[at]) visit(linkTo(all[at]));
  else if (at === -1 && route.shown) visit(OVERVIEW);
}

async function copyLink() {
  if (!route.shown) return;
  showInAddress({ section: route.shown, frame: opened.get(route.shown)?.frame });
  try {
    await navigator.clipboard.writeText(location.href);
    announce("Link copied.");
  } catch {
    announce("The link is in the address bar.");
  }
}

function mountNavigation() {
  history.scrollRestoration = "manual";
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    visit(link.getAttribute("href"));
  });
  addEventListener("popstate", () => {
    keepPosition();
    follow(positions.get(history.state?.entry));
  });
  addEventListener("pagehide", () => {
    keepPosition();
    keep(POSITIONS, [...positions]);
  });
  for (const button of document.querySelectorAll("button.link")) button.addEventListener("click", copyLink);
  const position = positions.get(history.state?.entry);
  follow(position);
  // While a page loads, browsers scroll to what the address names.
  if (position !== undefined) addEventListener("load", () => scrollTo({ top: position, behavior: "instant" }));
}
