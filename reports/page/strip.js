// The worst frames of a case, small: the output and how it differs.

/** A picture to the scale of the larger video, as on the stages. */
function paintThumb(canvas, source, bounds) {
  const scale = canvas.width / bounds.width;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, source.width * scale, source.height * scale);
}

/** Buttons that lead to the worst frames. */
function mountStrip(root, index, viewer) {
  const stillAt = stillsOf(index);
  const buttons = [...root.querySelectorAll(".strip button")];
  const paintButton = async (button) => {
    const [shown, difference] = [".thumb", ".thumb-difference"].map((name) => button.querySelector(name));
    if (!shown) return; // no still is embedded
    const frame = Number(button.dataset.frame);
    const [gain, preview, output] = await Promise.all([gainOf(index), ...SIDES.map((side) => stillAt(side, frame))]);
    if (output) paintThumb(shown, output, viewer.bounds);
    if (!preview || !output || sizesDiffer(preview, output)) return;
    const map = document.createElement("canvas");
    paintDifference(map, preview, output, gain);
    paintThumb(difference, map, viewer.bounds);
  };
  const paint = () => buttons.forEach(paintButton);
  for (const button of buttons) button.addEventListener("click", () => viewer.seek(Number(button.dataset.frame)));
  paint();
  const mark = (frame) => buttons.forEach((button) => button.setAttribute("aria-current", Number(button.dataset.frame) === frame));
  return { mark, paint };
}
