"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 40rem)");

  // Colours come from the page's own, so that light, dark and paper need nothing of the figures.
  const themed = (layout) => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const [ink, quiet, line, raised] = ["--ink", "--quiet", "--line", "--raised"].map(colour);
    const own = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13, color: ink },
      hoverlabel: { bgcolor: raised, bordercolor: line, font: { color: ink } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: quiet, activecolor: ink },
      autosize: true,
    };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      own[name] = { gridcolor: line, zerolinecolor: line, linecolor: line, ...layout[name] };
      if (layout[name].zerolinewidth) own[name].zerolinecolor = ink;
    }
    if (layout.coloraxis) own.coloraxis = { ...layout.coloraxis, showscale: !narrow.matches };
    if (layout.legend) own.legend = { ...layout.legend, bgcolor: "rgba(0,0,0,0)" };
    return own;
  };

  const options = () => ({
    responsive: true,
    displaylogo: false,
    displayModeBar: narrow.matches ? false : "hover",
    modeBarButtons: [["toImage", "resetScale2d"]],
  });

  const draw = () => {
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = figures[place.dataset.figure];
      const data = JSON.parse(JSON.stringify(figure.data)); // Plotly writes into what it is given
      const layout = JSON.parse(JSON.stringify(figure.layout));
      Plotly.react(place, data, themed(layout), options());
    }
  };

  draw();
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  for (const event of ["beforeprint", "afterprint"]) {
    window.addEventListener(event, () => {
      document.documentElement.classList.toggle("paper", event === "beforeprint");
      draw();
    });
  }
})();
