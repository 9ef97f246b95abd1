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
    const frame = Number(button.dataset.frame);
    const [gain, preview, output] = await Promise.all([gainOf(index), ...SIDES.map((side) => stillAt(side, frame))]);
    if (output) paintThumb(button.querySelector(".thumb"), output, viewer.bounds);
    const small = button.querySelector(".thumb-difference");
    if (!small || !preview || !output || sizesDiffer(preview, output)) return;
    const large = document.createElement("canvas");
    paintDifference(large, preview, output, gain);
    paintThumb(small, large, viewer.bounds);
  };
  const paint = () => buttons.forEach(paintButton);
  for (const button of buttons) button.addEventListener("click", () => viewer.seek(Number(button.dataset.frame)));
  paint();
  const mark = (frame) => buttons.forEach((button) => button.setAttribute("aria-current", Number(button.dataset.frame) === frame));
  return { mark, paint };
}
