"use strict";
// Draws the page's charts from the JSON beside them; a chart that fails stays a still picture.
(function () {
  const palettes = JSON.parse(document.getElementById("palettes").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const NARROW = 600;

  // Replaces roles such as "$ink" with colors; data rows are left alone.
  function colored(part, colors) {
    if (typeof part === "string") {
      return part[0] === "$" && Object.hasOwn(colors, part.slice(1)) ? colors[part.slice(1)] : part;
    }
    if (Array.isArray(part)) return part.map((item) => colored(item, colors));
    if (part && typeof part === "object") {
      const made = {};
      for (const [key, item] of Object.entries(part)) {
        made[key] = key === "data" || key === "datasets" ? item : colored(item, colors);
      }
      return made;
    }
    return part;
  }

  const refuse = () => Promise.reject(new Error("this page loads nothing"));

  async function draw(figure) {
    if (!figure.clientWidth) return; // inside a closed <details>: drawn when that opens
    const container = figure.querySelector(".live");
    const form = figure.clientWidth < NARROW ? "narrow" : "wide";
    const state = form + (dark.matches ? "-dark" : "-light");
    if (figure.dataset.state === state) return;
    figure.dataset.state = state;
    const colors = dark.matches ? palettes.dark : palettes.light;
    const chart = JSON.parse(figure.querySelector("script").textContent);
    const spec = colored(chart[form], colors);
    spec.datasets = chart.datasets;
    container.hidden = false;
    try {
      const made = await window.vegaEmbed(container, spec, {
        ast: true,
        actions: false,
        renderer: "svg",
        defaultStyle: false,
        tooltip: { disableDefaultStyle: true, theme: "page" },
        config: colored(palettes.config, colors),
        loader: { load: refuse, sanitize: refuse, http: refuse, file: refuse },
      });
      if (figure.view) figure.view.finalize();
      figure.view = made.view;
      figure.classList.add("drawn");
    } catch (error) {
      container.hidden = true;
      figure.classList.remove("drawn");
      figure.dataset.state = "failed";
      console.warn("The chart " + figure.dataset.chart + " stays a picture: " + error.message);
    }
  }

  const figures = Array.from(document.querySelectorAll("figure.chart"));
  const all = () => figures.forEach(draw);
  dark.addEventListener("change", all);
  document.querySelectorAll("details").forEach((item) => item.addEventListener("toggle", all));
  let waiting = 0;
  window.addEventListener("resize", () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(all, 150);
  });
  all();
})();
