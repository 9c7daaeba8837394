"use strict";
{
  const data = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "{}");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Plots take the colours of the page, and are drawn when they come into view.
  const charts = data("charts");
  const config = () => ({
    background: "transparent", font: "system-ui, sans-serif",
    axis: { labelColor: colour("--faint"), titleColor: colour("--faint"), gridColor: colour("--line"), domainColor: colour("--line"), tickColor: colour("--line"), titleFontWeight: "normal" },
    legend: { labelColor: colour("--ink"), titleColor: colour("--ink"), labelFontSize: 12 },
    title: { color: colour("--ink"), anchor: "start", fontSize: 14, fontWeight: 600 },
    view: { stroke: null },
    range: { category: [colour("--accent"), colour("--second"), colour("--good"), colour("--bad"), colour("--faint")] },
    line: { strokeWidth: 2 }, mark: { color: colour("--accent") }, bar: { color: colour("--accent") },
    rule: { color: colour("--second") },
  });
  const show = (plot) => {
    const options = { actions: false, renderer: "svg", config: config(), tooltip: { theme: dark.matches ? "dark" : "light" } };
    vegaEmbed(plot, charts[plot.dataset.chart], options).then(() => { plot.dataset.drawn = "yes"; });
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll(".plot")];
  const watch = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) { watch.unobserve(entry.target); show(entry.target); }
  }), { rootMargin: "600px" });
  plots.forEach((plot) => watch.observe(plot));
  dark.addEventListener("change", () => plots.filter((plot) => plot.dataset.drawn).forEach(show));
  addEventListener("beforeprint", () => plots.filter((plot) => !plot.dataset.drawn).forEach(show));

  // The table: sorted by a click on a column, searched as one types, opened row by row.
  const table = document.getElementById("table");
  if (table) {
    const rows = [...table.tBodies], heads = [...table.tHead.rows[0].cells];
    const value = (row, column) => {
      const cell = row.rows[0].cells[column];
      const given = cell.dataset.value ?? cell.textContent.trim();
      return given === "" ? null : Number.isNaN(Number(given)) ? given : Number(given);
    };
    const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const known = rows.filter((row) => value(row, column) !== null);
      known.sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column)));
      table.append(...known, ...rows.filter((row) => value(row, column) === null));
    }));
    rows.forEach((row) => row.querySelector("button")?.addEventListener("click", (event) => {
      const details = row.querySelector(".details");
      details.hidden = !details.hidden;
      event.currentTarget.setAttribute("aria-expanded", String(!details.hidden));
    }));
    const search = document.getElementById("search"), shown = document.getElementById("shown");
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/);
      rows.forEach((row) => { row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word)); });
      shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} layers`;
    };
    search.addEventListener("input", filter);
    filter();
  }

  document.getElementById("save")?.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([document.getElementById("report").textContent], { type: "application/json" }));
    link.download = "report.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
