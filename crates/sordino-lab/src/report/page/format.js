// Elements and numbers as words.

const byId = (id) => document.getElementById(id);

// An element: its tag, its attributes, its children (text is text, never HTML).
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") for (const [name, v] of Object.entries(value)) made.style.setProperty(name, v);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((c) => c !== null && c !== undefined));
  return made;
}

const none = "–";
const isNumber = (v) => typeof v === "number" && Number.isFinite(v);

// Four significant digits, narrow spaces between thousands, no exponent between 0.0001 and ten million.
function digits(v, places = 4) {
  if (!isNumber(v)) return none;
  const size = Math.abs(v);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return v.toExponential(2).replace("e+", "e").replace("-", "−");
  const decimals = size === 0 ? 0 : Math.max(0, places - 1 - Math.floor(Math.log10(size)));
  const [whole, rest] = Math.abs(v).toFixed(Math.min(decimals, 6)).split(".");
  return (v < 0 ? "−" : "") + whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (rest ? "." + rest : "");
}

// A deviation in two digits.
const two = (v) => digits(v, 2);
const whole = (v) => (isNumber(v) ? digits(Math.round(v), 1) : none);
const percent = (v) => (isNumber(v) ? (100 * v).toFixed(1) + "\u202f%" : none);

function bytes(v, places = 3) {
  if (!isNumber(v)) return none;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (Math.abs(v) >= 999.5 && at + 1 < units.length) { v /= 1000; at++; }
  return (at === 0 ? String(Math.round(v)) : digits(v, 3)) + "\u202f" + units[at];
}

function seconds(v, places = 3) {
  if (!isNumber(v)) return none;
  if (v === 0) return "0\u202fs";
  if (v < 0.9995) return digits(v * 1000, places) + "\u202fms";
  if (v < 600) return digits(v, places) + "\u202fs";
  if (v < 36000) return digits(v / 60, places) + "\u202fmin";
  return digits(v / 3600, places) + "\u202fh";
}

// Axis labels: the shortest words that tell ticks apart.
const tick = {
  plain: (v) => (Math.abs(v) >= 1e6 ? +(v / 1e6).toPrecision(3) + "M" : Math.abs(v) >= 1e4 ? +(v / 1e3).toFixed(2) + "k" : String(+v.toPrecision(4))),
  bytes: (v) => bytes(v).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, ""),
  seconds: (v) => seconds(v).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, ""),
  percent: (v) => +(100 * v).toFixed(2) + "\u202f%",
};

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;

function deviation(list) {
  if (list.length < 2) return 0;
  const m = mean(list);
  return Math.sqrt(list.reduce((a, b) => a + (b - m) ** 2, 0) / (list.length - 1));
}
