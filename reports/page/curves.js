// A curve for each metric over the frames; click or drag it to seek, point at it to read a frame.

const SVG = "http://www.w3.org/2000/svg";

function svg(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

/** The limits of a metric as horizontal lines; the caption above the curve names them. */
function limitsOf(caseData, key) {
  const { tolerance, codec_floor: floor, repeat } = caseData;
  return [
    ["mean", tolerance[key]],
    ["worst", tolerance[`${key}_min`] ?? tolerance[`${key}_max`]],
    ["floor", floor ? floor[key] : null],
    ["repeat", repeat && repeat.floor ? repeat.floor[`${key}_mean`] : null],
  ].flatMap(([kind, value]) => (typeof value === "number" ? [{ kind, value }] : []));
}

function openMetric(element, caseData) {
  const { metric: key, label, unit } = element.dataset;
  const digits = Number(element.dataset.digits);
  const { per_frame: values, measured } = caseData.metrics[key];
  const number = (value) => value.toFixed(digits) + (unit ? ` ${unit}` : "");
  const flat = element.classList.contains("flat"); // every frame identical, whatever number says so
  /** A number, null for an identical frame, undefined for one that was not measured. */
  const valueOf = (frame) => {
    if (measured && !measured.includes(frame)) return undefined;
    return flat ? null : values[frame];
  };
  const at = (frame) => {
    if (frame >= values.length) return "";
    if (valueOf(frame) === undefined) return `${label} not measured`;
    return `${label} ${values[frame] === null ? "∞ (identical)" : number(values[frame])}`;
  };
  const infinite = values.some((value, frame) => value === null && valueOf(frame) === null);
  const top = infinite ? "∞" : String(values.find((value) => typeof value === "number")); // of identical frames
  return { label, at, top, sparse: Boolean(measured), drawn: values.map((_, frame) => valueOf(frame)), limits: flat ? [] : limitsOf(caseData, key) };
}

/** A round step that gives two to five grid lines over `span`. */
function tickStep(span) {
  const power = 10 ** Math.floor(Math.log10(span));
  return [0.2, 0.5, 1, 2].map((step) => step * power).find((step) => span / step <= 4.5) ?? 2 * power;
}

function layout(element, metric, frames) {
  const width = Math.max(element.clientWidth, 200);
  const height = element.clientHeight;
  const band = metric.drawn.includes(null) ? 20 : 0;
  const box = { left: 56, right: width - 12, top: 6 + band, bottom: height - 20 };
  const finite = [...metric.drawn.filter((value) => typeof value === "number"), ...metric.limits.map((limit) => limit.value)];
  const low = finite.length ? Math.min(...finite) : 0;
  const high = finite.length ? Math.max(...finite) : 1;
  const pad = (high - low) * 0.08 || Math.abs(high) * 0.01 || 0.01;
  const scale = (box.bottom - box.top) / (high - low + 2 * pad);
  return {
    width, height, band, box, empty: !finite.length, low: low - pad, high: high + pad,
    x: (frame) => (frames === 1 ? (box.left + box.right) / 2 : box.left + ((box.right - box.left) * frame) / (frames - 1)),
    y: (value) => (value === null ? box.top - band / 2 - 3 : box.bottom - (value - low + pad) * scale),
    frameAt: (x) => Math.round(((x - box.left) / (box.right - box.left)) * (frames - 1)),
  };
}

function drawGrid(root, plot, metric, frames) {
  const { box } = plot;
  if (!plot.empty) {
    const step = tickStep(plot.high - plot.low);
    const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
    for (let tick = Math.ceil(plot.low / step) * step; tick <= plot.high; tick += step) {
      svg(root, "line", { class: "grid", x1: box.left, x2: box.right, y1: plot.y(tick), y2: plot.y(tick) });
      svg(root, "text", { x: box.left - 8, y: plot.y(tick) + 4, "text-anchor": "end" }, tick.toFixed(digits));
    }
  }
  const y = plot.height - 5;
  svg(root, "text", { class: "end", x: plot.x(0), y, "text-anchor": frames === 1 ? "middle" : "start" }, "frame 0");
  if (frames > 1) svg(root, "text", { class: "end", x: plot.x(frames - 1), y, "text-anchor": "end" }, `frame ${frames - 1}`);
}

function drawBand(root, plot, metric) {
  if (!plot.band) return;
  const { box } = plot;
  const y = box.top - plot.band - 3;
  svg(root, "rect", { class: "band", x: box.left, y, width: box.right - box.left, height: plot.band });
  svg(root, "text", { x: box.left - 8, y: plot.y(null) + 4, "text-anchor": "end" }, metric.top);
}

function drawUnpaired(root, plot, metric, frames) {
  if (metric.drawn.length >= frames) return;
  const { box } = plot;
  const x = (plot.x(metric.drawn.length - 1) + plot.x(metric.drawn.length)) / 2;
  const [width, height] = [box.right - x, box.bottom - box.top];
  svg(root, "rect", { class: "unpaired", x, y: box.top, width, height });
  let lines = "";
  for (let at = 8; at < width + height; at += 8) { // from the upper edge, or the right one, down to the left
    const [right, down] = [Math.min(at, width), Math.max(0, at - width)];
    const [left, low] = [Math.max(0, at - height), Math.min(at, height)];
    lines += `M${x + right} ${box.top + down}L${x + left} ${box.top + low}`;
  }
  svg(root, "path", { class: "hatch", d: lines });
}

function drawLimits(root, plot, metric) {
  const { box } = plot;
  for (const { kind, value } of metric.limits) {
    svg(root, "line", { class: kind, x1: box.left, x2: box.right, y1: plot.y(value), y2: plot.y(value) });
  }
}

/** Runs of finite values as lines, identical frames as diamonds in the band at the top, nothing where none was measured. */
function drawSeries(root, plot, metric) {
  const few = metric.drawn.length <= 60 || metric.sparse;
  let path = "";
  let pen = "M";
  metric.drawn.forEach((value, frame) => {
    if (typeof value !== "number") {
      pen = "M";
      return;
    }
    path += `${pen}${plot.x(frame)} ${plot.y(value)}`;
    pen = "L";
  });
  if (path) svg(root, "path", { class: "series", d: path });
  metric.drawn.forEach((value, frame) => {
    if (value === undefined) return;
    const [x, y] = [plot.x(frame), plot.y(value)];
    if (value === null) svg(root, "path", { class: "identical", d: `M${x - 4} ${y}L${x} ${y - 4}L${x + 4} ${y}L${x} ${y + 4}Z` });
    else if (few) svg(root, "circle", { class: "dot", cx: x, cy: y, r: 2.5 });
  });
}

function drawCurve(element, metric, frames) {
  const plot = layout(element, metric, frames);
  const root = document.createElementNS(SVG, "svg");
  root.setAttribute("role", "img");
  root.setAttribute("aria-label", `Curve of the ${metric.label} of each frame`);
  drawGrid(root, plot, metric, frames);
  drawBand(root, plot, metric);
  drawUnpaired(root, plot, metric, frames);
  drawSeries(root, plot, metric);
  drawLimits(root, plot, metric);
  const line = svg(root, "line", { class: "cursor", y1: plot.box.top - plot.band - 3, y2: plot.box.bottom });
  const dot = svg(root, "circle", { class: "cursor-dot", r: 4 });
  const hover = svg(root, "g", { class: "hover" });
  element.replaceChildren(root);
  /** The value of a frame under the pointer, in the place of the axis' text; null hides it. */
  const point = (frame) => {
    hover.replaceChildren();
    root.classList.toggle("pointed", frame !== null);
    if (frame === null) return;
    const x = plot.x(frame);
    svg(hover, "line", { x1: x, x2: x, y1: plot.box.top - plot.band - 3, y2: plot.box.bottom });
    const text = `frame ${frame}: ${metric.at(frame) || "no counterpart"}`;
    const half = 4 * text.length;
    const middle = Math.max(Math.min(x, plot.width - half), Math.min(half, plot.width / 2));
    svg(hover, "text", { x: middle, y: plot.height - 5, "text-anchor": "middle" }, text);
  };
  const moveTo = (frame) => {
    const x = plot.x(frame);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    const none = metric.drawn[frame] === undefined; // no counterpart, or not measured
    dot.toggleAttribute("hidden", none);
    if (none) return;
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", plot.y(metric.drawn[frame]));
  };
  return { moveTo, point, frameAt: plot.frameAt };
}

/** A curve that follows the scrubber, redraws when its width changes, and moves the scrubber when clicked. */
function mountCurve(element, caseData, frames, viewer) {
  const metric = openMetric(element, caseData);
  let curve = drawCurve(element, metric, frames);
  new ResizeObserver(() => {
    if (!element.clientHeight) return; // hidden by the filter
    curve = drawCurve(element, metric, frames);
    curve.moveTo(viewer.frame);
  }).observe(element);
  const frameOf = (event) => {
    const frame = curve.frameAt(event.clientX - element.getBoundingClientRect().left);
    return Math.max(0, Math.min(frames - 1, frame));
  };
  const seek = (event) => viewer.seek(frameOf(event));
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    seek(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) seek(event);
    curve.point(event.pointerType === "touch" ? null : frameOf(event));
  });
  element.addEventListener("pointerleave", () => curve.point(null));
  return { moveTo: (frame) => curve.moveTo(frame), at: metric.at };
}
