// Where bytes and seconds went: stacked bars, and a matrix of links.

const part = (i) => `var(--p${i % 6})`;

// Bars of parts: `rows` of { group, parts: [numbers] }, `names` of the parts, `show` for a number.
function bars(host, rows, names, show) {
  const top = Math.max(...rows.map((r) => r.parts.reduce((a, b) => a + b, 0)), 0);
  if (top <= 0) return host.replaceChildren(element("p", { class: "quiet" }, "Nothing was counted."));
  const used = names.map((_, i) => rows.some((r) => r.parts[i] > 0));
  const chart = element("div", { class: "bars" });
  for (const { group, parts } of rows) {
    const words = parts.map((v, i) => (v > 0 ? `${names[i]} ${show(v)}` : null)).filter(Boolean).join(", ");
    const track = element("div", { class: "track", role: "img", "aria-label": words || "nothing", title: words });
    parts.forEach((v, i) => {
      if (v > 0) track.append(element("div", { class: "part", style: { width: `${(100 * v) / top}%`, "--tint": part(i) } }));
    });
    const sum = element("div", { class: "sum" }, show(parts.reduce((a, b) => a + b, 0)));
    chart.append(element("div", { class: "line" }, element("div", { class: "name" }, ...named(group.label)), track, sum));
  }
  const keys = names.map((name, i) => (used[i] ? element("span", {}, swatch(part(i)), name) : null)).filter(Boolean);
  const head = element("tr", {}, element("th", { scope: "col" }, "method"), ...names.filter((_, i) => used[i]).map((n) => element("th", { scope: "col" }, n)));
  const body = rows.map(({ group, parts }) => element("tr", {}, element("th", { scope: "row" }, ...named(group.label)),
    ...parts.filter((_, i) => used[i]).map((v) => element("td", {}, show(v)))));
  host.replaceChildren(element("div", { class: "panel" }, chart, element("div", { class: "bar-keys" }, ...keys),
    element("details", { class: "more" }, element("summary", {}, "as a table"),
      element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body))))));
}

function drawTime() {
  const parts = (s) => [s.compute_seconds, s.wait_seconds, s.exchange_seconds];
  const rows = groups.map((group) => ({ group, parts: [0, 1, 2].map((i) => meanOf(group, (r) => parts(r.summary)[i]) ?? 0) }));
  bars(byId("time"), rows, ["compute", "wait", "exchange"], seconds);
}

function drawPurposes() {
  const flows = runs.flatMap((r) => r.summary.flows);
  const rank = (p) => ["payload", "residual", "buffers"].indexOf(p) >>> 0;
  const names = [...new Set(flows.map((f) => f.purpose))].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const total = (run, name) => run.summary.flows.filter((f) => f.purpose === name).reduce((sum, f) => sum + f.bytes, 0);
  const rows = groups.map((group) => ({ group, parts: names.map((name) => meanOf(group, (r) => total(r, name)) ?? 0) }));
  bars(byId("purposes"), rows, names, bytes);
}

function drawLinks() {
  const run = runs[byId("run").value];
  const last = (p) => ["server", "clients"].indexOf(p) + 1;
  const order = (a, b) => (last(a) || last(b) ? last(b) - last(a) : a - b) || 0;
  const parties = [...new Set(run.summary.flows.flatMap((f) => [f.from, f.to]))].sort(order);
  const table = byId("links");
  if (!parties.length) return table.replaceChildren(element("tbody", {}, element("tr", {}, element("td", { style: { "--heat": 0 } }, "no messages"))));
  const sums = new Map();
  for (const { from, to, bytes, messages } of run.summary.flows) {
    const sum = sums.get(`${from} ${to}`) ?? { bytes: 0, messages: 0 };
    sums.set(`${from} ${to}`, { bytes: sum.bytes + bytes, messages: sum.messages + messages });
  }
  const top = Math.max(...[...sums.values()].map((s) => s.bytes), 1);
  const head = element("tr", {}, element("th", { scope: "col" }, "from \\ to"), ...parties.map((p) => element("th", { scope: "col" }, p)));
  const rows = parties.map((from) => element("tr", {}, element("th", { scope: "row" }, from), ...parties.map((to) => {
    const sum = sums.get(`${from} ${to}`);
    const heat = { "--heat": sum ? (0.12 + (0.88 * sum.bytes) / top).toFixed(3) : 0 };
    return element("td", { style: heat, title: sum ? `${whole(sum.messages)} messages` : "" }, sum ? bytes(sum.bytes) : "");
  })));
  table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

function drawLedger() {
  byId("run").append(...runs.map((r, i) => element("option", { value: i }, `${r.name} (seed ${r.seed})`)));
  byId("run").addEventListener("change", drawLinks);
  drawPurposes();
  drawLinks();
}
