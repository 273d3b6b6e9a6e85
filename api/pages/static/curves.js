// The curves of a training as a figure: loss above, AP below, over the same epochs.

const LOSS = "#3987d9";
const AP = "#1fa187";
const AP50 = "#e0652a";
const MOST = 400; // points of the loss that are drawn

/** Keeps the metrics of one job, and makes the figure of them. */
export class Curves {
  constructor() {
    this.forget();
  }

  /** Begins anew: an attempt that goes on from a checkpoint replaces what was told after that. */
  forget() {
    this.train = [];
    this.measured = [];
    this.after = null; // id of the last one, to ask after
  }

  /** Takes points of `/metrics`, by rising step. */
  take(points) {
    for (const point of points) (point.split === "train" ? this.train : this.measured).push(point);
    this.after = points.at(-1)?.id ?? this.after;
  }

  get empty() {
    return this.train.length + this.measured.length === 0;
  }

  figure() {
    const losses = this.train.filter((one) => typeof one.values.loss === "number").map((one) => [one.epoch, one.values.loss]);
    const of = (name) => this.measured.filter((one) => typeof one.values[name] === "number").map((one) => [one.epoch, 100 * one.values[name]]);
    return {
      data: [
        line("loss", thinned(losses), LOSS, ""),
        line("AP", of("AP"), AP, "2", "lines+markers"),
        line("AP50", of("AP50"), AP50, "2", "lines+markers"),
      ],
      layout: {
        height: 440,
        xaxis: { anchor: "y", matches: "x2", rangemode: "tozero", showticklabels: false },
        yaxis: { title: { text: "loss" }, domain: [0.54, 1], automargin: true },
        xaxis2: { anchor: "y2", title: { text: "epoch" }, rangemode: "tozero" },
        yaxis2: { title: { text: "AP in points" }, domain: [0, 0.46], rangemode: "tozero", automargin: true },
        hovermode: "x unified",
        legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0 },
        margin: { l: 60, r: 20, t: 40, b: 50 },
      },
    };
  }

  /** What the figure shows, in words. */
  words() {
    const loss = this.train.at(-1)?.values.loss;
    const ap = this.measured.at(-1)?.values.AP;
    return `Loss and AP over the epochs. Now: loss ${loss?.toPrecision(3) ?? "unknown"}, AP ${ap === undefined || ap === null ? "not measured yet" : (100 * ap).toFixed(1)}.`;
  }
}

function line(name, pairs, color, panel, mode = "lines") {
  return {
    type: "scatter", mode, name, x: pairs.map(([x]) => x), y: pairs.map(([, y]) => y),
    xaxis: `x${panel}`, yaxis: `y${panel}`, line: { color, width: 2 },
  };
}

/** Means of equal parts of the way, where there are more points than can be seen. */
function thinned(pairs) {
  const size = Math.ceil(pairs.length / MOST);
  if (size <= 1) return pairs;
  const means = [];
  for (let start = 0; start < pairs.length; start += size) {
    const part = pairs.slice(start, start + size);
    const mean = (at) => part.reduce((sum, one) => sum + one[at], 0) / part.length;
    means.push([mean(0), mean(1)]);
  }
  return means;
}
