// Curves: one uPlot a figure, all of the same x axis, with crosshairs that move together.

const options = { axis: "steps", logX: false, logY: true, spread: "range" };

const curveFigures = [
  { column: "train_loss", title: "Training loss", note: "nats per example", show: digits, tick: tick.plain, log: true },
  { column: "eval_loss", title: "Held-out loss", note: "nats per example", show: digits, tick: tick.plain, log: true },
  { column: "accuracy", title: "Held-out accuracy", note: "of the agreed model", show: percent, tick: tick.percent },
];
const insideFigures = [
  { column: "silence", title: "H: local steps of a round", note: "schedule", show: whole, tick: tick.plain, stepped: true, zero: true, positive: true },
  { column: "rate", title: "Learning rate", note: "of the round’s first step", show: digits, tick: tick.plain, stepped: true, zero: true },
  { column: "clip_fraction", title: "Clipped", note: "fraction of the round", show: percent, tick: tick.percent, zero: true },
  { column: "residual_norm", title: "Residual norm", note: "‖residual‖₂, mean over workers", show: digits, tick: tick.plain, log: true, zero: true },
  { column: "duality_gap", title: "Duality gap", note: "of the training loss", show: digits, tick: tick.plain, log: true },
  { column: "epsilon", title: "Privacy spent", note: "ε", show: digits, tick: tick.plain, zero: true },
  { column: "reports", title: "Reports", note: "clients of the round", show: whole, tick: tick.plain, stepped: true, zero: true },
  { column: "client_loss_worst", title: "Loss of the worst tenth of clients", note: "nats per example", show: digits, tick: tick.plain, log: true },
  { column: "client_loss_spread", title: "Spread of the clients’ losses", note: "standard deviation", show: digits, tick: tick.plain, log: true },
];

let charts = [];
const sync = uPlot.sync("x");

// Whether a figure's y axis is a logarithm: asked for, and nearly all of its numbers have one.
function isLog(figure) {
  if (!options.logY || !figure.log) return false;
  const ys = runs.flatMap((r) => r.columns[figure.column] ?? []).filter(isNumber);
  return ys.filter((y) => y > 0).length >= 0.9 * ys.length;
}

function bandsOf(figure, logY) {
  const axis = axes[options.axis];
  return groups.map((group) => {
    const lineOf = (run) => line(run, axis, figure.column, options.logX, logY || figure.positive);
    const alone = (list) => list.map(lineOf).filter((l) => l.xs.length).map((l) => ({ x: l.xs, mid: l.ys, low: null, high: null, thin: true }));
    if (options.spread === "runs") return alone(group.runs);
    // A seed that diverged would end the others' mean with it: it is drawn by itself.
    const whole = group.runs.filter((r) => !r.summary.diverged);
    const one = band((whole.length ? whole : group.runs).map(lineOf), options.spread, figure.stepped);
    // Below zero a logarithm shows nothing: such a band ends at its mean.
    if (one?.low && logY) one.low = one.low.map((v, i) => (v > 0 ? v : one.mid[i]));
    return [...(one ? [one] : []), ...(whole.length ? alone(group.runs.filter((r) => r.summary.diverged)) : [])];
  });
}

// The nearest number of a series to the crosshair: series of different x share one table with holes.
function nearest(plot, series, index) {
  const ys = plot.data[series];
  if (index === null || ys[index] != null) return index;
  let left = index, right = index;
  while (left >= 0 && ys[left] == null) left--;
  while (right < ys.length && ys[right] == null) right++;
  if (left < 0 && right >= ys.length) return null;
  // Before its first and after its last point a series has nothing to say.
  if (left < 0 || right >= ys.length) return null;
  const xs = plot.data[0], x = xs[index];
  return x - xs[left] <= xs[right] - x ? left : right;
}

// Ticks of a logarithm: 1, 2, 5 within two decades, else powers of ten, as many as there is room for.
function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / 6));
  const steps = decades < 0.7 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : decades < 2.2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += steps.length > 1 ? 1 : every) {
    ticks.push(...steps.map((s) => +(s * 10 ** power).toPrecision(3)).filter((v) => v >= low && v <= high));
  }
  return ticks;
}

// What uPlot needs for an axis whose scale may be a logarithm.
const ticksOf = (log, show) => ({
  values: (u, splits) => splits.map((v) => (v === null ? "" : show(v))),
  ...(log ? { splits: (u, i, low, high) => logTicks(low, high), filter: (u, splits) => splits } : {}),
});

