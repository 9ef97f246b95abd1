// Cases whose current output is approved, saved as a file. The page itself changes nothing.

const TICKS = `wan-parity approvals ${run.started}`;

/** What `parity baseline accept --from` reads: the hashes tell the command whether it holds the video that was seen. */
function approvalsOf(ticked, results) {
  const cases = [...ticked].sort((a, b) => a - b).map((index) => {
    const { id, output } = run.cases[index];
    return { id, output_sha256: output.sha256, raw_sha256: output.raw_sha256 };
  });
  return { schema_version: 1, kind: "wan-parity approvals", results_started: run.started, results, cases };
}

function saveFile(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** What approving a case does, and what one may not want to accept by the way. */
function effectLine(index, { id, effect, warnings }) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = linkTo(sectionOf(index));
  link.textContent = id;
  item.append(link, `: ${effect}`);
  for (const warning of warnings) {
    const note = document.createElement("span");
    note.className = "approvals-warning";
    note.textContent = warning;
    item.append(" ", note);
  }
  return item;
}

function mountApprovals() {
  const bar = document.getElementById("approvals");
  const effects = JSON.parse(document.getElementById("approval-data").textContent);
  const fields = [...document.querySelectorAll("[data-approve]")];
  const known = new Set(fields.map((field) => Number(field.dataset.approve)));
  const ticked = new Set((recall(TICKS) ?? []).filter((index) => known.has(index)));
  const show = () => {
    for (const field of fields) field.checked = ticked.has(Number(field.dataset.approve));
    bar.hidden = ticked.size === 0;
    const sorted = [...ticked].sort((a, b) => a - b).map(String);
    bar.querySelector(".approvals-effects").replaceChildren(...sorted.map((index) => effectLine(index, effects[index])));
    document.documentElement.classList.toggle("approving", ticked.size > 0); // :has() would cost a new style at every change
    bar.querySelector(".ticked").textContent = `${ticked.size} of ${known.size} ${known.size === 1 ? "case" : "cases"}`;
  };
  const change = (alter) => {
    alter();
    keep(TICKS, [...ticked]);
    show();
    announce(`${ticked.size} selected.`);
  };
  const set = (index, on) => (on ? ticked.add(index) : ticked.delete(index));
  for (const field of fields) {
    const { effect, warnings } = effects[field.dataset.approve];
    field.title = [effect, ...warnings].join("; ");
    field.addEventListener("change", () => change(() => set(Number(field.dataset.approve), field.checked)));
  }
  const shown = () => rowsLeft().map((row) => Number(row.dataset.row)).filter((index) => known.has(index));
  bar.querySelector(".tick-all").addEventListener("click", () => change(() => shown().forEach((index) => ticked.add(index))));
  bar.querySelector(".untick").addEventListener("click", () => change(() => ticked.clear()));
  bar.querySelector(".export").addEventListener("click", () => {
    saveFile("approvals.json", `${JSON.stringify(approvalsOf(ticked, JSON.parse(bar.dataset.results)), null, 1)}\n`);
    announce("approvals.json saved.");
  });
  show();
  return { toggle: (index) => known.has(index) && change(() => set(index, !ticked.has(index))) };
}
