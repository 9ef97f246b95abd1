// The embedded stills.

/** The embedded stills of a case; each is decoded once, when first asked for. */
function openStills(element) {
  const data = element ? JSON.parse(element.textContent) : { images: [], preview: {}, output: {} };
  const decoded = new Map();
  return (side, frame) => {
    const place = data[side][frame];
    if (place === undefined) return undefined;
    if (!decoded.has(place)) {
      const image = new Image();
      image.src = data.images[place];
      decoded.set(place, image.decode().then(() => image, () => null));
    }
    return decoded.get(place);
  };
}
