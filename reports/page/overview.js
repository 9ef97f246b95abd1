// The overview: filter, sort and fold its rows.

const FAILED = ["drifted", "error", "unpairable"];
/** What each key of the filter looks at. */
const FIELDS = {
  status: (found) => [found.status, ...(FAILED.includes(found.status) ? ["failed"] : [])],
  factor: (found) => found.findings.map((finding) => finding.factor),
  model: (found) => [found.model],
  tag: (found) => found.tags,
};
const MOST_NAMED = 12;
const MOST_QUIET_ROWS = 10; // beside failures; more are folded

const FILTER = `wan-parity filter ${run.started}`;

const overviewRows = [...document.querySelectorAll("tr[data-row]")];

/** The rows in the order in which they stand now. */
function allRows() {
  return [...document.querySelectorAll("tr[data-row]")];
}

/** Those that the filter leaves; a fold may hide them. */
function rowsLeft() {
  return allRows().filter((row) => !row.classList.contains("filtered"));
}

function wordsOf(found) {
  const prompts = Object.values(found.recipes).map((recipe) => JSON.stringify(recipe.prompt ?? ""));
  const words = [found.id, found.model, found.verdict, found.case_file, found.error, ...prompts, ...FIELDS.factor(found), ...found.tags];
  return words.join("\n").toLowerCase();
}

/** `status:a,b -tag:"c d" word` -> terms. What has an unknown key is a word like any other. */
function parseFilter(text) {
  const terms = [];
  for (const [, minus, key, quoted, bare] of text.matchAll(/(-?)(?:([a-z]+):)?(?:"([^"]*)"?|([^\s"]*))/gi)) {
    const name = key?.toLowerCase();
    const value = (quoted ?? bare ?? "").toLowerCase();
    const known = name in FIELDS;
    if (!value) continue; // still being typed
    const any = known && quoted === undefined ? value.split(",").filter(Boolean) : [known || !key ? value : `${name}:${value}`];
    terms.push({ not: minus === "-", field: known ? name : null, unknown: known ? null : key, any });
  }
  return terms;
}

function matches(found, words, terms) {
  return terms.every(({ not, field, any }) => {
    const hit = field
      ? any.some((value) => FIELDS[field](found).some((has) => has.toLowerCase().includes(value)))
      : words.includes(any[0]);
    return hit !== not;
  });
}

function countOf(shown, total, filtered) {
  return filtered ? `${shown} of ${total} cases` : `${total} ${total === 1 ? "case" : "cases"}`;
}

/** Letters to insert, delete or replace until one word is the other. */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] !== b[j - 1]));
    row = next;
  }
  return row[b.length];
}

function didYouMean(word, known) {
  const [best] = known.map((name) => [distance(word, name.toLowerCase()), name]).sort(([a], [b]) => a - b);
  return best && best[0] <= Math.max(1, word.length / 3) ? `; did you mean ${best[1]}?` : ".";
}

/** Why a term alone leaves nothing: a sentence; undefined if some case matches it. */
function whyNone({ not, field, unknown, any }, rows) {
  if (not) return undefined;
  if (unknown) return `“${unknown}:” is not a filter key; the keys are ${Object.keys(FIELDS).join(", ")}${didYouMean(unknown, Object.keys(FIELDS))}`;
  if (!field) return rows.some(([, words]) => words.includes(any[0])) ? undefined : `No case contains “${any[0]}”.`;
  const known = [...new Set(rows.flatMap(([found]) => FIELDS[field](found)))];
  const strange = any.find((value) => !known.some((name) => name.toLowerCase().includes(value)));
  if (strange === undefined) return undefined;
  const some = known.length > MOST_NAMED ? `${known.slice(0, MOST_NAMED).join(", ")}, …` : known.join(", ");
  return known.length ? `No case has ${field} ${strange}; there are ${some}${didYouMean(strange, known)}` : `No case has a ${field}.`;
}

function explainNone(terms, rows) {
  const reasons = terms.map((term) => whyNone(term, rows)).filter(Boolean);
  return reasons.join(" ") || "Every part of the filter matches some case, but no case matches all of them.";
}

