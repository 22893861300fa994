"use strict";
document.documentElement.classList.add("js");

// Tables: a button in a heading sorts the rows; the second press turns the order round.
function sortRows(heading) {
  const table = heading.closest("table");
  const headings = [...heading.parentElement.children];
  const column = headings.indexOf(heading);
  const numeric = heading.classList.contains("number");
  const before = heading.getAttribute("aria-sort");
  // Metrics are read from the worst to the best, texts from A to Z.
  const descending = before === "ascending";
  for (const other of headings) {
    other.setAttribute("aria-sort", "none");
  }
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const key = (row) => {
    const cell = row.cells[column];
    return numeric ? parseFloat(cell.dataset.value) : cell.textContent;
  };
  const compare = (first, second) => {
    const [a, b] = [key(first), key(second)];
    if (!numeric) {
      return a.localeCompare(b, undefined, { numeric: true }) * (descending ? -1 : 1);
    }
    // What is no number is last in either order.
    if (Number.isNaN(a) || Number.isNaN(b)) {
      return Number.isNaN(a) - Number.isNaN(b);
    }
    return (a - b) * (descending ? -1 : 1);
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
}
for (const button of document.querySelectorAll("th[aria-sort] button")) {
  button.addEventListener("click", () => sortRows(button.closest("th")));
}

// Sliders: between two pictures the next one is drawn up to the place, the last one from there on.
const TITLES = ["image", "label", "prediction", "errors"];
function show(figure, position) {
  const slider = figure.querySelector(".slider input");
  slider.value = position;
  const lower = Math.floor(position);
  const part = position - lower;
  figure.querySelectorAll(".layer").forEach((layer, index) => {
    let [left, right] = [0, 1];
    if (index === lower) {
      [left, right] = [part, 0];
    } else if (index === lower + 1) {
      [left, right] = [0, 1 - part];
    }
    layer.style.setProperty("--left", `${100 * left}%`);
    layer.style.setProperty("--right", `${100 * right}%`);
  });
  slider.setAttribute(
    "aria-valuetext",
    part ? `${TITLES[lower + 1]} on the left, ${TITLES[lower]} on the right` : TITLES[lower]
  );
}
for (const figure of document.querySelectorAll(".comparer")) {
  const slider = figure.querySelector(".slider input");
  slider.addEventListener("input", () => show(figure, slider.valueAsNumber));
  show(figure, slider.valueAsNumber);
}

// Galleries: which figures are shown, and a slider for all of them.
for (const gallery of document.querySelectorAll(".gallery")) {
  const figures = [...gallery.querySelectorAll(".comparer")];
  const filter = gallery.querySelector(".filter");
  const apply = () => {
    let shown = 0;
    for (const figure of figures) {
      figure.hidden = filter.value !== "" && !figure.dataset.groups.split(" ").includes(filter.value);
      shown += !figure.hidden;
    }
    gallery.querySelector(".count").textContent = `${shown} of ${figures.length} pictures`;
  };
  filter.addEventListener("change", apply);
  apply();
  const all = gallery.querySelector("input.all");
  all.addEventListener("input", () => {
    for (const figure of figures) {
      show(figure, all.valueAsNumber);
    }
  });
}
