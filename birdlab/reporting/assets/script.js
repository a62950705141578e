
"use strict";
// Text reaches the page through textContent alone: names and settings of runs are whatever somebody wrote.
const make = (tag, text = "", className = "") => {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = className;
  return node;
};

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.classList.contains("dark") ||
    (!root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches);
  root.classList.toggle("dark", !dark);
  root.classList.toggle("light", dark);
});

for (const block of document.querySelectorAll(".table")) {
  const body = block.querySelector("tbody");
  const headings = [...block.querySelectorAll("th")];
  headings.forEach((heading, column) => {
    heading.querySelector("button")?.addEventListener("click", () => {
      const value = (row) => row.cells[column].dataset.value;
      const rows = [...body.rows];
      const numeric = rows.every((row) => value(row) === "" || !Number.isNaN(Number(value(row))));
      // Numbers begin with the largest, which is mostly the best; words with A.
      const was = heading.getAttribute("aria-sort");
      const ascending = was ? was === "descending" : !numeric;
      const order = (one, other) => {
        if (value(one) === "" || value(other) === "") return (value(one) === "") - (value(other) === "");
        const before = numeric ? Number(value(one)) - Number(value(other))
          : value(one).localeCompare(value(other), undefined, { numeric: true });
        return ascending ? before : -before;
      };
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.append(...rows.sort(order));
    });
  });

  const input = block.querySelector("input[type=search]");
  input?.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    block.querySelector(".count").textContent = words.length ? `${shown} of ${body.rows.length}` : "";
  });
}

const data = JSON.parse(document.getElementById("data").textContent);
if (data) {
  const selects = ["run-a", "run-b"].map((id) => document.getElementById(id));
  selects.forEach((select, which) => {
    data.runs.forEach((run, index) => select.append(new Option(run.name, index)));
    select.selectedIndex = data.chosen[which];
    select.addEventListener("change", show);
  });
  show();

  function show() {
    const pair = selects.map((select) => data.runs[select.value]);
    showDifferences(pair);
    showGallery(pair);
  }

  function showDifferences([a, b]) {
    const body = document.querySelector("#differences tbody");
    body.replaceChildren();
    const add = (key, one, other) => {
      const row = make("tr");
      row.append(make("td", key), make("td", one ?? "—"), make("td", other ?? "—"));
      body.append(row);
    };
    for (const score of Object.keys(a.scores)) add(score, a.scores[score], b.scores[score]);
    const keys = [...new Set([...Object.keys(a.config), ...Object.keys(b.config)])];
    for (const key of keys) {
      if (a.config[key] !== b.config[key]) add(key, a.config[key], b.config[key]);
    }
  }

  function showGallery([a, b]) {
    const target = document.getElementById("samples");
    target.replaceChildren();
    const common = Object.keys(a.pictures).filter((key) => key in b.pictures);
    if (!common.length) {
      target.append(make("p", "These two runs keep no pictures of the same test samples.", "note"));
    }
    for (const key of common) {
      const sample = data.samples[key];
      target.append(make("h4", `${sample.id} (${sample.axes})`));
      const row = make("div", "", "sample");
      const one = (title, picture) => {
        const figure = make("figure");
        const image = make("img");
        image.src = data.pictures[picture];
        image.alt = `${title} of ${sample.id}`;
        figure.append(image, make("figcaption", title));
        row.append(figure);
        return image;
      };
      one("spectrogram", sample.image);
      const truth = one("truth", sample.truth);
      const said = [a, b].map((run, which) => {
        const { probability, score } = run.pictures[key];
        return one(`${"AB"[which]}${score ? `: ${score}` : ""}`, probability);
      });
      const figure = make("figure");
      const canvas = make("canvas");
      const caption = make("figcaption", "agreement");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Where A and B agree on ${sample.id}`);
      figure.append(canvas, caption);
      row.append(figure);
      target.append(row);
      Promise.all([truth, ...said].map((image) => image.decode())).then(() =>
        overlay(canvas, caption, truth, said, [a, b].map((run) => run.pictures[key].threshold)));
    }
  }

  function overlay(canvas, caption, truth, said, thresholds) {
    canvas.width = truth.naturalWidth;
    canvas.height = truth.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const pixels = (image) => {
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      return context.getImageData(0, 0, canvas.width, canvas.height).data;
    };
    const bird = pixels(truth);
    const [a, b] = said.map(pixels);
    const style = getComputedStyle(document.documentElement);
    const colors = Object.fromEntries(["both", "a", "b", "missed", "false"].map((name) =>
      [name, style.getPropertyValue(`--${name}`).trim().match(/[0-9a-f]{2}/gi).map((hex) => parseInt(hex, 16))]));
    const picture = context.createImageData(canvas.width, canvas.height);
    let agree = 0;
    for (let i = 0; i < bird.length; i += 4) {
      const inA = a[i] > 255 * thresholds[0];
      const inB = b[i] > 255 * thresholds[1];
      agree += inA === inB;
      const kind = bird[i] > 127
        ? (inA && inB ? "both" : inA ? "a" : inB ? "b" : "missed")
        : (inA || inB ? "false" : null);
      const [red, green, blue] = kind ? colors[kind] : [24, 27, 31];
      picture.data.set([red, green, blue, 255], i);
    }
    context.putImageData(picture, 0, 0);
    caption.textContent = `A and B agree on ${(400 * agree / bird.length).toFixed(1)} %`;
  }
}
