// The table beside the stories: what each transport costs, as measured on this page.

import { bytes, delay, put } from "./say.js";

const shown = {
  rate: (meter) => (meter.rate === null ? "–" : meter.rate < 10 ? meter.rate.toFixed(1) : String(Math.round(meter.rate))),
  size: (meter) => (meter.size === null ? "–" : bytes(meter.size)),
  middle: (meter) => (meter.middle === null ? "–" : delay(meter.middle)),
  worst: (meter) => (meter.worst === null ? "–" : delay(meter.worst)),
};

export function figures(stories) {
  const cells = [...document.querySelectorAll("#figures [data-figure]")];
  const fill = () => {
    for (const cell of cells) {
      const story = stories.find((one) => one.key === cell.dataset.of);
      put(cell, shown[cell.dataset.figure](story.meter));
    }
  };
  setInterval(fill, 1000);
  fill();
}
