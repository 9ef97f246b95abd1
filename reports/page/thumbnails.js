// The overview's pairs of small pictures: painted when they come near the window, from the embedded stills.

/** Paints a still into a canvas of the size that the page gave it, as fine as the screen is. */
function paintThumbnail(canvas, image) {
  const { width, height } = canvas;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.classList.add("painted");
}

async function paintPair(pair) {
  const stillAt = stillsOf(Number(pair.closest("[data-row]").dataset.row));
  await Promise.all([...pair.querySelectorAll("canvas")].map(async (canvas) => {
    const image = await stillAt(canvas.dataset.side, Number(pair.dataset.frame));
    if (image) paintThumbnail(canvas, image);
  }));
}

function mountThumbnails() {
  whenNear(".overview-pair", paintPair);
}