function drawFigure(figure) {
  const axis = axes[options.axis], logY = isLog(figure);
  const tables = [], series = [{}], bands = [], owner = [null];
  bandsOf(figure, logY).forEach((list, g) => {
    for (const one of list) {
      const width = one.thin && list.length > 1 ? 1.25 : 2;
      const common = { spanGaps: true, show: !hidden.has(g), points: { show: one.x.length === 1, size: 6 } };
      if (figure.stepped) common.paths = uPlot.paths.stepped({ align: -1 });
      const stroke = () => colour(tint(g));
      const table = [one.x];
      if (one.low) {
        table.push(one.high, one.low);
        series.push({ ...common, width: 0, points: { show: false } }, { ...common, width: 0, points: { show: false } });
        owner.push(null, null);
        bands.push({ series: [series.length - 2, series.length - 1], fill: () => colour(tint(g), 0.16) });
      }
      table.push(one.mid);
      series.push({ ...common, stroke, width, dash: dash(g) });
      owner.push(g);
      tables.push(table);
    }
  });
  if (!tables.length) return null;

  const values = new Map();
  const keys = element("div", { class: "keys" }, ...groups.filter((g) => owner.includes(g.at)).map((group) => {
    const value = element("output");
    values.set(group.at, value);
    const pressed = String(!hidden.has(group.at));
    return element("button", { type: "button", "aria-pressed": pressed, title: "show or hide", "data-group": group.at, onclick: () => toggle(group.at) },
      swatch(tint(group.at), group.at), element("span", {}, ...named(group.label)), value);
  }));
  const place = element("span", {}, figure.note);
  const plotHost = element("div", { role: "img", "aria-label": `${figure.title} against ${axis.label}` });
  const box = element("figure", {}, element("figcaption", {}, figure.title, place), plotHost, keys);

  const grid = { stroke: () => colour("var(--grid)"), width: 1 };
  const face = { stroke: () => colour("var(--quiet)"), grid, ticks: { show: false }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" };
  const plot = new uPlot({
    width: 500,
    height: 270,
    legend: { show: false },
    cursor: {
      y: false,
      sync: { key: sync.key, scales: ["x", null], setSeries: false },
      dataIdx: nearest,
      points: { size: (u, s) => (owner[s] === null ? 0 : 7), width: 1.5, fill: () => colour("var(--card)"), stroke: (u, s) => (owner[s] === null ? "transparent" : colour(tint(owner[s]))) },
      drag: { x: true, y: false },
      focus: { prox: -1 },
    },
    scales: {
      x: { time: false, distr: options.logX ? 3 : 1, range: options.logX ? (u, low, high) => [low, high] : undefined },
      y: {
        distr: logY ? 3 : 1,
        range: (u, low, high) => {
          if (low === null || low === undefined) return [logY ? 0.1 : 0, 1];
          if (logY) return low === high ? [low / 2, high * 2] : [low * (low / high) ** 0.04, high * (high / low) ** 0.04];
          return uPlot.rangeNum(figure.zero ? Math.min(0, low) : low, high === low ? high + (Math.abs(high) || 1) * 0.1 : high, 0.06, figure.zero);
        },
      },
    },
    axes: [
      { ...face, label: axis.label, labelSize: 18, labelGap: 2, size: 30, gap: 4, space: 70, ...ticksOf(options.logX, axis.tick) },
      { ...face, size: 62, ...ticksOf(logY, figure.tick) },
    ],
    series,
    bands,
    hooks: {
      setCursor: [(u) => {
        const inside = u.cursor.idx !== null && u.cursor.left >= 0;
        place.textContent = inside ? axis.show(u.data[0][u.cursor.idx]) : figure.note;
        for (const [g, value] of values) {
          const found = inside && !hidden.has(g) ? owner.flatMap((o, s) => (o === g && u.cursor.idxs[s] != null ? [u.data[s][u.cursor.idxs[s]]] : [])).filter(isNumber) : [];
          value.textContent = found.length ? figure.show(mean(found)) : "";
        }
      }],
    },
  }, uPlot.join(tables), plotHost);
  charts.push({ plot, owner, keys });
  new ResizeObserver(() => requestAnimationFrame(() => {
    const width = plotHost.clientWidth;
    if (width > 0 && width !== plot.width) plot.setSize({ width, height: width < 420 ? 230 : 270 });
  })).observe(plotHost);
  return box;
}

// Shows or hides a group in every chart.
function toggle(g) {
  if (!hidden.delete(g)) hidden.add(g);
  for (const { plot, owner, keys } of charts) {
    plot.batch(() => plot.series.forEach((s, i) => {
      // A band's two edges stand before the line they belong to.
      const of = owner[i] ?? owner[i + 1] ?? owner[i + 2];
      if (i > 0 && of === g) plot.setSeries(i, { show: !hidden.has(g) });
    }));
    keys.querySelector(`[data-group="${g}"]`)?.setAttribute("aria-pressed", String(!hidden.has(g)));
  }
}

function drawCharts() {
  charts.forEach(({ plot }) => plot.destroy());
  charts = [];
  const fill = (id, figures) => {
    const known = figures.filter((f) => runs.some((r) => r.columns[f.column]));
    const drawn = known.map(drawFigure).filter(Boolean);
    if (known.length && !drawn.length) drawn.push(element("p", { class: "quiet" }, "No number here is above zero on this axis: take the logarithm off."));
    byId(id).replaceChildren(...drawn);
    byId(id).classList.toggle("three", drawn.length === 3 || drawn.length > 4);
    byId(id).closest("section").hidden = known.length === 0;
  };
  fill("curves", curveFigures);
  fill("inside", insideFigures);
}

function segments(legend, name, choices, chosen) {
  const labels = Object.entries(choices).map(([value, word]) =>
    element("label", {}, element("input", {
      type: "radio", name, value, checked: value === chosen, onchange: () => { options[name] = value; drawCharts(); },
    }), word));
  return element("fieldset", {}, element("legend", {}, legend), element("span", { class: "segments" }, ...labels));
}

function drawControls() {
  const check = (word, name) =>
    element("label", { class: "check" }, element("input", { type: "checkbox", checked: options[name], onchange: (e) => { options[name] = e.target.checked; drawCharts(); } }), word);
  const axisWords = Object.fromEntries(Object.keys(axes).filter(axisExists).map((k) => [k, k]));
  byId("controls").append(segments("against", "axis", axisWords, options.axis), check("log x", "logX"), check("log y", "logY"));
  if (groups.some((g) => g.runs.length > 1)) {
    byId("controls").append(segments("seeds", "spread", { range: "min–max", deviation: "± std", runs: "each" }, options.spread));
  }
  byId("controls").append(element("span", { class: "hint" }, "drag to zoom, double-click to see all"));
}
