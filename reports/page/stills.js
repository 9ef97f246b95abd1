// The embedded stills.

/** The embedded stills of a case, by side (stills.py names them) and frame; each is decoded once, when first asked for. */
function openStills(element) {
  const data = element ? JSON.parse(element.textContent) : { images: [], preview: {}, output: {} };
  const decoded = new Map();
  return (side, frame) => {
    const place = data[side]?.[frame];
    if (place === undefined) return undefined;
    if (!decoded.has(place)) {
      const image = new Image();
      image.src = data.images[place];
      decoded.set(place, image.decode().then(() => image, () => null));
    }
    return decoded.get(place);
  };
}

/** Calls back once for each element, when it comes near the window: until then its stills need not be read. */
function whenNear(selector, act) {
  const observer = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      observer.unobserve(target);
      act(target);
    }
  }, { rootMargin: "600px" });
  for (const element of document.querySelectorAll(selector)) observer.observe(element);
}

function drawStill(canvas, image) {
  canvas.hidden = !image;
  if (!image) return;
  Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
  canvas.getContext("2d").drawImage(image, 0, 0);
}

const books = new Map(); // place of a case -> its stills

/** The stills of the case at a place in the run, read once. */
function stillsOf(index) {
  if (!books.has(index)) books.set(index, openStills(document.getElementById(`stills-${index}`)));
  return books.get(index);
}
