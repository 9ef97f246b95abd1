// Does it matter? The pictures of a diagnosis: one frame of all its videos at a time.

const LEFT_OUT = "left out of this file";

/** Why there is no picture of a frame. */
function trialGap(button, frame, image) {
  if (image === null) return "cannot be decoded";
  return button.dataset.frames.split(" ").includes(String(frame)) ? LEFT_OUT : `has no frame ${frame}`;
}

/** Paints how a picture differs from the preview: black where it does not. Returns what there is to say of it. */
function drawMap(canvas, preview, image, gain) {
  const why = !preview || !image ? "nothing to compare" : sizesDiffer(preview, image);
  canvas.hidden = Boolean(why);
  return why || (paintDifference(canvas, preview, image, gain) ? "" : "no difference");
}

/** One gain for all: that of the case or, where its videos have two sizes, one that suits the pictures of one size. */
async function trialsGain(index, stillAt, sides, frame) {
  if (settings.gain !== "auto") return settings.gain;
  const [preview, output, ...images] = await Promise.all([...SIDES, ...sides].map((side) => stillAt(side, frame)));
  if (!preview || (output && !sizesDiffer(preview, output))) return automaticGain(index);
  const alike = images.filter((image) => image && !sizesDiffer(preview, image));
  return Math.min(MOST_GAIN, ...alike.map((image) => gainFor(preview, image)));
}

function openTrials(root) {
  const find = (selector) => root.querySelector(selector);
  const index = Number(root.closest("[data-case]").dataset.case);
  const stillAt = stillsOf(index);
  const frames = root.dataset.frames.split(" ").map(Number);
  const scrubbers = [...root.querySelectorAll(".trials-frame")];
  const worst = Number(root.dataset.worst ?? NaN);
  const buttons = [...root.querySelectorAll(".trials-open")];
  const toggle = find(".trials-toggle");
  const large = mountLarge(find(".trials-large"), stillAt, () => at(), () => gainNow());
  const at = () => frames[scrubbers[0].value];
  const start = at();
  const gainNow = () => trialsGain(index, stillAt, buttons.map((button) => button.dataset.trial), start);
  let asked = 0; // a frame that comes late is dropped

  const paint = async () => {
    asked += 1;
    const call = asked;
    const frame = at();
    const where = `frame ${frame}${frame === worst && frames.length > 1 ? ", which differs most" : ""}`;
    find(".trials-position").textContent = where;
    for (const scrubber of scrubbers) scrubber.setAttribute("aria-valuetext", where);
    const images = await Promise.all(buttons.map((button) => stillAt(button.dataset.trial, frame)));
    const preview = await stillAt("preview", frame);
    const gain = await gainNow();
    if (call !== asked) return;
    find(".trials-legend").hidden = !toggle.checked;
    if (toggle.checked) showLegend(find(".trials-legend"), gain);
    buttons.forEach((button, place) => {
      const [canvas, gap] = button.children;
      drawStill(canvas, images[place]);
      gap.textContent = images[place] ? "" : trialGap(button, frame, images[place]);
      button.disabled = !images[place];
      const map = button.parentElement.querySelector(".trials-map");
      if (!map) return;
      map.hidden = !toggle.checked;
      if (toggle.checked) map.lastElementChild.textContent = drawMap(map.firstElementChild, preview, images[place], gain);
    });
    large.paint();
  };
  for (const scrubber of scrubbers) {
    scrubber.addEventListener("input", () => {
      for (const other of scrubbers) other.value = scrubber.value;
      paint();
    });
  }
  toggle.addEventListener("change", paint);
  for (const button of buttons) button.addEventListener("click", () => large.open(button));
  listeners.push((name) => name === "gain" && paint());
  paint();
}

/** One picture, large beside the preview. */
function mountLarge(dialog, stillAt, at, gainNow) {
  const find = (selector) => dialog.querySelector(selector);
  const stage = find(".trials-stage");
  const part = (name) => stage.querySelector(`[data-part="${name}"]`);
  const split = find(".trials-split input");
  let side = "preview";
  let title = "";

  const paint = async () => {
    if (!dialog.open) return;
    const frame = at();
    const [preview, image] = await Promise.all([stillAt("preview", frame), stillAt(side, frame)]);
    const gain = await gainNow();
    if (frame !== at()) return;
    drawStill(part("preview").querySelector("canvas"), preview);
    drawStill(part("trial").querySelector("canvas"), image);
    const map = drawMap(part("map").querySelector("canvas"), preview, image, gain);
    showLegend(find(".trials-legend"), gain);
    find(".trials-said").textContent = stage.dataset.view === "map" ? map : preview && image ? "" : "One of the two has no picture of this frame.";
    find(".trials-where").textContent = `frame ${frame}`;
  };
  const show = () => {
    stage.dataset.view = find(".modes :checked").value;
    find(".trials-split").hidden = stage.dataset.view !== "slider";
    find(".trials-legend").hidden = stage.dataset.view !== "map";
    paint();
  };
  stage.style.setProperty("--ratio", stage.dataset.ratio);
  const divide = () => stage.style.setProperty("--split", split.value / 100);
  for (const radio of dialog.querySelectorAll(".modes input")) radio.addEventListener("change", show);
  split.addEventListener("input", divide);
  stage.addEventListener("pointermove", (event) => {
    if (stage.dataset.view !== "slider" || (event.pointerType !== "mouse" && !event.buttons)) return;
    const box = part("trial").querySelector("canvas").getBoundingClientRect();
    split.value = (100 * (event.clientX - box.left)) / box.width;
    divide();
  });
  find(".trials-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  divide();
  return {
    paint,
    open: (button) => {
      ({ trial: side, title } = button.dataset);
      find("h4").textContent = title;
      part("trial").querySelector("figcaption").textContent = title;
      part("trial").querySelector("canvas").setAttribute("aria-label", title);
      dialog.showModal();
      show();
    },
  };
}

function mountTrials() {
  for (const rows of document.querySelectorAll(".trials-rows")) rows.style.setProperty("--columns", rows.dataset.columns);
  whenNear(".trials:has(.trials-rows)", openTrials);
}
