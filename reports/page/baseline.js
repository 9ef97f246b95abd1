// Baselines: a kept frame as it was accepted, as it is now, and their difference.

const BLINK_MS = 600;

/** Paints a picture at the given size. */
function paintAt(canvas, image, width, height) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
}

function mountBaseline(root) {
  const index = Number(root.closest("section.case").dataset.case);
  const { baseline, output } = run.cases[index];
  const accepted = baseline.accepted_output ?? output;
  const sameSize = accepted.width === output.width && accepted.height === output.height;
  const stillAt = stillsOf(index);
  const buttons = [...root.querySelectorAll("[data-frame]")];
  const [old, now, difference] = ["old", "new", "difference"].map((part) => {
    const figure = root.querySelector(`.baseline-${part}`);
    return { canvas: figure.querySelector("canvas"), gap: figure.querySelector(".baseline-gap"), detail: figure.querySelector(".baseline-detail") };
  });
  let frame = Number(root.dataset.frame);
  let gain; // one for all frames of the case

  const fill = ({ canvas, gap }, text) => {
    canvas.hidden = Boolean(text);
    gap.textContent = text;
  };
  const amplification = () => (settings.gain === "auto" ? (gain ??= gainFor(old.canvas, now.canvas)) : settings.gain);
  const subtract = (button, a, b) => {
    difference.detail.replaceChildren();
    if ("unchanged" in button.dataset) return fill(difference, "unchanged: every bit as accepted");
    if (!a || !b) return fill(difference, "nothing to compare");
    if (!sameSize) return fill(difference, sizesDiffer(accepted, output));
    const used = amplification();
    const largest = paintDifference(difference.canvas, old.canvas, now.canvas, used);
    difference.canvas.setAttribute("aria-label", `Difference at frame ${frame}, at most ${largest} of 255 levels`);
    if (largest) showLegend(difference.detail, used);
    return fill(difference, largest ? "" : NO_DIFFERENCE);
  };
  const show = async (wanted) => {
    frame = wanted;
    for (const button of buttons) button.setAttribute("aria-current", Number(button.dataset.frame) === frame);
    const button = buttons.find((item) => Number(item.dataset.frame) === frame);
    const gone = "missing" in button.dataset;
    const [a, b] = await Promise.all([stillAt("baseline", frame), gone ? undefined : stillAt("output", frame)]);
    if (frame !== wanted) return; // another was chosen meanwhile
    if (a) paintAt(old.canvas, a, a.naturalWidth, a.naturalHeight);
    const shrunk = sameSize && a && b && a.naturalWidth < b.naturalWidth;
    if (b) paintAt(now.canvas, b, ...(shrunk ? [a.naturalWidth, a.naturalHeight] : [b.naturalWidth, b.naturalHeight]));
    fill(old, a ? "" : `frame ${frame} cannot be decoded`);
    fill(now, b ? "" : gone ? `no frame ${frame} in the new video` : `frame ${frame} is not embedded in this file`);
    subtract(button, a, b);
    const size = shrunk ? ` Compared at ${a.naturalWidth}×${a.naturalHeight}, the size at which the baseline keeps them.` : "";
    root.querySelector(".baseline-note").textContent = `Stills, that is compressed copies; the verdict is by the exact frames.${size}`;
    old.canvas.setAttribute("aria-label", `Frame ${frame} as accepted`);
    now.canvas.setAttribute("aria-label", `Frame ${frame} now`);
  };

  root.style.setProperty("--ratio", output.width / output.height);
  for (const button of buttons) button.addEventListener("click", () => show(Number(button.dataset.frame)));
  const split = root.querySelector(".baseline-split input");
  const divide = () => root.style.setProperty("--split", split.value / 100);
  split.addEventListener("input", divide);
  divide();
  const stages = root.querySelector(".baseline-stages");
  const drag = (event) => {
    if (root.dataset.mode !== "slider" || !(event.buttons & 1)) return;
    const box = old.canvas.closest(".baseline-stage").getBoundingClientRect();
    split.value = (100 * (event.clientX - box.left)) / box.width;
    divide();
  };
  for (const name of ["pointerdown", "pointermove"]) stages.addEventListener(name, drag);

  const swapPictures = () => root.classList.toggle("baseline-swapped");
  let clock = 0;
  root.querySelector(".baseline-swap").addEventListener("click", () => {
    clearInterval(clock); // by hand from now on
    swapPictures();
  });
  for (const mode of root.querySelectorAll("[type=radio]")) {
    mode.addEventListener("change", () => {
      root.dataset.mode = mode.value;
      clearInterval(clock);
      if (mode.value === "blink" && settings.swap) clock = setInterval(swapPictures, BLINK_MS);
    });
  }
  listeners.push((name) => name === "gain" && show(frame));
  show(frame);
}

function mountBaselines() {
  whenNear(".baseline-view", mountBaseline);
}