function mountFilter(input, folds) {
  const words = new Map(overviewRows.map((row) => [row, wordsOf(run.cases[row.dataset.row])]));
  const nothing = document.getElementById("nothing");
  const chips = [...document.querySelectorAll(".chip")];
  const has = (term) => input.value.split(/\s+/).includes(term);
  const apply = () => {
    const terms = parseFilter(input.value);
    for (const row of overviewRows) {
      row.classList.toggle("filtered", !matches(run.cases[row.dataset.row], words.get(row), terms));
    }
    keep(FILTER, input.value);
    const left = rowsLeft().length;
    document.getElementById("found").textContent = countOf(left, overviewRows.length, terms.length > 0);
    nothing.hidden = left > 0;
    nothing.nextElementSibling.hidden = left === 0;
    nothing.firstElementChild.textContent = left ? "" : explainNone(terms, overviewRows.map((row) => [run.cases[row.dataset.row], words.get(row)]));
    for (const chip of chips) chip.setAttribute("aria-pressed", has(chip.dataset.term));
    folds.forEach((fold) => fold.filtered(terms.length > 0));
  };
  const set = (text) => {
    input.value = text;
    apply();
  };
  input.addEventListener("input", apply);
  nothing.querySelector(".reset").addEventListener("click", () => {
    set("");
    input.focus();
  });
  input.form.addEventListener("submit", (event) => event.preventDefault());
  for (const chip of chips) {
    chip.disabled = false;
    const { term } = chip.dataset;
    chip.addEventListener("click", () => {
      const others = input.value.split(/\s+/).filter((word) => word && word !== term);
      set((has(term) ? others : [...others, term]).join(" "));
    });
  }
  set(recall(FILTER) ?? "");
}

/** The filter, wherever one is. */
function toFilter() {
  if (currentSection()) visit(OVERVIEW);
  document.getElementById("filter")?.focus();
}

/** A tier that can be folded. While a filter is set, what matches is shown. */
function mountFold(body, folded) {
  const rows = overviewRows.filter((row) => row.parentNode === body);
  const button = body.querySelector(".fold");
  const state = { folded, filtering: false };
  const apply = () => {
    const left = rows.filter((row) => !row.classList.contains("filtered")).length;
    const open = state.filtering || !state.folded;
    for (const row of rows) row.hidden = !open || row.classList.contains("filtered");
    body.hidden = left === 0;
    if (button) button.setAttribute("aria-expanded", open);
  };
  if (button) {
    button.disabled = false;
    button.addEventListener("click", () => {
      if (state.filtering) return;
      state.folded = !state.folded;
      apply();
    });
  }
  return {
    filtered: (filtering) => {
      state.filtering = filtering;
      apply();
    },
  };
}

function mountFolds() {
  const bodies = [...document.querySelectorAll("tbody[data-tier]")];
  const quiet = bodies.filter((body) => !body.classList.contains("failed"));
  const many = overviewRows.filter((row) => quiet.some((body) => body.contains(row))).length > MOST_QUIET_ROWS;
  return bodies.map((body) => mountFold(body, many && quiet.includes(body) && quiet.length < bodies.length));
}

/** What a cell is sorted by: its value, or its text; undefined where there is none. */
function keyOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = (cell.querySelector("a") ?? cell).textContent.trim();
  return text === "–" ? undefined : text;
}

const INORDER = new Intl.Collator("en", { numeric: true }); // localeCompare would make one for each pair

function compareKeys(a, b, sign) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // nothing to sort by: last
  return sign * (typeof a === "number" ? a - b || 0 : INORDER.compare(a, b));
}

/** Sorts inside each tier, so that failures stay first; a third click brings the first order back. */
function mountSorting() {
  const buttons = [...document.querySelectorAll("button.sort")];
  const original = new Map(overviewRows.map((row, place) => [row, place]));
  const sort = (column, direction) => {
    const sign = direction === "ascending" ? 1 : -1;
    const keys = new Map(overviewRows.map((row) => [row, direction ? keyOf(row, column) : 0])); // each is read once
    const compare = (a, b) => compareKeys(keys.get(a), keys.get(b), sign) || original.get(a) - original.get(b);
    for (const body of document.querySelectorAll("tbody[data-tier]")) {
      body.append(...overviewRows.filter((row) => row.parentNode === body).sort(compare));
    }
  };
  for (const button of buttons) {
    button.disabled = false;
    const header = button.closest("th");
    button.addEventListener("click", () => {
      const { first } = button.dataset;
      const second = first === "ascending" ? "descending" : "ascending";
      const next = { [first]: second, [second]: null }[header.getAttribute("aria-sort")];
      const direction = next === undefined ? first : next;
      for (const other of buttons) other.closest("th").removeAttribute("aria-sort");
      if (direction) header.setAttribute("aria-sort", direction);
      sort(header.cellIndex, direction);
      announce(direction ? `Sorted by ${button.textContent}, ${direction}.` : "Failures first.");
    });
  }
}

function mountOverview() {
  const input = document.getElementById("filter");
  if (!input) return;
  mountSorting();
  mountFilter(input, mountFolds());
}
