(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const SIDES = ["preview", "output"];
  const SIDE_TEXT = { preview: "in the preview", output: "in the output" };
  const run = JSON.parse(document.getElementById("run-data").textContent);

  // ---- Stills ----

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

  // ---- Stages: preview, output, difference ----

  function openStage(element) {
    const canvas = element.querySelector("canvas");
    const context = canvas.getContext("2d", { willReadFrequently: true });
    return { element, canvas, context, note: element.querySelector(".gap") };
  }

  /** Size on screen, to the scale of the larger video. */
  function place(stage, video, bounds) {
    stage.canvas.style.width = `${(100 * video.width) / bounds.width}%`;
    stage.canvas.style.height = `${(100 * video.height) / bounds.height}%`;
    stage.canvas.classList.toggle("enlarged", 2 * video.width <= stage.element.clientWidth * (video.width / bounds.width));
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

  /** |a - b| * gain per channel. Returns whether anything differs. */
  function difference(a, b, out, gain) {
    let any = false;
    for (let i = 0; i < a.length; i += 4) {
      for (let c = 0; c < 3; c += 1) {
        const delta = Math.abs(a[i + c] - b[i + c]);
        any ||= delta > 0;
        out[i + c] = delta * gain;
      }
      out[i + 3] = 255;
    }
    return any;
  }

  function paintDifference(stage, stages, gain, frame) {
    const [a, b] = SIDES.map((side) => stages[side].canvas);
    const { width, height } = a;
    stage.canvas.hidden = true;
    if (a.hidden || b.hidden) return say(stage, "nothing to compare");
    if (width !== b.width || height !== b.height) {
      return say(stage, `not computed: the sizes differ, ${width}×${height} and ${b.width}×${b.height}`);
    }
    const [left, right] = SIDES.map((side) => stages[side].context.getImageData(0, 0, width, height).data);
    Object.assign(stage.canvas, { width, height });
    const pixels = stage.context.createImageData(width, height);
    const any = difference(left, right, pixels.data, gain);
    stage.context.putImageData(pixels, 0, 0);
    stage.canvas.hidden = false;
    stage.canvas.setAttribute("aria-label", any ? `Difference at frame ${frame}, ${gain} times` : `No difference at frame ${frame}`);
    return say(stage, any ? "" : "no difference in the display copies");
  }

  /** Why a side shows nothing at a frame. */
  function gapText(side, video, frame, image) {
    if (!video) return `no ${side}`;
    if (frame >= video.frames) return `no frame ${frame} ${SIDE_TEXT[side]}`;
    return image === null ? `frame ${frame} cannot be decoded` : `frame ${frame} is not embedded in this file`;
  }

  // ---- Curves ----

  function svg(parent, name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  /** Horizontal lines a metric is held against; the caption above the curve says which is which. */
  function limitsOf(caseData, key) {
    const { tolerance, codec_floor: floor } = caseData;
    return [
      ["mean", tolerance[key]],
      ["worst", tolerance[`${key}_min`] ?? tolerance[`${key}_max`]],
      ["floor", floor ? floor[key] : null],
    ].flatMap(([kind, value]) => (typeof value === "number" ? [{ kind, value }] : []));
  }

  function openMetric(element, caseData) {
    const { metric: key, label, unit } = element.dataset;
    const digits = Number(element.dataset.digits);
    const { per_frame: values } = caseData.metrics[key];
    const number = (value) => value.toFixed(digits) + (unit ? ` ${unit}` : "");
    const at = (frame) => {
      if (frame >= values.length) return "";
      return `${label} ${values[frame] === null ? "∞ (identical)" : number(values[frame])}`;
    };
    const flat = element.classList.contains("flat"); // every frame identical, whatever number says so
    const identical = values.map((value) => flat || value === null);
    const top = values.includes(null) ? "∞" : String(values[0]);
    return { label, at, top, drawn: values.map((v, i) => (identical[i] ? null : v)), limits: flat ? [] : limitsOf(caseData, key) };
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
    const finite = [...metric.drawn.filter((value) => value !== null), ...metric.limits.map((limit) => limit.value)];
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
    svg(root, "text", { x: plot.x(0), y, "text-anchor": frames === 1 ? "middle" : "start" }, "frame 0");
    if (frames > 1) svg(root, "text", { x: plot.x(frames - 1), y, "text-anchor": "end" }, `frame ${frames - 1}`);
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
    svg(root, "rect", { class: "unpaired", x, y: box.top, width: box.right - x, height: box.bottom - box.top });
    svg(root, "text", { x: box.right - 4, y: box.bottom - 5, "text-anchor": "end" }, "no pair");
  }

  function drawLimits(root, plot, metric) {
    const { box } = plot;
    for (const { kind, value } of metric.limits) {
      svg(root, "line", { class: kind, x1: box.left, x2: box.right, y1: plot.y(value), y2: plot.y(value) });
    }
  }

  /** Runs of finite values as lines, identical frames as diamonds in the band at the top. */
  function drawSeries(root, plot, metric) {
    const few = metric.drawn.length <= 60;
    let path = "";
    let pen = "M";
    metric.drawn.forEach((value, frame) => {
      if (value === null) {
        pen = "M";
        return;
      }
      path += `${pen}${plot.x(frame)} ${plot.y(value)}`;
      pen = "L";
    });
    if (path) svg(root, "path", { class: "series", d: path });
    metric.drawn.forEach((value, frame) => {
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
    element.replaceChildren(root);
    const moveTo = (frame) => {
      const x = plot.x(frame);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      dot.toggleAttribute("hidden", frame >= metric.drawn.length);
      if (frame >= metric.drawn.length) return;
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", plot.y(metric.drawn[frame]));
    };
    return { moveTo, frameAt: plot.frameAt };
  }

  /** A curve that follows the scrubber, redraws when its width changes, and moves the scrubber when clicked. */
  function mountCurve(element, caseData, frames, viewer) {
    const metric = openMetric(element, caseData);
    let curve = drawCurve(element, metric, frames);
    new ResizeObserver(() => {
      curve = drawCurve(element, metric, frames);
      curve.moveTo(viewer.frame);
    }).observe(element);
    const seek = (event) => {
      const frame = curve.frameAt(event.clientX - element.getBoundingClientRect().left);
      viewer.seek(Math.max(0, Math.min(frames - 1, frame)));
    };
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      seek(event);
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) seek(event);
    });
    return { moveTo: (frame) => curve.moveTo(frame), at: metric.at };
  }

  // ---- Viewer ----

  function timeText(videos, frame) {
    const times = SIDES.flatMap((side) => {
      const video = videos[side];
      return video && frame < video.frames ? [`${(frame / video.fps).toFixed(2)} s`] : [];
    });
    return [...new Set(times)].join(" / ");
  }

  /** Calls `step` with the frames elapsed since the start, at `fps`, until told to stop. */
  function startClock(fps, step) {
    const start = performance.now();
    let handle = requestAnimationFrame(function tick(now) {
      handle = requestAnimationFrame(tick);
      step(Math.max(0, Math.floor(((now - start) / 1000) * fps)));
    });
    return () => cancelAnimationFrame(handle);
  }

  function mountViewer(root, index) {
    const caseData = run.cases[index];
    const videos = { preview: caseData.preview, output: caseData.output };
    const present = SIDES.map((side) => videos[side]).filter(Boolean);
    const frames = Math.max(...present.map((video) => video.frames));
    const bounds = { width: Math.max(...present.map((v) => v.width)), height: Math.max(...present.map((v) => v.height)) };
    const still = openStills(document.getElementById(`stills-${index}`));
    const stages = {};
    for (const element of root.querySelectorAll(".stage")) stages[element.dataset.side] = openStage(element);
    const slider = root.querySelector("input[type=range]");
    const gain = root.querySelector("select");
    const position = root.querySelector(".position");
    const values = root.querySelector(".values");
    const play = root.querySelector(".play");
    const showsStills = !root.querySelector(".stages").hidden;
    const viewer = { frame: Number(slider.value), seek: (frame) => { stop(); show(frame); } };
    let stopClock = null;
    let decoding = false;

    async function showStills(frame) {
      decoding = true;
      const images = await Promise.all(SIDES.map((side) => still(side, frame)));
      decoding = false;
      if (frame !== viewer.frame) return; // the scrubber has moved on
      SIDES.forEach((side, i) => paintStill(stages[side], images[i], gapText(side, videos[side], frame, images[i]), `${side}, frame ${frame}`));
      paintDifference(stages.difference, stages, Number(gain.value), frame);
      SIDES.forEach((side) => still(side, frame + 1)); // decoded in time for the next step
    }

    function show(frame) {
      viewer.frame = frame;
      slider.value = frame;
      const readings = curves.map((curve) => curve.at(frame)).filter(Boolean).join(" · ");
      position.textContent = `frame ${frame} of 0–${frames - 1}, ${timeText(videos, frame)}`;
      values.textContent = readings;
      slider.setAttribute("aria-valuetext", `frame ${frame}, ${timeText(videos, frame)}. ${readings}`);
      curves.forEach((curve) => curve.moveTo(frame));
      if (showsStills) showStills(frame);
    }

    function stop() {
      if (!stopClock) return;
      stopClock();
      stopClock = null;
      setPlaying(false);
    }

    function setPlaying(playing) {
      const icon = document.createElement("span");
      icon.setAttribute("aria-hidden", "true");
      icon.textContent = playing ? "❚❚" : "▶";
      play.replaceChildren(icon, playing ? " Pause" : " Play");
    }

    /** Frames that were left out of the file are passed over. */
    function playable(frame) {
      return !showsStills || SIDES.some((side) => still(side, frame) !== undefined);
    }

    function start() {
      const once = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const first = viewer.frame === frames - 1 ? 0 : viewer.frame;
      setPlaying(true);
      stopClock = startClock(present[0].fps, (elapsed) => {
        if (decoding) return; // a slow machine drops frames, but shows those it reaches
        const frame = first + elapsed;
        if (once && frame >= frames) stop();
        else if (frame % frames !== viewer.frame && playable(frame % frames)) show(frame % frames);
      });
    }

    const curves = [...root.querySelectorAll(".plot")].map((element) => mountCurve(element, caseData, frames, viewer));
    for (const side of SIDES) place(stages[side], videos[side] ?? bounds, bounds);
    place(stages.difference, bounds, bounds);
    play.disabled = frames === 1;
    play.addEventListener("click", () => (stopClock ? stop() : start()));
    slider.addEventListener("input", () => viewer.seek(Number(slider.value)));
    gain.addEventListener("change", () => show(viewer.frame));
    root.querySelector("button.worst").addEventListener("click", () => viewer.seek(Number(root.dataset.worst)));
    show(viewer.frame);
  }

  // ---- Copy buttons ----

  function selectText(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }

  /** Copies the change beside a button. Where the clipboard is closed to the page, the text is selected instead. */
  function mountCopy(button) {
    const text = button.parentElement.querySelector(".fix");
    const status = button.closest(".why").querySelector("[role=status]");
    let reset = 0;
    const tell = (word, sentence) => {
      button.textContent = word;
      status.textContent = sentence;
      clearTimeout(reset);
      reset = setTimeout(() => { button.textContent = "Copy"; }, 3000);
    };
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        tell("Copied", "Copied.");
      } catch {
        selectText(text);
        tell("Selected", "Selected; copy it with Ctrl+C or ⌘C.");
      }
    });
    button.hidden = false;
  }

  for (const button of document.querySelectorAll("button.copy")) mountCopy(button);

  // Viewers open when they come near the screen: a page may hold hundreds of stills.
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((item) => item.isIntersecting)) {
        observer.unobserve(entry.target);
        mountViewer(entry.target, Number(entry.target.closest("[data-case]").dataset.case));
      }
    },
    { rootMargin: "600px" },
  );
  for (const viewer of document.querySelectorAll(".viewer")) observer.observe(viewer);
})();
