// The data, and the colours of its groups: runs that differ only in their seeds.

const runs = data.runs;
const groups = data.groups.map((group, at) => ({ ...group, at, runs: group.runs.map((r) => runs[r]) }));
const hidden = new Set();

const tint = (at) => `var(--c${at % 8})`;
// Beyond eight groups colours repeat and dashes tell them apart.
const dash = (at) => [[], [8, 4], [2, 4], [10, 4, 2, 4]][Math.floor(at / 8) % 4];

// A colour of the style sheet as the browser resolves it now: canvases do not know variables.
const probe = element("i", { hidden: true });
document.documentElement.append(probe);
function colour(expression, alpha = 1) {
  probe.style.color = alpha === 1 ? expression : `color-mix(in srgb, ${expression} ${100 * alpha}%, transparent)`;
  return getComputedStyle(probe).color;
}

const swatch = (tint, at = 0) => element("i", { class: `swatch dash-${Math.floor(at / 8) % 4}`, style: { "--tint": tint }, "aria-hidden": "true" });

// A label: the method, and smaller what tells it from others of its name.
function named(label) {
  const cut = label.indexOf(" (");
  return cut < 0 ? [label] : [label.slice(0, cut), element("small", {}, label.slice(cut + 1))];
}

// One number of every run of a group, those that have it.
const numbersOf = (group, pick) => group.runs.map(pick).filter(isNumber);
const meanOf = (group, pick) => {
  const list = numbersOf(group, pick);
  return list.length ? mean(list) : null;
};

// The x axes to choose from: a word, the column or columns it sums, how to write a value and a tick.
const axes = {
  steps: { columns: ["step"], label: "local steps per worker", show: whole, tick: tick.plain },
  bytes: { columns: ["bytes_sent", "bytes_received"], label: "bytes sent + received, busiest worker", show: bytes, tick: tick.bytes },
  seconds: { columns: ["seconds"], label: "wall-clock time", show: seconds, tick: tick.seconds },
  rounds: { columns: ["round"], label: "rounds", show: whole, tick: tick.plain },
  epsilon: { columns: ["epsilon"], label: "privacy spent, ε", show: digits, tick: tick.plain },
};
// Privacy is an axis only where somebody spends it.
const axisExists = (k) => k !== "epsilon" || runs.some((r) => r.columns.epsilon);

// A run's line: x ascending, only where both numbers exist and a logarithm can show them (`positive`: only y > 0).
function line(run, axis, column, logX, positive) {
  const xs = [], ys = [];
  const parts = axis.columns.map((c) => run.columns[c] ?? []);
  const values = run.columns[column] ?? [];
  for (let i = 0; i < values.length; i++) {
    const x = parts.reduce((sum, part) => sum + (part[i] ?? NaN), 0);
    const y = values[i];
    if (!isNumber(y) || !isNumber(x) || (logX && x <= 0) || (positive && y <= 0)) continue;
    if (xs.length && x <= xs[xs.length - 1]) {
      if (x === xs[xs.length - 1]) ys[ys.length - 1] = y;
      continue;
    }
    xs.push(x);
    ys.push(y);
  }
  return { xs, ys };
}

// A line's value at x, between its ends.
function at(line, x, stepped) {
  const { xs, ys } = line;
  let low = 0, high = xs.length - 1;
  if (high < 0 || x < xs[0] || x > xs[high]) return null;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle;
    else high = middle;
  }
  if (x >= xs[high]) return ys[high];
  if (x <= xs[low]) return ys[low];
  // A step's value holds from the point before it.
  if (stepped) return ys[high];
  return ys[low] + ((ys[high] - ys[low]) * (x - xs[low])) / (xs[high] - xs[low]);
}

// A group's mean with the band around it, where all of its runs have numbers.
function band(lines, spread, stepped) {
  lines = lines.filter((l) => l.xs.length);
  if (lines.length < 2) return lines.length ? { x: lines[0].xs, mid: lines[0].ys, low: null, high: null } : null;
  const first = Math.max(...lines.map((l) => l.xs[0]));
  const last = Math.min(...lines.map((l) => l.xs[l.xs.length - 1]));
  let x = [...new Set(lines.flatMap((l) => l.xs))].filter((v) => v >= first && v <= last).sort((a, b) => a - b);
  const every = Math.ceil(x.length / 900);
  x = x.filter((_, i) => i % every === 0 || i === x.length - 1);
  const mid = [], low = [], high = [];
  for (const v of x) {
    const ys = lines.map((l) => at(l, v, stepped));
    const m = mean(ys), s = deviation(ys);
    mid.push(m);
    low.push(spread === "range" ? Math.min(...ys) : m - s);
    high.push(spread === "range" ? Math.max(...ys) : m + s);
  }
  return { x, mid, low, high };
}
