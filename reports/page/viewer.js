// The viewer of a case: both videos in lockstep.

const opened = new Map(); // section -> viewer

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

/** Plays from where the viewer is. Frames that were left out of the file are passed over. */
function openPlayer(viewer, fps, playable, onChange) {
  let stopClock = null;
  const stop = () => {
    if (!stopClock) return;
    stopClock();
    stopClock = null;
    onChange(false);
  };
  const start = () => {
    const { frames } = viewer;
    const first = viewer.frame === frames - 1 ? 0 : viewer.frame;
    stopClock = startClock(fps * settings.speed, (elapsed) => {
      if (viewer.decoding) return; // a slow machine drops frames, but shows those it reaches
      const ended = !settings.loop && first + elapsed >= frames;
      const frame = ended ? frames - 1 : (first + elapsed) % frames;
      if (frame !== viewer.frame && playable(frame)) viewer.show(frame);
      if (ended) stop();
    });
    onChange(true);
  };
  return {
    stop,
    toggle: () => (stopClock ? stop() : start()),
    restart: () => {
      if (!stopClock) return;
      stopClock();
      start();
    },
  };
}

/** The buttons of the worst frames, with a small picture of the output. */
function mountStrip(root, viewer, stillAt, bounds) {
  const buttons = [...root.querySelectorAll(".strip button")];
  for (const button of buttons) {
    const frame = Number(button.dataset.frame);
    const canvas = button.querySelector("canvas");
    button.addEventListener("click", () => viewer.seek(frame));
    Promise.resolve(stillAt("output", frame)).then((image) => {
      if (!image) return;
      const scale = canvas.width / bounds.width;
      canvas.getContext("2d").drawImage(image, 0, 0, image.naturalWidth * scale, image.naturalHeight * scale);
    });
  }
  return (frame) => buttons.forEach((button) => button.setAttribute("aria-current", Number(button.dataset.frame) === frame));
}

/** The divider of the slider. */
function mountSplit(stages, input) {
  const share = () => Number(input.value) / 100;
  const apply = () => stages.style.setProperty("--split", share());
  input.addEventListener("input", apply);
  const move = (to) => {
    input.value = 100 * to;
    apply();
  };
  apply();
  return { share, move };
}

/** Mode, gain, speed, loop and swap are those of every viewer. */
function mountChoices(root, onChange) {
  const fields = [...root.querySelectorAll("[data-choice]")];
  const show = () => {
    for (const field of fields) {
      const value = settings[field.dataset.choice];
      if (field.type === "radio") field.checked = field.value === value;
      else if (field.type === "checkbox") field.checked = value;
      else field.value = value;
    }
  };
  const read = (field) => {
    if (field.type === "checkbox") return field.checked;
    return CHOICES[field.dataset.choice].find((choice) => String(choice) === field.value);
  };
  for (const field of fields) {
    field.addEventListener("change", () => choose(field.dataset.choice, read(field)));
  }
  show();
  listeners.push((name) => {
    show();
    onChange(name);
  });
}

/** Paints a frame on all stages; an answer that comes late is dropped. */
function openPainter(index, stages, videos, stillAt, viewer) {
  return async (frame) => {
    viewer.decoding = true;
    const [gain, ...images] = await Promise.all([gainOf(index), ...SIDES.map((side) => stillAt(side, frame))]);
    viewer.decoding = false;
    if (frame !== viewer.frame) return; // the scrubber has moved on
    SIDES.forEach((side, i) => paintStill(stages[side], images[i], gapText(side, videos[side], frame, images[i]), `${side}, frame ${frame}`));
    if (["side", "heat"].includes(settings.mode)) {
      paintDifferenceStage(stages.difference, stages, gain, frame, isIdentical(run.cases[index], frame));
    }
    SIDES.forEach((side) => stillAt(side, frame + 1)); // decoded in time for the next step
  };
}

/** What the colours of a case's differences stand for, and which gain suits it. */
async function showGain(root, index) {
  const [gain, suits] = await Promise.all([gainOf(index), automaticGain(index)]);
  root.querySelector(".gain option[value=auto]").textContent = `auto: ${suits}×`;
  showLegend(root.querySelector(".ramp"), gain);
}

function setPlaying(button, playing) {
  const icon = document.createElement("span");
  icon.setAttribute("aria-hidden", "true");
  icon.textContent = playing ? "❚❚" : "▶";
  button.replaceChildren(icon, playing ? " Pause" : " Play");
}

