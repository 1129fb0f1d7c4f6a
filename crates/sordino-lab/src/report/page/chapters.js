// The data: one comparison, or the chapter of a book that the address names.

const book = JSON.parse(byId("data").textContent);
const chapters = book.chapters ?? null;
const chosen = chapters ? Math.max(0, chapters.findIndex((c) => `#${encodeURIComponent(c.title)}` === location.hash)) : 0;
const data = chapters ? { ...chapters[chosen], title: book.title } : book;

// Another chapter is another page: everything is drawn anew.
if (chapters) addEventListener("hashchange", () => location.reload());

function drawChapters() {
  const host = byId("chapters");
  host.hidden = !chapters;
  if (!chapters) return;
  const counts = new Map();
  for (const { verdict } of chapters) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  const summary = [...counts].map(([verdict, n]) => `${verdict}: ${n}`).join(" \u00b7 ");
  const link = (chapter, at) => element("a", {
    href: `#${encodeURIComponent(chapter.title)}`, class: at === chosen ? "chosen" : null, "aria-current": at === chosen ? "true" : null,
    title: chapter.verdict, "data-verdict": chapter.verdict,
  }, chapter.title);
  const chapter = chapters[chosen];
  host.append(
    element("p", { class: "quiet" }, summary),
    element("nav", { class: "chapters", "aria-label": "chapters" }, ...chapters.map(link)),
    element("h2", {}, chapter.title, element("span", { class: "verdict", "data-verdict": chapter.verdict }, chapter.verdict)),
    ...chapter.lines.map((line) => element("p", {}, line)),
  );
}
