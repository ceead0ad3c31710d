"use strict";
// What the page can do beside being read: the grid of two other axes, the filter, links that open their cell. Without
// it all is there. Text goes in as text only.
(() => {
  const get = (id) => document.getElementById(id);
  const make = (name, attributes, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const signs = { unhealthy: "✗", flaky: "~", inconclusive: "?", healthy: "✓" };
  const cells = Array.from(document.querySelectorAll("details.cell"));

  // The grid.
  const axes = get("axes");
  if (axes) {
    const data = JSON.parse(get("data").textContent);
    const rows = get("rows");
    const columns = get("columns");
    let before = [rows.value, columns.value];

    const group = (here, mark) => {
      const found = here.filter((cell) => cell.mark === mark);
      if (found.length === 0) return [];
      const [first] = found;
      const alone = here.length === 1;
      const label = alone
        ? `${first.id}: ${mark}${first.reason && `, ${first.reason}`}`
        : `${found.length} of ${here.length} ${mark}, the first is ${first.id}`;
      const sign = make("span", { class: "sign" }, signs[mark] + (found.length > 1 ? ` ${found.length}` : ""));
      const link = make("a", { class: mark, href: `#cell-${first.id}`, title: label, "aria-label": label }, sign);
      if (alone) link.append(make("small", {}, first.reason || mark));
      return [link];
    };

    const draw = () => {
      const value = (cell, axis) => (axis === "" ? "" : (cell.values[axis] ?? "—"));
      const distinct = (axis) => [...new Set(data.cells.map((cell) => value(cell, axis)))];
      const places = new Map();
      for (const cell of data.cells) {
        const place = JSON.stringify([value(cell, rows.value), value(cell, columns.value)]);
        if (!places.has(place)) places.set(place, []);
        places.get(place).push(cell);
      }
      const heads = distinct(columns.value);
      const line = (row) =>
        make("tr", {}, make("th", { scope: "row" }, row), ...heads.map((head) => {
          const here = places.get(JSON.stringify([row, head])) ?? [];
          return make("td", {}, ...Object.keys(signs).flatMap((mark) => group(here, mark)));
        }));
      const grid = get("grid");
      grid.classList.toggle("wide", heads.length > 8);
      grid.replaceChildren(
        make("thead", {}, make("tr", {}, make("td", {}), ...heads.map((head) => make("th", { scope: "col" }, head)))),
        make("tbody", {}, ...distinct(rows.value).map(line)),
      );
    };

    axes.addEventListener("change", (event) => {
      // An axis is no row and column at once: the other one takes its place.
      if (rows.value === columns.value) {
        if (event.target === rows) columns.value = before[0];
        else rows.value = before[1];
      }
      before = [rows.value, columns.value];
      draw();
    });
    axes.addEventListener("submit", (event) => event.preventDefault());
    axes.hidden = false;
  }

  // The filter.
  const filter = get("filter");
  const [outcome, reason, words, open, shown] = ["outcome", "reason", "text", "open", "shown"].map(get);
  let texts;
  const apply = () => {
    const wanted = words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    if (wanted.length > 0) texts ??= cells.map((cell) => cell.textContent.toLowerCase());
    let count = 0;
    cells.forEach((cell, n) => {
      const fits = (!outcome.value || cell.dataset.mark === outcome.value)
        && (!reason.value || cell.dataset.reason === reason.value)
        && wanted.every((word) => texts[n].includes(word));
      cell.hidden = !fits;
      count += fits;
    });
    shown.value = count === cells.length ? `${count} cells` : `${count} of ${cells.length} cells`;
    tell();
  };
  const visible = () => cells.filter((cell) => !cell.hidden);
  const tell = () => {
    open.textContent = visible().some((cell) => !cell.open) ? "Open all shown" : "Close all shown";
  };
  let waiting;
  filter.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 120);
  });
  filter.addEventListener("submit", (event) => event.preventDefault());
  open.addEventListener("click", () => {
    const all = visible();
    const closed = all.some((cell) => !cell.open);
    for (const cell of all) cell.open = closed;
  });
  // Toggles do not bubble, and are heard on their way down.
  document.addEventListener("toggle", tell, true);
  filter.hidden = false;
  apply();

  // Links to cells, with or without the prefix.
  const go = () => {
    const name = decodeURIComponent(location.hash.slice(1));
    const target = get(`cell-${name}`) ?? get(name);
    if (!target?.matches("details.cell")) return;
    if (target.hidden) {
      filter.reset();
      apply();
    }
    target.open = true;
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  };
  addEventListener("hashchange", go);
  go();

  // On paper: what is not healthy, opened, unless that were a book.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = visible().filter((cell) => !cell.open && cell.dataset.mark !== "healthy");
    if (opened.length > 20) opened = [];
    for (const cell of opened) cell.open = true;
  });
  addEventListener("afterprint", () => {
    for (const cell of opened) cell.open = false;
  });
})();
