// Colours as the system, light or dark; then everything is drawn.

const themes = [["", "◐ system"], ["light", "○ light"], ["dark", "● dark"]];
let theme = 0;

function showTheme() {
  const [scheme, word] = themes[theme];
  document.documentElement.style.colorScheme = scheme;
  byId("theme").textContent = word;
  byId("theme").setAttribute("aria-label", `colours: ${word.slice(2)}`);
}

// Canvases hold the old colours until they are drawn again.
const recolour = () => charts.forEach(({ plot }) => plot.redraw(false));

byId("theme").addEventListener("click", () => {
  theme = (theme + 1) % themes.length;
  showTheme();
  recolour();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
byId("seeds").addEventListener("change", drawTable);
if (groups.every((g) => g.runs.length < 2)) byId("seeds").parentElement.hidden = true;

showTheme();
drawHead();
drawChapters();
if (runs.length) {
  drawNotes();
  drawTable();
  drawControls();
  drawCharts();
  drawTime();
  drawLedger();
  drawFoot();
} else {
  for (const section of document.querySelectorAll("main > section:not(#chapters)")) section.hidden = true;
}
