// The viewer of a case: both videos in lockstep.

const opened = new Map(); // section -> viewer

function timeText(videos, frame) {
  const times = SIDES.flatMap((side) => {
    const video = videos[side];
    return video && frame < video.frames ? [`${(frame / video.fps).toFixed(2)} s`] : [];
  });
  return [...new Set(times)].join(" / ");
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

/** Paints a frame on all stages; an answer that comes late is dropped. */
function openPainter(index, stages, videos, stillAt, viewer) {
  let latest = 0;
  return async (frame) => {
    latest += 1;
    const turn = latest;
    viewer.decoding = true;
    const [gain, ...images] = await Promise.all([gainOf(index), ...SIDES.map((side) => stillAt(side, frame))]);
    if (turn !== latest) return; // the scrubber or the gain has moved on
    viewer.decoding = false;
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
  for (const legend of root.querySelectorAll(".ramp")) showLegend(legend, gain);
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
  const viewer = { section, frames, bounds, frame: Number(slider.value), worst: root.dataset.worst === undefined ? null : Number(root.dataset.worst), decoding: false };
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
    strip.mark(frame);
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
  const strip = mountStrip(root, index, viewer);
  const curves = [...root.querySelectorAll(".plot")].map((element) => mountCurve(element, caseData, frames, viewer));
  mountPointers(find(".stages"), zoom, mountSplit(find(".stages"), find(".split")));
  for (const side of SIDES) place(stages[side], videos[side] ?? bounds, bounds);
  place(stages.difference, bounds, bounds);
  new ResizeObserver(refresh).observe(find(".stages"));

  viewer.play = () => frames > 1 && player.toggle();
  viewer.zoom = zoom;
  const full = mountFull(root, find("button.fill"));
  viewer.toggleFull = () => showsStills && full.toggle();
  viewer.leave = () => { // for another case
    player.stop();
    full.leave(false);
  };
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
    if (name !== "gain") return;
    showGain(root, index);
    strip.paint();
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

/** Room for the stages before their viewers open: nothing jumps when they do. */
function mountViewers() {
  mountBlink();
  for (const stages of document.querySelectorAll(".stages")) {
    const { width, height } = stages.querySelector(".sizer").viewBox.baseVal;
    stages.style.setProperty("--ratio", width / height);
  }
}
