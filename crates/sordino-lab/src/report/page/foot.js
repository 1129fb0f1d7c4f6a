// Words around the numbers: title, notes, recipes, environments.

function drawHead() {
  byId("title").textContent = data.title;
  const distinct = (pick) => [...new Set(runs.map(pick))];
  const word = (pick, unit) => {
    const list = distinct(pick);
    return list.length === 1 && list[0] !== "" ? `${isNumber(list[0]) ? whole(list[0]) : list[0]}${unit}` : null;
  };
  const count = (n, unit) => `${n} ${unit}${n === 1 ? "" : "s"}`;
  byId("subtitle").textContent = [
    word((r) => r.summary.task, ""),
    word((r) => r.summary.workers, " workers"),
    word((r) => r.summary.clients ?? "", " clients"),
    word((r) => r.summary.parameters, " parameters"),
    word((r) => r.summary.steps, " local steps"),
    `${count(groups.length, "method")}, ${count(runs.length, "run")}`,
  ].filter(Boolean).join(" · ");
}

function drawNotes() {
  const notes = [];
  const crowded = runs.filter((r) => r.summary.cores > 0 && r.summary.workers > r.summary.cores && !r.summary.simulated);
  if (crowded.length) {
    const { workers, cores } = crowded[0].summary;
    notes.push(`Workers shared processor cores (${workers} workers on ${cores} cores): compare CPU time or bytes rather than wall-clock seconds.`);
  }
  if (runs.some((r) => r.summary.simulated)) notes.push("Seconds of fabric=sim are those of the simulated world.");
  const diverged = runs.filter((r) => r.summary.diverged).map((r) => r.name);
  if (diverged.length) notes.push(`Diverged, and stopped before the end: ${diverged.join(", ")}.`);
  const tasks = new Set(runs.map((r) => `${r.summary.task} ${r.summary.workers} ${r.summary.parameters}`));
  if (tasks.size > 1) notes.push("These runs are of different tasks, models or numbers of workers: compare them with care.");
  byId("notes").append(...notes.map((n) => element("li", {}, n)));
  byId("notes").hidden = notes.length === 0;
}

function drawFoot() {
  const pairs = (map) => element("dl", {}, ...Object.entries(map).flatMap(([k, v]) => [element("dt", {}, k), element("dd", {}, v)]));
  const host = byId("foot");
  host.className = "foot";
  for (const run of runs) {
    const facts = { workers: String(run.summary.workers), cores: String(run.summary.cores), epochs: digits(run.summary.epochs, 3) };
    if (run.summary.started_from) facts["started from"] = run.summary.started_from;
    host.append(element("details", {}, element("summary", {}, run.name, element("span", {}, `${run.method}, seed ${run.seed}`)),
      element("div", { class: "two" }, element("pre", { tabindex: "0" }, run.recipe.trim() || "no recipe"), pairs({ ...facts, ...run.environment }))));
  }
}
