// Draws the plots in the colours of the page, light or dark, and switches between the two.
"use strict";

(() => {
  const root = document.documentElement;
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const button = document.getElementById("theme");
  const plots = [...document.querySelectorAll(".plotly-graph-div")].map((div) => ({
    div,
    spec: JSON.parse(div.nextElementSibling.textContent),
  }));

  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;

  // A custom property holds light-dark(…) unresolved; the colour of an element is resolved.
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };

  const palette = () => ({
    subjects: Array.from({ length: 8 }, (_, i) => colour(`c${i}`)),
    text: colour("text"),
    muted: colour("muted"),
    grid: colour("grid"),
    line: colour("line"),
    card: colour("card"),
  });

  const translucent = (rgb, alpha) => rgb.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);

  // What a trace's `meta` asks for, as plotly.js wants it.
  const paint = (trace, colours) => {
    const { colour: index, role } = trace.meta ?? {};
    const own = index === undefined ? colours.muted : colours.subjects[index % 8];
    const painted = { ...trace, marker: { size: 8, ...trace.marker, color: own }, line: { color: own, width: 2 } };
    if (role === "limit") {
      painted.line = { color: colours.text, width: 2 };
    } else if (role === "points") {
      painted.marker = { color: translucent(own, 0.5), size: 4 };
    } else if (role === "marks") {
      painted.marker.line = { color: colours.card, width: 1.5 };
    } else if (trace.type === "bar") {
      painted.marker = { color: own };
      delete painted.line;
    }
    if (trace.error_x) {
      painted.error_x = { ...trace.error_x, color: trace.type === "bar" ? colours.text : own, thickness: 1.5, width: 4 };
    }
    return painted;
  };

  const axis = (given, colours) => ({
    gridcolor: colours.grid,
    zerolinecolor: colours.line,
    linecolor: colours.line,
    automargin: true,
    ...given,
  });

  const arrange = (layout, colours) => ({
    ...layout,
    autosize: true,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colours.text },
    paper_bgcolor: "rgba(0, 0, 0, 0)",
    plot_bgcolor: "rgba(0, 0, 0, 0)",
    margin: { l: 8, r: 14, t: 10, b: 8 },
    dragmode: touch ? false : "zoom",
    hoverlabel: { bgcolor: colours.card, bordercolor: colours.muted, font: { color: colours.text }, align: "left" },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
    shapes: (layout.shapes ?? []).map((shape) => ({ ...shape, line: { color: colours.muted, width: 1, dash: "dot" } })),
    xaxis: axis(layout.xaxis, colours),
    yaxis: axis(layout.yaxis, colours),
  });

  const config = {
    responsive: true,
    displayModeBar: false,
  };

  const draw = ({ div, spec }, colours) =>
    Plotly.react(
      div,
      spec.data.map((trace) => paint(trace, colours)),
      arrange(spec.layout, colours),
      config,
    );

  const drawAll = () => {
    const colours = palette();
    return Promise.all(plots.map((plot) => draw(plot, colours)));
  };

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);

  const show = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
    return drawAll();
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  systemDark.addEventListener("change", show);

  // On paper: light, everything unfolded, plots as wide as the sheet.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((details) => (details.open = true));
    root.dataset.printed = root.dataset.theme ?? "";
    root.dataset.theme = "light";
    drawAll();
    plots.forEach(({ div }) => Plotly.relayout(div, { width: div.closest(".grid") ? 450 : 920 }));
  });
  addEventListener("afterprint", () => {
    folded.forEach((details) => (details.open = false));
    if (root.dataset.printed) root.dataset.theme = root.dataset.printed;
    else delete root.dataset.theme;
    delete root.dataset.printed;
    plots.forEach(({ div }) => Plotly.relayout(div, { width: null, autosize: true }));
    drawAll();
  });

  show().then(() => (root.dataset.plots = "drawn"));
})();
