"use strict";

// ---- tables: a heading's button sorts by its column; a third press brings the first order back ----

for (const table of document.querySelectorAll("table.sortable")) {
  const rows = [...table.tBodies[0].rows];
  const headings = [...table.tHead.rows[0].cells];
  for (const heading of headings) {
    heading.querySelector("button").addEventListener("click", () => {
      const first = heading.dataset.first ?? "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const next = { none: first, [first]: second, [second]: "none" }[heading.ariaSort];
      for (const other of headings) other.ariaSort = "none";
      heading.ariaSort = next;
      const order = next === "none" ? rows : sorted(rows, heading.cellIndex, next === "descending");
      table.tBodies[0].append(...order);
    });
  }
}

// Numbers by value, words by alphabet, empty cells last either way.
function sorted(rows, column, descending) {
  const keyed = rows.map((row) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return { row, text, number: cell.dataset.value === undefined ? NaN : parseFloat(text) };
  });
  const compare = (a, b) => {
    if (a.text === "" || b.text === "") return (a.text === "") - (b.text === "");
    const way = Number.isNaN(a.number) ? a.text.localeCompare(b.text) : a.number - b.number;
    return descending ? -way : way;
  };
  return keyed.sort(compare).map((entry) => entry.row);
}

// ---- images: two methods under one line, zoomed and moved together ----

const LARGEST = 16; // zoom
const FLICKER = 700; // ms; slower than three flashes a second
const limited = (value, low, high) => Math.min(high, Math.max(low, value));

function compare(root) {
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const data = JSON.parse(root.querySelector("script").textContent);
  const stage = part("stage");
  const sides = { left: part("left-side"), right: part("right-side") };
  // x, y: the image's point at the stage's top left corner, in parts of its size; split: the line, in percent
  const view = { zoom: 1, x: 0, y: 0, split: 50, flipped: null };
  let timer = null;

  for (const [i, image] of data.images.entries()) part("image").add(new Option(image.name, i));
  for (const name of ["left", "right"]) {
    for (const [i, label] of data.methods.entries()) part(name).add(new Option(label, i));
    part(name).value = data[name];
    part(name).addEventListener("change", load);
  }
  part("image").addEventListener("change", () => { reset(); load(); });

  function load() {
    const image = data.images[part("image").value];
    stage.style.aspectRatio = `${image.width} / ${image.height}`;
    for (const name of ["left", "right"]) {
      const method = part(name).value;
      const shown = sides[name].firstElementChild;
      const there = image.files[method] !== null;
      shown.hidden = !there;
      if (there) shown.src = image.files[method];
      shown.alt = `${image.name}: ${data.methods[method]}`;
      const value = there ? image.values[method] : "no image";
      part(`${name}-tag`).textContent = `${data.methods[method]}${value ? `, ${value}` : ""}`;
    }
    part("cut").textContent = image.cut && `${image.name}: ${image.cut}.`;
    draw();
  }

  function draw() {
    const split = view.flipped === null ? view.split : view.flipped ? 0 : 100;
    sides.left.style.clipPath = `inset(0 ${100 - split}% 0 0)`;
    part("line").style.left = `${split}%`;
    part("left-tag").hidden = view.flipped === true;
    part("right-tag").hidden = view.flipped === false;
    for (const side of Object.values(sides)) {
      const image = side.firstElementChild;
      image.style.transform = `scale(${view.zoom}) translate(${-100 * view.x}%, ${-100 * view.y}%)`;
      image.classList.toggle("pixels", view.zoom > 1);
    }
    stage.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
    part("zoom").textContent = `${Number(view.zoom.toFixed(1))}×`;
    part("slider").value = view.split;
    part("slider").ariaValueText = `${Math.round(view.split)} % ${data.methods[part("left").value]}`;
  }

  function move(x, y) {
    view.x = limited(x, 0, 1 - 1 / view.zoom);
    view.y = limited(y, 0, 1 - 1 / view.zoom);
    draw();
  }

  // The image's point under (u, v), parts of the stage, stays where it is.
  function zoom(factor, u = 0.5, v = 0.5) {
    const old = view.zoom;
    view.zoom = limited(old * factor, 1, LARGEST);
    move(view.x + u / old - u / view.zoom, view.y + v / old - v / view.zoom);
  }

  function reset() {
    Object.assign(view, { zoom: 1, x: 0, y: 0 });
    draw();
  }

  function flicker(on) {
    clearInterval(timer);
    timer = on ? setInterval(flip, FLICKER) : null;
    part("flicker").ariaPressed = String(on);
    view.flipped = on ? false : null;
    draw();
  }

  function flip() {
    view.flipped = !view.flipped;
    draw();
  }

  part("in").addEventListener("click", () => zoom(2));
  part("out").addEventListener("click", () => zoom(1 / 2));
  part("flicker").addEventListener("click", () => flicker(timer === null));
  part("slider").addEventListener("input", (event) => {
    view.split = Number(event.target.value);
    flicker(false);
  });

  stage.addEventListener("keydown", (event) => {
    const step = 0.1 / view.zoom;
    const actions = {
      ArrowLeft: () => move(view.x - step, view.y),
      ArrowRight: () => move(view.x + step, view.y),
      ArrowUp: () => move(view.x, view.y - step),
      ArrowDown: () => move(view.x, view.y + step),
      "+": () => zoom(2),
      "=": () => zoom(2),
      "-": () => zoom(1 / 2),
      0: reset,
      " ": flip,
    };
    const pans = event.key.startsWith("Arrow") && view.zoom === 1; // the page scrolls then
    if (!(event.key in actions) || event.ctrlKey || event.metaKey || pans) return;
    event.preventDefault();
    actions[event.key]();
  });

  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(2 ** (-event.deltaY / 200), ...place(event));
  }, { passive: false });

  // One pointer moves the line, or the zoomed image if it began far from the line; two pinch.
  const pointers = new Map();
  let dragsLine = false;

  function place(event) {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  function distance() {
    const [[a, b], [c, d]] = [...pointers.values()];
    return Math.hypot(a - c, b - d);
  }

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    const near = Math.abs(place(event)[0] - view.split / 100) * stage.clientWidth < 24;
    dragsLine = view.flipped === null && (view.zoom === 1 || near);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const [u, v] = place(event);
    const apart = pointers.size === 2 ? distance() : 0;
    pointers.set(event.pointerId, [u, v]);
    if (pointers.size === 2) {
      zoom(distance() / Math.max(apart, 1e-3), u, v);
    } else if (dragsLine) {
      view.split = limited(100 * u, 0, 100);
      draw();
    } else {
      move(view.x - (u - before[0]) / view.zoom, view.y - (v - before[1]) / view.zoom);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }

  load();
}

for (const root of document.querySelectorAll(".comparison")) {
  if (root.querySelector("script")) compare(root);
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
