// Stages: preview, output and their difference, painted still by still, zoomed and panned together.

const SIDE_TEXT = "alone" in document.documentElement.dataset ? { preview: "in A", output: "in B" } : { preview: "in the preview", output: "in the output" };
const MOST_ZOOM = 16;
function openStage(element) {
  const canvas = element.querySelector("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return { element, canvas, context, note: element.querySelector(".gap") };
}

/** Size on screen, to the scale of the larger video. */
function place(stage, video, bounds) {
  stage.canvas.style.width = `${(100 * video.width) / bounds.width}%`;
  stage.canvas.style.height = `${(100 * video.height) / bounds.height}%`;
}

/** Single pixels keep their edges once they are large enough to see. */
function sharpen(stage, bounds, zoom) {
  stage.canvas.classList.toggle("enlarged", zoom * stage.element.clientWidth >= 2 * bounds.width);
}

function say(stage, text) {
  stage.note.replaceChildren();
  if (!text) return;
  const span = document.createElement("span");
  span.textContent = text;
  stage.note.append(span);
}

function paintStill(stage, image, message, label) {
  stage.canvas.hidden = !image;
  say(stage, image ? "" : message);
  if (!image) return;
  const { naturalWidth: width, naturalHeight: height } = image;
  if (stage.canvas.width !== width || stage.canvas.height !== height) Object.assign(stage.canvas, { width, height });
  stage.context.drawImage(image, 0, 0);
  stage.canvas.setAttribute("aria-label", label);
}

/** Paints the difference of both sides, or says why there is none to see. */
function paintDifferenceStage(stage, stages, gain, frame, identical) {
  const [a, b] = SIDES.map((side) => stages[side].canvas);
  stage.canvas.hidden = true;
  if (a.hidden || b.hidden) return say(stage, "nothing to compare");
  const refused = sizesDiffer(a, b);
  if (refused) return say(stage, refused);
  const largest = paintDifference(stage.canvas, a, b, gain);
  const none = identical ? "identical" : NO_DIFFERENCE;
  stage.canvas.hidden = false;
  stage.canvas.setAttribute("aria-label", largest ? `Difference at frame ${frame}, ${gain} times, at most ${largest} of 255 levels` : `Frame ${frame}: ${none}`);
  return say(stage, largest ? "" : none);
}

/** Why a side shows nothing at a frame. */
function gapText(side, video, frame, image) {
  if (!video) return `no ${side}`;
  if (frame >= video.frames) return `no frame ${frame} ${SIDE_TEXT[side]}`;
  return image === null ? `frame ${frame} cannot be decoded` : `frame ${frame} is not embedded in this file`;
}

/** One zoom for all stages of a viewer. `x` and `y` are shares of a stage, from its left and its top. */
function openZoom(root, onChange) {
  const view = { zoom: 1, x: 0, y: 0 };
  const apply = () => {
    view.x = Math.min(0, Math.max(1 - view.zoom, view.x));
    view.y = Math.min(0, Math.max(1 - view.zoom, view.y));
    for (const [name, value] of Object.entries(view)) root.style.setProperty(`--${name}`, value);
    root.classList.toggle("zoomed", view.zoom > 1);
    onChange(view.zoom);
  };
  const pan = (dx, dy) => {
    view.x += dx;
    view.y += dy;
    apply();
  };
  /** What lies at `x`, `y` stays there. */
  const by = (factor, x = 0.5, y = 0.5) => {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
    view.x = x - ((x - view.x) * zoom) / view.zoom;
    view.y = y - ((y - view.y) * zoom) / view.zoom;
    view.zoom = zoom;
    apply();
  };
  const reset = () => {
    Object.assign(view, { zoom: 1, x: 0, y: 0 });
    apply();
  };
  return { view, pan, by, reset };
}

/** Wheel with Ctrl or ⌘ and two fingers zoom; one pointer pans, or moves the divider of the slider. */
function mountPointers(root, zoom, split) {
  const held = new Map();
  const share = (event) => {
    const box = event.target.closest(".stage").getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  };
  const apart = () => {
    const [a, b] = [...held.values()];
    return Math.hypot(a.x - b.x, a.y - b.y) || 0.01;
  };
  let divides = false;
  for (const stage of root.querySelectorAll(".stage")) {
    stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      const { x, y } = share(event);
      zoom.by(Math.exp(-event.deltaY / 300), x, y);
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const at = share(event);
      held.set(event.pointerId, at);
      stage.setPointerCapture(event.pointerId);
      divides = settings.mode === "slider" && (zoom.view.zoom === 1 || Math.abs(at.x - split.share()) < 0.04);
      if (divides) split.move(at.x);
    });
    stage.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return;
      const at = share(event);
      const was = held.size === 2 ? apart() : 0;
      held.set(event.pointerId, at);
      if (held.size === 2) zoom.by(apart() / was, at.x, at.y);
      else if (divides) split.move(at.x);
      else if (zoom.view.zoom > 1) zoom.pan(at.x - before.x, at.y - before.y);
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => held.delete(event.pointerId));
  }
}
