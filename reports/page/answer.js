// The pictures of a case's answer, and folds that stay as the reader left them.

/** Paints one picture; says so where its still is not in the file. */
async function paintAnswer(canvas, index, frame) {
  const stillAt = stillsOf(index);
  const side = canvas.dataset.side;
  const note = canvas.nextElementSibling;
  const images = await Promise.all((side === "difference" ? SIDES : [side]).map((name) => stillAt(name, frame)));
  const [first, second] = images;
  note.textContent = images.every(Boolean) ? "" : images.includes(null) ? "cannot be decoded" : "no still of this in the file";
  if (note.textContent) return;
  if (side === "difference") {
    note.textContent = sizesDiffer(first, second);
    if (note.textContent) return;
    const gain = await gainOf(index);
    showLegend(canvas.closest("figure").querySelector(".ramp"), gain);
    if (!paintDifference(canvas, first, second, gain)) note.textContent = NO_DIFFERENCE;
    return;
  }
  drawStill(canvas, first);
}

function mountAnswers() {
  whenNear(".answer-proof", (proof) => {
    const index = Number(proof.closest("[data-case]").dataset.case);
    const paint = (canvas) => paintAnswer(canvas, index, Number(proof.dataset.frame));
    proof.querySelectorAll("canvas").forEach(paint);
    listeners.push((name) => name === "gain" && proof.querySelectorAll("[data-side=difference]").forEach(paint));
  });
}

const FOLDS = "wan-parity folds";

/** A part that the reader opens is open in every case, as long as the tab lasts. */
function mountParts() {
  const opened = new Set(recall(FOLDS) ?? []);
  const folds = [...document.querySelectorAll("details.fold")];
  const nameOf = (fold) => fold.querySelector("h3").textContent;
  for (const fold of folds) {
    if (opened.has(nameOf(fold))) fold.open = true;
    fold.querySelector("summary").addEventListener("click", () => {
      const name = nameOf(fold);
      const opens = !fold.open;
      for (const other of folds) if (other !== fold && nameOf(other) === name) other.open = opens;
      if (opens) opened.add(name);
      else opened.delete(name);
      keep(FOLDS, [...opened]);
    });
  }
}
