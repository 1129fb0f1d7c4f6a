// The comparison table: a row a group, a row a seed on request. What all runs have in common stands above it.

const tableColumns = [
  { head: "accuracy", pick: (s) => s.accuracy, show: percent, best: Math.max },
  { head: "eval loss", pick: (s) => s.eval_loss, show: digits, best: Math.min },
  { head: "train loss", pick: (s) => s.train_loss, show: digits, best: Math.min },
  { head: "worst tenth", pick: (s) => s.client_loss_worst, show: digits, best: Math.min },
  { head: "ε", pick: (s) => s.epsilon, show: digits, best: Math.min },
  { head: "gap", pick: (s) => s.duality_gap, show: digits, best: Math.min },
  { head: "steps", pick: (s) => s.steps, show: whole, common: true },
  { head: "rounds", pick: (s) => s.rounds, show: whole },
  {
    head: "sent + received", pick: (s) => s.bytes_sent_per_worker + s.bytes_received_per_worker, show: bytes, best: Math.min,
    under: (m) => `↑ ${bytes(m((s) => s.bytes_sent_per_worker))}  ↓ ${bytes(m((s) => s.bytes_received_per_worker))}`,
  },
  { head: "times fewer", pick: (s) => s.times_fewer_bytes, show: (v) => (isNumber(v) ? digits(v, v < 10 ? 2 : 3) + "\u2009×" : none), best: Math.max },
  { head: "compute", pick: (s) => s.compute_seconds, show: seconds },
  { head: "wait", pick: (s) => s.wait_seconds, show: seconds },
  { head: "exchange", pick: (s) => s.exchange_seconds, show: seconds },
  { head: "wall clock", pick: (s) => s.wall_seconds, show: seconds, best: Math.min },
  { head: "CPU time", pick: (s) => s.cpu_seconds, show: seconds },
  { head: "on 100 Mbit/s", pick: (s) => s.link_seconds_100mbit, show: seconds, best: Math.min },
];

function cell(column, group, best) {
  const list = numbersOf(group, (r) => column.pick(r.summary));
  if (!list.length) return element("td", {}, none);
  const value = mean(list), spread = deviation(list);
  const unit = "±\u2009" + (column.show === percent ? (100 * spread).toFixed(1) : column.show === whole ? two(spread) : column.show(spread, 2));
  const under = column.under?.((pick) => meanOf(group, (r) => pick(r.summary)));
  return element("td", { class: best !== null && value === best && group.runs.every((r) => !r.summary.diverged) ? "best" : null }, column.show(value),
    under ? element("small", {}, under) : list.length > 1 && spread > 0 ? element("small", {}, unit) : null);
}

function drawTable() {
  const all = byId("seeds").checked;
  const told = (c) => c.common && new Set(runs.map((r) => c.pick(r.summary))).size === 1;
  const used = tableColumns.filter((c) => !told(c) && groups.some((g) => numbersOf(g, (r) => c.pick(r.summary)).length));
  const best = used.map((c) => {
    // A method that diverged is not the best at anything.
    const means = groups.filter((g) => g.runs.every((r) => !r.summary.diverged)).map((g) => meanOf(g, (r) => c.pick(r.summary))).filter(isNumber);
    return c.best && means.length > 1 && new Set(means).size > 1 ? c.best(...means) : null;
  });
  const body = element("tbody");
  for (const group of groups) {
    const diverged = group.runs.filter((r) => r.summary.diverged).length;
    const count = group.runs.length;
    const tag = diverged ? element("span", { class: "tag" }, count > 1 ? `${diverged} of ${count} diverged` : "diverged") : null;
    const seedWords = element("small", {}, count > 1 ? `${count} seeds` : `seed ${group.runs[0].seed}`);
    const [name, ...rest] = named(group.label);
    body.append(element("tr", {}, element("th", { scope: "row" }, swatch(tint(group.at), group.at), name, tag, ...rest, seedWords),
      ...used.map((c, i) => cell(c, group, best[i]))));
    if (!all || count < 2) continue;
    for (const run of group.runs) {
      const seed = element("th", { scope: "row" }, `seed ${run.seed}`, run.summary.diverged ? element("span", { class: "tag" }, "diverged") : null);
      body.append(element("tr", { class: "seed" }, seed, ...used.map((c) => element("td", {}, c.show(c.pick(run.summary))))));
    }
  }
  const head = element("tr", {}, element("th", { scope: "col" }, "method"), ...used.map((c) => element("th", { scope: "col" }, c.head)));
  byId("table").replaceChildren(element("thead", {}, head), body);
}
