// Plays a viewer, and blinks all of them.

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

function setPlaying(button, playing) {
  const icon = document.createElement("span");
  icon.setAttribute("aria-hidden", "true");
  icon.textContent = playing ? "❚❚" : "▶";
  button.replaceChildren(icon, playing ? " Pause" : " Play");
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
