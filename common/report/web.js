"use strict";
// What needs a script in a report: the attention of a chosen sentence, and values of curves for those who cannot hover.

const NAMES = {
  source: ["written", "read"],
  encoder: ["read", "read"],
  decoder: ["written", "written so far"],
};
const CELL = 20;

/** Give an element attributes. */
function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
}

/** Return an element with attributes and children. */
function made(name, attributes = {}, ...children) {
  const svg = ["svg", "rect", "text", "g"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** Return the weights (layers, heads, words that look, words looked at) of a map as a function of four indices. */
function reader(map) {
  const bytes = Uint8Array.from(atob(map.weights), (letter) => letter.charCodeAt(0));
  const values = new Uint16Array(bytes.buffer);
  const [, heads, rows, columns] = map.shape;
  return (layer, head, i, j) => values[((layer * heads + head) * rows + i) * columns + j] / 10000;
}

/** Fill a place with the attention of one of its runs' sentences. */
function explore(place) {
  const runs = JSON.parse(place.querySelector("script").textContent);
  const chosen = {};
  const view = made("div");

  /** Add a choice of `options`; a change draws anew. */
  function choice(name, options, first = 0) {
    const select = made("select", { "data-choice": name }, ...options.map((text, i) => made("option", { value: i }, text)));
    chosen[name] = select.value = String(Math.min(first, options.length - 1));
    select.addEventListener("change", () => {
      chosen[name] = select.value;
      if (name === "run") choices();
      if (name === "attention") heads();
      draw();
    });
    return made("label", {}, name, select);
  }

  const bar = made("span");
  const headBar = made("span");

  /** Return each layer of each map: [name, layer]. */
  const kinds = () =>
    Object.entries(example().maps).flatMap(([name, map]) => Array.from({ length: map.shape[0] }, (_, layer) => [name, layer]));
  const example = () => runs[chosen.run].examples[chosen.sentence];

  function heads() {
    const [name] = kinds()[chosen.attention];
    const count = example().maps[name].shape[1];
    const options = count > 1 ? ["mean of all", ...Array.from({ length: count }, (_, head) => String(head + 1))] : ["1"];
    const label = choice("head", options);
    label.hidden = count === 1;
    headBar.replaceChildren(label);
  }

  function choices() {
    const sentence = choice("sentence", runs[chosen.run].examples.map((one) => one.line), Number(chosen.sentence ?? 0));
    const names = kinds().map(([name]) => name);
    const shown = kinds().map(([name, layer]) => {
      const layers = example().maps[name].shape[0];
      const [looks, seen] = NAMES[name];
      return `words ${looks} look at words ${seen}` + (layers > 1 ? `, layer ${layer + 1} of ${layers}` : "");
    });
    bar.replaceChildren(sentence, choice("attention", shown, Math.max(0, names.lastIndexOf("source"))), headBar);
    heads();
  }

  function draw() {
    const one = example();
    const [name, layer] = kinds()[chosen.attention];
    const map = one.maps[name];
    const [, count, rows, columns] = map.shape;
    const value = reader(map);
    const picked = chosen.head === "0" && count > 1 ? [...Array(count).keys()] : [count > 1 ? chosen.head - 1 : 0];
    const weight = (i, j) => picked.reduce((sum, head) => sum + value(layer, head, i, j), 0) / picked.length;
    // A decoder has read the words before the one that it writes.
    const sides = { source: [one.target, one.source], encoder: [one.source, one.source], decoder: [one.target, ["<s>", ...one.target.slice(0, -1)]] };
    const [looking, seen] = sides[name];
    const said = made("output");
    const words = [looking, seen].map((side) => side.map((word) => made("button", { type: "button", class: "word" }, word)));
    const marks = [made("rect", { class: "mark" }), made("rect", { class: "mark" })];

    /** Show what word i gives to all, or what word j gets from all. */
    function show(i, j) {
      words[0].forEach((word, k) => {
        word.classList.toggle("chosen", k === i);
        word.style.setProperty("--w", i === null ? weight(k, j) : 0);
      });
      words[1].forEach((word, k) => {
        word.classList.toggle("chosen", k === j);
        word.style.setProperty("--w", i === null ? 0 : weight(i, k));
      });
      mark(marks[0], i === null ? null : [0, i, columns, 1]);
      mark(marks[1], j === null ? null : [j, 0, 1, rows]);
      if (i !== null && j !== null) {
        said.textContent = `“${looking[i]}” looks at “${seen[j]}”: ${weight(i, j).toFixed(2)}`;
        return;
      }
      const given = i === null ? looking.map((word, k) => [word, weight(k, j)]) : seen.map((word, k) => [word, weight(i, k)]);
      const most = given.sort((a, b) => b[1] - a[1]).slice(0, 3).map(([word, w]) => `“${word}” ${w.toFixed(2)}`).join(", ");
      said.textContent = i === null ? `“${seen[j]}” gets most from ${most}` : `“${looking[i]}” looks at ${most}`;
    }

    const [looks, reads] = NAMES[name];
    const line = (title, side) => made("p", {}, made("small", {}, `${title}: `), ...side.flatMap((word) => [word, " "]));
    const labels = [looking, seen].map((side) => side.map((word) => made("text", {}, word)));
    const svg = made("svg", { role: "img", "aria-label": "attention weights" }, ...labels.flat());
    // A text has a length only where it is shown.
    view.replaceChildren(line(looks, words[0]), line(`looked at (${reads})`, words[1]), said, made("div", { class: "matrix" }, svg));
    const [space, top] = labels.map((side) => 8 + Math.max(...side.map((text) => text.getComputedTextLength())));
    const place = (j, i) => ({ x: space + j * CELL, y: top + i * CELL });
    function mark(rect, cells) {
      rect.style.display = cells ? "" : "none";
      if (!cells) return;
      const [j, i, wide, high] = cells;
      set(rect, { ...place(j, i), width: wide * CELL, height: high * CELL });
    }
    const width = space + columns * CELL + 2;
    const height = top + rows * CELL + 2;
    set(svg, { width, height, viewBox: `0 0 ${width} ${height}` });
    labels[0].forEach((text, i) => {
      set(text, { x: space - 6, y: place(0, i).y + 14, "text-anchor": "end" });
      for (let j = 0; j < columns; j++) {
        const cell = made("rect", { ...place(j, i), width: CELL, height: CELL, "fill-opacity": weight(i, j) });
        cell.addEventListener("pointerover", () => show(i, j));
        cell.addEventListener("click", () => show(i, j));
        svg.append(cell);
      }
    });
    labels[1].forEach((text, j) => set(text, { transform: `translate(${place(j, 0).x + 14} ${top - 6}) rotate(-90)` }));
    svg.append(made("rect", { class: "frame", ...place(0, 0), width: columns * CELL, height: rows * CELL }), ...marks);
    words.forEach((side, index) =>
      side.forEach((word, k) => {
        const chosen = index ? [null, k] : [k, null];
        for (const event of ["pointerover", "focus", "click"]) word.addEventListener(event, () => show(...chosen));
      }),
    );
    show(0, null);
  }

  const run = choice("run", runs.map((one) => one.title));
  run.hidden = runs.length === 1;
  place.append(run, bar, view);
  choices();
  draw();
}

document.querySelectorAll(".explorer").forEach(explore);
for (const figure of document.querySelectorAll("figure:has(.chart)")) {
  const said = figure.querySelector("output");
  const dots = [...figure.querySelectorAll("circle.target")];
  const reach = Math.max(...dots.map((dot) => Number(dot.getAttribute("r"))));
  /** Say the values of the dots that are nearest to the pointer, also where another curve lies above them. */
  const tell = (event) => {
    const away = dots.map((dot) => {
      const { left, top, width, height } = dot.getBoundingClientRect();
      return Math.hypot(event.clientX - left - width / 2, event.clientY - top - height / 2) / (width / 2 / reach);
    });
    const least = Math.min(...away);
    const nearest = dots.filter((_, i) => away[i] <= least + 0.1);
    if (least <= reach) said.textContent = nearest.map((dot) => dot.parentNode.querySelector("title").textContent).join("; ");
  };
  figure.addEventListener("pointermove", tell);
  figure.addEventListener("click", tell);
}
