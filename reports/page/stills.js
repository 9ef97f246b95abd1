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

const books = new Map(); // place of a case -> its stills

/** The stills of the case at a place in the run, read once. */
function stillsOf(index) {
  if (!books.has(index)) books.set(index, openStills(document.getElementById(`stills-${index}`)));
  return books.get(index);
}
