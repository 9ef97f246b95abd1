// A viewer on the whole screen; where the browser refuses that, over the whole page.

/** Everything beside an element and beside what holds it, but for dialogs and announcements: these stay in use. */
function around(element) {
  const found = [];
  for (let item = element; item !== document.body; item = item.parentElement) {
    found.push(...[...item.parentElement.children].filter((other) => other !== item && !other.matches("dialog, script, [role=status]")));
  }
  return found;
}

/** The columns that show three pictures largest in a room, and how wide each then is. */
function bestColumns({ width, height }, ratio) {
  const gap = 8;
  const layouts = [1, 2, 3].map((columns) => {
    const rows = Math.ceil(3 / columns);
    const across = (width - gap * (columns - 1)) / columns;
    const caption = across < 200 ? 90 : across < 320 ? 58 : 36; // lines of text above a picture
    return { columns, cell: Math.min(across, ((height - gap * (rows - 1)) / rows - caption) * ratio) };
  });
  return layouts.reduce((best, layout) => (layout.cell > best.cell ? layout : best));
}

/** Sizes the stages of a viewer on the whole screen. */
function fitStages(room, stages) {
  const { width, height } = room.getBoundingClientRect();
  const ratio = Number(stages.style.getPropertyValue("--ratio"));
  const { columns, cell } = bestColumns({ width, height }, ratio);
  stages.dataset.columns = columns;
  stages.style.setProperty("--columns", columns);
  stages.style.setProperty("--cell", `${Math.max(40, cell)}px`);
  stages.style.setProperty("--room", `${height - (ratio < 1 ? 54 : 34)}px`);
}

function mountFull(root, button) {
  const [room, stages] = [root.querySelector(".room"), root.querySelector(".stages")];
  let hidden = []; // what was made inert
  let top = 0;
  const isOpen = () => root.classList.contains("full");
  const set = (open) => {
    if (open === isOpen()) return;
    if (open) {
      top = scrollY;
      hidden = around(root).filter((element) => !element.inert);
    }
    for (const element of hidden) element.inert = open;
    root.classList.toggle("full", open);
    document.documentElement.classList.toggle("has-full", open);
    button.textContent = open ? "Leave full screen" : "Full screen";
    if (!open) stages.style.removeProperty("--room");
    (open ? root : button).focus({ preventScroll: true }); // on the button, Space would leave instead of play
  };
  const enter = async () => {
    set(true);
    try {
      await root.requestFullscreen();
    } catch {
      return; // not here (a phone, a frame without the permission): it lies over the page
    }
    if (!isOpen()) document.exitFullscreen();
  };
  /** `back`: to where the page was scrolled; it was shorter without the viewer. */
  const leave = async (back) => {
    if (!isOpen()) return;
    set(false);
    if (document.fullscreenElement === root) await document.exitFullscreen();
    if (back) scrollTo({ top, behavior: "instant" });
  };
  root.addEventListener("fullscreenchange", () => document.fullscreenElement !== root && leave(true));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) leave(true);
  });
  new ResizeObserver(() => isOpen() && fitStages(room, stages)).observe(room);
  const toggle = () => (isOpen() ? leave(true) : enter());
  button.addEventListener("click", toggle);
  return { toggle, leave };
}