function mountViewer(root, section) {
  const find = (selector) => root.querySelector(selector);
  const index = Number(section.dataset.case);
  const caseData = run.cases[index];
  const videos = { preview: caseData.preview, output: caseData.output };
  const present = SIDES.map((side) => videos[side]).filter(Boolean);
  const frames = Math.max(...present.map((video) => video.frames));
  const bounds = { width: Math.max(...present.map((v) => v.width)), height: Math.max(...present.map((v) => v.height)) };
  const stillAt = stillsOf(index);
  const stages = {};
  for (const element of root.querySelectorAll(".stage")) stages[element.dataset.side] = openStage(element);
  const slider = find(".scrubber input");
  const showsStills = !find(".screen").hidden;
  const viewer = { section, frames, frame: Number(slider.value), worst: root.dataset.worst === undefined ? null : Number(root.dataset.worst), decoding: false };
  const paint = openPainter(index, stages, videos, stillAt, viewer);
  const repaint = () => showsStills && paint(viewer.frame);
  const refresh = () => Object.values(stages).forEach((stage) => sharpen(stage, bounds, zoom.view.zoom));

  viewer.show = (frame) => {
    viewer.frame = frame;
    slider.value = frame;
    const readings = curves.map((curve) => curve.at(frame)).filter(Boolean).join(" · ");
    find(".position").textContent = `frame ${frame} of 0–${frames - 1}, ${timeText(videos, frame)}`;
    find(".values").textContent = readings;
    slider.setAttribute("aria-valuetext", `frame ${frame}, ${timeText(videos, frame)}. ${readings}`);
    curves.forEach((curve) => curve.moveTo(frame));
    markStrip(frame);
    repaint();
  };
  viewer.seek = (frame) => {
    player.stop();
    viewer.show(Math.max(0, Math.min(frames - 1, frame)));
    keepLink(viewer);
  };
  viewer.step = (by) => viewer.seek(viewer.frame + by);
  viewer.toWorst = () => viewer.worst !== null && viewer.seek(viewer.worst);

  const playable = (frame) => !showsStills || SIDES.some((side) => stillAt(side, frame) !== undefined);
  const player = openPlayer(viewer, present[0].fps, playable, (playing) => {
    setPlaying(find(".play"), playing);
    if (!playing) keepLink(viewer);
  });
  viewer.pause = player.stop;
  const zoom = openZoom(find(".stages"), (factor) => {
    find(".zoom").textContent = `${Math.round(100 * factor)}%`;
    refresh();
  });
  const markStrip = mountStrip(root, viewer, stillAt, bounds);
  const curves = [...root.querySelectorAll(".plot")].map((element) => mountCurve(element, caseData, frames, viewer));
  mountPointers(find(".stages"), zoom, mountSplit(find(".stages"), find(".split")));
  for (const side of SIDES) place(stages[side], videos[side] ?? bounds, bounds);
  place(stages.difference, bounds, bounds);
  new ResizeObserver(refresh).observe(find(".stages"));

  viewer.play = () => frames > 1 && player.toggle();
  viewer.zoom = zoom;
  const actions = {
    play: viewer.play,
    back: () => viewer.step(-1),
    forward: () => viewer.step(1),
    worst: viewer.toWorst,
    "zoom-in": () => zoom.by(1.5),
    "zoom-out": () => zoom.by(1 / 1.5),
    "zoom-reset": zoom.reset,
    swap: swapNow,
  };
  for (const [name, action] of Object.entries(actions)) find(`button.${name}`).addEventListener("click", action);
  slider.addEventListener("input", () => viewer.seek(Number(slider.value)));
  mountChoices(root, (name) => {
    if (name === "speed") player.restart();
    if (name === "mode" || name === "gain") repaint();
    if (name === "gain") showGain(root, index);
  });
  if (showsStills) showGain(root, index);
  viewer.show(viewer.frame);
  return viewer;
}

/** The viewer of a section, opened if it was not; none if the case has no frames, or while stills are being read. */
function viewerOf(section) {
  if (document.readyState === "loading") return undefined;
  const root = section.querySelector(".viewer");
  if (root && !opened.has(section)) opened.set(section, mountViewer(root, section));
  return opened.get(section);
}

// ---- Blink: one clock for all viewers ----

function swap() {
  const { dataset } = document.documentElement;
  dataset.shown = dataset.shown === "output" ? "preview" : "output";
}

/** By hand; the clock stops. */
function swapNow() {
  if (settings.swap) choose("swap", false);
  swap();
}

function mountBlink() {
  document.documentElement.dataset.shown = "preview";
  setInterval(() => {
    if (settings.mode === "blink" && settings.swap) swap();
  }, 600);
}

/** Room for the stages before their viewers open: nothing jumps when they do. */
function mountViewers() {
  mountBlink();
  for (const stages of document.querySelectorAll(".stages")) {
    const { width, height } = stages.querySelector(".sizer").viewBox.baseVal;
    stages.style.setProperty("--ratio", width / height);
  }
}
